"""Domain-separated hashing: BLAKE2b-256 over a label and length-prefixed parts.

Every hash, derived key and signature of the library starts with a `Label`, so that a value made
for one purpose can never stand for another. Labels are prefix-free, which a test checks.
"""

from __future__ import annotations

import enum
import hashlib

__all__ = ["DIGEST_SIZE", "Label", "digest", "tag"]

DIGEST_SIZE = 32
TAG_SIZE = 16


class Label(bytes, enum.Enum):
    """The register of purposes. The number is the wire version that introduced the label."""

    CONTEXT = b"secagg/1/context\0"
    ROSTER = b"secagg/1/roster\0"
    SHARE_KEY = b"secagg/1/share-key\0"
    MASK_KEY = b"secagg/1/mask-key\0"
    STRUCTURE = b"secagg/1/structure\0"
    PLAN = b"secagg/1/plan\0"
    FRAME = b"secagg/1/frame\0"
    SNAPSHOT = b"secagg/1/snapshot\0"
    COHORT = b"secagg/1/transcript-cohort\0"
    MEMBERS = b"secagg/1/transcript-members\0"
    SURVIVORS = b"secagg/1/transcript-survivors\0"
    ATTEST = b"secagg/1/attest-members\0"
    SHARES = b"secagg/1/shares\0"
    GRAPH = b"secagg/1/graph\0"
    SELF_SEED = b"secagg/1/commit-self-seed\0"
    SHARE = b"secagg/1/commit-share\0"
    EDGE = b"secagg/1/edge-tag\0"
    SEAL = b"secagg/1/seal\0"
    PAIR_MASK = b"secagg/1/mask-pair\0"
    SELF_MASK = b"secagg/1/mask-self\0"
    CHECK = b"secagg/1/check-vector\0"
    ROTATION = b"secagg/1/rotation\0"
    NOISE = b"secagg/1/noise\0"
    DRAW = b"secagg/1/draw-nonce\0"
    DRAWN = b"secagg/1/draw-commitment\0"
    UPLOAD = b"secagg/1/upload\0"
    SCREEN = b"secagg/1/transcript-screen\0"
    SKETCH_SEED = b"secagg/1/sketch-seed\0"
    SKETCH_MAP = b"secagg/1/sketch-map\0"
    SKETCH = b"secagg/1/sketch-value\0"
    SKETCH_ROOT = b"secagg/1/sketch-root\0"
    ATTEST_SKETCHES = b"secagg/1/attest-sketches\0"
    REFERENCE = b"secagg/1/reference\0"
    GROUPS = b"secagg/1/groups\0"
    VDAF = b"secagg/1/vdaf\0"
    VDAF_SHARE = b"secagg/1/share-vdaf\0"
    REPORT = b"secagg/1/report\0"
    REPORT_SEAL = b"secagg/1/seal-report\0"
    REPORT_NONCE = b"secagg/1/nonce-of-report\0"
    HALF = b"secagg/1/commit-half\0"
    VERIFY_KEY = b"secagg/1/verify-key\0"
    CONTRIBUTOR = b"secagg/1/contributor\0"
    BINDING = b"secagg/1/binding-seed\0"


def digest(label: Label, *parts: bytes | memoryview, size: int = DIGEST_SIZE) -> bytes:
    """BLAKE2b of `label` and `parts`, injective in the list of parts: each carries its length."""
    state = hashlib.blake2b(label.value, digest_size=size)
    for part in parts:
        state.update(len(part).to_bytes(8, "little"))
        state.update(part)
    return state.digest()


def tag(label: Label, *parts: bytes | memoryview) -> bytes:
    """A 16-byte digest: for commitments to secrets of 256 bits, where 2**64 work to collide
    costs only the party that collides with itself.
    """
    return digest(label, *parts, size=TAG_SIZE)
