"""Labelled hashes: BLAKE2b [RFC 7693] of a label, then each part behind its length as u64."""

from __future__ import annotations

import hashlib

from reference.refused import require

__all__ = ["digest", "tag", "text"]

LABELS = {
    "context": b"secagg/1/context\0",
    "roster": b"secagg/1/roster\0",
    "structure": b"secagg/1/structure\0",
    "plan": b"secagg/1/plan\0",
    "frame": b"secagg/1/frame\0",
    "snapshot": b"secagg/1/snapshot\0",
    "cohort": b"secagg/1/transcript-cohort\0",
    "members": b"secagg/1/transcript-members\0",
    "survivors": b"secagg/1/transcript-survivors\0",
    "attest": b"secagg/1/attest-members\0",
    "shares": b"secagg/1/shares\0",
    "graph": b"secagg/1/graph\0",
    "self_seed": b"secagg/1/commit-self-seed\0",
    "share": b"secagg/1/commit-share\0",
    "edge": b"secagg/1/edge-tag\0",
    "seal": b"secagg/1/seal\0",
    "pair_mask": b"secagg/1/mask-pair\0",
    "self_mask": b"secagg/1/mask-self\0",
    "check": b"secagg/1/check-vector\0",
    "sketch_seed": b"secagg/1/sketch-seed\0",
    "sketch_map": b"secagg/1/sketch-map\0",
    "contributor": b"secagg/1/contributor\0",
    "binding": b"secagg/1/binding-seed\0",
}


def text(label: str) -> bytes:
    """The bytes of a label, by its name in the register."""
    require(label in LABELS, "the label is in the register")
    return LABELS[label]


def digest(label: str, *parts: bytes, size: int = 32) -> bytes:
    """`size` bytes of BLAKE2b; the size is a parameter of the hash, not a cut."""
    prefixed = b"".join(len(part).to_bytes(8, "little") + part for part in parts)
    return hashlib.blake2b(text(label) + prefixed, digest_size=size).digest()


def tag(label: str, *parts: bytes) -> bytes:
    """A digest of 16 bytes."""
    return digest(label, *parts, size=16)
