"""States of the encrypted scheme."""

from __future__ import annotations

from secagg.machine import Over, Signal, State, Transitions
from secagg.role_speaker import speaks_once
from secagg.schemes.ckks.messages import (
    CONTRIBUTORS,
    Opened,
    Refused,
    Request,
    Upload,
)
from secagg.schemes.ckks.residues import Residues
from secagg.wire import IDS, Array, Rows, Table, declare, field

__all__ = ["AUTHORITY", "CLIENT", "SERVER", "Asking", "Holding", "Summing", "Waiting"]


@declare(code=1, phase="upload")
class Waiting(State):
    """The client has no input yet."""


@declare(code=2, phase="upload")
class Summing(State):
    """The server adds ciphertexts. lost: clients that were rejected before theirs came."""

    total: Residues = field(Array())  # type: ignore[arg-type]
    contributors: Table = field(Rows(CONTRIBUTORS))
    lost: Table = field(Rows(IDS))


@declare(code=3, phase="open")
class Asking(State):
    """The server has sent the sum to the authority."""

    included: Table = field(Rows(IDS))


@declare(code=4, phase="open")
class Holding(State):
    """The authority has opened nothing in this context."""


CLIENT: Transitions = speaks_once(Waiting)
SERVER: Transitions = {
    Summing: {
        Upload: (Summing, Asking, Over),
        Signal.DEADLINE: (Asking, Over),
        Signal.LOST: (Summing, Asking, Over),
    },
    Asking: {
        Opened: (Over,),
        Refused: (Over,),
        Signal.DEADLINE: (Over,),
        Signal.LOST: (Asking, Over),
    },
}
AUTHORITY: Transitions = {Holding: {Request: (Over,), Signal.DEADLINE: (Over,)}}
