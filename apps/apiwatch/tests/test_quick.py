"""One field at a time gives what the arrays give, whatever the field."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from traffic import attacks, usual

from apiwatch import Detector, Field, Place, Settings
from apiwatch.calibration import total
from apiwatch.features import class_text, classes_of
from apiwatch.fields import fields
from apiwatch.hashing import mix, mix_step
from apiwatch.quick import LONGEST, Quick

SETTINGS = Settings(cells=12, slots=6, salt=b"0123456789abcdef")
DETECTOR = Detector.learn(usual(300), SETTINGS)
TEXT = st.text(st.characters(codec="utf-8"), max_size=60) | st.text("ab09'<>-/%\x00", max_size=80)
KNOWN = [found for request in [*usual(60), *attacks()] for found in fields(request)[1]]
WHERE = st.sampled_from([(f.place, f.scope, f.name) for f in KNOWN]) | st.tuples(
    st.sampled_from(Place), st.sampled_from(("", "/items/0")), TEXT
)


def by_arrays(found: list[Field]) -> list[tuple[float, int]]:
    scores = DETECTOR.field_scores(found)
    return list(zip(total(scores).tolist(), scores.argmax(axis=1).tolist(), strict=True))


def assert_same(found: list[Field], quick: Quick) -> None:
    """To the last bit: no tolerance."""
    assert [quick.verdict(field) for field in found] == by_arrays(found)


@given(where=WHERE, values=st.lists(TEXT, min_size=1, max_size=4))
def test_any_field_scores_as_by_arrays(where, values) -> None:
    found = [Field(*where, value) for value in values]
    quick = Quick(DETECTOR.table, DETECTOR.calibration)
    assert_same(found, quick)
    assert_same(found, quick)  # and again, from memory


def test_real_fields_score_as_by_arrays() -> None:
    assert_same(KNOWN, Quick(DETECTOR.table, DETECTOR.calibration))


@given(state=st.integers(0, 2**64 - 1), part=st.integers(0, 2**64 - 1))
def test_a_step_is_that_of_the_arrays(state: int, part: int) -> None:
    arrays = mix(np.array([state], np.uint64), np.array([part], np.uint64))
    assert mix_step(mix_step(state) ^ part) == int(arrays[0])


@given(text=TEXT)
def test_classes_are_those_of_the_arrays(text: str) -> None:
    assert [ord(char) for char in class_text(text)] == classes_of(text).tolist()


@pytest.mark.parametrize("size", [LONGEST - 1, LONGEST, LONGEST + 1])
def test_a_field_has_one_score_wherever_it_comes(size: int) -> None:
    request = usual(1)[0].__class__(method="GET", target="/items/1?sort=" + "x" * size)
    fresh = Detector(DETECTOR.table, DETECTOR.calibration)
    alone = fresh.judge_one(request).score
    among = [j.score for j in DETECTOR.judge([*usual(20), request])][-1]
    assert alone == among


def test_what_is_remembered_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("apiwatch.quick._REMEMBERED", 50)
    quick = Quick(DETECTOR.table, DETECTOR.calibration)
    assert_same(KNOWN, quick)
    most = max(quick.remembered for _ in [quick.verdict(field) for field in KNOWN])
    assert most < 500
