"""The leakage ledger: what was opened of one client, and no more than was allowed."""

from __future__ import annotations

import json

import numpy as np
import pytest

from protocols import ClientRound, LeakageLedger, RoundPlan, SketchScreen
from protocols.round import Invitation
from protocols.simulate import Population
from secagg.errors import DecodeError, LeakageExceeded, ParameterError
from secagg.quantize import NormClip
from secagg.scheme import Floors

PLAN = RoundPlan.for_update(
    {"w": np.zeros(600)},
    clients=4,
    clip=NormClip(1.0),
    max_weight=5,
    dropout=0.25,
    corrupt=0.0,
    screen=SketchScreen(rows=64, tables=5, buckets=256),
)


def joined(ledger: LeakageLedger | None, people: Population, number: int = 1) -> ClientRound:
    invitation = Invitation(
        plan=PLAN, session=bytes(16), number=number, model=bytes(32), roster=people.roster
    )
    return ClientRound(
        invitation,
        people.clients[1],
        1,
        journal=people.journals[1],
        leakage=ledger,
        floors=Floors(opened=PLAN.scheme.opened),
    )


def test_a_round_is_charged_with_all_that_it_opens() -> None:
    ledger = LeakageLedger(most=100)
    joined(ledger, Population.generate(range(1, 5))).submit({"w": np.ones(600)}, 2)
    assert ledger.spent == PLAN.scheme.opened == 65  # the rows and the weight


def test_an_update_that_would_open_too_much_does_not_leave() -> None:
    people, ledger = Population.generate(range(1, 5)), LeakageLedger(most=129)
    joined(ledger, people).submit({"w": np.ones(600)}, 2)
    late = joined(ledger, people, number=2)
    with pytest.raises(LeakageExceeded, match="65 numbers were opened"):
        late.submit({"w": np.ones(600)}, 2)
    assert ledger.spent == 65
    assert not any(data for _, data in late.to_send() if len(data) > 10_000)


def test_a_client_opens_nothing_unless_its_floors_say_so() -> None:
    people = Population.generate(range(1, 5))
    invitation = Invitation(
        plan=PLAN, session=bytes(16), number=1, model=bytes(32), roster=people.roster
    )
    with pytest.raises(ParameterError, match=r"opened <= 0 must hold .* 65 numbers"):
        ClientRound(invitation, people.clients[1], 1, journal=people.journals[1])
    floors = Floors(opened=64)
    with pytest.raises(ParameterError, match="opened <= 64"):
        ClientRound(invitation, people.clients[1], 1, journal=people.journals[1], floors=floors)
    joined(None, people)


def test_one_round_is_charged_once() -> None:
    ledger = LeakageLedger(most=10)
    for _ in range(3):
        ledger.charge(b"a", 10)
    assert ledger.spent == 10
    with pytest.raises(ParameterError, match="another number"):
        ledger.charge(b"a", 9)
    with pytest.raises(LeakageExceeded):
        ledger.charge(b"b", 1)
    ledger.charge(b"c", 0)


def test_it_is_stored_and_comes_back() -> None:
    ledger = LeakageLedger(most=50)
    ledger.charge(b"a", 10)
    ledger.charge(b"b", 20)
    again = LeakageLedger.from_bytes(ledger.to_bytes(), most=30)
    assert (again.spent, again.most) == (30, 30)
    with pytest.raises(LeakageExceeded):
        again.charge(b"c", 1)
    again.charge(b"b", 20)


@pytest.mark.parametrize(
    "document",
    [
        b"",
        b"\xff",
        b"[]",
        b"{}",
        json.dumps({"format": "secagg-leakage-2", "opened": {}}).encode(),
        json.dumps({"format": "secagg-leakage-1", "opened": []}).encode(),
        json.dumps({"format": "secagg-leakage-1", "opened": {"xy": 1}}).encode(),
        json.dumps({"format": "secagg-leakage-1", "opened": {"00": -1}}).encode(),
        json.dumps({"format": "secagg-leakage-1", "opened": {"00": 1.0}}).encode(),
        json.dumps({"format": "secagg-leakage-1", "opened": {"00": True}}).encode(),
        b"[" * 100_000,
    ],
)
def test_other_bytes_are_refused(document: bytes) -> None:
    with pytest.raises(DecodeError):
        LeakageLedger.from_bytes(document, most=1)


@pytest.mark.parametrize("most", [-1, 1.0, True, None, "3"])
def test_the_limit_is_a_count(most: int) -> None:
    with pytest.raises(ParameterError, match="most >= 0"):
        LeakageLedger(most=most)


@pytest.mark.parametrize("opened", [-1, 1.0, True, None])
def test_what_is_charged_is_a_count(opened: int) -> None:
    with pytest.raises(ParameterError, match="opened >= 0"):
        LeakageLedger(most=10).charge(b"a", opened)
