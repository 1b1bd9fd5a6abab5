"""One field at a time gives what the arrays give, whatever the field."""

from __future__ import annotations

from time import thread_time

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from traffic import attacks, usual

from apiwatch import Calibration, Detector, Field, Place, Request, Settings, Table, gather
from apiwatch.calibration import total
from apiwatch.detector import _MANY
from apiwatch.features import (
    END,
    START,
    char_codes,
    class_bytes,
    classes_of,
    condensed,
    events,
    gram_codes,
)
from apiwatch.fields import _of_path, _structure, fields
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


@given(text=TEXT | st.text(st.characters()))
def test_classes_are_those_of_the_arrays(text: str) -> None:
    assert list(class_bytes(text)) == classes_of(text).tolist()


@given(text=TEXT | st.text("aaaaa00000'", max_size=60) | VALUES)
def test_a_condensed_value_has_the_events_of_the_whole(text: str) -> None:
    found = events([Field(Place.QUERY, "/", "q", text)], SETTINGS.salt)
    classes = condensed(class_bytes(text))
    assert gram_codes(START + classes + END + END) == found.gram.tolist()
    assert char_codes(classes) == found.char.tolist()
    assert condensed(classes) == classes


def test_runs_of_words_are_condensed_and_those_of_signs_are_not() -> None:
    one, other, signs = (condensed(class_bytes(text)) for text in ("a" * 9, "b" * 500, "'" * 9))
    assert one == other == class_bytes("aaa")
    assert len(signs) == 9


REQUESTS = st.builds(
    Request,
    method=st.sampled_from(("GET", "post")),
    target=st.sampled_from(("", "/items/7", "/items/8?sort=asc", "/a/b.jsp?x")) | TEXT,
    headers=st.lists(st.tuples(st.sampled_from(("Cookie", "User-Agent")), TEXT)).map(tuple),
    body=st.sampled_from(("", "user=anna&amount=7", '{"user": "anna", "n": [1, "\'"]}')) | TEXT,
)


@given(st.lists(REQUESTS | st.sampled_from([*usual(20), *attacks()]), min_size=1, max_size=5))
def test_requests_one_by_one_are_judged_as_many_are(requests: list[Request]) -> None:
    """The same score, field, kind and endpoint; twice, for what is remembered must not differ."""
    fresh = Detector(DETECTOR.table, DETECTOR.calibration)
    for _ in range(2):
        assert [fresh.judge_one(one) for one in requests] == list(DETECTOR.judge(requests))


@given(REQUESTS)
def test_what_a_part_of_a_request_lacks_says_nothing(request: Request) -> None:
    found = [field for field in fields(request)[1] if field.place is not Place.NAMES]
    fresh = Detector(DETECTOR.table, DETECTOR.calibration)
    worst = max(by_arrays(found, DETECTOR))
    judged = fresh.judge_one(request, partial=True)
    assert judged.score == worst[0]
    assert judged.field == found[by_arrays(found, DETECTOR).index(worst)]


def test_groups_that_are_remembered_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("apiwatch.detector._GROUPS", 5)
    fresh = Detector(DETECTOR.table, DETECTOR.calibration)
    requests = [*usual(30, seed=5), *attacks()]
    assert [fresh.judge_one(one) for one in requests] == list(DETECTOR.judge(requests))
    assert 0 < len(fresh._groups) <= 5


def test_long_paths_and_many_names_are_not_remembered() -> None:
    fresh = Detector(DETECTOR.table, DETECTOR.calibration)
    names = "&".join(f"n{i}" for i in range(3000))
    long = Request(method="GET", target=f"{'/a1' * 3000}?{names}")
    short = Request(method="GET", target="/never/seen?before")
    for request, kept in ((long, 0), (short, 1)):
        before = [_of_path.cache_info().misses, _structure.cache_info().misses]
        grouped = len(fresh._groups)
        assert fresh.judge_one(request) == next(iter(DETECTOR.judge([request])))
        after = [_of_path.cache_info().misses, _structure.cache_info().misses]
        assert after == [misses + kept for misses in before]
        assert len(fresh._groups) == grouped + 2 * kept


def seconds(target: str, body: str) -> float:
    """Of processor time, for a request that is judged for the first time."""
    fresh = Detector(DETECTOR.table, DETECTOR.calibration)
    start = thread_time()
    fresh.judge_one(Request(method="POST", target=target, body=body))
    return thread_time() - start


@pytest.mark.parametrize(
    ("target", "body"),
    [
        ("/x?q=", "a"),
        ("/x?q=", "a1'"),
        ("/x?", "q&"),
        ("/x?", "%25q+é&"),
        ("/x", "=a&"),
        ("/x", "\ud800="),
        ("", "/a1"),
    ],
)
def test_time_grows_with_length_alone(target: str, body: str) -> None:
    """Sixteen times the length takes sixteen times as long; a square would take 256 times."""

    def least(times: int) -> float:
        asked = (target + body * times, "") if target != "/x" else (target, body * times)
        return min(seconds(*asked) for _ in range(3))

    assert least(16 * 1200) < 80 * max(least(1200), 1e-3)


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
