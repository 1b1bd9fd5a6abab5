"""The leader: verifies its half of each report on arrival, and asks once for the sum."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from numpy.typing import NDArray

from secagg.errors import (
    Aborted,
    DecodeError,
    IntegrityError,
    RemoteProtocolError,
    ReportRefused,
)
from secagg.event import PeerRejected
from secagg.frame import Endpoint, Signed
from secagg.identity import SERVER, PartyId
from secagg.machine import Aggregate, Finished, Over, Send, Side, Step, Transitions
from secagg.primitives.field import Elements
from secagg.primitives.ring import Words, reduce, word
from secagg.primitives.seal import open_sealed
from secagg.rand import Rand
from secagg.schemes.pine import states
from secagg.schemes.pine.messages import Collect, Reply, Report, Sum
from secagg.schemes.pine.noise import own_noise
from secagg.schemes.pine.report import bound_nonce, check_report, relay_of, seal_info, verify_key
from secagg.schemes.pine.states import Collecting, Opening, Pending
from secagg.vdaf.share import HelperShare, LeaderShare, VerifyState, split
from secagg.wire import ids

if TYPE_CHECKING:
    from secagg.schemes.pine.params import TwoAggregators

__all__ = ["PineLeader"]

LeaderState = Collecting | Opening


class PineLeader:
    """Holds one vector, and one more for each report that the helper has not answered."""

    phases: tuple[str, ...] = ("reports", "sum")
    side = Side.SERVER
    transitions: Transitions = states.LEADER

    def __init__(self, params: TwoAggregators, endpoint: Endpoint, helper: PartyId) -> None:
        self.me = endpoint.me
        self._params, self._endpoint, self._helper = params, endpoint, helper
        self._invited = frozenset(endpoint.roster.ids) - {helper}
        self._vdaf = params.vdaf(endpoint.context)
        private = endpoint.identity.share_private
        self._private = X25519PrivateKey.from_private_bytes(private)
        peer = endpoint.roster.share_key(helper)
        self._verify_key = verify_key(private, peer, endpoint.context)

    def start(self, rand: Rand) -> Step[LeaderState]:
        total = self._vdaf.field.zeros(self._params.length)
        return Step(Collecting(total=total, pending={}, accepted={}, refused={}, lost={}, filed={}))

    def on_message(self, state: Any, signed: Signed[Any], rand: Rand) -> Step[LeaderState]:
        if isinstance(signed.message, Report):
            return self._on_report(state, signed.sender, signed.message)
        if signed.sender != self._helper:
            raise RemoteProtocolError("only the helper sends this")
        if isinstance(signed.message, Reply):
            return self._on_reply(state, signed.message)
        return self._on_sum(state, signed.message)

    # -- reports ----------------------------------------------------------------------------

    def _on_report(self, state: Collecting, client: PartyId, report: Report) -> Step[LeaderState]:
        if client == self._helper:
            raise RemoteProtocolError("the helper has no input")
        relay = relay_of(client, report)
        try:
            check_report(self._endpoint, relay)
            pending = self._verified(client, report)
        except DecodeError as error:
            raise ReportRefused(f"malformed report: {error}") from None
        self._file(state, client, report)
        state.pending[client] = pending
        return Step(state, (Send(replace(relay, verifier=pending.verifier), (self._helper,)),))

    def _file(self, state: Collecting, client: PartyId, report: Report) -> None:
        """Keep what is needed of a valid report when no more are taken: nothing, here.

        It comes before the report counts as under way, as a disk may be full.
        """

    def _opened(self, client: PartyId, nonce: bytes, sealed: bytes) -> LeaderShare | HelperShare:
        info = seal_info(self._endpoint.context, client, SERVER, nonce)
        return self._vdaf.decode_input_share(0, open_sealed(sealed, self._private, info))

    def _verified(self, client: PartyId, report: Report) -> Pending:
        share = self._opened(client, report.nonce, report.for_leader)
        public = self._vdaf.decode_public_share(report.public)
        nonce = bound_nonce(client, report.nonce)
        kept, shown = self._vdaf.verify_init(self._verify_key, 0, nonce, public, share)
        encoded = self._vdaf.encode_verifier_share(shown)
        return Pending(output=kept.output, seeds=b"".join(kept.seeds), verifier=encoded)

    def _on_reply(self, state: Collecting, reply: Reply) -> Step[LeaderState]:
        client = reply.client
        if client not in state.pending:
            raise RemoteProtocolError("a reply to a report that was not relayed")
        pending = state.pending.pop(client)
        try:
            output = self._decided(pending, reply)
        except (ReportRefused, DecodeError) as error:
            state.refused[client] = 1
            refused = PeerRejected(client, Collecting.phase, str(error))
            return self._proceed(state, refused)
        state.accepted[client] = 1
        state.total[:] = self._vdaf.field.add(state.total, output)
        return self._proceed(state)

    def _decided(self, pending: Pending, reply: Reply) -> Elements:
        shares = [
            self._vdaf.decode_verifier_share(data) for data in (pending.verifier, reply.verifier)
        ]
        message = self._vdaf.verifier_shares_to_message(shares)
        kept = VerifyState(output=pending.output, seeds=split(pending.seeds, 32, 2))
        return self._vdaf.verify_next(kept, message)

    def _proceed(self, state: Collecting, *events: PeerRejected) -> Step[LeaderState]:
        if self.expected(state):
            return Step(state, events=events)
        step = self._close(state)
        return Step(step.state, step.send, (*events, *step.events))

    def _close(self, state: Collecting) -> Step[LeaderState]:
        self._require_enough(state)
        opening = Opening(total=state.total, accepted=state.accepted, refused=state.refused)
        return Step(opening, (Send(Collect(accepted=ids(state.accepted)), (self._helper,)),))

    def _require_enough(self, state: Collecting) -> None:
        if len(state.accepted) < self._params.minimum:
            raise Aborted(
                "reports",
                f"{len(state.accepted)} valid reports, at least {self._params.minimum} are needed",
                self.expected(state),
            )

    # -- sum --------------------------------------------------------------------------------

    def _on_sum(self, state: Opening, message: Sum) -> Step[LeaderState]:
        try:
            share = self._vdaf.field.decode(message.share)
        except DecodeError as error:
            raise RemoteProtocolError(str(error)) from None
        if len(share) != self._params.length:
            raise RemoteProtocolError("the helper's share of the sum has another length")
        total = self._vdaf.unshard([state.total, share, *self._noise(state)])
        self._check_bounds(total, len(state.accepted))
        included = frozenset(state.accepted)
        aggregate = Aggregate(
            total=self._residues(total),
            included=included,
            dropped={"reports": self._invited - included - state.refused.keys()},
            refused=frozenset(state.refused),
        )
        return Step(Over(), events=(Finished(aggregate),))

    def _noise(self, state: Opening) -> list[Elements]:
        """This aggregator's own, if the plan has any."""
        noise, included = self._params.noise, ids(state.accepted)
        if noise is None:
            return []
        return [own_noise(noise, self._endpoint, included, self._vdaf.field, self._params.length)]

    def _check_bounds(self, total: NDArray[np.int64], clients: int) -> None:
        """Noise has no bound: who decodes a noisy sum knows how much is likely."""
        params = self._params
        normed, ranged = np.split(total, [params.normed])
        most = params.entries.most if params.entries else 0
        beyond = np.any(np.abs(normed) > clients * params.bound)
        beyond |= np.any((ranged < 0) | (ranged > clients * most))
        if beyond and params.noise is None:
            raise IntegrityError("a coordinate is beyond what the accepted inputs can sum to")

    def _residues(self, total: Elements) -> Words:
        return reduce(total.astype(np.uint64).astype(word(self._params.width)), self._params.width)

    # -- both -------------------------------------------------------------------------------

    def on_lost(self, state: LeaderState, peer: PartyId, rand: Rand) -> Step[LeaderState]:
        if peer == self._helper:
            raise Aborted(state.phase, "the helper broke the protocol", (), {peer})
        if isinstance(state, Opening):
            return Step(state)
        state.lost[peer] = 1
        if peer not in state.pending and peer not in state.accepted:
            state.refused[peer] = 1
        return self._proceed(state)

    def on_deadline(self, state: LeaderState, rand: Rand) -> Step[LeaderState]:
        if isinstance(state, Opening):
            raise Aborted("sum", "the helper was silent", {self._helper})
        return self._close(state)

    def on_input(self, state: LeaderState, value: Any, rand: Rand) -> Step[LeaderState]:
        raise AssertionError("the transition table allows no input")

    def expected(self, state: LeaderState) -> frozenset[PartyId]:
        if isinstance(state, Opening):
            return frozenset({self._helper})
        due = self._invited.difference(state.pending, state.accepted, state.refused, state.lost)
        return due | {self._helper} if state.pending else due

    def satisfied(self, state: LeaderState) -> bool:
        return False  # whoever is awaited would be in the sum
