"""The leader where statistics are opened: reports are kept, and opened again under a drawn map."""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING, Any

from secagg.errors import Aborted, InputRefused
from secagg.event import Failed, GroupStatistics, Statistics
from secagg.frame import Endpoint, Signed
from secagg.identity import PartyId
from secagg.machine import Over, Send, State, Step
from secagg.primitives.digest import Label
from secagg.primitives.field import Elements
from secagg.rand import Rand
from secagg.schemes.pine import derive, states
from secagg.schemes.pine.leader import PineLeader
from secagg.schemes.pine.messages import Close, Draw, Half, Part, Report, Settle
from secagg.schemes.pine.opening import half_of, opened
from secagg.schemes.pine.states import (
    Batch,
    Choosing,
    Closing,
    Collecting,
    Deciding,
    Filed,
    Halving,
    Opening,
)
from secagg.spool import Spool
from secagg.vdaf.share import LeaderShare
from secagg.wire import ids

if TYPE_CHECKING:
    from secagg.schemes.pine.params import TwoAggregators

__all__ = ["ScreenedLeader"]

_IN_MEMORY = 1 << 28  # bytes of sealed reports; the others go to a temporary file


class ScreenedLeader(PineLeader):
    """Holds one vector, and every sealed report, of which it opens one at a time."""

    phases = ("reports", "screen", "decide", "sum")

    def __init__(self, params: TwoAggregators, endpoint: Endpoint, helper: PartyId) -> None:
        super().__init__(params, endpoint, helper)
        self._nonce = endpoint.identity.secret(Label.DRAW, endpoint.context)
        self._spool = Spool(_IN_MEMORY)
        self.transitions = states.LEADER_OF_SCREEN
        if params.group_floor:
            self.phases = ("reports", "decide", "screen", "sum")
            self.transitions = states.LEADER_OF_GROUPS

    # -- triggers ---------------------------------------------------------------------------

    def on_message(self, state: Any, signed: Signed[Any], rand: Rand) -> Step[Any]:
        match state, signed.message:
            case Closing(), Part() as message if signed.sender == self._helper:
                return self._on_part(state, message)
            case Halving(), Half() as message if signed.sender == self._helper:
                return self._on_half(state, message)
            case _:
                return super().on_message(state, signed, rand)

    def on_input(self, state: Any, value: Any, rand: Rand) -> Step[Any]:
        if not isinstance(value, set | frozenset):
            raise InputRefused(f"whom to accept is a set of ids, got {type(value).__name__}")
        eligible = self._eligible(state)
        if not value <= eligible:
            raise InputRefused("not all of the accepted may be")
        if len(value) < self._params.minimum:
            raise InputRefused(
                f"{len(value)} clients accepted, at least {self._params.minimum} are needed"
            )
        # ids as the round has them: those of numpy are equal, and no part of a message
        return self._accept(state, [peer for peer in eligible if peer in value])

    def on_deadline(self, state: Any, rand: Rand) -> Step[Any]:
        match state:
            case Choosing() | Deciding():
                return self._accept(state, self._eligible(state))
            case Closing() | Halving():
                raise Aborted("screen", "the helper was silent", {self._helper})
            case _:
                return super().on_deadline(state, rand)

    def on_lost(self, state: Any, peer: PartyId, rand: Rand) -> Step[Any]:
        if isinstance(state, Collecting) or peer == self._helper:
            return super().on_lost(state, peer, rand)
        return Step(state)

    def expected(self, state: Any) -> frozenset[PartyId]:
        match state:
            case Choosing() | Deciding():
                return frozenset()
            case Closing() | Halving():
                return frozenset({self._helper})
            case _:
                return super().expected(state)

    # -- steps ------------------------------------------------------------------------------

    def _file(self, state: Collecting, client: PartyId, report: Report) -> None:
        sealed = self._spool.keep(report.for_leader)
        state.filed[client] = Filed(nonce=report.nonce, sealed=sealed)

    def _close(self, state: Collecting) -> Step[Any]:
        self._require_enough(state)
        filed = {client: state.filed[client] for client in sorted(state.accepted)}
        batch = Batch(total=state.total, refused=state.refused, filed=filed)
        if self._params.group_floor:
            return Step(Choosing(batch=batch), events=(Statistics.unopened(filed, filed, b""),))
        return self._fix(batch)

    def _eligible(self, state: Choosing | Deciding) -> frozenset[PartyId]:
        known = state.batch.filed if isinstance(state, Choosing) else state.eligible.peers
        return frozenset(known)

    def _accept(self, state: Choosing | Deciding, accepted: Collection[PartyId]) -> Step[Any]:
        batch = self._among(state.batch, accepted)
        if isinstance(state, Choosing):
            return self._fix(batch)
        return self._settle(batch, state.screen, state.half)

    def _among(self, batch: Batch, accepted: Collection[PartyId]) -> Batch:
        """The batch without all others, whose shares leave the total."""
        total, refused = batch.total, dict(batch.refused)
        for client in sorted(batch.filed.keys() - accepted):
            share = self._claimed(batch, client)[: self._params.length]
            total, refused[client] = self._vdaf.field.sub(total, share), 1
        filed = {client: batch.filed[client] for client in sorted(accepted)}
        return Batch(total=total, refused=refused, filed=filed)

    def _claimed(self, batch: Batch, client: PartyId) -> Elements:
        """Its share of a client's vector and norm, from the report once more."""
        filed = batch.filed[client]
        share = self._opened(client, filed.nonce, filed.sealed.tobytes())
        assert isinstance(share, LeaderShare)
        return share.meas[: self._params.limits_of_norm.claimed]

    def _fix(self, batch: Batch) -> Step[Any]:
        commitment = derive.nonce_commitment(self._endpoint.context, self._nonce)
        message = Close(batch=ids(batch.filed), commitment=commitment)
        return Step(Closing(batch=batch), (Send(message, (self._helper,)),))

    def _on_part(self, state: Closing, message: Part) -> Step[Any]:
        batch, context = state.batch, self._endpoint.context
        screen = derive.transcript(context, ids(batch.filed), self._nonce, message.nonce)
        half = half_of(self._params, screen, batch.filed, lambda peer: self._claimed(batch, peer))
        commitment = derive.half_commitment(screen, self._blind(screen), half)
        draw = Draw(nonce=self._nonce, commitment=commitment)
        after = Halving(batch=batch, screen=screen, half=half)
        return Step(after, (Send(draw, (self._helper,)),))

    def _blind(self, screen: bytes) -> bytes:
        return self._endpoint.identity.secret(Label.HALF, screen)

    def _on_half(self, state: Halving, message: Half) -> Step[Any]:
        halves = [state.half, message.values]
        found = opened(self._params, state.screen, state.batch.filed, halves)
        if isinstance(found, GroupStatistics):
            step = self._settle(state.batch, state.screen, state.half)
            return Step(step.state, step.send, (found,))
        count, least = len(found.eligible), self._params.minimum
        if count < least:
            reason = f"{count} clients may be accepted, at least {least} are needed"
            return Step(Over(), events=(found, Failed(Aborted("screen", reason))))
        after: State = Deciding(
            batch=state.batch, screen=state.screen, eligible=ids(found.eligible), half=state.half
        )
        return Step(after, events=(found,))

    def _settle(self, batch: Batch, screen: bytes, half: bytes) -> Step[Any]:
        after = Opening(
            total=batch.total, accepted=dict.fromkeys(batch.filed, 1), refused=batch.refused
        )
        message = Settle(accepted=ids(batch.filed), blind=self._blind(screen), values=half)
        return Step(after, (Send(message, (self._helper,)),))
