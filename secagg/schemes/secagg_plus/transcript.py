"""What both sides derive alike: transcripts, tags, mask keys and check words.

Three transcripts chain the round's public facts: the context and all adverts; then who shared and
what; then who survived. Keys are derived from the latest one, so two clients that were told
different things have masks that do not cancel, and signatures that do not count together.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from secagg.identity import PartyId
from secagg.primitives import agreement, prg
from secagg.primitives.digest import Label, digest, tag
from secagg.primitives.ring import Words
from secagg.wire import Table

__all__ = [
    "KEY",
    "SELF",
    "check_words",
    "cohort_transcript",
    "commitment",
    "edge_tag",
    "graph_seed",
    "mask_key",
    "members_transcript",
    "open_seal_info",
    "seal_info",
    "self_mask_key",
    "share_tag",
    "stated_transcript",
    "survivors_transcript",
]

SELF = b"\0"
"""Marks shares of a self-mask seed."""
KEY = b"\1"
"""Marks shares of a private mask key."""


def cohort_transcript(context: bytes, adverts: Table) -> bytes:
    """First transcript: the context and everybody's adverts."""
    return digest(Label.COHORT, context, adverts.tobytes())


def members_transcript(cohort: bytes, members: Table) -> bytes:
    """Second transcript: also who shared, with the digest of what each of them sent."""
    return digest(Label.MEMBERS, cohort, members.tobytes())


def stated_transcript(context: bytes, dealers: Table, statement: bytes) -> bytes:
    """Second transcript of the brief variant: who dealt, what, and from which model."""
    return digest(Label.MEMBERS, context, dealers.tobytes(), statement)


def survivors_transcript(members: bytes, included: Iterable[PartyId]) -> bytes:
    """Third transcript: also whose inputs are in the sum. This is what clients sign."""
    return digest(Label.SURVIVORS, members, b"".join(map(_id, sorted(included))))


def graph_seed(cohort: bytes) -> bytes:
    """32 bytes that draw the graph: fixed only when every advert is."""
    return digest(Label.GRAPH, cohort)


def commitment(cohort: bytes, dealer: PartyId, seed: bytes) -> bytes:
    """Commitment to a self-mask seed of 256 uniform bits."""
    return digest(Label.SELF_SEED, cohort, _id(dealer), seed)


def share_tag(cohort: bytes, dealer: PartyId, holder: PartyId, kind: bytes, share: bytes) -> bytes:
    """Commitment to one share of 256 uniform bits; `kind` is `SELF` or `KEY`."""
    return tag(Label.SHARE, cohort, _id(dealer), _id(holder), kind, share)


def edge_tag(secret: bytes, cohort: bytes, one: PartyId, other: PartyId) -> bytes:
    """What both ends of an edge post. Ends that disagree on the secret or on the adverts post
    different tags; equal ones prove nothing to a third party, who could have copied one.
    """
    return agreement.derive(secret, Label.EDGE, cohort, _pair(one, other), size=16)


def seal_info(secret: bytes, cohort: bytes, dealer: PartyId, holder: PartyId) -> bytes:
    """HPKE's `info` for a parcel. Only the two ends can compute it, so base mode authenticates."""
    binding = agreement.derive(secret, Label.SEAL, cohort, _pair(dealer, holder))
    return open_seal_info(cohort, dealer, holder) + binding


def open_seal_info(context: bytes, dealer: PartyId, holder: PartyId) -> bytes:
    """HPKE's `info` where dealer and holder have no secret yet: it binds, and authenticates not."""
    return Label.SEAL.value + context + _id(dealer) + _id(holder)


def mask_key(secret: bytes, members: bytes, one: PartyId, other: PartyId) -> bytes:
    """Key of the mask that the lower id adds and the higher subtracts."""
    return agreement.derive(secret, Label.PAIR_MASK, members, _pair(one, other))


def self_mask_key(seed: bytes, members: bytes, dealer: PartyId) -> bytes:
    """Key of a client's self mask."""
    return agreement.derive(seed, Label.SELF_MASK, members, _id(dealer))


def check_words(vector: Words, cohort: bytes, count: int) -> Words:
    """`count` inner products of `vector` with public pseudorandom vectors, over its words.

    They are linear: the check words of a sum are the sum of the check words. Masks that do not
    cancel leave uniform noise, which passes with probability 2**(-width * count). They say
    nothing about what a client put in, which it could always choose.
    """
    step = (1 << 17) // vector.itemsize
    zeros = memoryview(bytes(step * vector.itemsize))
    products = np.zeros(count, vector.dtype)
    for row in range(count):
        key = digest(Label.CHECK, cohort, bytes((row,)))
        source = prg.encryptor(key)
        for start in range(0, vector.size, step):
            chunk = vector[start : start + step]
            coefficients = np.frombuffer(source.update(zeros[: chunk.nbytes]), vector.dtype)
            products[row : row + 1] += np.dot(
                chunk, coefficients
            )  # a slice wraps without a warning
    return products


def _id(party: PartyId) -> bytes:
    return party.to_bytes(4, "little")


def _pair(one: PartyId, other: PartyId) -> bytes:
    return _id(min(one, other)) + _id(max(one, other))
