"""A whole round in one process: every party's machine, and a network that can fail.

No threads and no clock. Frames travel in steps; when nothing is in flight the server's deadline
passes. The same arguments give the same round, up to the sealed parcels (see `SeededRand`).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from secagg.errors import ParameterError, SecAggError
from secagg.identity import SERVER, PartyId
from secagg.machine import Aggregate, Event, Failed, Finished
from secagg.primitives.ring import Words, reduce, word
from secagg.scheme import Scheme
from secagg.testing.adversaries import Hostile, Lie
from secagg.testing.faults import Crash, Fault, Flight, LinkFault
from secagg.testing.node import Action, Node, Peer
from secagg.testing.parties import Parties, make_round
from secagg.testing.rand import SeededRand
from secagg.wire import Message

__all__ = ["Frame", "Network", "RunResult", "plain_sum", "run"]

MOST_DEADLINES = 100


@dataclass(frozen=True)
class Frame:
    """One frame that a party handed to the network."""

    sender: PartyId
    receiver: PartyId
    kind: type[Message] | None
    data: bytes


@dataclass(frozen=True, kw_only=True)
class RunResult:
    """Everything that can be seen of a round.

    aggregate: what the server released, or None. error: why it released nothing, or None.
    events: what each party reported. errors: what ended a client early. refused: why clients
    raised `DecodeError`. frames: what was handed to the network, in order. sent, received: bytes
    of frames per party.
    """

    parties: Parties
    aggregate: Aggregate | None
    error: SecAggError | None
    events: Mapping[PartyId, tuple[Event, ...]]
    errors: Mapping[PartyId, SecAggError]
    refused: Mapping[PartyId, tuple[SecAggError, ...]]
    frames: tuple[Frame, ...]
    sent: Mapping[PartyId, int]
    received: Mapping[PartyId, int]

    def frames_of(self, party: PartyId, kind: type[Message] | None = None) -> list[Frame]:
        """The frames that `party` sent, in order; all, or those that carry `kind`."""
        return [f for f in self.frames if f.sender == party and kind in (None, f.kind)]

    @property
    def shape(self) -> list[tuple[PartyId, PartyId, str, int]]:
        """Sender, receiver, message and size of every frame: equal for two runs from one seed."""
        return [
            (f.sender, f.receiver, f.kind.__name__ if f.kind else "?", len(f.data))
            for f in self.frames
        ]


class Network:
    """The parties of one round, and the frames between them.

    watch: called with a node after each of its steps. ahead: called with each frame before it is
    delivered. durable: every party stores a snapshot after every step; those that `Crash` do so
    anyway. astray: parties that believe to be in another round, e.g. with another model.
    """

    def __init__(
        self,
        parties: Parties,
        *,
        faults: Sequence[Fault] = (),
        hostile: Mapping[PartyId, Lie] | None = None,
        durable: bool = False,
        rand: SeededRand | None = None,
        watch: Callable[[Node], None] | None = None,
        ahead: Callable[[Network, Flight], None] | None = None,
        astray: Mapping[PartyId, Parties] | None = None,
    ) -> None:
        self.parties = parties
        self.frames: list[Frame] = []
        self.received: Counter[PartyId] = Counter()
        self._rand = rand or SeededRand("network")
        self._links = [fault for fault in faults if isinstance(fault, LinkFault)]
        self._scripts = [fault for fault in faults if not isinstance(fault, LinkFault)]
        self._hostile = dict(hostile or {})
        self._astray = dict(astray or {})
        self._durable = durable
        self._watch = watch
        self._ahead = ahead
        self._flights: list[Flight] = []
        self._step = 0
        self.nodes = {party: self._node(party) for party in parties.everybody}
        for party in parties.everybody:
            self.act(party, lambda _: None)  # what a machine sends on its own

    @property
    def server(self) -> Node:
        """The server's node."""
        return self.nodes[SERVER]

    @property
    def flights(self) -> Sequence[Flight]:
        """What is in transit, held frames included."""
        return self._flights

    def act(self, party: PartyId, action: Action) -> None:
        """Let `party` take one step, and put what it sends in flight."""
        node = self.nodes[party]
        for receiver, data in node.act(action):
            self.post(party, receiver, data)
        if self._watch:
            self._watch(node)

    def post(self, sender: PartyId, receiver: PartyId, data: bytes) -> None:
        """Put a frame in flight, through the faults of its link."""
        kind = self.parties.kind(receiver, data)
        self.frames.append(Frame(sender, receiver, kind, data))
        now = self._step
        flights = [
            Flight(sender=sender, receiver=receiver, kind=kind, data=data, sent=now, due=now + 1)
        ]
        for fault in self._links:
            flights = [out for flight in flights for out in fault.apply(flight, self._rand)]
        self._flights += flights

    def pop(self, index: int) -> Flight:
        """Take a frame out of the air, lost unless `deliver` follows; any index will do."""
        return self._flights.pop(index % len(self._flights))

    def submit(self, party: PartyId, value: object) -> None:
        """Give `party` its input."""
        self.act(party, lambda peer: peer.submit(value))

    def deliver(self, flight: Flight) -> None:
        """Hand one frame to its receiver, if that is still there."""
        if self._ahead:
            self._ahead(self, flight)
        self.received[flight.receiver] += len(flight.data)
        self.act(flight.receiver, lambda peer: peer.receive(flight.sender, flight.data))

    def step(self) -> bool:
        """Deliver what is due in the next step; False if nothing is in flight."""
        moving = [flight for flight in self._flights if not flight.held]
        if not moving:
            return False
        self._step = max(self._step + 1, min(flight.due for flight in moving))
        due = [flight for flight in moving if flight.due <= self._step]
        taken = {id(flight) for flight in due}
        self._flights = [flight for flight in self._flights if id(flight) not in taken]
        for flight in sorted(due, key=lambda flight: (flight.due, flight.rank)):
            self.deliver(flight)
        return True

    def settle(self) -> None:
        """Deliver until nothing is in flight."""
        while self.step():
            pass

    def deadline(self) -> None:
        """Let the server's deadline pass."""
        self.act(SERVER, lambda peer: peer.deadline())
        self._flights = [
            replace(flight, held=max(flight.held - 1, 0), due=max(flight.due, self._step + 1))
            for flight in self._flights
        ]

    def finish(self, tardy: Mapping[PartyId, Any]) -> None:
        """Drive the round to its end: `tardy` inputs first, then deadlines."""
        for party, value in tardy.items():
            self.settle()
            if not self.nodes[party].over:
                self.submit(party, value)
        for _ in range(MOST_DEADLINES):
            self.settle()
            if self.server.over:
                break
            self.deadline()
        else:
            raise AssertionError(f"the server does not end after {MOST_DEADLINES} deadlines")
        self._flights = [replace(flight, held=0) for flight in self._flights]
        self.settle()
        for party, node in self.nodes.items():
            if not node.over:
                self.act(party, lambda peer: peer.deadline())

    def result(self) -> RunResult:
        """What there is to see."""
        sent: Counter[PartyId] = Counter()
        for frame in self.frames:
            sent[frame.sender] += len(frame.data)
        last = [e for e in self.server.events if isinstance(e, Finished | Failed)]
        clients = {party: node for party, node in self.nodes.items() if party != SERVER}
        return RunResult(
            parties=self.parties,
            aggregate=next((e.aggregate for e in last if isinstance(e, Finished)), None),
            error=next((e.error for e in last if isinstance(e, Failed)), None),
            events={party: tuple(node.events) for party, node in self.nodes.items()},
            errors={p: node.error for p, node in clients.items() if node.error is not None},
            refused={p: tuple(node.refused) for p, node in clients.items() if node.refused},
            frames=tuple(self.frames),
            sent=sent,
            received=self.received,
        )

    def _node(self, party: PartyId) -> Node:
        scripts = [script for script in self._scripts if script.party == party]
        rand = self._rand.fork("machine", party)
        parties = self._astray.get(party, self.parties)
        peer: Peer = parties.machine(party, rand)
        if party in self._hostile:
            lies = self._rand.fork("lies", party)
            peer = Hostile(peer, self.parties, party, self._hostile[party], lies)
        keeps = self._durable or any(isinstance(script, Crash) for script in scripts)
        revived = self._rand.fork("revived", party)
        return Node(
            party,
            peer,
            tolerant=party == SERVER,
            scripts=scripts,
            kind=self.parties.kind,
            revive=(
                (lambda snapshot: parties.resume(party, snapshot, revived))
                if keeps and party not in self._hostile
                else None
            ),
        )


