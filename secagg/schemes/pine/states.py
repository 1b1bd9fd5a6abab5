"""States of the scheme with two aggregators."""

from __future__ import annotations

from secagg.machine import Over, Signal, State, Transitions
from secagg.primitives.field import Elements
from secagg.role_speaker import speaks_once
from secagg.schemes.pine.messages import (
    Close,
    Collect,
    Draw,
    Half,
    Part,
    Relay,
    Reply,
    Report,
    Settle,
    Sum,
)
from secagg.wire import IDS, Array, Blob, Fixed, Map, One, Record, Rows, Table, Uint, declare, field

__all__ = [
    "CLIENT",
    "HELPER",
    "HELPER_OF_SCREEN",
    "LEADER",
    "LEADER_OF_GROUPS",
    "LEADER_OF_SCREEN",
    "Batch",
    "Choosing",
    "Closed",
    "Closing",
    "Collecting",
    "Deciding",
    "Filed",
    "Halved",
    "Halving",
    "Opening",
    "Pending",
    "Verifying",
    "Waiting",
]


@declare(code=1, phase="reports")
class Waiting(State):
    """The client has no input yet."""


@declare(code=1, phase="reports")
class Pending(Record):
    """A report of which the helper's verifier share is due: what verification left behind."""

    output: Elements = field(Array(), secret=True)  # type: ignore[arg-type]
    seeds: bytes = field(Fixed(64))
    verifier: bytes = field(Blob(), secret=True)


@declare(code=2, phase="filed")
class Filed(Record):
    """The leader's share of a report, as it came: `sealed` is opened again when a map is drawn."""

    nonce: bytes = field(Fixed(16))
    sealed: Elements = field(Array())  # type: ignore[arg-type]


@declare(code=2, phase="reports")
class Collecting(State):
    """The leader verifies what arrives, and adds up what both aggregators find valid.

    pending: reports under way. accepted, refused and lost map clients to 1. filed: what the map of
    a screen will be applied to; empty without one.
    """

    total: Elements = field(Array(), secret=True)  # type: ignore[arg-type]
    pending: dict[int, Pending] = field(Map(One(Pending)), secret=True)
    accepted: dict[int, int] = field(Map(Uint(1)))
    refused: dict[int, int] = field(Map(Uint(1)))
    lost: dict[int, int] = field(Map(Uint(1)))
    filed: dict[int, Filed] = field(Map(One(Filed)))


@declare(code=3, phase="sum")
class Opening(State):
    """The leader has named the inputs of the sum, and waits for the helper's share of it."""

    total: Elements = field(Array(), secret=True)  # type: ignore[arg-type]
    accepted: dict[int, int] = field(Map(Uint(1)))
    refused: dict[int, int] = field(Map(Uint(1)))


@declare(code=3, phase="filed")
class Batch(Record):
    """The valid reports, when no more are taken. total: over all of `filed`, the batch."""

    total: Elements = field(Array(), secret=True)  # type: ignore[arg-type]
    refused: dict[int, int] = field(Map(Uint(1)))
    filed: dict[int, Filed] = field(Map(One(Filed)))


@declare(code=5, phase="decide")
class Choosing(State):
    """The caller of the leader says who is accepted, before groups of these are drawn."""

    batch: Batch = field(One(Batch))


@declare(code=6, phase="screen")
class Closing(State):
    """The leader has fixed the batch, and waits for the helper's nonce."""

    batch: Batch = field(One(Batch))


@declare(code=7, phase="screen")
class Halving(State):
    """The leader is bound to its half, and waits for the helper's. screen: the transcript."""

    batch: Batch = field(One(Batch))
    screen: bytes = field(Fixed(32))
    half: bytes = field(Blob(), secret=True)


@declare(code=8, phase="decide")
class Deciding(State):
    """What is opened of each client is known, and who of `eligible` is accepted is not."""

    batch: Batch = field(One(Batch))
    screen: bytes = field(Fixed(32))
    eligible: Table = field(Rows(IDS))
    half: bytes = field(Blob(), secret=True)


@declare(code=4, phase="reports")
class Verifying(State):
    """The helper verifies its half. accepted: seeds of the shares that are in `total`."""

    total: Elements = field(Array(), secret=True)  # type: ignore[arg-type]
    accepted: dict[int, bytes] = field(Map(Fixed(32)), secret=True)


@declare(code=9, phase="screen")
class Closed(State):
    """The helper takes no more reports. commitment: the leader's, to its nonce."""

    total: Elements = field(Array(), secret=True)  # type: ignore[arg-type]
    accepted: dict[int, bytes] = field(Map(Fixed(32)), secret=True)
    commitment: bytes = field(Fixed(32))


@declare(code=10, phase="sum")
class Halved(State):
    """The helper has shown its half. commitment: the leader's, to the other."""

    total: Elements = field(Array(), secret=True)  # type: ignore[arg-type]
    accepted: dict[int, bytes] = field(Map(Fixed(32)), secret=True)
    screen: bytes = field(Fixed(32))
    commitment: bytes = field(Fixed(32))
    half: bytes = field(Blob(), secret=True)


CLIENT: Transitions = speaks_once(Waiting)
LEADER: Transitions = {
    Collecting: {
        Report: (Collecting, Opening),
        Reply: (Collecting, Opening),
        Signal.DEADLINE: (Opening, Over),
        Signal.LOST: (Collecting, Opening, Over),
    },
    Opening: {
        Sum: (Over,),
        Signal.DEADLINE: (Over,),
        Signal.LOST: (Opening, Over),
    },
}
LEADER_OF_SCREEN: Transitions = {
    Collecting: {
        Report: (Collecting, Closing),
        Reply: (Collecting, Closing),
        Signal.DEADLINE: (Closing, Over),
        Signal.LOST: (Collecting, Closing, Over),
    },
    Closing: {
        Part: (Halving,),
        Signal.DEADLINE: (Over,),
        Signal.LOST: (Closing, Over),
    },
    Halving: {
        Half: (Deciding, Over),
        Signal.DEADLINE: (Over,),
        Signal.LOST: (Halving, Over),
    },
    Deciding: {
        Signal.INPUT: (Opening,),
        Signal.DEADLINE: (Opening,),
        Signal.LOST: (Deciding, Over),
    },
    Opening: LEADER[Opening],
}
LEADER_OF_GROUPS: Transitions = {
    Collecting: {
        Report: (Collecting, Choosing),
        Reply: (Collecting, Choosing),
        Signal.DEADLINE: (Choosing, Over),
        Signal.LOST: (Collecting, Choosing, Over),
    },
    Choosing: {
        Signal.INPUT: (Closing,),
        Signal.DEADLINE: (Closing,),
        Signal.LOST: (Choosing, Over),
    },
    Closing: LEADER_OF_SCREEN[Closing],
    Halving: {
        Half: (Opening,),
        Signal.DEADLINE: (Over,),
        Signal.LOST: (Halving, Over),
    },
    Opening: LEADER[Opening],
}
HELPER_OF_SCREEN: Transitions = {
    Verifying: {
        Relay: (Verifying,),
        Close: (Closed,),
        Signal.DEADLINE: (Over,),
    },
    Closed: {
        Draw: (Halved,),
        Signal.DEADLINE: (Over,),
    },
    Halved: {
        Settle: (Over,),
        Signal.DEADLINE: (Over,),
    },
}
HELPER: Transitions = {
    Verifying: {
        Relay: (Verifying,),
        Collect: (Over,),
        Signal.DEADLINE: (Over,),
    }
}
