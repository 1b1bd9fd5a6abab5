"""The server's caller decides whose input is summed: named refusals, and any order of events."""

from __future__ import annotations

from functools import cached_property
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy

from secagg.errors import Aborted, InputRefused, LocalProtocolError
from secagg.event import Statistics
from secagg.identity import SERVER, PartyId
from secagg.machine import PeerRejected
from secagg.parameters import Neighbourhood
from secagg.primitives.ring import Words
from secagg.scheme import Scheme
from secagg.schemes.secagg_plus.messages import Consent, Masked, Shares, Unmask
from secagg.schemes.secagg_plus.verified import SecAggPlusVerified
from secagg.schemes.secagg_plus.verified.messages import Sketches
from secagg.schemes.secagg_plus.verified.states import Deciding
from secagg.testing import Crash, Moment, Parties, SeededRand, Tardy, Vanish, make_round, run
from secagg.testing.conformance.harness import state_of
from secagg.testing.faults import Fault
from secagg.testing.network import Network, RunResult, plain_sum
from secagg.testing.secagg_plus.courtroom import statistics
from secagg.testing.secagg_plus.toy import ToyScreen
from secagg.testing.stateful import RoundRules
from secagg.testing.strategies import schedules

LARGE = 6
"""A client beyond the bound."""


def scheme() -> SecAggPlusVerified:
    """Seven clients; two of them need not be in the sum."""
    screen = ToyScreen(bound=1 << 12, rows=32, buckets=32)
    return SecAggPlusVerified(clients=7, length=9, width=32, screen=screen)


def inputs_of(parties: Parties) -> dict[PartyId, Words]:
    length = parties.scheme.length
    found = {p: np.full(length, 10 * p, np.uint32) for p in parties.clients}
    return {**found, LARGE: np.full(length, 1 << 15, np.uint32)}


def started(parties: Parties) -> Network:
    network = Network(parties, durable=True, rand=SeededRand("decide"))
    for party, value in inputs_of(parties).items():
        network.submit(party, value)
    return network


@pytest.fixture
def parties() -> Parties:
    return make_round(scheme())


@pytest.fixture
def network(parties: Parties) -> Network:
    """A round whose server waits for a decision."""
    network = started(parties)
    network.settle()
    assert state_of(network.server.peer).phase == "decide"
    return network


def check_sum(result: RunResult, included: set[PartyId]) -> None:
    assert result.aggregate is not None, result.error
    assert result.aggregate.included == included
    exact = plain_sum(result.parties.scheme, inputs_of(result.parties), frozenset(included))
    assert result.aggregate.total.tolist() == exact.tolist()


# -- what is a decision ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    "accepted",
    [
        {1, 2, 3, 4, 5},
        {1, 2, 3, 4, 5, 7},
        frozenset({1, 3, 4, 5, 7}),
        set(np.array([1, 2, 3, 5, 7])),
    ],
    ids=repr,
)
def test_exactly_the_accepted_are_summed(accepted: Any, network: Network) -> None:
    network.submit(SERVER, accepted)
    network.finish({})
    check_sum(network.result(), {int(peer) for peer in accepted})
    assert all(type(peer) is int for peer in network.result().aggregate.included)  # type: ignore[union-attr]


def test_at_the_deadline_all_within_the_bound_are_summed(network: Network) -> None:
    network.finish({})
    check_sum(network.result(), {1, 2, 3, 4, 5, 7})


@pytest.mark.parametrize(
    ("value", "says"),
    [
        (None, "a set of ids"),
        ([1, 2, 3, 4, 5], "a set of ids"),
        ({1: 1, 2: 2}, "a set of ids"),
        (np.array([1, 2, 3, 4, 5]), "a set of ids"),
        (5, "a set of ids"),
        ({1, 2, 3, 4, LARGE}, "within the bounds"),
        ({1, 2, 3, 4, 99}, "within the bounds"),
        ({0, 1, 2, 3, 4}, "within the bounds"),
        ({"1", 2, 3, 4, 5}, "within the bounds"),
        (set(), "at least 5"),
        ({1, 2, 3, 4}, "at least 5"),
    ],
    ids=[str(at) for at in range(11)],  # sets print in another order in every process
)
def test_what_is_no_decision_is_refused(value: Any, says: str, network: Network) -> None:
    """The machine is unchanged, and the next decision counts."""
    before = network.server.peer.snapshot()
    with pytest.raises(InputRefused, match=says):
        network.submit(SERVER, value)
    assert network.server.peer.snapshot() == before
    network.submit(SERVER, {1, 2, 3, 4, 5})
    network.finish({})
    check_sum(network.result(), {1, 2, 3, 4, 5})


