"""The client of secagg_plus_brief. Section numbers are those of docs/spec/brief.md."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from secagg.errors import DecodeError, InputRefused, LocalProtocolError, RemoteProtocolError
from secagg.frame import Endpoint, Signed
from secagg.identity import PartyId
from secagg.machine import Send, State, Step
from secagg.primitives import agreement
from secagg.primitives.digest import Label, digest
from secagg.primitives.ring import Words, check_vector
from secagg.primitives.seal import seal
from secagg.rand import Rand
from secagg.schemes.secagg_plus import dealing, transcript
from secagg.schemes.secagg_plus.brief.messages import PARCELS, Deal, Delivery
from secagg.schemes.secagg_plus.brief.states import CLIENT, Dealt, Ready
from secagg.schemes.secagg_plus.client import Client
from secagg.schemes.secagg_plus.messages import Survivors
from secagg.schemes.secagg_plus.states import STREAMS, Keyed, Sent
from secagg.wire import Table, encode, ids

if TYPE_CHECKING:
    from secagg.schemes.secagg_plus.brief.params import SecAggPlusBrief

__all__ = ["Contribution"]


@dataclass(frozen=True)
class Contribution:
    """A client's input: its ring vector, and the digest of the model that it trained from.

    vector: shape (length,), residues. statement: 32 bytes, computed over what *this* client
    received; a sum is released only over clients with one statement.
    """

    vector: Words = field(repr=False)
    statement: bytes


class BriefClient(Client):
    """Deals first, learns whom it masks with later, and binds the model last."""

    phases = ("shares", "masked", "unmask")
    _without_input = Ready
    _params: SecAggPlusBrief

    def __init__(self, params: SecAggPlusBrief, endpoint: Endpoint) -> None:
        super().__init__(params, endpoint, CLIENT)

    # -- triggers ---------------------------------------------------------------------------

    def start(self, rand: Rand) -> Step[State]:
        mask_private, seed = rand(32), rand(32)
        mask_key, context = agreement.public_key(mask_private), self._endpoint.context
        needed = self._params.shares_needed
        dealt = dealing.deal(seed, mask_private, self._invited, needed, rand)
        message = Deal(
            mask_key=mask_key,
            proof=self._endpoint.attest(Label.MASK_KEY, context, mask_key),
            commitment=transcript.commitment(context, self.me, seed),
            parcels=PARCELS.table({peer: self._parcel(peer, dealt[peer]) for peer in dealt}),
        )
        state = Dealt(
            mask_private=mask_private,
            seed=seed,
            manifest=digest(Label.SHARES, encode(message)),
            vector=None,
            statement=b"",
        )
        return Step(state, (Send.to_server(message),))

    def on_input(self, state: State, value: Any, rand: Rand) -> Step[State]:
        given = self._checked(value)
        if isinstance(state, Ready):
            return self._contribute(state, given.vector, given.statement)
        assert isinstance(state, Dealt)
        if state.vector is not None:
            raise LocalProtocolError("an input was given already")
        return Step(replace(state, vector=given.vector.copy(), statement=given.statement))

    def on_message(self, state: State, signed: Signed[Any], rand: Rand) -> Step[State]:
        match state, signed.message:
            case Dealt(), Delivery() as message:
                return self._on_delivery(state, message)
            case Sent(), Survivors() as message:
                return self._on_survivors(state, message)
        raise AssertionError("the transition table allows no other pair")

    # -- steps ------------------------------------------------------------------------------

    def _on_delivery(self, state: Dealt, message: Delivery) -> Step[State]:
        manifests = message.members.by_peer("manifest")
        self._check_set("members", list(manifests), self._invited)
        mask_key = message.members.by_peer("mask_key")[self.me]
        own = manifests[self.me], mask_key
        if own != (state.manifest, agreement.public_key(state.mask_private)):
            raise RemoteProtocolError("the server replaced this client's deal")
        if message.parcels.peers != list(manifests):
            raise RemoteProtocolError("parcels do not match the members")
        self._check_holders(state, list(manifests))
        self._check_proofs(message.members)
        context = self._endpoint.context
        share_private = self._endpoint.identity.share_private
        ready = Ready(
            mask_private=state.mask_private,
            seed=state.seed,
            members=message.members,
            holdings=dealing.unseal(
                message.parcels, share_private, context, self.me, lambda d: self._info(d, self.me)
            ),
        )
        if state.vector is None:
            return Step(ready)
        return self._contribute(ready, state.vector, state.statement)

    def _contribute(self, state: Ready, vector: Words, statement: bytes) -> Step[State]:
        context = self._endpoint.context
        members = transcript.stated_transcript(context, state.members, statement)
        keys = state.members.by_peer("mask_key")
        del keys[self.me]
        secrets = self._secrets(state.mask_private, keys)
        keyed = Keyed(
            cohort=context,
            transcript=members,
            members=ids(state.members.peers),
            holdings=state.holdings,
            streams=STREAMS.table(
                {p: (transcript.mask_key(s, members, self.me, p),) for p, s in secrets.items()}
            ),
            self_key=transcript.self_mask_key(state.seed, members, self.me),
        )
        return self._mask(keyed, vector)

    def _attesting(self, state: Sent, included: list[PartyId]) -> list[PartyId]:
        """Everybody: then all that honest clients open belongs to one member list and statement."""
        return included

    # -- parts ------------------------------------------------------------------------------

    def _checked(self, value: Any) -> Contribution:
        if not isinstance(value, Contribution):
            raise InputRefused(f"an input is a Contribution, got {type(value).__name__}")
        if not isinstance(value.statement, bytes) or len(value.statement) != 32:
            raise InputRefused("a statement is a digest of 32 bytes")
        check_vector(value.vector, self._params.length, self._params.width)
        return value

    def _parcel(self, holder: PartyId, pair: dealing.Pair) -> tuple[bytes, ...]:
        share_key = self._endpoint.roster.share_key(holder)
        return (
            *dealing.share_tags(self._endpoint.context, self.me, holder, pair),
            seal(b"".join(pair), share_key, self._info(self.me, holder)),
        )

    def _info(self, dealer: PartyId, holder: PartyId) -> bytes:
        return transcript.open_seal_info(self._endpoint.context, dealer, holder)

    def _check_proofs(self, members: Table) -> None:
        keys, proofs = members.by_peer("mask_key"), members.by_peer("proof")
        for peer, key in keys.items():
            try:
                context = self._endpoint.context
                self._endpoint.check_attested(peer, proofs[peer], Label.MASK_KEY, context, key)
            except DecodeError:
                raise RemoteProtocolError(f"the mask key of client {peer} is not its own") from None
