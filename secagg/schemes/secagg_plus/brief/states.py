"""States of secagg_plus_brief beside those it shares with secagg_plus."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from secagg.identity import PartyId
from secagg.machine import Over, Signal, State, Transitions
from secagg.primitives.ring import Words
from secagg.schemes.secagg_plus.brief.messages import DEALERS, PARCELS, Deal, Delivery
from secagg.schemes.secagg_plus.messages import Masked, Survivors, Unmask
from secagg.schemes.secagg_plus.states import (
    HOLDINGS,
    Book,
    Booked,
    Collecting,
    Masking,
    Sent,
    Unmasking,
)
from secagg.wire import Array, Blob, Fixed, Map, One, Rows, Table, Uint, declare, field

__all__ = ["CLIENT", "SERVER", "Dealing", "Dealt", "Prepared", "Ready"]


@declare(code=16, phase="shares")
class Dealt(State):
    """The deal is out. `statement` is empty until the input is given."""

    mask_private: bytes = field(Fixed(32), secret=True)
    seed: bytes = field(Fixed(32), secret=True)
    manifest: bytes = field(Fixed(32))
    vector: Words | None = field(Array(), secret=True)
    statement: bytes = field(Blob())


@declare(code=17, phase="masked")
class Ready(State):
    """Everybody's mask keys are known and the input is awaited."""

    mask_private: bytes = field(Fixed(32), secret=True)
    seed: bytes = field(Fixed(32), secret=True)
    members: Table = field(Rows(DEALERS))
    holdings: Table = field(Rows(HOLDINGS), secret=True)


CLIENT: Transitions = {
    Dealt: {Signal.INPUT: (Dealt,), Delivery: (Ready, Sent), Signal.DEADLINE: (Over,)},
    Ready: {Signal.INPUT: (Sent,), Signal.DEADLINE: (Over,)},
    Sent: {Survivors: (Over,), Signal.DEADLINE: (Over,)},
}


@declare(code=48, phase="shares")
class Dealing(Collecting):
    """Collecting deals. `statement` is empty until the server gives it."""

    revocable = True

    deals: dict[int, Deal] = field(Map(One(Deal)))
    lost: dict[int, int] = field(Map(Uint(1)))
    statement: bytes = field(Blob())

    @property
    def collected(self) -> dict[PartyId, Any]:
        return self.deals

    @property
    def losses(self) -> dict[PartyId, int]:
        return self.lost

    def due(self, invited: tuple[PartyId, ...]) -> Iterable[PartyId]:
        return invited


@declare(code=49, phase="masked")
class Prepared(Booked):
    """All deals are in, and the statement is awaited; `parcels` are by holder."""

    book: Book = field(One(Book))
    dealers: Table = field(Rows(DEALERS))
    parcels: dict[int, Table] = field(Map(Rows(PARCELS)))
    none: dict[int, int] = field(Map(Uint(1)))

    @property
    def collected(self) -> dict[PartyId, Any]:
        return self.none

    def due(self, invited: tuple[PartyId, ...]) -> Iterable[PartyId]:
        return ()


SERVER: Transitions = {
    Dealing: {
        Deal: (Dealing, Prepared, Masking),
        Signal.INPUT: (Dealing,),
        Signal.LOST: (Dealing, Prepared, Masking),
        Signal.DEADLINE: (Prepared, Masking, Over),
    },
    Prepared: {
        Signal.INPUT: (Masking,),
        Signal.LOST: (Prepared,),
        Signal.DEADLINE: (Prepared,),
    },
    Masking: {
        Masked: (Masking, Unmasking),
        Signal.LOST: (Masking, Unmasking),
        Signal.DEADLINE: (Unmasking, Over),
    },
    Unmasking: {
        Unmask: (Unmasking, Over),
        Signal.LOST: (Unmasking, Over),
        Signal.DEADLINE: (Over,),
    },
}