def test_one_decision_counts(network: Network) -> None:
    network.submit(SERVER, {1, 2, 3, 4, 5})
    before = network.server.peer.snapshot()
    with pytest.raises(LocalProtocolError, match="no input is accepted in phase 'consent'"):
        network.submit(SERVER, {1, 2, 3, 4, 7})
    assert network.server.peer.snapshot() == before
    network.finish({})
    with pytest.raises(LocalProtocolError, match="no input is accepted in phase 'over'"):
        network.submit(SERVER, {1, 2, 3, 4, 5})
    check_sum(network.result(), {1, 2, 3, 4, 5})


def test_a_decision_before_the_statistics_is_too_early(parties: Parties) -> None:
    network = started(parties)
    phases = set()
    while True:
        phase = state_of(network.server.peer).phase
        if phase == "decide":
            break
        phases.add(phase)
        with pytest.raises(LocalProtocolError, match=f"no input is accepted in phase '{phase}'"):
            network.submit(SERVER, {1, 2, 3, 4, 5})
        assert network.step()
    assert phases == {"adverts", "shares", "masked", "screen"}
    network.finish({})
    check_sum(network.result(), {1, 2, 3, 4, 5, 7})


def test_statistics_come_before_the_decision(network: Network) -> None:
    (found,) = (e for e in network.server.events if isinstance(e, Statistics))
    assert found.eligible == {1, 2, 3, 4, 5, 7}
    assert found.clients == (1, 2, 3, 4, 5, 6, 7)


def test_whoever_misbehaves_meanwhile_is_not_eligible_any_more(network: Network) -> None:
    endpoint = network.parties.endpoint(7)
    frame = endpoint.seal(SERVER, Consent(transcript=bytes(32)))
    network.act(SERVER, lambda peer: peer.receive(7, frame))
    assert [e.peer for e in network.server.events if isinstance(e, PeerRejected)] == [7]
    with pytest.raises(InputRefused, match="within the bounds"):
        network.submit(SERVER, {1, 2, 3, 4, 7})
    network.finish({})
    check_sum(network.result(), {1, 2, 3, 4, 5})


def test_too_few_may_be_left_at_the_deadline(network: Network) -> None:
    for liar in (5, 7):
        frame = network.parties.endpoint(liar).seal(SERVER, Consent(transcript=bytes(32)))
        network.act(SERVER, lambda peer, liar=liar, frame=frame: peer.receive(liar, frame))
    network.finish({})
    error = network.result().error
    assert isinstance(error, Aborted)
    assert error.phase == "decide"
    assert "4 clients accepted, at least 5" in error.reason


class Sparse(SecAggPlusVerified):
    """A ring with two neighbours on each side, every two of whom must keep one client."""

    @cached_property
    def neighbourhood(self) -> Neighbourhood:
        return Neighbourhood(clients=self.clients, degree=4, threshold=2, window=2)


def test_a_decision_that_cuts_the_ring_is_refused() -> None:
    """Two that are next to each other may not go; two that are apart may."""
    screen = ToyScreen(bound=1 << 12, rows=16, buckets=16)
    plan = Sparse(clients=8, length=9, width=32, corrupt=0.0, dropout=0.25, screen=screen)
    parties = make_round(plan)
    network = Network(parties, durable=True, rand=SeededRand("ring"))
    for party in parties.clients:
        network.submit(party, np.full(9, party, np.uint32))
    network.settle()
    state: Any = state_of(network.server.peer)
    ring = plan.graph(parties.clients, state.book.cohort).order
    before = network.server.peer.snapshot()
    with pytest.raises(InputRefused, match="emptiest stretch of the ring"):
        network.submit(SERVER, set(ring) - {ring[3], ring[4]})
    assert network.server.peer.snapshot() == before
    accepted = set(ring) - {ring[3], ring[6]}
    network.submit(SERVER, accepted)
    network.finish({})
    result = network.result()
    assert result.aggregate is not None
    assert result.aggregate.included == accepted
    assert set(result.aggregate.total.tolist()) == {sum(accepted)}