def run(
    scheme: Scheme,
    inputs: Mapping[PartyId, Any] | Sequence[Any],
    *,
    faults: Sequence[Fault] = (),
    hostile: Mapping[PartyId, Lie] | None = None,
    durable: bool = False,
    astray: Mapping[PartyId, Parties] | None = None,
    parties: Parties | None = None,
    rand: SeededRand | None = None,
    watch: Callable[[Node], None] | None = None,
) -> RunResult:
    """One whole round of `scheme`, in this process.

    inputs: what each client submits, by id or in the order of the ids, e.g. an array of shape
    (clients, length); under `SERVER` what the server submits, for schemes in which it does. A
    client without an input takes part and submits nothing.
    faults: what goes wrong, see `secagg.testing.faults`. hostile: lies by party, see
    `secagg.testing.adversaries`. astray: parties that believe to be in another round. durable:
    everybody stores snapshots. watch: sees every step.

        result = run(SecAggPlus(clients=3, length=4, width=16), np.ones((3, 4), np.uint16))
        assert result.aggregate.total.tolist() == [3, 3, 3, 3]
    """
    source = rand or SeededRand("run")
    who = parties or make_round(scheme, source.fork("round"))
    given = _by_client(who, inputs)
    network = Network(
        who,
        faults=faults,
        hostile=hostile,
        durable=durable,
        astray=astray,
        rand=source,
        watch=watch,
    )
    tardy = {party: value for party, value in given.items() if network.nodes[party].tardy}
    for party in sorted(given.keys() - tardy.keys()):
        network.submit(party, given[party])
    network.finish(tardy)
    return network.result()


def plain_sum(scheme: Scheme, inputs: Mapping[PartyId, Words], of: frozenset[PartyId]) -> Words:
    """The sum in the ring of the inputs of the clients `of`: what a round must release."""
    total = np.zeros(scheme.length, word(scheme.width))
    for party in of:
        total += inputs[party]
    return reduce(total, scheme.width)


def _by_client(
    parties: Parties, inputs: Mapping[PartyId, Any] | Sequence[Any]
) -> dict[PartyId, Any]:
    if isinstance(inputs, Mapping):
        return dict(inputs)
    if len(inputs) != len(parties.clients):
        raise ParameterError(f"{len(inputs)} inputs for {len(parties.clients)} clients")
    return dict(zip(parties.clients, inputs, strict=True))
