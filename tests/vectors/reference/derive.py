"""Transcripts, tags, commitments and keys of one round, from what the parties know."""

from __future__ import annotations

from collections.abc import Mapping

from reference.frame import row
from reference.hashing import digest, tag, text
from reference.hkdf import hkdf

__all__ = [
    "KEY",
    "SELF",
    "cohort_transcript",
    "commitment",
    "derive_key",
    "edge_tag",
    "members_transcript",
    "pair_mask_key",
    "seal_info",
    "self_mask_key",
    "share_tag",
    "survivors_transcript",
]

SELF, KEY = b"\0", b"\1"


def cohort_transcript(context: bytes, adverts: Mapping[int, tuple[bytes, ...]]) -> bytes:
    """The first transcript: the context and all adverts with their signatures."""
    return digest("cohort", context, _joined(adverts))


def members_transcript(cohort: bytes, members: Mapping[int, tuple[bytes, ...]]) -> bytes:
    """The second: who shared, and the digest of what each of them sent."""
    return digest("members", cohort, _joined(members))


def survivors_transcript(members: bytes, included: list[int]) -> bytes:
    """The third: whose inputs are in the sum."""
    return digest("survivors", members, _joined(dict.fromkeys(included, ())))


def commitment(cohort: bytes, dealer: int, seed: bytes) -> bytes:
    """What a dealer commits its self-mask seed with."""
    return digest("self_seed", cohort, _id(dealer), seed)


def share_tag(cohort: bytes, dealer: int, holder: int, kind: bytes, share: bytes) -> bytes:
    """What a dealer commits one share with; `kind` is SELF or KEY."""
    return tag("share", cohort, _id(dealer), _id(holder), kind, share)


def edge_tag(secret: bytes, cohort: bytes, one: int, other: int) -> bytes:
    """What both ends of an edge post."""
    return derive_key(secret, "edge", cohort, _pair(one, other), size=16)


def seal_info(secret: bytes, cohort: bytes, dealer: int, holder: int) -> bytes:
    """HPKE's info: public names, and 32 bytes that only dealer and holder can compute."""
    binding = derive_key(secret, "seal", cohort, _pair(dealer, holder))
    return text("seal") + cohort + _id(dealer) + _id(holder) + binding


def pair_mask_key(secret: bytes, members: bytes, one: int, other: int) -> bytes:
    """The stream that the lower id adds and the higher subtracts."""
    return derive_key(secret, "pair_mask", members, _pair(one, other))


def self_mask_key(seed: bytes, members: bytes, dealer: int) -> bytes:
    """The stream that a client adds on its own."""
    return derive_key(seed, "self_mask", members, _id(dealer))


def derive_key(secret: bytes, label: str, *parts: bytes, size: int = 32) -> bytes:
    """HKDF without a salt; the info is the label and the parts, without lengths."""
    return hkdf(secret, text(label) + b"".join(parts), size)


def _joined(table: Mapping[int, tuple[bytes, ...]]) -> bytes:
    """The rows of a list as they travel, without their count."""
    return b"".join(row(party, table[party]) for party in sorted(table))


def _id(party: int) -> bytes:
    return party.to_bytes(4, "little")


def _pair(one: int, other: int) -> bytes:
    return _id(min(one, other)) + _id(max(one, other))
