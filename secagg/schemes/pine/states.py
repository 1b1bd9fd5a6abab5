"""States of the scheme with two aggregators."""

from __future__ import annotations

from secagg.machine import Over, Signal, State, Transitions
from secagg.primitives.field import Elements
from secagg.role_speaker import speaks_once
from secagg.schemes.pine.messages import Collect, Relay, Reply, Report, Sum
from secagg.wire import Array, Blob, Fixed, Map, One, Record, Uint, declare, field

__all__ = ["CLIENT", "HELPER", "LEADER", "Collecting", "Opening", "Pending", "Verifying", "Waiting"]


@declare(code=1, phase="reports")
class Waiting(State):
    """The client has no input yet."""


@declare(code=1, phase="reports")
class Pending(Record):
    """A report of which the helper's verifier share is due: what verification left behind."""

    output: Elements = field(Array(), secret=True)  # type: ignore[arg-type]
    seeds: bytes = field(Fixed(64))
    verifier: bytes = field(Blob(), secret=True)


@declare(code=2, phase="reports")
class Collecting(State):
    """The leader verifies what arrives, and adds up what both aggregators find valid.

    pending: reports under way. accepted, refused and lost map clients to 1.
    """

    total: Elements = field(Array(), secret=True)  # type: ignore[arg-type]
    pending: dict[int, Pending] = field(Map(One(Pending)), secret=True)
    accepted: dict[int, int] = field(Map(Uint(1)))
    refused: dict[int, int] = field(Map(Uint(1)))
    lost: dict[int, int] = field(Map(Uint(1)))


@declare(code=3, phase="sum")
class Opening(State):
    """The leader has named the inputs of the sum, and waits for the helper's share of it."""

    total: Elements = field(Array(), secret=True)  # type: ignore[arg-type]
    accepted: dict[int, int] = field(Map(Uint(1)))
    refused: dict[int, int] = field(Map(Uint(1)))


@declare(code=4, phase="reports")
class Verifying(State):
    """The helper verifies its half. accepted: seeds of the shares that are in `total`."""

    total: Elements = field(Array(), secret=True)  # type: ignore[arg-type]
    accepted: dict[int, bytes] = field(Map(Fixed(32)), secret=True)


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
HELPER: Transitions = {
    Verifying: {
        Relay: (Verifying,),
        Collect: (Over,),
        Signal.DEADLINE: (Over,),
    }
}
