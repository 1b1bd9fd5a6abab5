"""The helper where statistics are opened: one batch, one draw, one half, one accepted set."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from secagg.errors import RemoteProtocolError
from secagg.event import Finished, Statistics
from secagg.frame import Endpoint, Signed
from secagg.identity import PartyId
from secagg.machine import Over, Send, Step
from secagg.primitives.digest import Label
from secagg.rand import Rand
from secagg.schemes.pine import derive, states
from secagg.schemes.pine.helper import PineHelper
from secagg.schemes.pine.messages import Close, Draw, Half, Part, Settle
from secagg.schemes.pine.opening import half_of, opened
from secagg.schemes.pine.states import Closed, Halved, Verifying
from secagg.wire import ids

if TYPE_CHECKING:
    from secagg.schemes.pine.params import TwoAggregators

__all__ = ["ScreenedHelper"]


class ScreenedHelper(PineHelper):
    """Holds one vector, and a seed for each valid report."""

    phases = ("reports", "screen", "sum")
    transitions = states.HELPER_OF_SCREEN

    def __init__(self, params: TwoAggregators, endpoint: Endpoint) -> None:
        super().__init__(params, endpoint)
        self._nonce = endpoint.identity.secret(Label.DRAW, endpoint.context)

    def on_message(self, state: Any, signed: Signed[Any], rand: Rand) -> Step[Any]:
        match signed.message:
            case Close() as message:
                return self._on_close(state, message)
            case Draw() as message:
                return self._on_draw(state, message)
            case Settle() as message:
                return self._on_settle(state, message)
            case _:
                return super().on_message(state, signed, rand)

    def _on_close(self, state: Verifying, message: Close) -> Step[Any]:
        batch = self._checked(message.batch.peers, state.accepted)
        after = Closed(
            total=self._reduced(state.total, state.accepted, batch),
            accepted={client: state.accepted[client] for client in sorted(batch)},
            commitment=message.commitment,
        )
        return Step(after, (Send.to_server(Part(nonce=self._nonce)),))

    def _on_draw(self, state: Closed, message: Draw) -> Step[Any]:
        context = self._endpoint.context
        if derive.nonce_commitment(context, message.nonce) != state.commitment:
            raise RemoteProtocolError("the leader's nonce is not the one it committed to")
        screen = derive.transcript(context, ids(state.accepted), message.nonce, self._nonce)

        def share_of(client: PartyId) -> Any:
            return self._vdaf.claimed_of_seed(1, state.accepted[client])

        half = half_of(self._params, screen, state.accepted, share_of)
        after = Halved(
            total=state.total,
            accepted=state.accepted,
            screen=screen,
            commitment=message.commitment,
            half=half,
        )
        return Step(after, (Send.to_server(Half(values=half)),))

    def _on_settle(self, state: Halved, message: Settle) -> Step[Any]:
        shown = derive.half_commitment(state.screen, message.blind, message.values)
        if shown != state.commitment:
            raise RemoteProtocolError("the leader's half is not the one it committed to")
        accepted = self._checked(message.accepted.peers, state.accepted)
        found = opened(self._params, state.screen, state.accepted, [message.values, state.half])
        allowed = found.eligible if isinstance(found, Statistics) else accepted
        if not accepted <= allowed:
            raise RemoteProtocolError("the sum asked for has inputs of an impossible weight")
        if self._params.group_floor and accepted != state.accepted.keys():
            raise RemoteProtocolError("the sum asked for is not that of the groups")
        share = self._share_of_sum(state.total, state.accepted, accepted)
        return Step(Over(), (Send.to_server(share),), (found, Finished(included=accepted)))
