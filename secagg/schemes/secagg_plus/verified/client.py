"""The client of secagg_plus_verified. Section numbers are those of docs/spec/verified.md."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from secagg.errors import DecodeError, InputRefused, RemoteProtocolError
from secagg.frame import Endpoint, Signed
from secagg.identity import PartyId
from secagg.machine import Finished, Over, Send, State, Step
from secagg.primitives.digest import Label
from secagg.primitives.ring import check_vector
from secagg.rand import Rand
from secagg.schemes.secagg_plus import transcript
from secagg.schemes.secagg_plus.client import Client
from secagg.schemes.secagg_plus.messages import OPENED, Consent, Consents, Masked
from secagg.schemes.secagg_plus.states import STREAMS, Adverting, Keyed, Shared
from secagg.schemes.secagg_plus.verified import derive
from secagg.schemes.secagg_plus.verified.messages import (
    SECRETS,
    Accepted,
    Call,
    Claim,
    Closing,
    Dispute,
    Draw,
    Edges,
    Sketches,
    Strike,
)
from secagg.schemes.secagg_plus.verified.proof import Scene, check_claim
from secagg.schemes.secagg_plus.verified.states import (
    CLIENT,
    PHASES,
    Agreed,
    Called,
    Committed,
    Settled,
    Sketched,
    Unmasked,
)
from secagg.wire import Message, Table, ids

if TYPE_CHECKING:
    from secagg.schemes.secagg_plus.verified.params import SecAggPlusVerified

__all__ = ["VerifiedClient"]


class VerifiedClient(Client):
    """Masks one vector, tells what the map makes of its masks, and helps to unmask one sum."""

    phases = PHASES
    _params: SecAggPlusVerified

    def __init__(self, params: SecAggPlusVerified, endpoint: Endpoint) -> None:
        super().__init__(params, endpoint, CLIENT)

    def on_message(self, state: State, signed: Signed[Any], rand: Rand) -> Step[State]:
        if isinstance(signed.message, Call):
            assert isinstance(state, Adverting)
            return self._on_call(state, signed.message, rand)
        steps: Mapping[type[Message], Callable[[Any, Any], Step[State]]] = {
            Draw: self._on_draw,
            Dispute: self._on_dispute,
            Accepted: self._on_accepted,
            Consents: self._on_quorum,
            Closing: self._on_closing,
        }
        step = steps.get(type(signed.message))
        return step(state, signed.message) if step else super().on_message(state, signed, rand)

    def on_deadline(self, state: State, rand: Rand) -> Step[State]:
        if isinstance(state, Unmasked):  # it did its part, and nobody was shown to have lied
            return Step(Over(), events=(_finished(state.included.peers),))
        return super().on_deadline(state, rand)

    # -- up to the masked input -------------------------------------------------------------

    def _on_call(self, state: Adverting, message: Call, rand: Rand) -> Step[State]:
        cohort = derive.cohort_transcript(
            self._endpoint.context, message.adverts, message.commitment
        )
        step = self._share(state, message.adverts, cohort, rand)
        assert isinstance(step.state, Shared)
        return replace(step, state=_grown(step.state, Called, commitment=message.commitment))

    def _keyed(self, state: Shared, keyed: Keyed, secrets: dict[PartyId, bytes]) -> Step[State]:
        assert isinstance(state, Called)
        agreed = _grown(
            keyed,
            Agreed,
            commitment=state.commitment,
            secrets=STREAMS.table({peer: (secret,) for peer, secret in secrets.items()}),
        )
        return super()._keyed(state, agreed, secrets)

    def _sent(self, state: Keyed, masked: Masked) -> State:
        assert isinstance(state, Agreed)
        return Committed(
            cohort=state.cohort,
            transcript=state.transcript,
            members=state.members,
            holdings=state.holdings,
            commitment=state.commitment,
            upload=derive.upload_digest(self.me, masked),
            secrets=state.secrets,
            self_key=state.self_key,
        )

    # -- screen: what the map makes of the masks --------------------------------------------

    def _on_draw(self, state: Committed, message: Draw) -> Step[State]:
        uploads = message.uploads.by_peer("digest")
        context = self._endpoint.context
        if derive.nonce_commitment(context, message.nonce) != state.commitment:
            raise RemoteProtocolError("the server drew another nonce than it committed to")
        self._check_included(state.cohort, list(uploads), state.members)
        if uploads[self.me] != state.upload:
            raise RemoteProtocolError("the server replaced this client's masked input")
        screen = derive.screen_transcript(context, state.transcript, message.nonce, message.uploads)
        values = self._values(state, screen, list(uploads))
        digests = derive.value_digests(values)
        sketches = Sketches(
            attestation=self._endpoint.attest(Label.ATTEST_SKETCHES, screen, derive.root(digests)),
            values=values,
        )
        after = Sketched(
            cohort=state.cohort,
            before=state.transcript,
            transcript=screen,
            uploaded=ids(uploads),
            holdings=state.holdings,
            secrets=state.secrets,
            digests=digests,
        )
        return Step(after, (Send.to_server(sketches),))

    def _values(self, state: Committed, screen: bytes, uploads: list[PartyId]) -> Table:
        """What is opened of the masks that are due."""
        secrets = state.secrets.by_peer("key")
        keys = {
            peer: state.self_key
            if peer == self.me
            else transcript.mask_key(secrets[peer], state.transcript, self.me, peer)
            for peer in self._params.due(self.me, secrets, screen, uploads)
        }
        opened_map = self._params.opened_map(derive.sketch_seed(screen))
        opened = opened_map.of_streams(list(keys.values()))
        return self._params.values(dict(zip(keys, opened, strict=True)))

    def _on_dispute(self, state: Sketched, message: Dispute) -> Step[State]:
        """A secret is opened only to convict: the other end signed another value for its mask."""
        secrets = state.secrets.by_peer("key")
        for peer, claim in message.claims.items():
            self._check_conflict(state, peer, claim)
        opened = {peer: (secrets[peer],) for peer in message.claims}
        return Step(state, (Send.to_server(Edges(secrets=SECRETS.table(opened))),))

    def _check_conflict(self, state: Sketched, peer: PartyId, claim: Claim) -> None:
        own = state.digests.by_peer("digest")
        theirs = claim.digests.by_peer("digest").get(self.me)
        if peer == self.me or peer not in own:
            raise RemoteProtocolError(f"no value was due for a mask with client {peer}")
        if theirs is None or theirs == own[peer]:
            raise RemoteProtocolError(f"client {peer} signed nothing else for the common mask")
        try:
            check_claim(self._endpoint.roster, peer, claim, state.transcript)
        except DecodeError:
            raise RemoteProtocolError(f"client {peer} did not sign these digests") from None

    # -- consent, unmask, strike ------------------------------------------------------------

    def _on_accepted(self, state: Sketched, message: Accepted) -> Step[State]:
        included = message.included.peers
        self._check_included(state.cohort, included, state.uploaded)
        self._check_sketched(state, message.included)
        self._check_groups(state, included)
        agreed = transcript.survivors_transcript(state.transcript, included)
        after = Settled(
            transcript=agreed,
            included=ids(included),
            holdings=state.holdings,
            cohort=state.cohort,
            before=state.before,
            screen=state.transcript,
        )
        return Step(after, (Send.to_server(Consent(transcript=agreed)),))

    def _check_sketched(self, state: Sketched, included: Table) -> None:
        """Nothing is opened unless everybody in the sum was sketched by the map known here.

        Everybody, and not only the dealers whose shares are held: the server can spoil parcels, and
        with them decide who holds what. Clients that were shown another draw would speak of masks
        that they share with the others by another map, and the two accounts together say more
        than either.
        """
        signatures = included.by_peer("attestation")
        for dealer, root in included.by_peer("root").items():
            parts = state.transcript, root
            try:
                self._endpoint.check_attested(
                    dealer, signatures[dealer], Label.ATTEST_SKETCHES, *parts
                )
            except DecodeError:
                raise RemoteProtocolError(f"client {dealer} was shown another draw") from None

    def _check_groups(self, state: Sketched, included: list[PartyId]) -> None:
        groups = self._params.groups(state.transcript, state.uploaded.peers)
        if groups is not None and (short := groups.short(included)):
            raise RemoteProtocolError(
                f"included: {len(short)} clients of a group of which at least {groups.floor} must "
                "be, or none"
            )

    def _on_quorum(self, state: Settled, message: Consents) -> Step[State]:
        step = self._on_consents(state, message)
        alive = set(state.included.peers)
        keys = state.holdings.by_peer("key_share")
        after = Unmasked(
            cohort=state.cohort,
            before=state.before,
            screen=state.screen,
            included=state.included,
            keys=OPENED.table({peer: (keys[peer],) for peer in keys.keys() & alive}),
        )
        return Step(after, step.send)

    def _on_closing(self, state: Unmasked, message: Closing) -> Step[State]:
        liars = message.proofs.keys()
        if not liars <= set(state.included.peers) - {self.me}:
            raise RemoteProtocolError("a proof against a client that is not another in the sum")
        if liars and self._params.screen.group:
            raise RemoteProtocolError("a proof after the sum: of groups, all lies are found before")
        scene = Scene(
            params=self._params,
            roster=self._endpoint.roster,
            cohort=state.cohort,
            before=state.before,
            screen=state.screen,
            members=message.members,
        )
        for liar, proof in message.proofs.items():
            try:
                scene.check(liar, proof)
            except DecodeError as error:
                raise RemoteProtocolError(f"no proof against client {liar}: {error}") from None
        included = [peer for peer in state.included.peers if peer not in liars]
        finished = (_finished(included),)
        if not liars:
            return Step(Over(), events=finished)
        keys = state.keys.by_peer("share")
        struck = OPENED.table({liar: (keys[liar],) for liar in liars if liar in keys})
        return Step(Over(), (Send.to_server(Strike(shares=struck)),), finished)

    def expected(self, state: State) -> frozenset[PartyId]:
        return frozenset() if isinstance(state, Unmasked) else super().expected(state)

    def on_input(self, state: State, value: Any, rand: Rand) -> Step[State]:
        vector = check_vector(value, self._params.length, self._params.width)
        if self._params.screen.max_weight and not self._weighs(int(vector[0])):
            raise InputRefused("the first residue is no weight of this plan")
        return super().on_input(state, vector, rand)

    def _weighs(self, weight: int) -> bool:
        return 1 <= weight <= self._params.screen.max_weight


def _finished(included: list[PartyId]) -> Finished:
    return Finished(included=frozenset(included))


def _grown(state: State, kind: type[Any], **added: Any) -> Any:
    """`state` as one of a type with more fields."""
    return kind(**{name: getattr(state, name) for name, _ in state.codecs()}, **added)
