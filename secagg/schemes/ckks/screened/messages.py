"""Messages of the screened variant, beside those of the encrypted scheme."""

from __future__ import annotations

from secagg.schemes.ckks.messages import CONTRIBUTORS
from secagg.wire import IDS, Blob, Cells, Fixed, Message, Rows, Table, declare, field

__all__ = ["Query", "Shown"]


@declare(code=5, phase="screen")
class Query(Message):
    """server -> authority: who sent what, and of each the blinded combinations of its blocks."""

    contributors: Table = field(Rows(CONTRIBUTORS))
    nonce: bytes = field(Fixed(32))
    blinded: bytes = field(Blob())


@declare(code=6, phase="screen")
class Shown(Message):
    """authority -> server: of each client the blinded numbers; whose ciphertexts cannot be read."""

    values: Table = field(Cells())
    unreadable: Table = field(Rows(IDS))
