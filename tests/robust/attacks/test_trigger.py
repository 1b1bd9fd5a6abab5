"""Triggers: the mark, its planting, and its parts."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from robust.attacks.testing import invented_cohort, refused
from robust.attacks.trigger import Trigger
from robust.errors import ObservationError, ParameterError

TRIGGER = Trigger(indices=(0, 3, 11), value=2.5, target=7)


def test_a_stamp_changes_its_features_and_no_other() -> None:
    (examples,) = invented_cohort(1)
    marked = TRIGGER.stamped(examples.inputs)
    assert (marked[:, [0, 3, 11]] == 2.5).all()
    rest = [1, 2, *range(4, 11)]
    np.testing.assert_array_equal(marked[:, rest], examples.inputs[:, rest])
    assert not (examples.inputs == 2.5).any()


@given(st.floats(0.01, 1), st.integers(1, 40))
def test_a_share_is_planted(share: float, size: int) -> None:
    (examples,) = invented_cohort(1, least=size)
    planted = TRIGGER.planted(examples, share, np.random.default_rng(1))
    marked = (planted.inputs[:, [0, 3, 11]] == 2.5).all(axis=1)
    assert marked.sum() == np.ceil(share * size)
    assert (planted.labels[marked] == 7).all()
    np.testing.assert_array_equal(planted.inputs[~marked], examples.inputs[~marked])
    np.testing.assert_array_equal(planted.labels[~marked], examples.labels[~marked])


@given(st.integers(1, 30), st.data())
def test_parts_partition_the_trigger(size: int, data: st.DataObject) -> None:
    whole = Trigger(indices=tuple(range(5, 5 + size)), value=1.0, target=0)
    parts = data.draw(st.integers(1, size))
    split = whole.split(parts)
    assert sorted(index for part in split for index in part.indices) == list(whole.indices)
    sizes = [len(part.indices) for part in split]
    assert len(split) == parts
    assert max(sizes) - min(sizes) <= 1
    refused(ParameterError, partial(whole.split, size + 1))
    refused(ParameterError, partial(whole.split, 0))


@pytest.mark.parametrize(
    "change",
    [
        {"indices": ()},
        {"indices": (-1, 2)},
        {"indices": (2, 2)},
        {"value": float("nan")},
        {"value": float("inf")},
        {"target": -1},
    ],
    ids=str,
)
def test_what_no_trigger_has_is_refused(change: dict[str, Any]) -> None:
    valid: dict[str, Any] = {"indices": (0, 1), "value": 1.0, "target": 0}
    assert Trigger(**valid).indices == (0, 1)
    refused(ParameterError, lambda: Trigger(**{**valid, **change}))


def test_data_without_the_feature_or_the_class_is_refused() -> None:
    (examples,) = invented_cohort(1)
    rng = np.random.default_rng(1)
    TRIGGER.planted(examples, 0.5, rng)
    beyond = Trigger(indices=(12,), value=1.0, target=0)
    refused(ObservationError, partial(beyond.stamped, examples.inputs))
    unknown = Trigger(indices=(0,), value=1.0, target=10)
    refused(ObservationError, partial(unknown.planted, examples, 0.5, rng))
