"""What a scheme's author gives to the suite, and what every part of the suite uses."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, ClassVar, TypeVar

import numpy as np

from secagg.errors import SecAggError
from secagg.identity import SERVER, PartyId
from secagg.machine import Discarded, Event, Machine, PeerRejected, State
from secagg.primitives.ring import Words, reduce, word
from secagg.rand import Rand
from secagg.scheme import Scheme
from secagg.testing.adversaries import Lie
from secagg.testing.faults import Fault, Flight
from secagg.testing.network import Network, RunResult, plain_sum, run
from secagg.testing.node import Node, Peer
from secagg.testing.parties import Keeper, Parties, make_round
from secagg.testing.rand import SeededRand
from secagg.wire import Message

__all__ = ["Harness", "drain", "outcome", "state_of"]

Watch = Callable[[Node], None]
T = TypeVar("T")


class Harness:
    """The hooks of the suite. Only `scheme` must be given.

    keeper: the key authority, for schemes that have one.
    clients, length, width: the parameters of most tests; the scheme must allow at least one
    drop-out with so many clients. cohorts, widths: what sums are tried over. patterns: the most
    drop-outs or lies tried in one test; fewer are tried exhaustively, more are sampled.
    hides_inputs: whether the server must not see inputs. stores_inputs: whether it keeps what each
    client sent, one vector per client. collateral: how many honest clients one hostile client may
    take out of the sum with it by the generic lies.
    rare: messages of rounds with liars only; `provocations` makes them occur. parting: messages
    with which the server sends the sum's end: whoever misses one has finished all the same.
    """

    keeper: ClassVar[Keeper | None] = None
    clients: ClassVar[int] = 5
    length: ClassVar[int] = 7
    width: ClassVar[int] = 20
    cohorts: ClassVar[Sequence[int]] = (3, 5, 8)
    widths: ClassVar[Sequence[int]] = (2, 7, 8, 16, 17, 31, 32, 33, 48, 63, 64)
    patterns: ClassVar[int] = 45
    hides_inputs: ClassVar[bool] = True
    stores_inputs: ClassVar[bool] = False
    collateral: ClassVar[int] = 0
    rare: ClassVar[frozenset[type[Message]]] = frozenset()
    parting: ClassVar[frozenset[type[Message]]] = frozenset()

    def scheme(self, clients: int, length: int, width: int) -> Scheme:
        """The scheme under test."""
        raise NotImplementedError("inherit SchemeConformance and return your scheme here")

    def inputs(self, parties: Parties, seed: object = 0) -> dict[PartyId, Words]:
        """One input per client: uniform residues, unless the scheme takes only some."""
        scheme, dtype = parties.scheme, word(parties.scheme.width)
        rand = SeededRand(repr(("inputs", seed)))
        drawn = {
            party: np.frombuffer(rand(scheme.length * dtype.itemsize), dtype).copy()
            for party in parties.clients
        }
        return {party: reduce(values, scheme.width) for party, values in drawn.items()}

    def wrap(self, vector: Any) -> Any:
        """What a client submits for this vector, where that is not the vector itself."""
        return vector

    def server_input(self) -> Any:
        """What the server submits; None where it submits nothing."""
        return None

    def accepts(self, scheme: Scheme, vector: Words) -> bool:
        """Whether the scheme takes `vector` as an input; a scheme with bounds says no to some."""
        return True

    def provocations(self, parties: Parties) -> Sequence[Mapping[PartyId, Lie]]:
        """Liars, one set per round, by whom each of the `rare` messages occurs. Not the first two
        clients, who are watched. A scheme that has some inherits `Provoked` as well.
        """
        return ()

    def least(self, result: RunResult) -> int:
        """The fewest inputs that the sum of this round may hold."""
        return result.parties.scheme.survivors

    def kept(self, length: int) -> int:
        """The most bytes of so many coordinates that the server may keep: two words for each, and
        a word for each client where the scheme says that it `stores_inputs`.
        """
        words = 2 + (self.clients if self.stores_inputs else 0)
        return words * word(self.width).itemsize * length

    # -- what the parts use --------------------------------------------------------------------

    def sample(self, patterns: Iterable[T]) -> list[T]:
        """All of them, or `self.patterns` of them, always the same ones."""
        found = list(patterns)
        few = len(found) <= self.patterns
        return found if few else SeededRand("patterns").shuffled(found)[: self.patterns]

    def usual(self) -> Parties:
        """A round with the usual parameters."""
        return self.round_of(
            self.scheme(self.clients, self.length, self.width), SeededRand("usual")
        )

    def round_of(self, scheme: Scheme, rand: Rand | None = None, **fields: Any) -> Parties:
        """A round of `scheme`, with the key authority where there is one."""
        return make_round(scheme, rand, authority=self.keeper, **fields)

    def allowed(self, scheme: Scheme) -> int:
        """How many clients may drop out of a round that still releases its sum."""
        return scheme.clients - scheme.survivors

    def given(self, inputs: Mapping[PartyId, Words]) -> dict[PartyId, Any]:
        """What everybody submits when these are the clients' vectors."""
        own = self.server_input()
        wrapped = {party: self.wrap(vector) for party, vector in inputs.items()}
        return wrapped if own is None else {SERVER: own, **wrapped}

    def kinds(self, scheme: Scheme) -> list[type[Message]]:
        """What clients send in every round, in the order of the phases."""
        parties = self.round_of(scheme)
        phases = scheme.server_role(parties.endpoint(SERVER)).phases
        usual = set(scheme.server_messages) - self.rare
        return sorted(usual, key=lambda kind: (phases.index(kind.phase), kind.code))

    def told(self, scheme: Scheme) -> list[type[Message]]:
        """What the server sends in every round, in the order of the phases."""
        return [kind for kind in scheme.client_messages if kind not in self.rare]

    def casts(self, parties: Parties) -> list[Mapping[PartyId, Lie]]:
        """Nobody who lies, and then those who make the rare messages occur."""
        return [{}, *self.provocations(parties)]

    def play(
        self,
        parties: Parties,
        inputs: Mapping[PartyId, Words] | None = None,
        *,
        faults: Sequence[Fault] = (),
        hostile: Mapping[PartyId, Lie] | None = None,
        durable: bool = False,
        watch: Watch | None = None,
        seed: int = 0,
    ) -> RunResult:
        """One round of `parties`."""
        return run(
            parties.scheme,
            self.given(self.inputs(parties) if inputs is None else inputs),
            parties=parties,
            faults=faults,
            hostile=hostile,
            durable=durable,
            watch=watch,
            rand=SeededRand(seed),
        )

    def check_exact(
        self, result: RunResult, inputs: Mapping[PartyId, Words], at_least: set[PartyId]
    ) -> None:
        """Assert that the sum of exactly the named clients was released, `at_least` among them."""
        assert result.aggregate is not None, f"no sum was released: {result.error}"
        included = result.aggregate.included
        scheme = result.parties.scheme
        assert at_least <= included, f"left out: {sorted(at_least - included)}"
        assert len(included) >= self.least(result)
        total = result.aggregate.total
        assert total.dtype == word(scheme.width)
        assert total.tolist() == plain_sum(scheme, inputs, included).tolist()

    def check_outcome(self, result: RunResult, inputs: Mapping[PartyId, Words]) -> None:
        """Assert an exact sum or a typed failure, and never both or neither."""
        if result.error is None:
            self.check_exact(result, inputs, set())
        else:
            assert result.aggregate is None, "a failed round released a sum"

    def check_nobody_blamed(self, result: RunResult, except_for: Sequence[PartyId] = ()) -> None:
        """Assert that no party but those named was rejected, and none raised on its account."""
        for event in result.events[SERVER]:
            blamed = isinstance(event, PeerRejected) and event.peer not in except_for
            assert not blamed, f"an honest client was rejected: {event}"

    def network(
        self,
        parties: Parties,
        ahead: Callable[[Network, Flight], None],
        *,
        faults: Sequence[Fault] = (),
        hostile: Mapping[PartyId, Lie] | None = None,
    ) -> RunResult:
        """A durable round in which `ahead` sees every frame before it is delivered."""
        network = Network(
            parties,
            durable=True,
            faults=faults,
            hostile=hostile,
            rand=SeededRand("network"),
            ahead=ahead,
        )
        for party, value in self.given(self.inputs(parties)).items():
            network.submit(party, value)
        network.finish({})
        return network.result()

    def intrude(self, network: Network, receiver: PartyId, sender: PartyId, data: bytes) -> None:
        """Deliver bytes that must be thrown away without a trace.

        Asserts that the receiver said so, by `DecodeError` or `Discarded`, and is unchanged.
        """
        node = network.nodes[receiver]
        before, events, refused = node.stored, len(node.events), len(node.refused)
        network.act(receiver, lambda peer: peer.receive(sender, data))
        assert node.error is None, f"bytes without a valid signature ended a party: {node.error}"
        assert node.stored == before, "bytes that were refused changed a machine"
        if node.tolerant:
            assert [type(event) for event in node.events[events:]] == [Discarded]
        else:
            assert len(node.refused) == refused + 1, "bytes were neither taken nor refused"


def state_of(peer: Peer) -> State:
    """The state of a machine: the kit looks inside, nobody else should."""
    assert isinstance(peer, Machine)
    state: State = peer._state
    return state


def drain(machine: Machine[Any]) -> list[Event]:
    """All events that wait."""
    events = []
    while (event := machine.next_event()) is not None:
        events.append(event)
    return events


def outcome(machine: Machine[Any], sender: PartyId, frame: bytes) -> SecAggError | list[Event]:
    """What a machine makes of a frame: the exception it raises, or the events it reports."""
    try:
        machine.receive(sender, frame)
    except SecAggError as error:
        return error
    return drain(machine)
