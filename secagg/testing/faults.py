"""What can go wrong between and at the parties, as data: a round plus a list of faults is a test.

A `LinkFault` changes frames in transit. It strikes those that match its sender, receiver and
message, each with its `chance`. A `PeerFault` is a script for one party.
"""

from __future__ import annotations

import enum
from collections.abc import Collection
from dataclasses import dataclass, replace

from secagg.identity import PartyId
from secagg.testing.rand import SeededRand
from secagg.wire import Message

__all__ = [
    "Corrupt",
    "Crash",
    "Delay",
    "Drop",
    "Duplicate",
    "Fault",
    "Flight",
    "Late",
    "LinkFault",
    "Moment",
    "Partition",
    "PeerFault",
    "Reorder",
    "Tardy",
    "Truncate",
    "Vanish",
]


@dataclass(frozen=True, kw_only=True)
class Flight:
    """A frame in transit.

    sent, due: steps of the network. rank: order within a step, before the order of sending.
    held: deadlines of the server that must pass before the frame arrives.
    """

    sender: PartyId
    receiver: PartyId
    kind: type[Message] | None
    data: bytes
    sent: int
    due: int
    rank: int = 0
    held: int = 0


@dataclass(frozen=True, kw_only=True)
class LinkFault:
    """Strikes frames of `sender` to `receiver` that carry `message`; None means any."""

    sender: PartyId | None = None
    receiver: PartyId | None = None
    message: type[Message] | None = None
    chance: float = 1.0

    def apply(self, flight: Flight, rand: SeededRand) -> list[Flight]:
        """What travels in the place of `flight`."""
        struck = self._matches(flight) and rand.chance(self.chance)
        return self.strike(flight, rand) if struck else [flight]

    def strike(self, flight: Flight, rand: SeededRand) -> list[Flight]:
        """What travels in the place of a flight that is struck."""
        raise NotImplementedError

    def _matches(self, flight: Flight) -> bool:
        return (
            self.sender in (None, flight.sender)
            and self.receiver in (None, flight.receiver)
            and self.message in (None, flight.kind)
        )


@dataclass(frozen=True, kw_only=True)
class Drop(LinkFault):
    """The frame is lost."""

    def strike(self, flight: Flight, rand: SeededRand) -> list[Flight]:
        return []


@dataclass(frozen=True, kw_only=True)
class Delay(LinkFault):
    """The frame takes up to `most` steps longer, but arrives before the next deadline."""

    most: int = 5

    def strike(self, flight: Flight, rand: SeededRand) -> list[Flight]:
        return [replace(flight, due=flight.due + rand.below(self.most + 1))]


@dataclass(frozen=True, kw_only=True)
class Late(LinkFault):
    """The frame arrives after the server's next `deadlines` deadlines."""

    deadlines: int = 1

    def strike(self, flight: Flight, rand: SeededRand) -> list[Flight]:
        return [replace(flight, held=flight.held + self.deadlines)]


@dataclass(frozen=True, kw_only=True)
class Duplicate(LinkFault):
    """Another `copies` of the frame arrive, each up to `most` steps later."""

    copies: int = 1
    most: int = 3

    def strike(self, flight: Flight, rand: SeededRand) -> list[Flight]:
        later = [replace(flight, due=flight.due + rand.below(self.most + 1))] * self.copies
        return [flight, *later]


@dataclass(frozen=True, kw_only=True)
class Reorder(LinkFault):
    """The frame takes a random place among those that arrive in the same step."""

    def strike(self, flight: Flight, rand: SeededRand) -> list[Flight]:
        return [replace(flight, rank=rand.below(1 << 16))]


@dataclass(frozen=True, kw_only=True)
class Corrupt(LinkFault):
    """One bit of the frame flips."""

    def strike(self, flight: Flight, rand: SeededRand) -> list[Flight]:
        at = rand.below(8 * len(flight.data)) if flight.data else 0
        data = bytearray(flight.data)
        if data:
            data[at // 8] ^= 1 << at % 8
        return [replace(flight, data=bytes(data))]


@dataclass(frozen=True, kw_only=True)
class Truncate(LinkFault):
    """The end of the frame is missing; possibly all of it."""

    def strike(self, flight: Flight, rand: SeededRand) -> list[Flight]:
        return [replace(flight, data=flight.data[: rand.below(max(len(flight.data), 1))])]


@dataclass(frozen=True, kw_only=True)
class Partition(LinkFault):
    """Nothing passes between `group` and the others in steps [since, until)."""

    group: Collection[PartyId]
    since: int = 0
    until: int = 1 << 30

    def strike(self, flight: Flight, rand: SeededRand) -> list[Flight]:
        crosses = (flight.sender in self.group) != (flight.receiver in self.group)
        return [] if crosses and self.since <= flight.sent < self.until else [flight]


class Moment(enum.Enum):
    """Where in a step a party crashes. Its caller stores a snapshot after every step."""

    UNSAVED = "before the snapshot is stored: the step is lost, what caused it is repeated"
    SAVED = "after the snapshot is stored, before anything is sent"
    SENT = "after everything is sent: the resumed machine sends it again"


@dataclass(frozen=True)
class Vanish:
    """`party` is gone from the moment in which it would send `message` (None: anything)."""

    party: PartyId
    message: type[Message] | None = None


@dataclass(frozen=True)
class Crash:
    """`party` crashes in each step that sends `message` (None: in every step), and resumes."""

    party: PartyId
    message: type[Message] | None = None
    moment: Moment = Moment.SAVED


@dataclass(frozen=True)
class Tardy:
    """`party` submits its input only when everybody waits for it."""

    party: PartyId


PeerFault = Vanish | Crash | Tardy
Fault = LinkFault | PeerFault
