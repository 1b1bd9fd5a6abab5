"""Both sides of one round: plan, encoding and the scheme's machine together, still without IO.

    invitation = Invitation(plan=plan, session=session, number=1,
                            model=model_digest(model), roster=roster)
    client = ClientRound(invitation, identity, me, journal=journal)      server = ServerRound(
    client.submit(update, weight=examples)                                   invitation, identity)

Drive either as `secagg.Machine` says: `receive`, `to_send`, `next_event`, and `deadline` by your
own clock. A server's last event is a `Result`, or `Failed`.

Where the scheme binds the model last (`plan.binds_model_last`), the invitation has none; the
server gives it by `submit`, and each client with its update.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Collection
from typing import Any, Self, TypeVar

from dp.mechanism import Mechanism
from protocols.invitation import Invitation
from protocols.journal import ClientJournal
from protocols.leakage import LeakageLedger
from protocols.ledger import PrivacyLedger
from protocols.plan import RoundPlan
from protocols.private import Private
from protocols.removal import Discloser, Disclosures, endpoint, is_excess
from protocols.result import Result
from secagg.errors import IntegrityError, LocalProtocolError
from secagg.event import GroupStatistics, Statistics
from secagg.frame import Endpoint
from secagg.identity import Identity, PartyId
from secagg.machine import Aggregate, Discarded, Event, Failed, Finished, Machine, PeerRejected
from secagg.primitives.digest import Label
from secagg.primitives.ring import Words
from secagg.rand import Rand
from secagg.scheme import Floors
from secagg.schemes.secagg_plus import Contribution

__all__ = ["ClientRound", "Invitation", "Result", "ServerRound"]

T = TypeVar("T")


class _Party:
    """What both sides hand through to their machine."""

    def __init__(self, invitation: Invitation, machine: Machine[Any]) -> None:
        self.invitation = invitation
        self._machine = machine

    @property
    def plan(self) -> RoundPlan:
        """The plan of the round."""
        return self.invitation.plan

    @property
    def me(self) -> PartyId:
        """This party's id."""
        return self._machine.me

    @property
    def context(self) -> bytes:
        """The 32 bytes that every message of the round carries."""
        return self._machine.context

    @property
    def phase(self) -> str:
        """The phase this party is in; "over" at the end."""
        return self._machine.phase

    @property
    def ended(self) -> bool:
        """Whether this party takes no more messages; `to_send` may still hold its last frames."""
        return self._machine.ended

    @property
    def expected(self) -> frozenset[PartyId]:
        """The parties whose message is still awaited in this phase."""
        return self._machine.expected

    @property
    def satisfied(self) -> bool:
        """Whether `deadline` now leads to the same result as waiting; see `Machine.satisfied`."""
        return self._machine.satisfied

    def receive(self, sender: PartyId, data: bytes | memoryview) -> None:
        """Take one frame; see `Machine.receive` for what raises."""
        self._machine.receive(sender, data)

    def to_send(self) -> list[tuple[PartyId, bytes]]:
        """Frames to transmit now, each with its receiver; see `Machine.to_send`."""
        return self._machine.to_send()

    def deadline(self) -> None:
        """Tell that the time for this phase is over; see `Machine.deadline`."""
        self._machine.deadline()

    def snapshot(self) -> bytes:
        """Everything needed to go on after a crash, secrets included; see `Machine.snapshot`."""
        return self._machine.snapshot()

    def __repr__(self) -> str:
        return f"<{type(self).__name__} of party {self.me}, phase {self.phase!r}>"

    def __reduce__(self) -> str:
        raise TypeError("a round holds secrets and does not pickle; use snapshot()")


