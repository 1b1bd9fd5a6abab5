"""What the transition tables do not allow is refused, in every state that a round reaches."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from secagg.errors import Aborted, DecodeError, LocalProtocolError, RemoteProtocolError
from secagg.identity import SERVER, PartyId
from secagg.machine import Discarded, Machine, Over, PeerRejected, Role, Signal, State
from secagg.testing.adversaries import Hostile, Lie, Outgoing, honest, on
from secagg.testing.conformance.harness import Harness, drain, outcome, state_of
from secagg.testing.faults import Duplicate, Fault, Flight, Tardy, Vanish
from secagg.testing.network import Frame, Network
from secagg.testing.node import Node
from secagg.testing.parties import Parties
from secagg.testing.rand import SeededRand

__all__ = ["Refusals", "followed_by"]


@dataclass(frozen=True)
class Stage:
    """A party in a state of its table, to be brought back as often as needed."""

    parties: Parties
    party: PartyId
    state: type[State]
    snapshot: bytes

    def machine(self) -> Machine[Any]:
        return self.parties.resume(self.party, self.snapshot, SeededRand("stage"))


class Refusals(Harness):
    def test_every_state_is_reached(self) -> None:
        """A positive twin for the walk: no state of a table is dead."""
        parties = self.usual()
        for party in parties.sides:
            role = _role(parties, party)
            reached = {stage.state for stage in self._walk(parties) if stage.party == party}
            assert reached - {Over} == set(role.transitions)

    def test_every_transition_names_states_of_the_table(self) -> None:
        parties = self.usual()
        for party in parties.sides:
            role = _role(parties, party)
            states: set[type[State]] = {Over, *role.transitions}
            assert len({state.code for state in states}) == len(states)
            for follow in role.transitions.values():
                assert follow, "a state that nothing leads out of"
                assert {each for after in follow.values() for each in after} <= states
                assert Signal.DEADLINE in follow, "a state that a silent peer can hold forever"

    def test_every_message_is_due_somewhere(self) -> None:
        scheme = self.usual().scheme
        for party in self.usual().sides:
            table = _role(self.usual(), party).transitions
            due = set(scheme.received_by(party))
            assert {t for row in table.values() for t in row if isinstance(t, type)} == due

    def test_messages_that_are_not_due_end_a_client(self) -> None:
        """A client in each state with each message that its table lacks.

        One that comes early ends it without blame, as a frame before it may have been lost. One
        that comes late, of a type that not all are sent, is only thrown away. Any other one is the
        second of its type, and the server's fault.
        """
        parties = self.usual()
        client = parties.clients[0]
        stages = [stage for stage in self._walk(parties) if stage.party == client]
        rare, late = set[object](), set[object]()
        for stage, frame in self._useless(parties, stages, SERVER):
            rare.update(self.rare & {frame.kind})
            machine = stage.machine()
            found = outcome(machine, SERVER, frame.data)
            if isinstance(found, DecodeError):
                late.add(frame.kind)
                assert machine.snapshot() == stage.snapshot
                continue
            is_second = "a second, different" in str(found)
            assert is_second <= (stage is not stages[0])
            assert isinstance(found, RemoteProtocolError if is_second else Aborted)
            assert machine.ended
            assert machine.to_send() == []
            with pytest.raises(LocalProtocolError):
                machine.receive(SERVER, frame.data)
        assert late == rare

    def test_messages_that_are_not_due_reject_a_client(self) -> None:
        """The server in each state with each message that its table lacks.

        One that comes early rejects its sender; one that comes late is only thrown away.
        """
        parties = self.usual()
        ghost = parties.clients[0]
        stages = [s for s in self._walk(parties, Vanish(ghost)) if s.party == SERVER]
        phases = (*_role(parties, SERVER).phases, Over.phase)
        for stage, frame in self._useless(parties, stages, ghost):
            assert frame.kind is not None
            late = phases.index(frame.kind.phase) < phases.index(stage.state.phase)
            machine = stage.machine()
            events = outcome(machine, ghost, frame.data)
            assert isinstance(events, list)
            assert isinstance(events[0], Discarded if late else PeerRejected)
            if late:
                assert machine.snapshot() == stage.snapshot

    def test_signals_that_are_not_due(self) -> None:
        """No input where the table has none; a deadline after the end does nothing."""
        parties = self.usual()
        value = self.wrap(self.inputs(parties)[parties.clients[0]])
        for stage in self._walk(parties):
            machine = stage.machine()
            allowed = _role(parties, stage.party).transitions.get(stage.state, {})
            if Signal.INPUT not in allowed:
                with pytest.raises(LocalProtocolError):
                    machine.submit(value)
            if Signal.DEADLINE not in allowed:
                machine.deadline()
            unchanged = Signal.INPUT not in allowed and Signal.DEADLINE not in allowed
            if unchanged:
                assert drain(machine) == []
                assert machine.snapshot() == stage.snapshot

    def test_identical_duplicates_are_ignored(self) -> None:
        """Every frame twice more, at once and later: nobody changes, nobody is blamed."""
        parties = self.usual()
        inputs = self.inputs(parties)
        result = self.play(parties, inputs, faults=[Duplicate(copies=2, most=9)])
        self.check_exact(result, inputs, set(parties.clients))
        self.check_nobody_blamed(result)
        assert not result.errors

    def test_an_identical_duplicate_changes_nothing(self) -> None:
        """Not one byte of a snapshot, and no event."""
        parties = self.usual()
        taken: set[tuple[PartyId, bytes]] = set()

        def ahead(network: Network, flight: Flight) -> None:
            node = network.nodes[flight.receiver]
            repeated = (flight.receiver, flight.data) in taken
            before = (node.stored, list(node.events))
            if repeated:
                network.act(node.me, lambda peer: peer.receive(flight.sender, flight.data))
                assert (node.stored, node.events) == before
            taken.add((flight.receiver, flight.data))

        result = self.network(parties, ahead, faults=[Duplicate(most=9)])
        self.check_exact(result, self.inputs(parties), set(parties.clients))

    def test_a_second_different_message_rejects_its_sender(self) -> None:
        """The same client, another valid message of the same type: the first one counts."""
        parties = self.usual()
        inputs = self.inputs(parties)
        liar = parties.clients[1]
        others = self.play(parties, self.inputs(parties, "other"), seed=1)
        for kind in self.kinds(parties.scheme):
            second = others.frames_of(liar, kind)[0].data
            lie = on(kind, followed_by(second))
            result = self.play(parties, inputs, hostile={liar: lie})
            blamed = [e.peer for e in result.events[SERVER] if isinstance(e, PeerRejected)]
            assert blamed == [liar]
            self.check_exact(result, inputs, set(parties.clients) - {liar})

    def test_a_second_different_message_ends_a_client(self) -> None:
        """The server says two things to one client: that client is finished, and says nothing."""
        parties = self.usual()
        victim = parties.clients[1]
        others = self.play(parties, seed=1)
        for kind in self.told(parties.scheme):
            second = next(f.data for f in others.frames_of(SERVER, kind) if f.receiver == victim)
            lie = on(kind, followed_by(second), to=victim)
            result = self.play(parties, hostile={SERVER: lie})
            assert isinstance(result.errors[victim], RemoteProtocolError)
            self.check_outcome(result, self.inputs(parties))

    def _useless(
        self, parties: Parties, stages: list[Stage], sender: PartyId
    ) -> Iterator[tuple[Stage, Frame]]:
        """Each stage with one frame of `sender` for each message that its table lacks."""
        frames = [
            frame
            for lies in self.casts(parties)
            for frame in self.play(parties, hostile=lies, seed=1).frames_of(sender)
        ]
        for stage in stages:
            table = _role(parties, stage.party).transitions.get(stage.state, {})
            mine = {frame.kind: frame for frame in frames if frame.receiver == stage.party}
            for kind, frame in mine.items():
                if kind not in table:
                    yield stage, frame

    def _walk(self, parties: Parties, *faults: Fault) -> list[Stage]:
        """Every party in every state: with inputs at once, with inputs at the last moment, and
        where somebody provokes the rare messages.
        """
        found: dict[tuple[PartyId, type[State]], Stage] = {}

        def watch(node: Node) -> None:
            if node.stored is not None and not node.gone:
                state = type(state_of(node.peer))
                found.setdefault((node.me, state), Stage(parties, node.me, state, node.stored))

        tardy = [Tardy(party) for party in parties.everybody]
        for extra, lies in (*(([], lies) for lies in self.casts(parties)), (tardy, {})):
            self.play(parties, faults=[*faults, *extra], durable=True, watch=watch, hostile=lies)
        return list(found.values())


def followed_by(second: bytes) -> Lie:
    """The honest frame, and then this one."""

    def lie(liar: Hostile, out: Outgoing) -> Iterator[tuple[PartyId, bytes]]:
        yield from honest(liar, out)
        yield out.to, second

    return lie


def _role(parties: Parties, party: PartyId) -> Role[Any]:
    return parties.machine(party, SeededRand("role"))._role
