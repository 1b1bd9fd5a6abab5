"""The helper: verifies the other half, and gives its share of one sum, of enough inputs."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING, Any

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from secagg.errors import Aborted, DecodeError, RemoteProtocolError, ReportRefused
from secagg.frame import Endpoint, Signed
from secagg.identity import SERVER, PartyId
from secagg.machine import Finished, Over, Send, Side, Step, Transitions
from secagg.primitives.field import Elements
from secagg.primitives.seal import open_sealed
from secagg.rand import Rand
from secagg.schemes.pine import states
from secagg.schemes.pine.messages import Collect, Relay, Reply, Sum
from secagg.schemes.pine.noise import own_noise
from secagg.schemes.pine.report import bound_nonce, check_report, seal_info, verify_key
from secagg.schemes.pine.states import Verifying
from secagg.vdaf.share import HelperShare, VerifierShare, VerifyState
from secagg.wire import ids

if TYPE_CHECKING:
    from secagg.schemes.pine.params import TwoAggregators

__all__ = ["PineHelper"]


class PineHelper:
    """Holds one vector, and a seed for each valid report."""

    phases: tuple[str, ...] = ("reports", "sum")
    side = Side.THIRD
    transitions: Transitions = states.HELPER

    def __init__(self, params: TwoAggregators, endpoint: Endpoint) -> None:
        self.me = endpoint.me
        self._params, self._endpoint = params, endpoint
        self._invited = frozenset(endpoint.roster.ids) - {self.me}
        self._vdaf = params.vdaf(endpoint.context)
        private = endpoint.identity.share_private
        self._private = X25519PrivateKey.from_private_bytes(private)
        peer = endpoint.roster.share_key(SERVER)
        self._verify_key = verify_key(private, peer, endpoint.context)

    def start(self, rand: Rand) -> Step[Verifying]:
        return Step(Verifying(total=self._vdaf.field.zeros(self._params.length), accepted={}))

    def on_message(self, state: Verifying, signed: Signed[Any], rand: Rand) -> Step[Verifying]:
        if isinstance(signed.message, Relay):
            return self._on_relay(state, signed.message)
        return self._on_collect(state, signed.message)

    def _on_relay(self, state: Verifying, relay: Relay) -> Step[Verifying]:
        if relay.client not in self._invited:
            raise RemoteProtocolError(f"party {relay.client} is not a client of this round")
        self._check_author(relay)
        try:
            share, kept, shown = self._verified(relay)
        except (DecodeError, ReportRefused):
            reply = Reply(client=relay.client, verifier=b"")
            return Step(state, (Send.to_server(reply),))
        encoded = self._vdaf.encode_verifier_share(shown)
        if self._is_valid(relay, kept, shown):
            state.accepted[relay.client] = share.seeds[0]
            state.total[:] = self._vdaf.field.add(state.total, kept.output)
        return Step(state, (Send.to_server(Reply(client=relay.client, verifier=encoded)),))

    def _check_author(self, relay: Relay) -> None:
        """A leader relays what it has checked itself, so another signature is its own fault."""
        try:
            check_report(self._endpoint, relay)
        except DecodeError as error:
            raise RemoteProtocolError(f"a relayed report is not its client's: {error}") from None

    def _verified(self, relay: Relay) -> tuple[HelperShare, VerifyState, VerifierShare]:
        info = seal_info(self._endpoint.context, relay.client, self.me, relay.nonce)
        opened = open_sealed(relay.for_helper, self._private, info)
        share = self._vdaf.decode_input_share(1, opened)
        assert isinstance(share, HelperShare)
        public = self._vdaf.decode_public_share(relay.public)
        nonce = bound_nonce(relay.client, relay.nonce)
        return share, *self._vdaf.verify_init(self._verify_key, 1, nonce, public, share)

    def _is_valid(self, relay: Relay, kept: VerifyState, shown: VerifierShare) -> bool:
        try:
            leader = self._vdaf.decode_verifier_share(relay.verifier)
        except DecodeError as error:
            raise RemoteProtocolError(f"the leader's verifier share: {error}") from None
        try:
            message = self._vdaf.verifier_shares_to_message([leader, shown])
            self._vdaf.verify_next(kept, message)
        except ReportRefused:
            return False
        return True

    def _on_collect(self, state: Verifying, message: Collect) -> Step[Verifying]:
        accepted = self._checked(message.accepted.peers, state.accepted)
        share = self._share_of_sum(state.total, state.accepted, accepted)
        return Step(Over(), (Send.to_server(share),), (Finished(included=accepted),))

    def _checked(self, asked: Collection[PartyId], among: Collection[PartyId]) -> frozenset[int]:
        """Those asked for, if they are enough and all `among` whom they may be."""
        accepted = frozenset(asked)
        if not accepted <= frozenset(among):
            raise RemoteProtocolError("the sum asked for has inputs that are not valid here")
        if len(accepted) < self._params.minimum:
            raise RemoteProtocolError(
                f"a sum of {len(accepted)} inputs, at least {self._params.minimum} are needed"
            )
        return accepted

    def _reduced(
        self, total: Elements, seeds: Mapping[PartyId, bytes], accepted: frozenset[PartyId]
    ) -> Elements:
        """The sum over `accepted`, of that over all who have a seed here."""
        for client in seeds.keys() - accepted:
            total = self._vdaf.field.sub(total, self._vdaf.output_of_seed(1, seeds[client]))
        return total

    def _share_of_sum(
        self, total: Elements, seeds: Mapping[PartyId, bytes], accepted: frozenset[PartyId]
    ) -> Sum:
        field, share = self._vdaf.field, self._reduced(total, seeds, accepted)
        if self._params.noise is not None:
            size, included = self._params.length, ids(accepted)
            drawn = own_noise(self._params.noise, self._endpoint, included, field, size)
            share = field.add(share, drawn)
        return Sum(share=field.encode(share))

    def on_deadline(self, state: Verifying, rand: Rand) -> Step[Verifying]:
        raise Aborted("reports", "the leader was silent", {SERVER})

    def on_lost(self, state: Verifying, peer: PartyId, rand: Rand) -> Step[Verifying]:
        raise AssertionError("a helper ends with its leader")

    def on_input(self, state: Verifying, value: Any, rand: Rand) -> Step[Verifying]:
        raise AssertionError("the transition table allows no input")

    def expected(self, state: Verifying) -> frozenset[PartyId]:
        return frozenset({SERVER})

    def satisfied(self, state: Verifying) -> bool:
        return False
