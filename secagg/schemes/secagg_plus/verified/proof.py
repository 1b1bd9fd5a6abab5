"""Fraud proofs: a signed value, and the commitment that it contradicts.

A client commits to each of its masks before the draw: to the self seed by a hash, to the secret of
an edge by the edge's tag. Both are in its `Shares`, whose digest is in the transcript that it
signs together with the digests of its values. So whoever has the secret of one mask can check one
value against what the client itself signed, and nobody can make such a proof against a client
that reported the truth: that would take a second preimage of a tag or a forged signature.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from secagg.context import Round
from secagg.errors import DecodeError
from secagg.identity import PartyId, Roster
from secagg.primitives.digest import Label, digest
from secagg.schemes.secagg_plus import transcript
from secagg.schemes.secagg_plus.messages import MEMBERS, Shares
from secagg.schemes.secagg_plus.verified import derive
from secagg.schemes.secagg_plus.verified.messages import DIGESTS, Claim, Proof
from secagg.schemes.secagg_plus.verified.screen import OpenedMap
from secagg.wire import Fixed, One, Record, Rows, Table, Uint, declare, decode, encode, field

if TYPE_CHECKING:
    from secagg.schemes.secagg_plus.verified.params import SecAggPlusVerified

__all__ = ["FraudProof", "Scene", "check_claim", "committed_key"]


@dataclass(frozen=True, kw_only=True)
class Scene:
    """What a proof is judged against.

    before: the members' transcript. screen: that of the screen. members: the table behind
    `before`; a proof is refused where it is another.
    """

    params: SecAggPlusVerified
    roster: Roster
    cohort: bytes
    before: bytes
    screen: bytes
    members: Table

    def check(self, liar: PartyId, proof: Proof) -> None:
        """Return if `proof` convicts `liar`; `DecodeError` with what is wrong with it otherwise."""
        self._check_committed(liar, proof.shares)
        check_claim(self.roster, liar, proof.claim, self.screen)
        signed = proof.claim.digests.by_peer("digest").get(proof.peer)
        if proof.value.peers != [proof.peer] or signed is None:
            raise DecodeError("the proof shows no value for this mask")
        if derive.value_digests(proof.value).by_peer("digest")[proof.peer] != signed:
            raise DecodeError("the value is not the one that was signed")
        key = committed_key(proof.shares, proof.secret, self.cohort, self.before, liar, proof.peer)
        if proof.value.column("value") == [self.params.cell(self._map().of_streams([key])[0])]:
            raise DecodeError("the value is true")

    def _check_committed(self, liar: PartyId, shares: Shares) -> None:
        if transcript.members_transcript(self.cohort, self.members) != self.before:
            raise DecodeError("the members are not those of this round")
        manifest = self.members.by_peer("manifest").get(liar)
        if manifest != digest(Label.SHARES, encode(shares)):
            raise DecodeError("the shares are not those that the client committed to")

    def _map(self) -> OpenedMap:
        return self.params.opened_map(derive.sketch_seed(self.screen))


def check_claim(roster: Roster, client: PartyId, claim: Claim, screen: bytes) -> None:
    """`DecodeError` unless `client` signed these digests under this transcript."""
    signed = derive.root(claim.digests)
    roster.verify(client, claim.attestation, Label.ATTEST_SKETCHES, screen, signed)


def committed_key(
    shares: Shares, secret: bytes, cohort: bytes, before: bytes, client: PartyId, peer: PartyId
) -> bytes:
    """The key of a mask of `client`, from a secret that its `shares` commit to.

    Raises `DecodeError` for another secret.
    """
    if peer == client:
        if transcript.commitment(cohort, client, secret) != shares.commitment:
            raise DecodeError("the seed is not the one that the client committed to")
        return transcript.self_mask_key(secret, before, client)
    tags = shares.parcels.by_peer("edge_tag")
    if tags.get(peer) != transcript.edge_tag(secret, cohort, client, peer):
        raise DecodeError("the secret is not the one that the client committed to")
    return transcript.mask_key(secret, before, client, peer)


@declare(code=40, phase="proof")
class _Exhibit(Record):
    liar: int = field(Uint(4))
    cohort: bytes = field(Fixed(32))
    members: Table = field(Rows(MEMBERS))
    nonce: bytes = field(Fixed(32))
    uploads: Table = field(Rows(DIGESTS))
    proof: Proof = field(One(Proof))


@dataclass(frozen=True)
class FraudProof:
    """A proof with all that a third party needs beside the scheme and the round."""

    exhibit: _Exhibit

    @classmethod
    def of(
        cls, liar: PartyId, scene: Scene, nonce: bytes, uploads: Table, proof: Proof
    ) -> FraudProof:
        """The proof of `liar`'s lie in the round that `scene` describes."""
        return cls(
            _Exhibit(
                liar=liar,
                cohort=scene.cohort,
                members=scene.members,
                nonce=nonce,
                uploads=uploads,
                proof=proof,
            )
        )

    @property
    def liar(self) -> PartyId:
        """Whom it is about."""
        return self.exhibit.liar

    def encode(self) -> bytes:
        """Its one encoding."""
        return encode(self.exhibit)

    @classmethod
    def decode(cls, data: bytes, scheme: SecAggPlusVerified) -> FraudProof:
        """The inverse of `encode`; `DecodeError` for anything else."""
        return cls(decode(_Exhibit, data, scheme.limits))

    def verify(self, scheme: SecAggPlusVerified, round: Round) -> None:
        """Return if `liar` lied in this round of this scheme; `DecodeError` otherwise."""
        exhibit, context = self.exhibit, round.context(scheme.code, scheme.encoded())
        before = transcript.members_transcript(exhibit.cohort, exhibit.members)
        scene = Scene(
            params=scheme,
            roster=round.roster,
            cohort=exhibit.cohort,
            before=before,
            screen=derive.screen_transcript(context, before, exhibit.nonce, exhibit.uploads),
            members=exhibit.members,
        )
        scene.check(exhibit.liar, exhibit.proof)
