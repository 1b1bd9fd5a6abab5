"""States of secagg_plus_verified beside those it shares with secagg_plus."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from secagg.identity import PartyId
from secagg.machine import Over, Signal, State, Transitions
from secagg.primitives.ring import Words
from secagg.schemes.secagg_plus.messages import (
    OPENED,
    Advert,
    Consent,
    Consents,
    Inbox,
    Masked,
    Shares,
    Unmask,
)
from secagg.schemes.secagg_plus.states import (
    HOLDINGS,
    STREAMS,
    Adverting,
    Book,
    Booked,
    Consented,
    Consenting,
    Inviting,
    Keyed,
    Shared,
    Sharing,
    Unmasking,
)
from secagg.schemes.secagg_plus.verified.messages import (
    DIGESTS,
    SECRETS,
    Accepted,
    Call,
    Closing,
    Dispute,
    Draw,
    Edges,
    Sketches,
    Strike,
)
from secagg.wire import (
    IDS,
    Array,
    Cells,
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
    "PHASES",
    "SERVER",
    "SERVER_OF_GROUPS",
    "Agreed",
    "Called",
    "Committed",
    "Deciding",
    "Disputing",
    "Drawn",
    "Hearing",
    "Screening",
    "Settled",
    "Settling",
    "Sketched",
    "Storing",
    "Striking",
    "Unmasked",
]

PHASES = (
    "adverts",
    "shares",
    "masked",
    "screen",
    "dispute",
    "decide",
    "consent",
    "unmask",
    "strike",
)
"""In order. No client speaks in "decide"; "dispute" and "strike" are for rounds with liars."""


# -- client -----------------------------------------------------------------------------------


@declare(code=64, phase="shares")
class Called(Shared):
    """The shares are out. `commitment` is the server's, to its nonce."""

    commitment: bytes = field(Fixed(32))


@declare(code=65, phase="masked")
class Agreed(Keyed):
    """The masks are agreed and the input is awaited. `secrets` are shared with each neighbour."""

    commitment: bytes = field(Fixed(32))
    secrets: Table = field(Rows(STREAMS), secret=True)


@declare(code=66, phase="screen")
class Committed(State):
    """The masked input is out, and its digest is `upload`; `transcript` is of the members."""

    cohort: bytes = field(Fixed(32))
    transcript: bytes = field(Fixed(32))
    members: Table = field(Rows(IDS))
    holdings: Table = field(Rows(HOLDINGS), secret=True)
    commitment: bytes = field(Fixed(32))
    upload: bytes = field(Fixed(32))
    secrets: Table = field(Rows(STREAMS), secret=True)
    self_key: bytes = field(Fixed(32), secret=True)


@declare(code=67, phase="consent")
class Sketched(State):
    """The sketches are out; `digests` are of each value that was signed.

    transcript: of the screen. before: of the members. uploaded: among whom the sum will be.
    """

    cohort: bytes = field(Fixed(32))
    before: bytes = field(Fixed(32))
    transcript: bytes = field(Fixed(32))
    uploaded: Table = field(Rows(IDS))
    holdings: Table = field(Rows(HOLDINGS), secret=True)
    secrets: Table = field(Rows(STREAMS), secret=True)
    digests: Table = field(Rows(DIGESTS), secret=True)


@declare(code=68, phase="consent")
class Settled(Consented):
    """One accepted set is signed; another will not be."""

    cohort: bytes = field(Fixed(32))
    before: bytes = field(Fixed(32))
    screen: bytes = field(Fixed(32))


@declare(code=69, phase="strike")
class Unmasked(State):
    """The shares are opened. `keys` are those of mask keys, for the case that somebody lied."""

    cohort: bytes = field(Fixed(32))
    before: bytes = field(Fixed(32))
    screen: bytes = field(Fixed(32))
    included: Table = field(Rows(IDS))
    keys: Table = field(Rows(OPENED, near=True), secret=True)


CLIENT: Transitions = {
    Adverting: {Signal.INPUT: (Adverting,), Call: (Called,), Signal.DEADLINE: (Over,)},
    Called: {Signal.INPUT: (Called,), Inbox: (Agreed, Committed), Signal.DEADLINE: (Over,)},
    Agreed: {Signal.INPUT: (Committed,), Signal.DEADLINE: (Over,)},
    Committed: {Draw: (Sketched,), Signal.DEADLINE: (Over,)},
    Sketched: {Dispute: (Sketched,), Accepted: (Settled,), Signal.DEADLINE: (Over,)},
    Settled: {Consents: (Unmasked,), Signal.DEADLINE: (Over,)},
    Unmasked: {Closing: (Over,), Signal.DEADLINE: (Over,)},
}


# -- server -----------------------------------------------------------------------------------