# -- crashes and links ----------------------------------------------------------------------------


@pytest.mark.parametrize("moment", Moment)
@pytest.mark.parametrize("everybody", [True, False])
def test_a_decision_survives_crashes(moment: Moment, everybody: bool, parties: Parties) -> None:
    """In every phase, before and after it."""
    who = parties.everybody if everybody else (SERVER,)
    faults: list[Fault] = [Tardy(SERVER), *(Crash(party, moment=moment) for party in who)]
    inputs: dict[PartyId, Any] = {**inputs_of(parties), SERVER: {1, 3, 4, 5, 7}}
    result = run(parties.scheme, inputs, parties=parties, faults=faults)
    check_sum(result, {1, 3, 4, 5, 7})


@pytest.mark.parametrize("kind", [Shares, Masked, Sketches, Consent, Unmask])
def test_statistics_are_of_everybody_who_was_sketched(kind: type, parties: Parties) -> None:
    """Exactly the map's, whoever leaves before or after."""
    network = Network(parties, faults=[Vanish(7, kind)], rand=SeededRand("leaving"))
    inputs = inputs_of(parties)
    for party, value in inputs.items():
        network.submit(party, value)
    while not isinstance(state_of(network.server.peer), Deciding):
        network.settle()
        if not isinstance(state_of(network.server.peer), Deciding):
            network.deadline()
    network.submit(SERVER, {1, 2, 3, 4, 5})
    network.finish({})
    check_sum(network.result(), {1, 2, 3, 4, 5})
    found = statistics(network.result())
    heard = set(parties.clients) - ({7} if kind in (Shares, Masked, Sketches) else set())
    assert found.clients == tuple(sorted(heard))
    due = scheme().opened_map(found.seed).of_words([inputs[peer] for peer in found.clients])
    assert found.rows.tolist() == due.view(np.int32).tolist()


# -- anything at all ------------------------------------------------------------------------------


def small() -> SecAggPlusVerified:
    screen = ToyScreen(bound=1 << 10, rows=4, buckets=4)
    return SecAggPlusVerified(clients=5, length=3, width=32, screen=screen)


def within(clients: tuple[PartyId, ...]) -> SearchStrategy[dict[PartyId, Words]]:
    rows = st.lists(st.integers(-500, 500), min_size=3, max_size=3)
    vector = rows.map(lambda row: np.array(row).astype(np.uint32))
    return st.fixed_dictionaries(dict.fromkeys(clients, vector))


PARTIES = make_round(small())


@settings(deadline=None, max_examples=40)
@given(schedules(small(), PARTIES.clients), within(PARTIES.clients), st.integers(0, 99))
def test_whatever_befalls_a_round(
    faults: list[Fault], inputs: dict[PartyId, Words], seed: int
) -> None:
    """An exact sum or a typed failure, and nobody is blamed."""
    result = run(small(), inputs, parties=PARTIES, faults=faults, rand=SeededRand(seed))
    assert not any(isinstance(event, PeerRejected) for event in result.events[SERVER])
    if result.aggregate is None:
        assert isinstance(result.error, Aborted)
        assert not result.error.culprits
        return
    included = result.aggregate.included
    assert len(included) >= small().survivors
    assert result.aggregate.total.tolist() == plain_sum(small(), inputs, included).tolist()


class VerifiedRounds(RoundRules):
    def scheme(self) -> Scheme:
        return small()

    def inputs_strategy(self) -> SearchStrategy[dict[PartyId, Words]]:
        return within(self.parties.clients)


TestVerifiedRounds = VerifiedRounds.TestCase
TestVerifiedRounds.settings = settings(deadline=None, max_examples=20, stateful_step_count=30)
