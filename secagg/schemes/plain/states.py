"""States of the plain scheme."""

from __future__ import annotations

from secagg.machine import Over, Signal, State, Transitions
from secagg.primitives.ring import Words
from secagg.role_speaker import speaks_once
from secagg.schemes.plain.messages import Update
from secagg.wire import Array, Map, Uint, declare, field

__all__ = ["CLIENT", "SERVER", "Summing", "Waiting"]


@declare(code=1, phase="update")
class Waiting(State):
    """The client has no input yet."""


@declare(code=2, phase="update")
class Summing(State):
    """The server adds what arrives. `arrived` and `lost` map parties to 1."""

    total: Words = field(Array(), secret=True)  # type: ignore[arg-type]
    arrived: dict[int, int] = field(Map(Uint(1)))
    lost: dict[int, int] = field(Map(Uint(1)))


CLIENT: Transitions = speaks_once(Waiting)
SERVER: Transitions = {
    Summing: {
        Update: (Summing, Over),
        Signal.DEADLINE: (Over,),
        Signal.LOST: (Summing, Over),
    }
}
