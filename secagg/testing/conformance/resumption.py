"""A crash anywhere costs nothing but time, and never a mask."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from secagg.errors import DecodeError, LocalProtocolError
from secagg.identity import SERVER, PartyId
from secagg.machine import Machine
from secagg.primitives.ring import word
from secagg.testing.conformance.harness import Harness, drain
from secagg.testing.faults import Crash, Fault, Flight, Moment, Tardy
from secagg.testing.network import Network
from secagg.testing.node import Node
from secagg.testing.parties import Parties
from secagg.testing.rand import SeededRand

__all__ = ["Resumption"]


class Resumption(Harness):
    def test_each_party_may_crash_at_every_step(self) -> None:
        """Killed and resumed at each moment of each step: the same sum, nobody blamed."""
        parties = self.usual()
        for party in (SERVER, *parties.clients[:2]):
            for moment in Moment:
                self._crash(parties, [Crash(party, moment=moment)])

    def test_all_parties_may_crash_at_every_step(self) -> None:
        parties = self.usual()
        for moment in Moment:
            self._crash(parties, [Crash(party, moment=moment) for party in parties.everybody])

    def test_late_inputs_survive_crashes(self) -> None:
        parties = self.usual()
        tardy: list[Fault] = [Tardy(party) for party in parties.everybody]
        for moment in Moment:
            crash = [Crash(party, moment=moment) for party in parties.everybody]
            self._crash(parties, [*tardy, *crash])

    def test_a_resumed_machine_sends_the_same_bytes_again(self) -> None:
        """After each step of each party: what the snapshot restores is what was sent."""
        parties = self.usual()
        quiet = not parties.scheme.server_speaks
        checked: set[PartyId] = set()

        def watch(node: Node) -> None:
            if node.stored is None:
                return
            twins = [parties.resume(node.me, node.stored, SeededRand(n)) for n in range(2)]
            first, second = (twin.to_send() for twin in twins)
            assert first == second
            assert twins[0].snapshot() == node.stored
            assert first == node.last
            checked.update([node.me] if first else [])

        self.play(parties, durable=True, watch=watch)
        assert checked == set(parties.everybody) - ({SERVER} if quiet else set())

    def test_nothing_leaves_without_a_snapshot(self) -> None:
        """Once a machine was snapshotted, each later step that sends must be, before it sends."""
        parties = self.usual()
        refused: set[PartyId] = set()

        def ahead(network: Network, flight: Flight) -> None:
            stored = network.nodes[flight.receiver].stored
            if stored is None or network.nodes[flight.receiver].over:
                return
            machine = parties.resume(flight.receiver, stored, SeededRand("twin"))
            machine.to_send()
            machine.receive(flight.sender, flight.data)
            drain(machine)
            if _holds_something(machine):
                refused.add(machine.me)

        result = self.network(parties, ahead)
        self.check_exact(result, self.inputs(parties), set(parties.clients))
        speaks = {frame.receiver for frame in result.frames} - {SERVER}
        speaks |= {SERVER} if parties.scheme.server_speaks else set()
        assert refused == speaks, "a party that answers messages was not seen to hold back"

    def test_an_input_waits_for_its_snapshot(self) -> None:
        """`submit` too is a step: what it makes a client send waits until it is stored."""
        for parties, client, stored in self._before_input():
            machine = parties.resume(client, stored, SeededRand("first"))
            machine.to_send()
            machine.submit(self.wrap(self.inputs(parties)[client]))
            drain(machine)
            _holds_something(machine)

    def test_two_inputs_never_meet_one_mask(self) -> None:
        """A client that crashed after `submit` either sent nothing, or repeats what it sent."""
        for parties, client, stored in self._before_input():
            first = self.wrap(self.inputs(parties)[client])
            other = self.wrap(self.inputs(parties, "other")[client])
            sent = parties.resume(client, stored, SeededRand("first"))
            sent.to_send()
            sent.submit(first)
            drain(sent)
            saved = sent.snapshot()
            frames = sent.to_send()

            resumed = parties.resume(client, saved, SeededRand("second"))
            with pytest.raises(LocalProtocolError):
                resumed.submit(other)
            assert not frames or resumed.to_send() == frames

            forgetful = parties.resume(client, stored, SeededRand("third"))
            forgetful.to_send()
            forgetful.submit(other)
            drain(forgetful)
            _holds_something(forgetful)

    def test_snapshots_wait_for_events(self) -> None:
        parties = self.usual()
        machine = parties.machine(SERVER, SeededRand("server"))
        machine.receive(parties.clients[0], b"garbage")
        with pytest.raises(LocalProtocolError):
            machine.snapshot()
        drain(machine)
        assert machine.snapshot()

    def test_damaged_snapshots_are_refused(self) -> None:
        parties = self.usual()
        rand = SeededRand("damage")
        for party, stored in self._snapshots(parties).items():
            assert parties.resume(party, stored, rand).snapshot() == stored
            for damaged in _damaged(stored, rand):
                with pytest.raises(DecodeError):
                    parties.resume(party, damaged, rand)

    def test_foreign_snapshots_are_refused(self) -> None:
        """Those of other parties, of other rounds, and of other parameters."""
        parties = self.usual()
        scheme = self.scheme(self.clients, self.length + 1, self.width)
        longer = Parties(scheme, parties.round, parties.identities)
        others = (parties.again(number=2), parties.again(model=bytes(32)), longer)
        for party, stored in self._snapshots(parties).items():
            for stranger in set(parties.everybody) - {party}:
                with pytest.raises(DecodeError):
                    parties.resume(stranger, stored, SeededRand(0))
            for other in others:
                with pytest.raises(DecodeError):
                    other.resume(party, stored, SeededRand(0))

    def _crash(self, parties: Parties, faults: list[Fault] | list[Crash]) -> None:
        inputs = self.inputs(parties)
        result = self.play(parties, inputs, faults=faults)
        self.check_exact(result, inputs, set(parties.clients))
        self.check_nobody_blamed(result)
        assert not result.errors
        assert not result.refused

    def _before_input(self) -> Iterator[tuple[Parties, PartyId, bytes]]:
        """A client in each state in which it takes an input."""
        parties = self.usual()
        client = parties.clients[0]
        found: dict[str, bytes] = {}

        def watch(node: Node) -> None:
            if node.me == client and node.stored is not None:
                machine = parties.resume(client, node.stored, SeededRand("probe"))
                try:
                    machine.submit(self.wrap(np.zeros(self.length, word(self.width))))
                except LocalProtocolError:
                    return
                found[machine.phase] = node.stored

        self.play(parties, faults=[Tardy(client)], durable=True, watch=watch)
        assert found
        for stored in found.values():
            yield parties, client, stored

    def _snapshots(self, parties: Parties) -> dict[PartyId, bytes]:
        """One of the server and one of a client, from the middle of a round."""
        seen: dict[PartyId, list[bytes]] = {SERVER: [], parties.clients[0]: []}

        def watch(node: Node) -> None:
            if node.me in seen and node.stored is not None:
                seen[node.me].append(node.stored)

        self.play(parties, durable=True, watch=watch)
        return {party: stored[len(stored) // 2] for party, stored in seen.items()}


def _holds_something(machine: Machine[Any]) -> bool:
    """Whether the machine has something to send, which it then refuses to before `snapshot`."""
    try:
        out = machine.to_send()
    except LocalProtocolError:
        machine.snapshot()
        assert machine.to_send(), "a machine held back although it had nothing to send"
        return True
    assert out == [], "something left that no snapshot covers"
    return False


def _damaged(stored: bytes, rand: SeededRand) -> Iterator[bytes]:
    yield b""
    yield bytes(len(stored))
    yield stored[:-1]
    yield stored[1:]
    yield stored + b"\0"
    yield rand(len(stored))
    for _ in range(64):
        at = rand.below(len(stored))
        yield stored[:at] + bytes([stored[at] ^ 1 << rand.below(8)]) + stored[at + 1 :]
