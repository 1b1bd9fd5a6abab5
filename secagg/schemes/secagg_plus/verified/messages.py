"""Messages of secagg_plus_verified beside those it shares with secagg_plus."""

from __future__ import annotations

from secagg.schemes.secagg_plus.messages import ADVERTS, MEMBERS, OPENED, Shares
from secagg.wire import (
    Cells,
    Columns,
    Fixed,
    Map,
    Message,
    One,
    Record,
    Rows,
    Table,
    Uint,
    declare,
    field,
)

__all__ = [
    "ACCEPTED",
    "DIGESTS",
    "SECRETS",
    "Accepted",
    "Call",
    "Claim",
    "Closing",
    "Dispute",
    "Draw",
    "Edges",
    "Proof",
    "Sketches",
    "Strike",
]

DIGESTS = Columns(digest=32)
SECRETS = Columns(secret=32)
ACCEPTED = Columns(root=32, attestation=64)


@declare(code=20, phase="shares")
class Call(Message):
    """server -> all: the adverts that arrived, each with its sender's signature; and a commitment
    to the nonce that the server will add to the draw of the sketch.
    """

    commitment: bytes = field(Fixed(32))
    adverts: Table = field(Rows(ADVERTS))


@declare(code=21, phase="screen")
class Draw(Message):
    """server -> all who uploaded: the nonce, and digests of everybody's `Masked`. From these the
    map follows, which nobody could know before.
    """

    nonce: bytes = field(Fixed(32))
    uploads: Table = field(Rows(DIGESTS))


@declare(code=22, phase="screen")
class Sketches(Message):
    """client -> server: what the map makes of its self mask, under its own id, and of the mask
    with each neighbour; and a signature on their digests.
    """

    attestation: bytes = field(Fixed(64))
    values: Table = field(Cells(near=True))


@declare(code=30, phase="dispute")
class Claim(Record):
    """Digests of what one client signed."""

    attestation: bytes = field(Fixed(64))
    digests: Table = field(Rows(DIGESTS, near=True))


@declare(code=23, phase="dispute")
class Dispute(Message):
    """server -> one client: neighbours that signed another value for the mask with it."""

    claims: dict[int, Claim] = field(Map(One(Claim), near=True))


@declare(code=24, phase="dispute")
class Edges(Message):
    """client -> server: the secrets that it shares with these neighbours."""

    secrets: Table = field(Rows(SECRETS))


@declare(code=25, phase="consent")
class Accepted(Message):
    """server -> those accepted: whose inputs are in the sum, and what each of them signed."""

    included: Table = field(Rows(ACCEPTED))


@declare(code=31, phase="strike")
class Proof(Record):
    """That a client signed a value that its own commitment contradicts.

    peer: the other end of the edge, or the client itself for its self mask. secret: what the
    mask follows from. shares: what the client committed to. value: what it signed.
    """

    peer: int = field(Uint(4))
    secret: bytes = field(Fixed(32))
    shares: Shares = field(One(Shares))
    claim: Claim = field(One(Claim))
    value: Table = field(Cells(near=True))


@declare(code=26, phase="strike")
class Closing(Message):
    """server -> those accepted: the sum is open, and who of them turned out to have lied."""

    members: Table = field(Rows(MEMBERS))
    proofs: dict[int, Proof] = field(Map(One(Proof)))


@declare(code=27, phase="strike")
class Strike(Message):
    """client -> server: shares of the mask keys of the liars, whose inputs leave the sum."""

    shares: Table = field(Rows(OPENED, near=True))
