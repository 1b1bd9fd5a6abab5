"""Scores decay, exclusion ends after clean rounds, and a state survives JSON."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from robust.errors import ObservationError, ParameterError
from robust.reputation import Record, Reputation, ReputationRule, Standing

RULE = ReputationRule(decay=0.5, exclude_below=0.4, readmit_after=3, probation=2)


def through(marks: list[float], rule: ReputationRule = RULE) -> list[Standing]:
    """The standings of one client over rounds with `marks`."""
    state, found = Reputation(rule=rule), []
    for number, mark in enumerate(marks):
        state = state.after(number, {7: mark})
        found.append(state.record(7).standing)
    return found


def test_the_way_out_and_back() -> None:
    member, probation, excluded = Standing.MEMBER, Standing.PROBATION, Standing.EXCLUDED
    marks = [1, 0, 0, 1, 1, 0, 1, 1, 1, 1, 1, 1]
    assert through([float(mark) for mark in marks]) == [
        member,  # 1
        member,  # 0.5
        excluded,  # 0.25
        excluded,
        excluded,
        excluded,  # the streak starts again
        excluded,
        excluded,
        probation,
        probation,
        member,
        member,
    ]


def test_probation_ends_with_one_round_that_is_not_clean() -> None:
    assert through([0.0, 0.0, 1.0, 1.0, 1.0, 0.7])[-2:] == [Standing.PROBATION, Standing.EXCLUDED]


@given(
    decay=st.floats(0, 0.95),
    k=st.integers(1, 6),
    p=st.integers(1, 6),
    bad=st.integers(1, 60),
    clean=st.floats(0.5, 1),
)
def test_who_is_clean_long_enough_is_a_member_again_and_stays(
    decay: float, k: int, p: int, bad: int, clean: float
) -> None:
    floor = clean * (1 - decay ** (k + p))
    rule = ReputationRule(
        decay=decay, exclude_below=floor, clean=clean, readmit_after=k, probation=p
    )
    standings = through([0.0] * bad + [clean] * (k + p + 20), rule)
    assert all(one is Standing.MEMBER for one in standings[bad + k + p :])


@given(
    rounds=st.lists(
        st.dictionaries(st.integers(0, 5), st.floats(0, 1), max_size=6), min_size=1, max_size=12
    ),
    order=st.permutations(range(6)),
)
def test_clients_do_not_depend_on_each_other_or_on_their_ids(
    rounds: list[dict[int, float]], order: list[int]
) -> None:
    state = renamed = Reputation(rule=RULE)
    for number, marks in enumerate(rounds):
        state = state.after(number, marks)
        renamed = renamed.after(number, {order[c]: mark for c, mark in reversed(marks.items())})
    for client in range(6):
        assert state.record(client) == renamed.record(order[client])
        alone = Reputation(rule=RULE)
        for number, marks in enumerate(rounds):
            alone = alone.after(number, {c: m for c, m in marks.items() if c == client})
        assert alone.record(client) == state.record(client)
    assert Reputation.from_document(json.loads(json.dumps(state.to_document()))) == state


def test_absence_neither_heals_nor_harms() -> None:
    state = Reputation(rule=RULE).after(0, {1: 0.0, 2: 1.0}).after(1, {1: 0.0})
    later = state.after(9, {2: 1.0})
    assert later.record(1) == state.record(1)
    assert later.number == 9
    np.testing.assert_array_equal(later.weights([1, 2, 3]), [0.0, 1.0, 1.0])


def test_a_refused_round_changes_nothing() -> None:
    state = Reputation(rule=RULE).after(3, {1: 1.0})
    for number, marks in ((3, {1: 1.0}), (4, {1: 1.5}), (4, {1: float("nan")}), (True, {1: 1.0})):
        with pytest.raises(ObservationError, match="must hold"):
            state.after(number, marks)
    assert state.after(4, {1: 1.0}).record(1).rounds == 2
    assert state.record(1).rounds == 1


def changed(**values: Any) -> Callable[[dict[str, Any]], None]:
    return lambda document: document.update(values)


@pytest.mark.parametrize(
    "spoil",
    [
        changed(format=2),
        changed(number=-2),
        changed(number=True),
        changed(extra=1),
        changed(rule={"decay": 0.5}),
        changed(records={}),
        changed(records=[[1, 0.5, "member", 0]]),
        changed(records=[[1, 1.5, "member", 0, 1]]),
        changed(records=[[1, float("nan"), "member", 0, 1]]),
        changed(records=[[1, 0.5, "friend", 0, 1]]),
        changed(records=[[1, 0.5, ["member"], 0, 1]]),
        changed(records=[[1, 0.5, "member", 2, 1]]),
        changed(records=[[1, 0.5, "member", -1, 1]]),
        changed(records=[[2, 0.5, "member", 0, 1], [1, 0.5, "member", 0, 1]]),
        changed(records=[["1", 0.5, "member", 0, 1]]),
        lambda document: document["rule"].update(decay=1.0),
        lambda document: document["rule"].update(decay="x"),
    ],
)
def test_documents_are_checked(spoil: Callable[[dict[str, Any]], None]) -> None:
    document = Reputation(rule=RULE).after(0, {1: 0.5}).to_document()
    assert Reputation.from_document(document).number == 0
    spoil(document)
    with pytest.raises(ObservationError):
        Reputation.from_document(document)
    with pytest.raises(ObservationError, match="fields"):
        Reputation.from_document([])


@pytest.mark.parametrize(
    "values",
    [
        {"decay": 1.0},
        {"decay": float("nan")},
        {"decay": True},
        {"clean": 0.0},
        {"clean": 1.1},
        {"exclude_below": 0.0},
        {"exclude_below": 0.8},
        {"readmit_after": 0},
        {"readmit_after": 2.0},
        {"probation": 0},
        {"probation_weight": 1.5},
        {"start": 0.1},
        {"decay": 0.99},
    ],
)
def test_rules_are_checked(values: dict[str, Any]) -> None:
    ReputationRule()
    with pytest.raises(ParameterError, match="must hold"):
        ReputationRule(**values)


def test_a_record_is_checked() -> None:
    Record(score=0.5, streak=1, rounds=1)
    with pytest.raises(ObservationError, match="Standing"):
        Record(score=0.5, standing="member")  # type: ignore[arg-type]
