"""Whole rounds as a Hypothesis state machine: anything may happen, in any order.

    class SecAggPlusRounds(RoundRules):
        def scheme(self):
            return SecAggPlus(clients=5, length=3, width=20)

    TestSecAggPlusRounds = SecAggPlusRounds.TestCase

Frames arrive, get lost, repeated, changed and overtaken; parties crash and resume; one client lies
and the deadline passes whenever it likes. After every step, and at the end: a sum that was
released is the plain sum of exactly the clients it names; no honest party is blamed or ended by a
peer; the server never raises.
"""

from __future__ import annotations

from typing import Any, ClassVar

from hypothesis import event
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from hypothesis.strategies import SearchStrategy

from secagg import wire
from secagg.errors import Aborted, IntegrityError
from secagg.frame import Header
from secagg.identity import SERVER, PartyId
from secagg.machine import Failed, Finished, PeerRejected
from secagg.primitives.digest import Label
from secagg.primitives.ring import Words
from secagg.scheme import Scheme
from secagg.testing import strategies
from secagg.testing.network import Network, plain_sum
from secagg.testing.parties import Keeper, Parties, make_round
from secagg.testing.rand import SeededRand

__all__ = ["RoundRules"]

_INDEX = st.integers(0, 10_000)


class RoundRules(RuleBasedStateMachine):
    """The rules; a scheme inherits them and says which it is, and who its key authority is."""

    keeper: ClassVar[Keeper | None] = None

    def __init__(self) -> None:
        super().__init__()
        self.parties: Parties = make_round(self.scheme(), authority=self.keeper)
        self.liar: PartyId = self.parties.clients[-1]
        self.forged = False
        self.waiting: list[PartyId] = []
        self.harm = 0

    def scheme(self) -> Scheme:
        """The scheme under test."""
        raise NotImplementedError("inherit RoundRules and return your scheme here")

    def wrap(self, vector: Words) -> Any:
        """What a client submits for this vector, where that is not the vector itself."""
        return vector

    def server_input(self) -> Any:
        """What the server submits; None where it submits nothing."""
        return None

    def inputs_strategy(self) -> SearchStrategy[dict[PartyId, Words]]:
        """What clients may submit; any ring vectors, where the scheme takes all of them."""
        return strategies.inputs(self.parties.scheme, self.parties.clients)

    @initialize(data=st.data(), seed=st.integers(0, 1 << 32), harm=st.integers(0, 4))
    def begin(self, data: st.DataObject, seed: int, harm: int) -> None:
        """`harm` bounds what gets lost: without a bound hardly a round would reach its end."""
        self.harm = harm
        clients = self.parties.clients
        self.inputs: dict[PartyId, Words] = data.draw(self.inputs_strategy())
        self.network = Network(self.parties, durable=True, rand=SeededRand(seed))
        self.waiting = data.draw(st.lists(st.sampled_from(clients), unique=True))
        self.given = {party: self.wrap(vector) for party, vector in self.inputs.items()}
        for party in set(clients) - set(self.waiting):
            self.network.submit(party, self.given[party])
        if self.server_input() is not None:
            self.network.submit(SERVER, self.server_input())

    @property
    def in_the_air(self) -> bool:
        return bool(self.network.flights)

    @property
    def may_harm(self) -> bool:
        return self.in_the_air and self.harm > 0

    # -- the network ----------------------------------------------------------------------------

    @precondition(lambda self: self.in_the_air)
    @rule(count=st.integers(1, 12))
    def deliver_in_order(self, count: int) -> None:
        for _ in range(count):
            if self.in_the_air:
                self.network.deliver(self.network.pop(0))

    @precondition(lambda self: self.in_the_air)
    @rule(index=_INDEX)
    def deliver_out_of_order(self, index: int) -> None:
        self.network.deliver(self.network.pop(index))

    @precondition(lambda self: self.may_harm)
    @rule(index=_INDEX)
    def lose(self, index: int) -> None:
        self.harm -= 1
        self.network.pop(index)

    @precondition(lambda self: self.in_the_air)
    @rule(index=_INDEX, times=st.integers(1, 3))
    def repeat(self, index: int, times: int) -> None:
        flight = self.network.pop(index)
        for _ in range(1 + times):
            self.network.deliver(flight)

    @precondition(lambda self: self.may_harm)
    @rule(index=_INDEX, data=st.data())
    def change(self, index: int, data: st.DataObject) -> None:
        """Bytes of a frame are changed on the way: it is refused, and thereby lost."""
        self.harm -= 1
        flight = self.network.pop(index)
        twisted = data.draw(strategies.twisted(flight.data))
        node = self.network.nodes[flight.receiver]
        before = node.stored
        self.network.act(node.me, lambda peer: peer.receive(flight.sender, twisted))
        assert twisted == flight.data or node.stored == before

    # -- the parties ----------------------------------------------------------------------------

    @rule(index=_INDEX)
    def crash(self, index: int) -> None:
        party = self.parties.everybody[index % len(self.parties.everybody)]
        for receiver, data in self.network.nodes[party].crash():
            self.network.post(party, receiver, data)

    @precondition(lambda self: self.waiting)
    @rule()
    def submit(self) -> None:
        party = self.waiting.pop()
        if not self.network.nodes[party].over:
            self.network.submit(party, self.given[party])

    @precondition(lambda self: self.may_harm or not self.in_the_air)
    @rule()
    def deadline(self) -> None:
        """The phase is over, whatever is still in the air."""
        self.harm -= self.in_the_air
        self.network.deadline()

    # -- the liar -------------------------------------------------------------------------------

    @rule(garbage=st.binary(max_size=300))
    def send_garbage(self, garbage: bytes) -> None:
        self._inject(garbage)

    @rule(index=_INDEX, body=st.binary(max_size=80))
    def sign_garbage(self, index: int, body: bytes) -> None:
        """Any bytes under a genuine signature; they may happen to be a message."""
        kinds = self.parties.scheme.server_messages
        self._sign(kinds[index % len(kinds)].code, body)

    @rule(data=st.data())
    def sign_nonsense(self, data: st.DataObject) -> None:
        """A well-formed message that means nothing, under a genuine signature."""
        kind = data.draw(st.sampled_from(self.parties.scheme.server_messages))
        message = data.draw(strategies.records(kind, self.parties.scheme.limits))
        self._sign(kind.code, wire.encode(message))

    @precondition(lambda self: self.network.frames)
    @rule(index=_INDEX)
    def replay_another(self, index: int) -> None:
        """The liar delivers a frame of somebody else as its own."""
        frames = self.network.frames
        self._inject(frames[index % len(frames)].data)

    def _sign(self, code: int, body: bytes) -> None:
        self.forged = True
        endpoint = self.parties.endpoint(self.liar)
        header = Header(
            scheme=endpoint.scheme,
            code=code,
            context=endpoint.context,
            sender=self.liar,
            receiver=SERVER,
        ).encode()
        self._inject(header + body + endpoint.identity.sign(Label.FRAME, header, body))

    def _inject(self, data: bytes) -> None:
        self.network.act(SERVER, lambda peer: peer.receive(self.liar, data))

    # -- what must hold -------------------------------------------------------------------------

    @invariant()
    def a_released_sum_is_exact(self) -> None:
        ends = [e for e in self._events() if isinstance(e, Finished | Failed)]
        assert len(ends) <= 1, "a round ended twice"
        for end in ends:
            assert self.network.server.peer.ended
            if isinstance(end, Failed):
                assert isinstance(end.error, Aborted | IntegrityError)
            else:
                self._check_sum(end)

    @invariant()
    def no_honest_party_is_blamed(self) -> None:
        for each in self._events():
            assert not isinstance(each, PeerRejected) or each.peer == self.liar, each
        for party, node in self._nodes().items():
            fine = node.error is None or isinstance(node.error, Aborted) or party == self.liar
            assert fine, f"an honest server ended client {party}: {node.error}"

    def teardown(self) -> None:
        """Whatever happened, the server ends when its deadlines pass."""
        if self._nodes():
            self.network.finish({party: self.given[party] for party in self.waiting})
            self.a_released_sum_is_exact()
            self.no_honest_party_is_blamed()
            assert self.network.server.peer.ended
            event("released" if self.network.result().aggregate else "nothing released")

    def _check_sum(self, end: Finished) -> None:
        assert end.aggregate is not None
        included = end.aggregate.included
        assert len(included) >= self.parties.scheme.survivors
        if self.forged and self.liar in included:
            return  # what a liar signs as its input is its input
        exact = plain_sum(self.parties.scheme, self.inputs, included)
        assert end.aggregate.total.tolist() == exact.tolist()

    def _events(self) -> list[Any]:
        return self._nodes()[SERVER].events if self._nodes() else []

    def _nodes(self) -> dict[PartyId, Any]:
        return self.network.nodes if hasattr(self, "network") else {}
