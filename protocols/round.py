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
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from protocols.journal import ClientJournal
from protocols.ledger import PrivacyLedger
from protocols.plan import RoundPlan
from secagg.context import Round
from secagg.errors import IntegrityError, ParameterError
from secagg.identity import Identity, PartyId, Roster
from secagg.machine import Aggregate, Discarded, Event, Failed, Finished, Machine, PeerRejected
from secagg.primitives.ring import Words
from secagg.rand import Rand
from secagg.scheme import Floors
from secagg.schemes.secagg_plus import Contribution

__all__ = ["ClientRound", "Invitation", "Result", "ServerRound"]


@dataclass(frozen=True, kw_only=True)
class Invitation:
    """One round of a plan: all that is public about it, and the same for every party.

    Attributes
    ----------
    plan: what was agreed on, from the party's own configuration.
    session: 16 to 64 bytes that never repeat, such as `os.urandom(16)` once per training run.
    number: the round within the session.
    model: `model_digest` of the model that *this* party holds; None where the plan binds it last.
    roster: the server and the invited clients.

    Raises `ParameterError` with the inequality that fails.
    """

    plan: RoundPlan
    session: bytes
    number: int
    model: bytes | None = None
    roster: Roster

    def __post_init__(self) -> None:
        if self.plan.binds_model_last and self.model is not None:
            raise ParameterError(
                f"{self.plan.scheme.name} binds the model last: give it to submit, not here"
            )
        if not self.plan.binds_model_last:
            _check_model(self.model)
        self.round  # noqa: B018  checks the rest

    @cached_property
    def round(self) -> Round:
        """The scheme's view: plan and model are one digest, bound into every message."""
        return Round(
            session=self.session,
            number=self.number,
            model=self.plan.digest if self.model is None else self.plan.bind(self.model),
            roster=self.roster,
        )

    @property
    def name(self) -> bytes:
        """Session and number: what ledgers know the round by."""
        return self.session + self.number.to_bytes(8, "little")

    def statement(self, model: bytes | None) -> bytes | None:
        """What a party says of the model that it was given after the start; None where it must
        not be given one. Raises `ParameterError` for a model too many, or none.
        """
        if self.plan.binds_model_last:
            return self.plan.bind(_check_model(model))
        if model is not None:
            raise ParameterError(
                f"{self.plan.scheme.name} binds the model first: give it to Invitation, not here"
            )
        return None


@dataclass(frozen=True, kw_only=True)
class Result:
    """What a round releases.

    Attributes
    ----------
    mean: tree of the plan's structure, the weighted mean of the included updates.
    total_weight: the sum of their weights.
    included: the clients whose updates are in the mean.
    dropped: per phase, the clients lost in it. One lost after its input arrived is in both.
    total: ring vector (length,), the exact sum that `mean` was decoded from. In a private plan the
        integers of it, int64 (length,), with the server's noise where it is the server that adds
        noise.
    within: in a private plan that counts it, the part of the updates that was within the bound;
        it has noise too, and may leave [0, 1].
    """

    mean: Any
    total_weight: int
    included: frozenset[PartyId]
    dropped: Mapping[str, frozenset[PartyId]]
    total: Words | NDArray[np.int64] = field(repr=False)
    within: float | None = None


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
    `LocalProtocolError`. With a `ledger` an update leaves only once its release is charged. Raises
    `ParameterError` for a plan below the floors, for one without noise where there is a ledger,
    and for a roster that does not list `identity` as `me`.
    """

    def __init__(
        self,
        invitation: Invitation,
        identity: Identity,
        me: PartyId,
        *,
        journal: ClientJournal,
        ledger: PrivacyLedger | None = None,
        floors: Floors | None = None,
        rand: Rand = os.urandom,
    ) -> None:
        _check_ledger(invitation.plan, ledger)
        scheme = invitation.plan.scheme
        machine = scheme.client(invitation.round, identity, me, floors=floors, rand=rand)
        journal.join(invitation.session, invitation.number)
        super().__init__(invitation, machine)
        self._ledger, self._rand = ledger, rand

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
        floors: Floors | None = None,
        rand: Rand = os.urandom,
    ) -> Self:
        """The client as it was at `snapshot`; the frames it last sent are to be sent again.

        Raises `DecodeError` for a snapshot of another round, plan or party, and
        `LocalProtocolError` unless the journal has the round as running.
        """
        _check_ledger(invitation.plan, ledger)
        journal.rejoin(invitation.session, invitation.number)
        client = cls.__new__(cls)
        machine = invitation.plan.scheme.resume_client(
            snapshot, invitation.round, identity, me, floors=floors, rand=rand
        )
        _Party.__init__(client, invitation, machine)
        client._ledger, client._rand = ledger, rand
        return client

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
        return self.plan.encode(tree, weight, self._rand, self.context)

    def submit_encoded(self, vector: Words, *, model: bytes | None = None) -> None:
        """Give a ring vector (length,) that `encode` made, or its stages one by one."""
        statement = self.invitation.statement(model)
        if self._ledger is not None and self.plan.event is not None:
            self._ledger.charge(self.invitation.name, self.plan.event)
        self._machine.submit(vector if statement is None else Contribution(vector, statement))

    def next_event(self) -> Event | None:
        """The oldest event not yet taken, or None. A client's `Finished` has no aggregate."""
        return self._machine.next_event()


