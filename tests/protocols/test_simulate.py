"""Whole rounds: exact with clients lost in each phase, honest accounts, and checks that bite."""

from __future__ import annotations

import dataclasses
import math
import os
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from protocols import RoundPlan, ServerRound, presets
from protocols.inspect import inspect
from protocols.simulate import Frame, Population, phases, run_round
from secagg.errors import Aborted, InputRefused, LocalProtocolError, ParameterError
from secagg.machine import Discarded
from secagg.quantize import NormClip
from secagg.schemes.plain import PlainInsecure
from secagg.schemes.secagg_plus import SecAggPlus, SecAggPlusSemiHonest

Updates = dict[int, tuple[Any, int]]
SCHEMES = {SecAggPlus: 5, SecAggPlusSemiHonest: 4, PlainInsecure: 1}


def planned(scheme: type[Any], template: Any, clients: int = 6) -> RoundPlan:
    return RoundPlan.for_update(
        template, clients=clients, clip=NormClip(50.0), max_weight=100, dropout=0.34, scheme=scheme
    )


@pytest.mark.parametrize(
    ("scheme", "phase"), [(scheme, at) for scheme, count in SCHEMES.items() for at in range(count)]
)
def test_sums_are_exact_whatever_the_phase_of_a_dropout(
    scheme: type[Any], phase: int, updates: Updates, tree: Callable[[int], Any]
) -> None:
    plan = planned(scheme, tree(0))
    name = phases(plan.scheme)[phase]
    outcome = run_round(plan, updates, drops={2: name, 5: name})
    assert outcome.exact
    assert outcome.failure is None
    assert outcome.result is not None
    gone = {2, 5} if name in ("adverts", "shares", "masked", "update") else set()
    assert outcome.result.included == updates.keys() - gone
    assert outcome.result.total_weight == 210 - 70 * bool(gone)
    assert outcome.dropped[name] == {2, 5} == outcome.result.dropped[name]
    assert outcome.deviation < 1e-5
    assert outcome.rejected == ()
    assert outcome.stopped == {}


def test_phases_are_those_in_which_clients_send() -> None:
    size = {"clients": 6, "length": 4, "width": 32}
    everything = ("adverts", "shares", "masked", "consent", "unmask")
    assert phases(SecAggPlus(**size)) == everything
    assert phases(SecAggPlusSemiHonest(**size)) == ("adverts", "shares", "masked", "unmask")
    assert phases(PlainInsecure(**size)) == ("update",)


def test_dropouts_in_every_phase_of_one_round(tree: Callable[[int], Any]) -> None:
    plan = planned(SecAggPlus, tree(0), clients=16)
    drops = dict(zip(range(3, 8), phases(plan.scheme), strict=True))
    outcome = run_round(plan, {i: (tree(i), 1) for i in range(1, 17)}, drops=drops)
    assert outcome.exact
    assert outcome.result is not None
    assert outcome.result.included == set(range(1, 17)) - {3, 4, 5}
    assert {client: phase for phase, who in outcome.dropped.items() for client in who} == drops


def test_too_many_dropouts_release_nothing(updates: Updates, plan: RoundPlan) -> None:
    outcome = run_round(plan, updates, drops=dict.fromkeys((1, 2, 3), "masked"))
    assert outcome.result is None
    assert isinstance(outcome.failure, Aborted)
    assert outcome.failure.missing == {1, 2, 3}
    assert not outcome.exact
    assert math.isnan(outcome.deviation)
    assert outcome.stopped.keys() == {4, 5, 6}
    assert all(isinstance(error, Aborted) for error in outcome.stopped.values())


def test_nobody_has_to_drop_out(updates: Updates, plan: RoundPlan) -> None:
    outcome = run_round(plan, updates)
    assert outcome.exact
    assert not any(outcome.dropped.values())
    assert set(outcome.dropped) == set(phases(plan.scheme))


def test_clipping_shows_as_deviation(updates: Updates, tree: Callable[[int], Any]) -> None:
    plan = presets.malicious_safe(tree(0), clients=6, clip=NormClip(0.5), max_weight=100)
    outcome = run_round(plan, updates)
    assert outcome.exact
    assert outcome.deviation > 0.05


