"""Messages of secagg_plus, in the order in which they travel."""

from __future__ import annotations

from secagg.primitives import seal
from secagg.wire import Columns, Fixed, Message, Packed, Rows, Table, declare, field

__all__ = [
    "ADVERTS",
    "MEMBERS",
    "OPENED",
    "PARCELS",
    "SURVIVORS",
    "VOTES",
    "Advert",
    "Cohort",
    "Consent",
    "Consents",
    "Inbox",
    "Masked",
    "Shares",
    "Survivors",
    "Unmask",
]

SHARE_SIZE = 32

ADVERTS = Columns(mask_key=32, share_key=32, signature=64)
PARCELS = Columns(edge_tag=16, self_tag=16, key_tag=16, sealed=2 * SHARE_SIZE + seal.OVERHEAD)
MEMBERS = Columns(manifest=32)
VOTES = Columns(signature=64)
SURVIVORS = Columns(attestation=64)
OPENED = Columns(share=SHARE_SIZE)


@declare(code=1, phase="adverts")
class Advert(Message):
    """client -> server: fresh X25519 keys, for masks and for receiving shares."""

    mask_key: bytes = field(Fixed(32))
    share_key: bytes = field(Fixed(32))


@declare(code=2, phase="shares")
class Cohort(Message):
    """server -> all: the adverts that arrived, each with its sender's signature."""

    adverts: Table = field(Rows(ADVERTS))


@declare(code=3, phase="shares")
class Shares(Message):
    """client -> server: commitment to the self-mask seed, and one parcel per neighbour.

    A parcel holds the tag of the edge, which both ends compute alike, commitments to the two
    shares, and the two shares themselves sealed to the neighbour.
    """

    commitment: bytes = field(Fixed(32))
    parcels: Table = field(Rows(PARCELS, near=True))


@declare(code=4, phase="masked")
class Inbox(Message):
    """server -> one client: who shared, with digests of their `Shares`; its neighbours' parcels."""

    members: Table = field(Rows(MEMBERS))
    parcels: Table = field(Rows(PARCELS, near=True))


@declare(code=5, phase="masked")
class Masked(Message):
    """client -> server: the input, its check words, and all masks, added in the ring; and a
    signature on the members under which it was masked.
    """

    attestation: bytes = field(Fixed(64))
    vector: bytes = field(Packed())


@declare(code=6, phase="consent")
class Survivors(Message):
    """server -> those included: whose masked inputs are in the sum, with their attestations."""

    included: Table = field(Rows(SURVIVORS))


@declare(code=7, phase="consent")
class Consent(Message):
    """client -> server: the transcript up to and including the survivor set, thereby signed."""

    transcript: bytes = field(Fixed(32))


@declare(code=8, phase="unmask")
class Consents(Message):
    """server -> those included: a quorum of signatures on one transcript."""

    votes: Table = field(Rows(VOTES))


@declare(code=9, phase="unmask")
class Unmask(Message):
    """client -> server: for each neighbour one share, of the self seed of an included one, of the
    mask key of a dropped one. One row per neighbour: never both.
    """

    shares: Table = field(Rows(OPENED, near=True))