class ServerRound(_Party):
    """The server's part. Its last event is the `Result`, or `Failed`."""

    def __init__(
        self, invitation: Invitation, identity: Identity, *, rand: Rand = os.urandom
    ) -> None:
        machine = invitation.plan.scheme.server(invitation.round, identity, rand=rand)
        super().__init__(invitation, machine)
        self._rand = rand

    @classmethod
    def restore(
        cls,
        snapshot: bytes,
        invitation: Invitation,
        identity: Identity,
        *,
        rand: Rand = os.urandom,
    ) -> Self:
        """The server as it was at `snapshot`; `DecodeError` for one of another round or plan."""
        server = cls.__new__(cls)
        scheme = invitation.plan.scheme
        machine = scheme.resume_server(snapshot, invitation.round, identity, rand=rand)
        _Party.__init__(server, invitation, machine)
        server._rand = rand
        return server

    def submit(self, model: bytes) -> None:
        """Give the `model_digest` of the model that is sent out, where the plan binds it last.

        Nothing that depends on the model leaves before. Raises `ParameterError` where the plan
        binds the model first, and `LocalProtocolError` for a second one.
        """
        self._machine.submit(self.invitation.statement(model))

    def next_event(self) -> Result | Failed | PeerRejected | Discarded | None:
        """The oldest event not yet taken, or None."""
        event = self._machine.next_event()
        if not isinstance(event, Finished):
            return event
        assert event.aggregate is not None, "a server's Finished carries the aggregate"
        return self._release(event.aggregate)

    def _release(self, aggregate: Aggregate) -> Result | Failed:
        clients = len(aggregate.included)
        try:
            decoded = self.plan.decode(aggregate.total, clients, self._rand, self.context)
        except IntegrityError as error:
            return Failed(error)
        return Result(
            mean=decoded.mean,
            total_weight=decoded.total_weight,
            included=aggregate.included,
            dropped=aggregate.dropped,
            total=decoded.total,
            within=decoded.within,
        )


def _check_ledger(plan: RoundPlan, ledger: PrivacyLedger | None) -> None:
    if ledger is not None and plan.event is None:
        raise ParameterError(
            "this plan adds no noise, and no budget affords an exact sum: take a private plan, or "
            "no ledger"
        )


def _check_model(model: bytes | None) -> bytes:
    if not isinstance(model, bytes) or len(model) != 32:
        raise ParameterError("model must be a digest of 32 bytes: see model_digest")
    return model