@declare(code=80, phase="book")
class Drawn(Record):
    """What the server keeps from the screen to the end.

    shares: what everybody committed to. uploads: what everybody sent. transcript: of the screen.
    """

    members: bytes = field(Fixed(32))
    transcript: bytes = field(Fixed(32))
    shares: dict[int, Shares] = field(Map(One(Shares)))
    uploads: dict[int, Words] = field(Map(Array()))
    digests: Table = field(Rows(DIGESTS))
    attested: dict[int, bytes] = field(Map(Fixed(64)))
    values: dict[int, Table] = field(Map(Cells()))


class Hearing(Booked):
    """A state that comes after the draw."""

    drawn: Drawn


@declare(code=81, phase="masked")
class Storing(Booked):
    """Keeping masked inputs: whose will be in the sum is decided when all are there."""

    book: Book = field(One(Book))
    transcript: bytes = field(Fixed(32))
    shares: dict[int, Shares] = field(Map(One(Shares)))
    uploads: dict[int, Words] = field(Map(Array()))
    digests: dict[int, bytes] = field(Map(Fixed(32)))

    @property
    def collected(self) -> dict[PartyId, Any]:
        return self.digests

    def due(self, invited: tuple[PartyId, ...]) -> Iterable[PartyId]:
        return self.book.members.peers


@declare(code=82, phase="screen")
class Screening(Hearing):
    """Collecting the sketches of masks."""

    book: Book = field(One(Book))
    drawn: Drawn = field(One(Drawn))

    @property
    def collected(self) -> dict[PartyId, Any]:
        return self.drawn.values

    def due(self, invited: tuple[PartyId, ...]) -> Iterable[PartyId]:
        return self.drawn.uploads


@declare(code=83, phase="dispute")
class Disputing(Hearing):
    """Collecting the secrets of edges whose ends disagree. `asked` says which, by client."""

    book: Book = field(One(Book))
    drawn: Drawn = field(One(Drawn))
    asked: dict[int, Table] = field(Map(Rows(IDS)))
    opened: dict[int, Table] = field(Map(Rows(SECRETS)), secret=True)

    @property
    def collected(self) -> dict[PartyId, Any]:
        return self.opened

    def due(self, invited: tuple[PartyId, ...]) -> Iterable[PartyId]:
        return self.asked


@declare(code=84, phase="decide")
class Deciding(Hearing):
    """The statistics are out, and the caller says whom to accept, among the `eligible`."""

    book: Book = field(One(Book))
    drawn: Drawn = field(One(Drawn))
    eligible: Table = field(Rows(IDS))
    none: dict[int, int] = field(Map(Uint(1)))

    @property
    def collected(self) -> dict[PartyId, Any]:
        return self.none

    def due(self, invited: tuple[PartyId, ...]) -> Iterable[PartyId]:
        return ()


@declare(code=85, phase="consent")
class Settling(Consenting):
    """Collecting signatures on the accepted set."""

    drawn: Drawn = field(One(Drawn))


@declare(code=86, phase="unmask")
class Uncovering(Unmasking):
    """Collecting the shares that remove the masks."""

    drawn: Drawn = field(One(Drawn))


@declare(code=87, phase="strike")
class Striking(Hearing):
    """Collecting the shares that take liars out of the sum. `opened` is what came before, and
    `rejected` who opened false shares then.
    """

    book: Book = field(One(Book))
    drawn: Drawn = field(One(Drawn))
    included: Table = field(Rows(IDS))
    liars: Table = field(Rows(IDS))
    rejected: Table = field(Rows(IDS))
    opened: dict[int, Table] = field(Map(Rows(OPENED, near=True)), secret=True)
    struck: dict[int, Table] = field(Map(Rows(OPENED, near=True)), secret=True)

    @property
    def collected(self) -> dict[PartyId, Any]:
        return self.struck

    def due(self, invited: tuple[PartyId, ...]) -> Iterable[PartyId]:
        return self.included.peers


def _until(kind: Any, stays: type[State], *leads: type[State]) -> Any:
    return {
        kind: (stays, *leads),
        Signal.LOST: (stays, *leads),
        Signal.DEADLINE: (*leads, Over) if Over not in leads else leads,
    }


SERVER: Transitions = {
    Inviting: _until(Advert, Inviting, Sharing),
    Sharing: _until(Shares, Sharing, Storing),
    Storing: _until(Masked, Storing, Screening),
    Screening: _until(Sketches, Screening, Disputing, Deciding, Over),
    Disputing: _until(Edges, Disputing, Deciding, Over),
    Deciding: {
        Signal.INPUT: (Settling,),
        Signal.LOST: (Deciding,),
        Signal.DEADLINE: (Settling, Over),
    },
    Settling: _until(Consent, Settling, Uncovering),
    Uncovering: _until(Unmask, Uncovering, Striking, Over),
    Striking: _until(Strike, Striking, Over),
}
SERVER_OF_GROUPS: Transitions = {
    **{kind: row for kind, row in SERVER.items() if kind is not Striking},
    Uncovering: _until(Unmask, Uncovering, Over),
}
"""All lies are found before consent, so nobody is taken out of the sum again."""
