"""The client of secagg_plus. Section numbers are those of docs/spec/secagg_plus.md."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from secagg.errors import Aborted, DecodeError, LocalProtocolError, RemoteProtocolError
from secagg.frame import Endpoint, Signed
from secagg.identity import SERVER, PartyId
from secagg.machine import Finished, Over, Send, Side, State, Step, Transitions
from secagg.primitives import agreement, prg
from secagg.primitives.digest import Label, digest
from secagg.primitives.ring import Words, check_vector, pack, reduce
from secagg.primitives.seal import seal
from secagg.rand import Rand
from secagg.schemes.secagg_plus import dealing, transcript
from secagg.schemes.secagg_plus.messages import (
    OPENED,
    PARCELS,
    Advert,
    Cohort,
    Consent,
    Consents,
    Inbox,
    Masked,
    Shares,
    Survivors,
    Unmask,
)
from secagg.schemes.secagg_plus.states import (
    PEERS,
    PHASES,
    STREAMS,
    Adverting,
    Consented,
    Keyed,
    Sent,
    Shared,
)
from secagg.wire import Table, encode, ids

if TYPE_CHECKING:
    from secagg.schemes.secagg_plus.params import PairwiseScheme

__all__ = ["Client"]


class Client:
    """Masks one vector, and helps to unmask one sum."""

    phases: tuple[str, ...] = PHASES
    side = Side.CLIENT
    _without_input: type[State] = Keyed

    def __init__(
        self, params: PairwiseScheme, endpoint: Endpoint, transitions: Transitions
    ) -> None:
        self.me = endpoint.me
        self.transitions = transitions
        self._params = params
        self._endpoint = endpoint
        self._invited = endpoint.roster.ids

    # -- triggers ---------------------------------------------------------------------------

    def start(self, rand: Rand) -> Step[State]:
        mask_private, share_private = rand(32), rand(32)
        advert = Advert(
            mask_key=agreement.public_key(mask_private),
            share_key=agreement.public_key(share_private),
        )
        state = Adverting(mask_private=mask_private, share_private=share_private, vector=None)
        return Step(state, (Send.to_server(advert),))

    def on_input(self, state: State, value: Any, rand: Rand) -> Step[State]:
        vector = check_vector(value, self._params.length, self._params.width)
        if isinstance(state, Keyed):
            return self._mask(state, vector)
        assert isinstance(state, Adverting | Shared)
        if state.vector is not None:
            raise LocalProtocolError("an input was given already")
        return Step(replace(state, vector=vector.copy()))

    def on_message(self, state: State, signed: Signed[Any], rand: Rand) -> Step[State]:
        match state, signed.message:
            case Adverting(), Cohort() as message:
                return self._on_cohort(state, message, rand)
            case Shared(), Inbox() as message:
                return self._on_inbox(state, message)
            case Sent(), Survivors() as message:
                return self._on_survivors(state, message)
            case Consented(), Consents() as message:
                return self._on_consents(state, message)
        raise AssertionError("the transition table allows no other pair")

    def on_deadline(self, state: State, rand: Rand) -> Step[State]:
        if isinstance(state, self._without_input):
            raise Aborted(state.phase, "no input was submitted in time", {self.me})
        raise Aborted(state.phase, "the server was silent", {SERVER})

    def on_lost(self, state: State, peer: PartyId, rand: Rand) -> Step[State]:
        raise AssertionError("a client has no peers to lose")

    def expected(self, state: State) -> frozenset[PartyId]:
        return frozenset() if isinstance(state, self._without_input) else frozenset({SERVER})

    def satisfied(self, state: State) -> bool:
        return False

    # -- adverts: share the secrets ---------------------------------------------------------

    def _on_cohort(self, state: Adverting, message: Cohort, rand: Rand) -> Step[State]:
        cohort = transcript.cohort_transcript(self._endpoint.context, message.adverts)
        return self._share(state, message.adverts, cohort, rand)

    def _share(self, state: Adverting, adverts: Table, cohort: bytes, rand: Rand) -> Step[State]:
        self._check_set("advertised", adverts.peers, self._invited)
        mask_keys, share_keys = adverts.by_peer("mask_key"), adverts.by_peer("share_key")
        if (mask_keys[self.me], share_keys[self.me]) != (
            agreement.public_key(state.mask_private),
            agreement.public_key(state.share_private),
        ):
            raise RemoteProtocolError("the server replaced this client's advert")
        holders = self._params.graph(self._invited, cohort).neighbours(self.me)
        live = [peer for peer in holders if peer in mask_keys]
        self._check_holders(state, live)
        signatures = adverts.by_peer("signature")
        for peer in live:
            self._check_advert(peer, mask_keys[peer], share_keys[peer], signatures[peer])
        seed = rand(32)
        shares = Shares(
            commitment=transcript.commitment(cohort, self.me, seed),
            parcels=self._parcels(
                cohort,
                self._secrets(state.mask_private, {peer: mask_keys[peer] for peer in live}),
                share_keys,
                dealing.deal(seed, state.mask_private, holders, self._params.shares_needed, rand),
            ),
        )
        after = Shared(
            mask_private=state.mask_private,
            share_private=state.share_private,
            seed=seed,
            cohort=cohort,
            manifest=digest(Label.SHARES, encode(shares)),
            adverted=ids(adverts.peers),
            peers=PEERS.table({peer: (mask_keys[peer],) for peer in live}),
            vector=state.vector,
        )
        return Step(after, (Send.to_server(shares),))

    def _check_advert(
        self, peer: PartyId, mask_key: bytes, share_key: bytes, signature: bytes
    ) -> None:
        try:
            advert = Advert(mask_key=mask_key, share_key=share_key)
            self._endpoint.verify(peer, SERVER, advert, signature)
        except DecodeError:
            raise RemoteProtocolError(f"the advert of client {peer} is not its own") from None

    def _parcels(
        self,
        cohort: bytes,
        secrets: dict[PartyId, bytes],
        share_keys: dict[PartyId, bytes],
        dealt: dict[PartyId, tuple[bytes, bytes]],
    ) -> Table:
        rows: dict[int, tuple[bytes, ...]] = {}
        for peer, secret in secrets.items():
            pair = dealt[peer]
            info = transcript.seal_info(secret, cohort, self.me, peer)
            rows[peer] = (
                transcript.edge_tag(secret, cohort, self.me, peer),
                *dealing.share_tags(cohort, self.me, peer, pair),
                seal(b"".join(pair), share_keys[peer], info),
            )
        return PARCELS.table(rows)

    @staticmethod
    def _secrets(private: bytes, keys: dict[PartyId, bytes]) -> dict[PartyId, bytes]:
        key = X25519PrivateKey.from_private_bytes(private)
        return {peer: agreement.agree(key, public) for peer, public in keys.items()}

    # -- shares: agree on the masks ---------------------------------------------------------

    def _on_inbox(self, state: Shared, message: Inbox) -> Step[State]:
        manifests = message.members.by_peer("manifest")
        self._check_set("members", list(manifests), state.adverted.peers)
        if manifests[self.me] != state.manifest:
            raise RemoteProtocolError("the server replaced this client's shares")
        keys = {p: key for p, key in state.peers.by_peer("mask_key").items() if p in manifests}
        if message.parcels.peers != list(keys):
            raise RemoteProtocolError("parcels do not match the neighbours among the members")
        self._check_holders(state, list(keys))
        secrets = self._secrets(state.mask_private, keys)
        self._check_edges(state.cohort, message.parcels, secrets)
        members = transcript.members_transcript(state.cohort, message.members)
        keyed = Keyed(
            cohort=state.cohort,
            transcript=members,
            members=ids(manifests),
            holdings=self._unseal(state, message.parcels, secrets),
            streams=STREAMS.table(
                {p: (transcript.mask_key(s, members, self.me, p),) for p, s in secrets.items()}
            ),
            self_key=transcript.self_mask_key(state.seed, members, self.me),
        )
        return self._keyed(state, keyed, secrets)

    def _keyed(self, state: Shared, keyed: Keyed, secrets: dict[PartyId, bytes]) -> Step[State]:
        return Step(keyed) if state.vector is None else self._mask(keyed, state.vector)

    def _check_edges(self, cohort: bytes, parcels: Table, secrets: dict[PartyId, bytes]) -> None:
        for peer, posted in parcels.by_peer("edge_tag").items():
            if posted != transcript.edge_tag(secrets[peer], cohort, self.me, peer):
                raise RemoteProtocolError(f"client {peer} does not agree on the edge to this one")

    def _unseal(self, state: Shared, parcels: Table, secrets: dict[PartyId, bytes]) -> Table:
        def info(dealer: PartyId) -> bytes:
            return transcript.seal_info(secrets[dealer], state.cohort, dealer, self.me)

        return dealing.unseal(parcels, state.share_private, state.cohort, self.me, info)

    # -- masked: send the input -------------------------------------------------------------

    def _mask(self, state: Keyed, vector: Words) -> Step[State]:
        checks = transcript.check_words(vector, state.cohort, self._params.check_count)
        total = np.concatenate([vector, checks])
        streams = state.streams.by_peer("key")
        plus = [key for peer, key in streams.items() if self.me < peer]
        minus = [key for peer, key in streams.items() if self.me > peer]
        prg.add_streams(total, [state.self_key, *plus], minus)
        masked = Masked(
            attestation=self._endpoint.attest(Label.ATTEST, state.transcript),
            vector=pack(reduce(total, self._params.width), self._params.width),
        )
        return Step(self._sent(state, masked), (Send.to_server(masked),))

    def _sent(self, state: Keyed, masked: Masked) -> State:
        return Sent(
            cohort=state.cohort,
            transcript=state.transcript,
            members=state.members,
            holdings=state.holdings,
        )

    # -- consent and unmask -----------------------------------------------------------------

    def _on_survivors(self, state: Sent, message: Survivors) -> Step[State]:
        included = message.included.peers
        self._check_included(state.cohort, included, state.members)
        self._check_attested(state, message.included.by_peer("attestation"))
        if not self._params.consent:
            return self._unmask(included, state.holdings)
        agreed = transcript.survivors_transcript(state.transcript, included)
        after = Consented(transcript=agreed, included=ids(included), holdings=state.holdings)
        return Step(after, (Send.to_server(Consent(transcript=agreed)),))

    def _check_included(self, cohort: bytes, included: list[PartyId], within: Table) -> None:
        self._check_set("included", included, within.peers)
        self._check_windows(cohort, included)

    def _check_attested(self, state: Sent, attestations: dict[PartyId, bytes]) -> None:
        """A self seed is opened only for a dealer that masked under the members known here.

        Shown other members, it would have masked with other neighbours, and the masks that the
        connectivity of the graph counts on would not be there.
        """
        for dealer in self._attesting(state, list(attestations)):
            signature = attestations[dealer]
            try:
                self._endpoint.check_attested(dealer, signature, Label.ATTEST, state.transcript)
            except DecodeError:
                raise RemoteProtocolError(f"client {dealer} masked under other members") from None

    def _attesting(self, state: Sent, included: list[PartyId]) -> list[PartyId]:
        """Whose attestation must be checked: those of whom a self share may be opened."""
        held = set(state.holdings.peers)
        return [dealer for dealer in included if dealer in held]

    def _on_consents(self, state: Consented, message: Consents) -> Step[State]:
        votes = message.votes.by_peer("signature")
        if len(votes) != self._params.quorum:
            raise RemoteProtocolError(
                f"{len(votes)} consents, exactly {self._params.quorum} must be shown"
            )
        if not votes.keys() <= set(state.included.peers):
            raise RemoteProtocolError("a consent of a client that is not included")
        agreed = Consent(transcript=state.transcript)
        for peer, signature in votes.items():
            try:
                self._endpoint.verify(peer, SERVER, agreed, signature)
            except DecodeError:
                raise RemoteProtocolError(f"client {peer} did not consent to this set") from None
        return self._unmask(state.included.peers, state.holdings)

    def _unmask(self, included: list[PartyId], holdings: Table) -> Step[State]:
        shares = OPENED.table(dealing.open_shares(included, holdings))
        finished = Finished(included=frozenset(included))
        return Step(Over(), (Send.to_server(Unmask(shares=shares)),), (finished,))

    # -- what a client insists on -----------------------------------------------------------

    def _check_set(self, name: str, found: list[PartyId], within: Any) -> None:
        if not set(found) <= set(within):
            raise RemoteProtocolError(f"{name}: a client that cannot be there")
        if self.me not in found:
            raise RemoteProtocolError(f"{name}: this client is left out but was addressed")
        if len(found) < self._params.survivors:
            raise RemoteProtocolError(
                f"{name}: {len(found)} clients, at least {self._params.survivors} must remain"
            )

    def _check_holders(self, state: State, live: list[PartyId]) -> None:
        if len(live) < self._params.shares_needed:
            raise Aborted(
                state.phase,
                f"{len(live)} neighbours are left, {self._params.shares_needed} must hold shares",
            )

    def _check_windows(self, cohort: bytes, included: list[PartyId]) -> None:
        if self._params.window_floor < 0:
            return
        weakest = self._params.graph(self._invited, cohort).weakest_window(included)
        if weakest <= self._params.window_floor:
            raise RemoteProtocolError(
                f"a stretch of the ring keeps {weakest} clients, over {self._params.window_floor} "
                "are needed: this survivor set could cut honest clients off"
            )