class ClientRound(_Party):
    """One client's part. `floors` are what it insists on whatever the plan says.

    The round enters the `journal` before anything can be sent, and a round that is in it raises
    `LocalProtocolError`. With a `ledger` an update leaves only once its release is charged, with a
    `leakage` ledger once what the plan opens of it is. Raises `ParameterError` for a plan below
    the floors, for one that the ledger cannot price (without noise, or trusting a server that the
    ledger does not), and for a roster that does not list `identity` as `me`.

    In a plan with removal of noise one more frame leaves, just before the last of the scheme.
    """

    def __init__(
        self,
        invitation: Invitation,
        identity: Identity,
        me: PartyId,
        *,
        journal: ClientJournal,
        ledger: PrivacyLedger | None = None,
        leakage: LeakageLedger | None = None,
        floors: Floors | None = None,
        rand: Rand = os.urandom,
    ) -> None:
        if ledger is not None:
            ledger.check(invitation.plan)
        scheme = invitation.plan.scheme
        machine = scheme.client(invitation.round, identity, me, floors=floors, rand=rand)
        journal.join(invitation.session, invitation.number)
        super().__init__(invitation, machine)
        self._setup(identity, ledger, leakage, rand)

    @classmethod
    def restore(
        cls,
        snapshot: bytes,
        invitation: Invitation,
        identity: Identity,
        me: PartyId,
        *,
        journal: ClientJournal,
        ledger: PrivacyLedger | None = None,
        leakage: LeakageLedger | None = None,
        floors: Floors | None = None,
        rand: Rand = os.urandom,
    ) -> Self:
        """The client as it was at `snapshot`; the frames it last sent are to be sent again.

        It removes no noise: what it knew of its layers is in no snapshot.

        Raises `DecodeError` for a snapshot of another round, plan or party, and
        `LocalProtocolError` unless the journal has the round as running.
        """
        if ledger is not None:
            ledger.check(invitation.plan)
        journal.rejoin(invitation.session, invitation.number)
        client = cls.__new__(cls)
        machine = invitation.plan.scheme.resume_client(
            snapshot, invitation.round, identity, me, floors=floors, rand=rand
        )
        _Party.__init__(client, invitation, machine)
        client._setup(identity, ledger, leakage, rand)
        return client

    def _setup(
        self,
        identity: Identity,
        ledger: PrivacyLedger | None,
        leakage: LeakageLedger | None,
        rand: Rand,
    ) -> None:
        self._ledger, self._leakage, self._rand = ledger, leakage, rand
        self._discloser = _of(self, identity, Discloser)
        self._events: deque[Event] = deque()

    def submit(self, tree: Any, weight: int, *, model: bytes | None = None) -> None:
        """Give this client's update and its weight, such as its number of examples.

        model: `model_digest` of the model that *this* client received, where the plan binds it
        last. Raises `InputRefused`, naming the leaf, for what the plan does not allow,
        `LocalProtocolError` for a second update or one that is too late, and
        `dp.errors.BudgetExceeded` where the ledger cannot afford the release. The round is
        unchanged by any, and nothing of the update has left.
        """
        self.submit_encoded(self.encode(tree, weight), model=model)

    def encode(self, tree: Any, weight: int) -> Words:
        """The ring vector (length,) of an update, for `submit_encoded`; noise is fresh each time.

        Raises `InputRefused`, naming the leaf.
        """
        if self._discloser is None:
            return self.plan.encode(tree, weight, self._rand, self.context)
        key = self._discloser.fresh(self._rand)
        vector = self.plan.encode(tree, weight, self._rand, self.context, key)
        self._discloser.encoded(vector, key)
        return vector

    def submit_encoded(self, vector: Words, *, model: bytes | None = None) -> None:
        """Give a ring vector (length,) that `encode` made, or its stages one by one.

        Another vector is charged as if it had this plan's noise: whether it has is the caller's
        affair. Excess noise can be removed of what `encode` returned last, that very array.
        """
        statement = self.invitation.statement(model)
        if self._leakage is not None:
            self._leakage.require(self.invitation.name, self.plan.scheme.opened)
        if self._ledger is not None and self.plan.event is not None:
            self._ledger.require(self.plan.event, self.invitation.name)
        self._machine.submit(vector if statement is None else Contribution(vector, statement))
        self._charge()
        if self._discloser is not None:
            self._discloser.submitted(vector)

    def _charge(self) -> None:
        """Between the machine's taking the vector and its leaving; without it nothing leaves."""
        charged = False
        try:
            if self._leakage is not None:
                self._leakage.charge(self.invitation.name, self.plan.scheme.opened)
            if self._ledger is not None and self.plan.event is not None:
                self._ledger.charge(self.invitation.name, self.plan.event)
            charged = True
        finally:
            if not charged:
                self._machine.abandon()

    def receive(self, sender: PartyId, data: bytes | memoryview) -> None:
        """Take one frame; see `Machine.receive` for what raises."""
        super().receive(sender, data)
        if self._discloser is not None and self.ended:
            self._disclose(self._discloser)

    def to_send(self) -> list[tuple[PartyId, bytes]]:
        """Frames to transmit now, each with its receiver; see `Machine.to_send`."""
        frames = super().to_send()
        # before the shares: where order is kept, the server has it when it opens the sum
        return [*self._discloser.take(), *frames] if self._discloser and frames else frames

    def snapshot(self) -> bytes:
        """Everything needed to go on after a crash, secrets included; see `Machine.snapshot`."""
        if self._events:
            raise LocalProtocolError("drain next_event() before snapshot()")
        return super().snapshot()

    def next_event(self) -> Event | None:
        """The oldest event not yet taken, or None. A client's `Finished` has no aggregate."""
        return self._events.popleft() if self._events else self._machine.next_event()

    def _disclose(self, discloser: Discloser) -> None:
        """What is disclosed follows from an event, and must be there when `to_send` is called."""
        while (event := self._machine.next_event()) is not None:
            self._events.append(event)
            if isinstance(event, Finished) and event.included is not None:
                discloser.finish(event.included)