def test_costs_are_counted_on_both_sides(updates: Updates, plan: RoundPlan) -> None:
    frames: list[Frame] = []
    outcome = run_round(plan, updates, drops={6: "shares"}, on_frame=frames.append)
    for client, cost in outcome.clients.items():
        up = sum(len(frame.data) for frame in frames if frame.sender == client)
        assert cost.bytes_up == up
        assert cost.cpu > 0
    down = sum(len(frame.data) for frame in frames if 1 in frame.receivers)
    assert outcome.clients[1].bytes_down == down
    assert outcome.clients[6].bytes_up < outcome.clients[5].bytes_up
    assert outcome.server_cpu > 0
    assert outcome.largest_frame == max(len(frame.data) for frame in frames)
    assert outcome.peak_memory is None or outcome.peak_memory > 1 << 20


def test_frames_are_real_and_numbered(updates: Updates, plan: RoundPlan) -> None:
    frames: list[Frame] = []
    run_round(plan, updates, on_frame=frames.append)
    assert [frame.number for frame in frames] == list(range(1, len(frames) + 1))
    seen = {(info.message, frame.phase) for frame in frames for info in [inspect(frame.data)]}
    assert ("Advert", "adverts") in seen
    assert ("Consents", "unmask") in seen
    assert len(seen) == 9
    broadcast = next(frame for frame in frames if inspect(frame.data).message == "Cohort")
    assert broadcast.receivers == tuple(updates)
    assert "data" not in repr(broadcast)


def test_the_exactness_check_notices_one_unit(
    updates: Updates, plan: RoundPlan, monkeypatch: pytest.MonkeyPatch
) -> None:
    honest = ServerRound.next_event

    def cheat(server: ServerRound) -> Any:
        event = honest(server)
        if event is not None:
            event.total[-1] ^= 1
        return event

    monkeypatch.setattr(ServerRound, "next_event", cheat)
    outcome = run_round(plan, updates)
    assert outcome.result is not None
    assert not outcome.exact
    monkeypatch.undo()
    assert run_round(plan, updates).exact


def test_the_exactness_check_notices_a_false_list(
    updates: Updates, plan: RoundPlan, monkeypatch: pytest.MonkeyPatch
) -> None:
    honest = ServerRound.next_event

    def cheat(server: ServerRound) -> Any:
        event = honest(server)
        return event and dataclasses.replace(event, included=event.included - {1})

    monkeypatch.setattr(ServerRound, "next_event", cheat)
    assert not run_round(plan, updates).exact


def test_one_population_plays_many_rounds_of_a_session(
    updates: Updates, plan: RoundPlan, population: Population
) -> None:
    session = os.urandom(16)
    for number in (0, 1, 4):
        outcome = run_round(plan, updates, population=population, session=session, number=number)
        assert outcome.exact
    with pytest.raises(LocalProtocolError, match="second sum over the same inputs"):
        run_round(plan, updates, population=population, session=session, number=4)


@pytest.mark.parametrize(
    ("drops", "message"),
    [
        ({9: "masked"}, "client 9 cannot drop out"),
        ({1: "lunch"}, "drop out in adverts, shares, masked, consent, unmask; not in 'lunch'"),
        ({1: "update"}, "not in 'update'"),
    ],
)
def test_impossible_dropouts_are_refused(
    updates: Updates, plan: RoundPlan, drops: dict[int, str], message: str
) -> None:
    with pytest.raises(ParameterError, match=message):
        run_round(plan, updates, drops=drops)


def test_the_cohort_must_be_complete(updates: Updates, plan: RoundPlan) -> None:
    del updates[3]
    with pytest.raises(ParameterError, match=r"len\(updates\) == scheme\.clients .* 5 and 6"):
        run_round(plan, updates)


def test_a_bad_update_is_the_callers_fault(updates: Updates, plan: RoundPlan) -> None:
    updates[3] = (np.zeros(3), 1)
    with pytest.raises(InputRefused, match="not an update of this plan"):
        run_round(plan, updates)


def test_what_the_server_throws_away_is_reported(
    updates: Updates, plan: RoundPlan, population: Population, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A frame that is delivered under another name reaches the outcome as an event."""
    receive = ServerRound.receive

    def misattributed(server: ServerRound, sender: int, data: bytes) -> None:
        receive(server, 2 if sender == 1 else sender, data)

    monkeypatch.setattr(ServerRound, "receive", misattributed)
    outcome = run_round(plan, updates, population=population)
    assert outcome.rejected == (Discarded(2, "party 2 delivered a frame of party 1"),)
    assert outcome.result is not None
    assert outcome.result.included == {2, 3, 4, 5, 6}
