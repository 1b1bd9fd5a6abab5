"""One honest client of secagg_plus among nothing but enemies.

Everybody else, the server included, is one adversary that knows all their keys and signs whatever
it likes. It can therefore take the client through any sequence of well-formed messages. What the
client must never do:

* mask two different vectors, or say two different things in one phase;
* sign two survivor sets;
* open both the self seed's share and the mask key's share of one dealer;
* open anything without a quorum of consents to the set that it signed.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from secagg import wire
from secagg.errors import SecAggError
from secagg.frame import SIGNATURE_SIZE
from secagg.identity import SERVER, PartyId
from secagg.primitives import agreement
from secagg.primitives.digest import Label, digest
from secagg.primitives.ring import Words, unpack, word
from secagg.primitives.seal import open_sealed, seal
from secagg.schemes.secagg_plus import SecAggPlus, transcript
from secagg.schemes.secagg_plus.messages import (
    ADVERTS,
    MEMBERS,
    PARCELS,
    SHARE_SIZE,
    SURVIVORS,
    VOTES,
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
from secagg.testing.parties import Parties
from secagg.testing.rand import SeededRand
from secagg.testing.secagg_plus.cells import signed_advert
from secagg.testing.secagg_plus.restraint import body_of
from secagg.wire import Message

__all__ = ["Puppet", "Siege"]

M = TypeVar("M", bound=Message)


@dataclass(frozen=True)
class Puppet:
    """A client that the adversary plays: its private keys and the shares it deals the victim."""

    mask_private: bytes
    share_private: bytes
    self_share: bytes
    key_share: bytes

    @property
    def mask_key(self) -> bytes:
        return agreement.public_key(self.mask_private)

    @property
    def share_key(self) -> bytes:
        return agreement.public_key(self.share_private)


class Siege:
    """The victim's machine, and an adversary that remembers everything it said.

    frames: what the victim sent, in order, repetitions included. told: what it was told. errors:
    what it raised.
    """

    def __init__(self, parties: Parties, victim: PartyId, rand: SeededRand) -> None:
        assert isinstance(parties.scheme, SecAggPlus)
        self.parties = parties
        self.scheme = parties.scheme
        self.victim = victim
        self.frames: list[bytes] = []
        self.told: list[bytes] = []
        self.errors: list[SecAggError] = []
        self._rand = rand
        self.puppets = {p: self._puppet() for p in parties.clients if p != victim}
        self._machine = parties.machine(victim, rand.fork("victim"))
        self._stored = b""
        self._cohort = b""
        self._members = b""
        self._act(lambda: None)

    # -- what the adversary may do ------------------------------------------------------------

    def submit(self, seed: int) -> None:
        """The victim's user gives an input."""
        self._act(lambda: self._machine.submit(self.input(seed)))

    def input(self, seed: int) -> Words:
        """The input of that name."""
        dtype = word(self.scheme.width)
        raw = np.frombuffer(SeededRand(seed)(self.scheme.length * dtype.itemsize), dtype)
        value: Words = raw & dtype.type((1 << self.scheme.width) - 1)
        return value

    def tell(self, message: Message) -> None:
        """The server says this to the victim."""
        self.told.append(self.parties.endpoint(SERVER).seal(self.victim, message))
        self.deliver(self.told[-1])

    def deliver(self, frame: bytes) -> None:
        """The network hands these bytes to the victim, as the server's."""
        self._act(lambda: self._machine.receive(SERVER, frame))

    def crash(self) -> None:
        """The victim starts again from what it stored last, and repeats what it sent last."""
        self._machine = self.parties.resume(self.victim, self._stored, self._rand.fork("again"))
        self.frames += [frame for _, frame in self._machine.to_send()]

    def replace_puppets(self, which: Iterable[PartyId]) -> None:
        """These puppets take fresh keys: another cohort can be shown."""
        for party in which:
            if party in self.puppets:
                self.puppets[party] = self._puppet()

    # -- well-formed messages -----------------------------------------------------------------

    def cohort(self, of: Collection[PartyId]) -> Cohort:
        """A cohort of these clients, every advert really signed."""
        rows: dict[PartyId, tuple[bytes, ...]] = {}
        for party in of:
            if party == self.victim:
                mine = self._said(Advert)[0]
                keys, signature = (mine[0].mask_key, mine[0].share_key), mine[1]
            else:
                puppet = self.puppets[party]
                keys = puppet.mask_key, puppet.share_key
                signature = signed_advert(self.parties, party, *keys)
            rows[party] = (*keys, signature)
        table = ADVERTS.table(rows)
        self._cohort = transcript.cohort_transcript(self._machine.context, table)
        return Cohort(adverts=table)

    def inbox(self, members: Collection[PartyId]) -> Inbox:
        """These members, and a good parcel from each of them that neighbours the victim."""
        shares = self._said(Shares)
        manifests = {party: (self._rand(32),) for party in members}
        if self.victim in manifests and shares:
            manifests[self.victim] = (digest(Label.SHARES, wire.encode(shares[0][0])),)
        table = MEMBERS.table(manifests)
        self._members = transcript.members_transcript(self._cohort, table)
        near = self.scheme.graph(self.parties.clients, self._cohort).neighbours(self.victim)
        dealers = [party for party in near if party in manifests]
        parcels = PARCELS.table({party: self._parcel(party) for party in dealers})
        return Inbox(members=table, parcels=parcels)

    def survivors(self, included: Collection[PartyId]) -> Survivors:
        """This survivor set, with everybody's attestation."""
        rows = {}
        for party in included:
            if party in self.parties.identities:
                endpoint = self.parties.endpoint(party)  # the victim's is as it was on its Masked
                rows[party] = (endpoint.attest(Label.ATTEST, self._members),)
        return Survivors(included=SURVIVORS.table(rows))

    def consents(self, included: Collection[PartyId], voters: Collection[PartyId]) -> Consents:
        """Votes for this survivor set; the victim's only if it really signed it."""
        agreed = Consent(transcript=transcript.survivors_transcript(self._members, included))
        votes: dict[PartyId, tuple[bytes, ...]] = {}
        for party in voters:
            if party != self.victim:
                votes[party] = (self.parties.endpoint(party).seal(SERVER, agreed)[-64:],)
            else:
                said = [signature for message, signature in self._said(Consent)]
                votes[party] = (said[0] if said else bytes(64),)
        return Consents(votes=VOTES.table(votes))

    # -- what the adversary can find out -------------------------------------------------------

    @property
    def members(self) -> bytes:
        """The members transcript of the inbox that was made last."""
        return self._members

    def secret(self, puppet: PartyId) -> bytes:
        """What a puppet and the victim share."""
        private = X25519PrivateKey.from_private_bytes(self.puppets[puppet].mask_private)
        return agreement.agree(private, self._said(Advert)[0][0].mask_key)

    def dealt(self) -> dict[PartyId, tuple[bytes, bytes]]:
        """The victim's shares, of its self seed and of its mask key, that the puppets hold."""
        parcels = self._said(Shares)[0][0].parcels
        found = {}
        for holder, sealed in parcels.by_peer("sealed").items():
            private = X25519PrivateKey.from_private_bytes(self.puppets[holder].share_private)
            info = transcript.seal_info(self.secret(holder), self._cohort, self.victim, holder)
            opened = open_sealed(sealed, private, info)
            found[holder] = (opened[:SHARE_SIZE], opened[SHARE_SIZE:])
        return found

    def masked(self) -> Words:
        """The vector that the victim sent, check words included."""
        words = self.scheme.length + self.scheme.check_count
        return unpack(self._said(Masked)[0][0].vector, words, self.scheme.width)

    # -- what must hold -----------------------------------------------------------------------

    def check(self) -> None:
        """Assert that the victim said at most one thing per phase, and what it opened."""
        for kind in (Advert, Shares, Masked, Consent, Unmask):
            distinct = {wire.encode(message) for message, _ in self._said(kind)}
            assert len(distinct) <= 1, f"two different {kind.__name__}"
        if self._said(Unmask):
            assert self._said(Consent), "shares were opened without a consent"

    def check_opened(self, included: Collection[PartyId]) -> None:
        """Assert that what was opened is one share per dealer, of the kind that `included` asks."""
        ((message, _),) = {wire.encode(m): (m, s) for m, s in self._said(Unmask)}.values()
        for dealer, share in message.shares.by_peer("share").items():
            puppet = self.puppets[dealer]
            assert share == (puppet.self_share if dealer in included else puppet.key_share)

    @property
    def unmasked(self) -> bool:
        """Whether the victim opened shares."""
        return bool(self._said(Unmask))

    def said(self, kind: type[Message]) -> int:
        """How many frames of `kind` the victim sent."""
        return len(self._said(kind))

    def _act(self, step: Callable[[], None]) -> None:
        try:
            step()
        except SecAggError as error:
            self.errors.append(error)
        while self._machine.next_event() is not None:
            pass
        if not self._failed:
            self._stored = self._machine.snapshot()
            self.frames += [frame for _, frame in self._machine.to_send()]
        else:
            assert self._machine.to_send() == [], "a client that failed still speaks"

    @property
    def _failed(self) -> bool:
        return self._machine._failed

    def _said(self, kind: type[M]) -> list[tuple[M, bytes]]:
        return [
            (body_of(kind, frame, self.parties), frame[-SIGNATURE_SIZE:])
            for frame in self.frames
            if self.parties.kind(SERVER, frame) is kind
        ]

    def _puppet(self) -> Puppet:
        return Puppet(*(self._rand(32) for _ in range(4)))

    def _parcel(self, dealer: PartyId) -> tuple[bytes, ...]:
        advert = self._said(Advert)[0][0]
        puppet = self.puppets[dealer]
        secret = self.secret(dealer)
        shares = puppet.self_share, puppet.key_share
        tags = [
            transcript.share_tag(self._cohort, dealer, self.victim, kind, share)
            for kind, share in zip((transcript.SELF, transcript.KEY), shares, strict=True)
        ]
        info = transcript.seal_info(secret, self._cohort, dealer, self.victim)
        sealed = seal(b"".join(shares), advert.share_key, info)
        edge = transcript.edge_tag(secret, self._cohort, dealer, self.victim)
        return (edge, *tags, sealed)
