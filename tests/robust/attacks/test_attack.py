"""Knowledge, examples and vectors: what attacks are made of."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from robust.attacks.attack import Access, Examples
from robust.attacks.free_rider_replay import Delta, Sign
from robust.attacks.testing import invented_cohort, invented_knowledge, refused
from robust.attacks.vectors import directions, lengths, stretched, turned, units
from robust.errors import ObservationError


def test_knowledge_hides_what_was_not_found_out() -> None:
    knowledge = invented_knowledge(number=3, malicious=2)
    assert set(knowledge.private) == set(Access)
    less = knowledge.only({Access.NORM})
    assert set(less.private) == {Access.NORM}
    assert less[Access.NORM] == knowledge[Access.NORM]
    with pytest.raises(ObservationError, match="BENIGN"):
        less[Access.BENIGN]


def test_knowledge_is_read_only() -> None:
    knowledge = invented_knowledge(number=3, malicious=2)
    for array in (knowledge.weights, knowledge.history, knowledge[Access.CLEAN]):
        with pytest.raises(ValueError, match="read-only"):
            array[...] = 0


def test_the_last_update_of_no_history_is_zero() -> None:
    assert not invented_knowledge(number=0, malicious=2).last.any()
    knowledge = invented_knowledge(number=4, malicious=2)
    np.testing.assert_array_equal(knowledge.last, knowledge.history[3])


@pytest.mark.parametrize(
    "change",
    [
        {"number": -1},
        {"malicious": 0},
        {"malicious": 13},
        {"weights": np.zeros((2, 3))},
        {"weights": np.zeros(61)},
        {"history": np.zeros(60)},
        {"private": {Access.NORM: np.zeros(1)}},
        {"private": {Access.CLEAN: np.zeros((3, 60))}},
        {"private": {Access.BENIGN: np.zeros((0, 60))}},
        {"private": {Access.PROJECTION: np.zeros((4, 59))}},
        {"private": {Access.CLASSES: np.zeros(60)}},
    ],
    ids=str,
)
def test_knowledge_of_the_wrong_shape_is_refused(change: dict[str, Any]) -> None:
    knowledge = invented_knowledge(number=3, malicious=2)
    assert replace(knowledge).shape == (2, 60)
    refused(ObservationError, lambda: replace(knowledge, **change))


def test_examples_and_what_they_refuse() -> None:
    (examples,) = invented_cohort(1)
    rows = np.array([4, 0])
    np.testing.assert_array_equal(examples.take(rows).labels, examples.labels[rows])
    same = examples.relabeled(9 - examples.labels)
    assert same.inputs is examples.inputs
    inputs, labels = examples.inputs, examples.labels
    for wrong in (
        lambda: Examples(inputs, labels[1:], 10),
        lambda: Examples(inputs[0], labels, 10),
        lambda: Examples(inputs[:0], labels[:0], 10),
        lambda: Examples(inputs, labels - 1 - labels.min(), 10),
        lambda: Examples(inputs, labels, int(labels.max())),
    ):
        refused(ObservationError, wrong)


def test_an_attack_says_whether_it_trains() -> None:
    assert not Delta().trains
    assert not Sign().trains
    assert Sign().needs == {Access.NORM}


@given(st.integers(0, 2**32), st.integers(1, 5), st.integers(2, 40))
def test_lengths_and_directions(seed: int, count: int, size: int) -> None:
    rng = np.random.default_rng(seed)
    rows = directions((count, size), rng)
    np.testing.assert_allclose(lengths(rows), 1, rtol=1e-12)
    np.testing.assert_allclose(lengths(stretched(3 * rows, 0.5)), 0.5, rtol=1e-12)
    assert not units(np.zeros((2, size))).any()


@given(st.integers(0, 2**32), st.floats(-1, 1), st.integers(2, 40))
def test_a_turned_row_has_the_cosine(seed: int, cosine: float, size: int) -> None:
    rng = np.random.default_rng(seed)
    axis, others = rng.standard_normal(size), rng.standard_normal((3, size))
    rows = turned(axis, others, cosine)
    np.testing.assert_allclose(lengths(rows), 1, rtol=1e-9)
    np.testing.assert_allclose(rows @ axis / np.linalg.norm(axis), cosine, atol=1e-9)
    np.testing.assert_allclose(turned(0 * axis, others, cosine), units(others))