class ServerRound(_Party):
    """The server's part. Its last event but for `Discarded` is the `Result`, or `Failed`.

    In a plan with removal of noise, the `Result` is without the excess of all who disclosed theirs
    before it was taken by `next_event`.
    """

    def __init__(
        self, invitation: Invitation, identity: Identity, *, rand: Rand = os.urandom
    ) -> None:
        machine = invitation.plan.scheme.server(invitation.round, identity, rand=rand)
        super().__init__(invitation, machine)
        self._identity = identity
        self._disclosures = _of(self, identity, Disclosures)

    @classmethod
    def restore(
        cls,
        snapshot: bytes,
        invitation: Invitation,
        identity: Identity,
        *,
        rand: Rand = os.urandom,
    ) -> Self:
        """The server as it was at `snapshot`; `DecodeError` for one of another round or plan.

        What clients had disclosed of their noise is not in it, and stays in the sum.
        """
        server = cls.__new__(cls)
        scheme = invitation.plan.scheme
        machine = scheme.resume_server(snapshot, invitation.round, identity, rand=rand)
        _Party.__init__(server, invitation, machine)
        server._identity = identity
        server._disclosures = _of(server, identity, Disclosures)
        return server

    @property
    def satisfied(self) -> bool:
        """Whether `deadline` now leads to the same result as waiting; see `Machine.satisfied`.

        With removal of noise, that takes the disclosures of all who are still `expected`.
        """
        if not self._machine.satisfied:
            return False
        return self._disclosures is None or self._disclosures.complete(self.expected)

    def receive(self, sender: PartyId, data: bytes | memoryview) -> None:
        """Take one frame. Whatever is wrong with it becomes an event."""
        if self._disclosures is not None and is_excess(data):
            self._disclosures.receive(sender, data)
        else:
            super().receive(sender, data)

    def submit(self, model: bytes) -> None:
        """Give the `model_digest` of the model that is sent out, where the plan binds it last.

        Nothing that depends on the model leaves before. Raises `ParameterError` where the plan
        binds the model first, and `LocalProtocolError` for a second one.
        """
        self._machine.submit(self.invitation.statement(model))

    def accept(self, clients: Collection[PartyId]) -> None:
        """Decide whose updates are summed, after `Statistics`, among its `eligible`.

        Without a decision, the deadline accepts all of these. Where groups are opened, a group with
        too few of `clients` is left out whole. Raises `InputRefused` for others or too few, and
        `LocalProtocolError` where nothing is to be decided.
        """
        self._machine.submit(frozenset(clients))

    def next_event(
        self,
    ) -> Result | Failed | PeerRejected | Discarded | Statistics | GroupStatistics | None:
        """The oldest event not yet taken, or None."""
        event = self._machine.next_event()
        if event is None and self._disclosures is not None:
            return self._disclosures.next_event()
        if not isinstance(event, Finished):
            return event
        assert event.aggregate is not None, "a server's Finished carries the aggregate"
        return self._release(event.aggregate)

    def _release(self, aggregate: Aggregate) -> Result | Failed:
        clients = len(aggregate.included)
        total, removed = self._relieved(aggregate)
        try:
            decoded = self.plan.decode(total, clients, self._noise(total), self.context)
        except IntegrityError as error:
            return Failed(error)
        return Result(
            mean=decoded.mean,
            total_weight=decoded.total_weight,
            included=aggregate.included,
            dropped=aggregate.dropped,
            total=decoded.total,
            within=decoded.within,
            removed=removed,
            refused=aggregate.refused,
        )

    def _noise(self, total: Words) -> Rand:
        """What the server's noise is drawn from: the same for the same sum.

        A server that resumes may release a sum twice. With fresh noise, the mean of many would be
        the sum itself.
        """
        key = self._identity.secret(Label.NOISE, self.context, total.data)
        return lambda size: key[:size]

    def _relieved(self, aggregate: Aggregate) -> tuple[Words, frozenset[PartyId]]:
        """The sum without the excess noise that was disclosed, and by whom."""
        if self._disclosures is None:
            return aggregate.total, frozenset()
        assert isinstance(self.plan.quantize, Private), "disclosures are of a private plan"
        keys, clients = self._disclosures.close(aggregate.included), len(aggregate.included)
        total = self.plan.quantize.relieved(aggregate.total, keys.values(), clients)
        return total, frozenset(keys)


def _of(party: _Party, identity: Identity, side: Callable[[Endpoint, Mechanism], T]) -> T | None:
    """This party's side of the removal of noise; None in a plan without."""
    mechanism = party.plan.removable
    if mechanism is None:
        return None
    return side(endpoint(party.invitation, party.context, party.me, identity), mechanism)
