"""States of secagg_plus, and the tables that say which message leads from one to which.

Fields marked secret never show in a repr. Each state drops what its successors do not need.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, ClassVar

from secagg.identity import PartyId
from secagg.machine import Over, Signal, State, Transitions
from secagg.primitives.ring import Words
from secagg.schemes.secagg_plus.messages import (
    ADVERTS,
    MEMBERS,
    OPENED,
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
from secagg.wire import (
    IDS,
    Array,
    Columns,
    Fixed,
    Map,
    One,
    Record,
    Rows,
    Table,
    Uint,
    declare,
    field,
)

__all__ = [
    "CLIENT",
    "CLIENT_SEMI_HONEST",
    "HOLDINGS",
    "PEERS",
    "PHASES",
    "SERVER",
    "SERVER_SEMI_HONEST",
    "STREAMS",
    "TAGS",
    "Adverting",
    "Book",
    "Booked",
    "Collecting",
    "Consented",
    "Consenting",
    "Inviting",
    "Keyed",
    "Masking",
    "Sent",
    "Shared",
    "Sharing",
    "Unmasking",
]

PHASES = ("adverts", "shares", "masked", "consent", "unmask")
"""In order; the semi-honest scheme has no consent phase."""

PEERS = Columns(mask_key=32)
HOLDINGS = Columns(self_share=32, key_share=32)
STREAMS = Columns(key=32)
TAGS = Columns(self_tag=16, key_tag=16)


# -- client -----------------------------------------------------------------------------------


@declare(code=1, phase="adverts")
class Adverting(State):
    """The advert is out."""

    mask_private: bytes = field(Fixed(32), secret=True)
    share_private: bytes = field(Fixed(32), secret=True)
    vector: Words | None = field(Array(), secret=True)


@declare(code=2, phase="shares")
class Shared(State):
    """The shares are out. `peers` are the neighbours that advertised."""

    mask_private: bytes = field(Fixed(32), secret=True)
    share_private: bytes = field(Fixed(32), secret=True)
    seed: bytes = field(Fixed(32), secret=True)
    cohort: bytes = field(Fixed(32))
    manifest: bytes = field(Fixed(32))
    adverted: Table = field(Rows(IDS))
    peers: Table = field(Rows(PEERS))
    vector: Words | None = field(Array(), secret=True)


@declare(code=3, phase="masked")
class Keyed(State):
    """The masks are agreed and the input is awaited. `streams` holds a mask key per neighbour."""

    cohort: bytes = field(Fixed(32))
    transcript: bytes = field(Fixed(32))
    members: Table = field(Rows(IDS))
    holdings: Table = field(Rows(HOLDINGS), secret=True)
    streams: Table = field(Rows(STREAMS), secret=True)
    self_key: bytes = field(Fixed(32), secret=True)


@declare(code=4, phase="masked")
class Sent(State):
    """The masked input is out; keys that made it are gone, others' shares are kept."""

    cohort: bytes = field(Fixed(32))
    transcript: bytes = field(Fixed(32))
    members: Table = field(Rows(IDS))
    holdings: Table = field(Rows(HOLDINGS), secret=True)


@declare(code=5, phase="consent")
class Consented(State):
    """One survivor set is signed; another will not be."""

    transcript: bytes = field(Fixed(32))
    included: Table = field(Rows(IDS))
    holdings: Table = field(Rows(HOLDINGS), secret=True)


_CLIENT_START: Transitions = {
    Adverting: {Signal.INPUT: (Adverting,), Cohort: (Shared,), Signal.DEADLINE: (Over,)},
    Shared: {Signal.INPUT: (Shared,), Inbox: (Keyed, Sent), Signal.DEADLINE: (Over,)},
    Keyed: {Signal.INPUT: (Sent,), Signal.DEADLINE: (Over,)},
}
CLIENT: Transitions = {
    **_CLIENT_START,
    Sent: {Survivors: (Consented,), Signal.DEADLINE: (Over,)},
    Consented: {Consents: (Over,), Signal.DEADLINE: (Over,)},
}
CLIENT_SEMI_HONEST: Transitions = {
    **_CLIENT_START,
    Sent: {Survivors: (Over,), Signal.DEADLINE: (Over,)},
}


# -- server -----------------------------------------------------------------------------------


class Collecting(State):
    """A state in which the server waits for one message of each of several clients.

    revocable: what was collected is in no sum yet, and goes when its sender is rejected.
    """

    revocable: ClassVar[bool] = False

    @property
    def collected(self) -> dict[PartyId, Any]:
        """What has arrived, by sender."""
        raise NotImplementedError

    @property
    def losses(self) -> dict[PartyId, int]:
        """The clients lost so far, with the number of the phase in the role's phases."""
        raise NotImplementedError

    def due(self, invited: tuple[PartyId, ...]) -> Iterable[PartyId]:
        """Whose message this state asks for."""
        raise NotImplementedError


