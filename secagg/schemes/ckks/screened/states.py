"""States of the screened variant, beside those of the encrypted scheme."""

from __future__ import annotations

from secagg.machine import Over, Signal, State, Transitions
from secagg.schemes.ckks.messages import CONTRIBUTORS, Opened, Refused, Request, Upload
from secagg.schemes.ckks.residues import Residues
from secagg.schemes.ckks.screened.messages import Query, Shown
from secagg.schemes.ckks.states import Asking, Holding
from secagg.wire import IDS, Array, Columns, Map, Rows, Table, declare, field

__all__ = [
    "AUTHORITY",
    "BLINDS",
    "SERVER",
    "Deciding",
    "Opening",
    "Querying",
    "Storing",
    "Watching",
]

BLINDS = Columns(seed=32)


@declare(code=5, phase="upload")
class Storing(State):
    """The server keeps ciphertexts. lost: clients that were rejected before theirs came."""

    uploads: dict[int, Residues] = field(Map(Array()))
    contributors: Table = field(Rows(CONTRIBUTORS))
    lost: Table = field(Rows(IDS))


@declare(code=6, phase="screen")
class Querying(State):
    """The server has asked for numbers. blinds: the seeds of what is added to them."""

    uploads: dict[int, Residues] = field(Map(Array()))
    contributors: Table = field(Rows(CONTRIBUTORS))
    blinds: Table = field(Rows(BLINDS), secret=True)


@declare(code=7, phase="decide")
class Deciding(State):
    """The numbers are known. eligible: who may be accepted."""

    uploads: dict[int, Residues] = field(Map(Array()))
    contributors: Table = field(Rows(CONTRIBUTORS))
    eligible: Table = field(Rows(IDS))


@declare(code=8, phase="open")
class Opening(Asking):
    """The server has sent the sum over whom it accepted to the authority."""

    refused: Table = field(Rows(IDS))


@declare(code=9, phase="open")
class Watching(State):
    """The authority has answered the query. shown: of whom it gave numbers."""

    shown: Table = field(Rows(IDS))


SERVER: Transitions = {
    Storing: {
        Upload: (Storing, Querying, Over),
        Signal.DEADLINE: (Querying, Over),
        Signal.LOST: (Storing, Querying, Over),
    },
    Querying: {
        Shown: (Deciding, Over),
        Signal.DEADLINE: (Over,),
        Signal.LOST: (Querying, Over),
    },
    Deciding: {
        Signal.INPUT: (Opening,),
        Signal.DEADLINE: (Opening,),
        Signal.LOST: (Deciding, Over),
    },
    Opening: {
        Opened: (Over,),
        Refused: (Over,),
        Signal.DEADLINE: (Over,),
        Signal.LOST: (Opening, Over),
    },
}
AUTHORITY: Transitions = {
    Holding: {Query: (Watching, Over), Signal.DEADLINE: (Over,)},
    Watching: {Request: (Over,), Signal.DEADLINE: (Over,)},
}
