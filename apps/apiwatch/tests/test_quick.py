"""One field at a time gives what the arrays give, whatever the field."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from traffic import attacks, usual

from apiwatch import Calibration, Detector, Field, Place, Settings, Table, gather
from apiwatch.calibration import total
from apiwatch.detector import _MANY
from apiwatch.features import class_text, classes_of
from apiwatch.fields import fields
from apiwatch.hashing import mix, mix_step
from apiwatch.quick import LONGEST, Quick

SETTINGS = Settings(cells=12, slots=6, salt=b"0123456789abcdef")
DETECTOR = Detector.learn(usual(300), SETTINGS)
CROWDED = Settings(cells=8, slots=4, salt=b"0123456789abcdef")  # every cell counts several events
DETECTORS = (
    DETECTOR,
    Detector.learn([*usual(40), *attacks()], CROWDED),
    Detector(Table.empty(SETTINGS), Calibration.learn({}, Table.empty(SETTINGS))),
)
TEXT = st.text(st.characters(codec="utf-8"), max_size=60) | st.text("ab09'<>-/%\x00", max_size=80)
KNOWN = [found for request in [*usual(60), *attacks()] for found in fields(request)[1]]
VALUES = st.sampled_from(sorted({field.value for field in KNOWN}))
WHERE = st.sampled_from([(f.place, f.scope, f.name) for f in KNOWN]) | st.tuples(
    st.sampled_from(Place), st.sampled_from(("", "/items/0")), TEXT
)


def by_arrays(found: list[Field], detector: Detector) -> list[tuple[float, int]]:
    scores = detector.field_scores(found)
    return list(zip(total(scores).tolist(), scores.argmax(axis=1).tolist(), strict=True))


def assert_same(found: list[Field], quick: Quick, detector: Detector = DETECTOR) -> None:
    """To the last bit: no tolerance."""
    assert [quick.verdict(field) for field in found] == by_arrays(found, detector)


@given(st.sampled_from(DETECTORS), WHERE, st.lists(TEXT | VALUES, min_size=1, max_size=6))
def test_any_field_scores_as_by_arrays(detector, where, values) -> None:
    found = [Field(*where, value) for value in values]
    quick = Quick(detector.table, detector.calibration)
    assert_same(found, quick, detector)
    assert_same(found, quick, detector)  # and again, from memory


@pytest.mark.parametrize("detector", DETECTORS)
def test_real_fields_score_as_by_arrays(detector: Detector) -> None:
    assert_same(KNOWN, Quick(detector.table, detector.calibration), detector)


@given(
    st.integers(0, 2**32),
    st.sampled_from((2, 50, 2**31)),
    st.lists(st.sampled_from(KNOWN), min_size=1),
)
def test_any_counters_score_as_by_arrays(seed: int, most: int, found: list[Field]) -> None:
    counts = np.random.default_rng(seed).integers(0, most, 1 << CROWDED.cells)
    table = Table(CROWDED, counts)
    detector = Detector(table, Calibration.learn(gather(usual(3)), table))
    assert_same(found, Quick(table, detector.calibration), detector)


def test_many_fields_score_as_each_alone() -> None:
    values = "&".join(f"sort{i % 40}={i}'--" for i in range(9 * _MANY))
    request = usual(1)[0].__class__(method="GET", target=f"/items/1?{values}")
    quick = Quick(DETECTOR.table, DETECTOR.calibration)
    fresh = Detector(DETECTOR.table, DETECTOR.calibration)
    assert fresh.judge_one(request).score == max(map(quick.verdict, fields(request)[1]))[0]


def test_a_request_scores_as_its_worst_field_by_arrays() -> None:
    fresh = Detector(DETECTOR.table, DETECTOR.calibration)
    for request in [*usual(20, seed=4), *attacks()]:
        scores = DETECTOR.field_scores(fields(request)[1])
        assert fresh.judge_one(request).score == total(scores).max()


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