@declare(code=32, phase="book")
class Book(Record):
    """What the server keeps from the shares phase to the end.

    lost maps a party to the number of the phase in which it was lost.
    """

    cohort: bytes = field(Fixed(32))
    mask_keys: Table = field(Rows(PEERS))
    members: Table = field(Rows(MEMBERS))
    commitments: dict[int, bytes] = field(Map(Fixed(32)))
    tags: dict[int, Table] = field(Map(Rows(TAGS, near=True)))
    lost: dict[int, int] = field(Map(Uint(1)))


class Booked(Collecting):
    """A state that comes after the shares phase."""

    book: Book

    @property
    def losses(self) -> dict[PartyId, int]:
        return self.book.lost


@declare(code=33, phase="adverts")
class Inviting(Collecting):
    """Collecting adverts."""

    revocable = True

    adverts: dict[int, bytes] = field(Map(Fixed(128)))
    lost: dict[int, int] = field(Map(Uint(1)))

    @property
    def collected(self) -> dict[PartyId, Any]:
        return self.adverts

    @property
    def losses(self) -> dict[PartyId, int]:
        return self.lost

    def due(self, invited: tuple[PartyId, ...]) -> Iterable[PartyId]:
        return invited


@declare(code=34, phase="shares")
class Sharing(Collecting):
    """Collecting shares."""

    revocable = True

    cohort: bytes = field(Fixed(32))
    adverts: Table = field(Rows(ADVERTS))
    shares: dict[int, Shares] = field(Map(One(Shares)))
    lost: dict[int, int] = field(Map(Uint(1)))

    @property
    def collected(self) -> dict[PartyId, Any]:
        return self.shares

    @property
    def losses(self) -> dict[PartyId, int]:
        return self.lost

    def due(self, invited: tuple[PartyId, ...]) -> Iterable[PartyId]:
        return self.adverts.peers


@declare(code=35, phase="masked")
class Masking(Booked):
    """Adding masked inputs as they arrive. `arrived` maps parties to their attestations."""

    book: Book = field(One(Book))
    transcript: bytes = field(Fixed(32))
    total: Words = field(Array())  # type: ignore[arg-type]
    arrived: dict[int, bytes] = field(Map(Fixed(64)))

    @property
    def collected(self) -> dict[PartyId, Any]:
        return self.arrived

    def due(self, invited: tuple[PartyId, ...]) -> Iterable[PartyId]:
        return self.book.members.peers


@declare(code=36, phase="consent")
class Consenting(Booked):
    """Collecting signatures on the survivor set."""

    book: Book = field(One(Book))
    members: bytes = field(Fixed(32))
    transcript: bytes = field(Fixed(32))
    total: Words = field(Array())  # type: ignore[arg-type]
    included: Table = field(Rows(IDS))
    votes: dict[int, bytes] = field(Map(Fixed(64)))

    @property
    def collected(self) -> dict[PartyId, Any]:
        return self.votes

    def due(self, invited: tuple[PartyId, ...]) -> Iterable[PartyId]:
        return self.included.peers


@declare(code=37, phase="unmask")
class Unmasking(Booked):
    """Collecting the shares that remove the masks."""

    book: Book = field(One(Book))
    members: bytes = field(Fixed(32))
    total: Words = field(Array())  # type: ignore[arg-type]
    included: Table = field(Rows(IDS))
    opened: dict[int, Table] = field(Map(Rows(OPENED, near=True)), secret=True)

    @property
    def collected(self) -> dict[PartyId, Any]:
        return self.opened

    def due(self, invited: tuple[PartyId, ...]) -> Iterable[PartyId]:
        return self.included.peers


_SERVER_START: Transitions = {
    Inviting: {
        Advert: (Inviting, Sharing),
        Signal.LOST: (Inviting, Sharing),
        Signal.DEADLINE: (Sharing, Over),
    },
    Sharing: {
        Shares: (Sharing, Masking),
        Signal.LOST: (Sharing, Masking),
        Signal.DEADLINE: (Masking, Over),
    },
}
_SERVER_END: Transitions = {
    Unmasking: {
        Unmask: (Unmasking, Over),
        Signal.LOST: (Unmasking, Over),
        Signal.DEADLINE: (Over,),
    },
}
SERVER: Transitions = {
    **_SERVER_START,
    Masking: {
        Masked: (Masking, Consenting),
        Signal.LOST: (Masking, Consenting),
        Signal.DEADLINE: (Consenting, Over),
    },
    Consenting: {
        Consent: (Consenting, Unmasking),
        Signal.LOST: (Consenting, Unmasking),
        Signal.DEADLINE: (Unmasking, Over),
    },
    **_SERVER_END,
}
SERVER_SEMI_HONEST: Transitions = {
    **_SERVER_START,
    Masking: {
        Masked: (Masking, Unmasking),
        Signal.LOST: (Masking, Unmasking),
        Signal.DEADLINE: (Unmasking, Over),
    },
    **_SERVER_END,
}
