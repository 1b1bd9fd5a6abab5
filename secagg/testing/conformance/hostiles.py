"""One client with a real identity that misbehaves: the round of the others finishes exactly."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any

from secagg.identity import SERVER, PartyId
from secagg.machine import PeerRejected
from secagg.testing.adversaries import (
    CLIENT_LIES,
    Hostile,
    Lie,
    Outgoing,
    body_cut,
    body_garbage,
    early,
    honest,
    on,
    second_different,
    silent_after,
)
from secagg.testing.conformance.harness import Harness
from secagg.testing.faults import Crash, Flight
from secagg.testing.network import Network, RunResult, run
from secagg.testing.parties import Parties

__all__ = ["BLAMED", "Hostiles", "rejected"]

BLAMED: tuple[Lie, ...] = (body_cut, body_garbage, second_different)
"""Lies under a valid signature, of which the server must say who told them."""


class Hostiles(Harness):
    def test_no_lie_is_the_honest_round(self) -> None:
        """The positive twin: the adversary's own machinery changes nothing."""
        parties = self.usual()
        result = self.play(parties, hostile=dict.fromkeys(parties.everybody, honest))
        self.check_exact(result, self.inputs(parties), set(parties.clients))
        self.check_nobody_blamed(result)
        assert not result.errors

    def test_a_hostile_client_never_stops_the_server(self) -> None:
        """Each lie at each message: everybody else is in the sum, and nobody else is blamed."""
        parties = self.usual()
        for lie, kind in self.sample(itertools.product(CLIENT_LIES, self.kinds(parties.scheme))):
            self._outlive(parties, on(kind, lie))

    def test_a_hostile_client_may_lie_all_the_time(self) -> None:
        parties = self.usual()
        for lie in CLIENT_LIES:
            self._outlive(parties, lie)

    def test_a_client_that_falls_silent_is_a_drop_out(self) -> None:
        parties = self.usual()
        for messages in range(len(parties.scheme.server_messages)):
            self._outlive(parties, silent_after(messages))

    def test_signed_nonsense_is_blamed_on_its_sender(self) -> None:
        """A malformed body or a second message under a valid signature: `PeerRejected`."""
        parties = self.usual()
        for lie, kind in self.sample(itertools.product(BLAMED, self.kinds(parties.scheme))):
            result, liar = self._outlive(parties, on(kind, lie))
            assert liar in rejected(result), f"{lie} at {kind.__name__} went unnoticed"

    def test_a_rejected_client_is_not_heard_again(self) -> None:
        """Nothing that it sends has any effect, nor on a server that crashed in between."""
        parties = self.usual()
        liar = parties.clients[1]
        ignored: list[Flight] = []

        def ahead(network: Network, flight: Flight) -> None:
            server = network.server
            known = [e.peer for e in server.events if isinstance(e, PeerRejected)]
            if flight.sender == liar in known:
                before = server.stored, len(server.events)
                network.act(SERVER, lambda peer: peer.receive(liar, flight.data))
                assert (server.stored, len(server.events)) == before
                ignored.append(flight)

        for faults in ([], [Crash(SERVER)]):
            ignored.clear()
            network = Network(
                parties, hostile={liar: body_cut}, faults=faults, durable=True, ahead=ahead
            )
            for party, value in self.given(self.inputs(parties)).items():
                network.submit(party, value)
            network.finish({})
            self.check_exact(network.result(), self.inputs(parties), set(parties.clients) - {liar})
            assert ignored, "the liar was not rejected, or said nothing more"

    def test_messages_ahead_of_their_time_are_blamed_on_their_sender(self) -> None:
        parties = self.usual()
        first, *later = self.kinds(parties.scheme)
        if later:
            result, liar = self._outlive(parties, on(first, early))
            assert rejected(result) == {liar}

    def test_a_client_is_deaf_to_other_clients(self) -> None:
        """Nothing that a client sends to another one has any effect."""
        parties = self.usual()
        liar, victim, *_ = parties.clients

        def to_victim(adversary: Hostile, out: Outgoing) -> Iterator[tuple[PartyId, bytes]]:
            yield victim, adversary.seal(victim, out.message)
            yield out.to, out.frame

        result = self.play(parties, hostile={liar: to_victim})
        self.check_exact(result, self.inputs(parties), set(parties.clients))
        assert not result.errors
        assert result.refused.keys() == {victim}

    def test_a_client_in_another_round_is_left_out(self) -> None:
        """Shown another model, it has another context: its input never meets the others'."""
        parties = self.usual()
        inputs = self.inputs(parties)
        lost = parties.clients[1]
        changes: list[dict[str, Any]] = [
            {"model": bytes(32)},
            {"number": 9},
            {"session": bytes(16)},
        ]
        for change in changes:
            astray = {lost: parties.again(**change)}
            result = run(parties.scheme, self.given(inputs), parties=parties, astray=astray)
            self.check_exact(result, inputs, set(parties.clients) - {lost})
            assert result.aggregate is not None
            assert lost not in result.aggregate.included
            self.check_nobody_blamed(result)

    def _outlive(self, parties: Parties, lie: Lie) -> tuple[RunResult, PartyId]:
        """A round with one liar; what must hold whatever it says."""
        inputs = self.inputs(parties)
        liar = parties.clients[-2]
        result = self.play(parties, inputs, hostile={liar: lie})
        self.check_exact(result, inputs, set())
        assert result.aggregate is not None
        honest_ones = set(parties.clients) - {liar}
        assert len(honest_ones - result.aggregate.included) <= self.collateral
        self.check_nobody_blamed(result, except_for=[liar])
        rejections = [e.peer for e in result.events[SERVER] if isinstance(e, PeerRejected)]
        assert len(set(rejections)) == len(rejections), "a client was rejected twice"
        hurt = result.errors.keys() - {liar}
        assert len(hurt) <= self.collateral, f"ended by a liar: {[result.errors[p] for p in hurt]}"
        return result, liar


def rejected(result: RunResult) -> set[PartyId]:
    """Whom the server blamed."""
    return {e.peer for e in result.events[SERVER] if isinstance(e, PeerRejected)}
