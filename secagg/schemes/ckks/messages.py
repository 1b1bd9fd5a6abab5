"""Messages of the encrypted scheme."""

from __future__ import annotations

from secagg.primitives import seal
from secagg.primitives.prg import KEY_SIZE
from secagg.wire import IDS, Blob, Columns, Fixed, Message, Packed, Rows, Table, declare, field

__all__ = ["CONTRIBUTORS", "Opened", "Refused", "Request", "Upload"]

SEALED_SIZE = KEY_SIZE + seal.OVERHEAD
SIGNATURE_SIZE = 64
CONTRIBUTORS = Columns(sealed=SEALED_SIZE, signature=SIGNATURE_SIZE)
"""Per contributor what it sealed to the authority, and its signature on that and the context."""


@declare(code=1, phase="upload")
class Upload(Message):
    """client -> server: its masked vector, encrypted, and for the authority what unmasks it."""

    sealed: bytes = field(Fixed(SEALED_SIZE))
    signature: bytes = field(Fixed(SIGNATURE_SIZE))
    vector: bytes = field(Packed())


@declare(code=2, phase="open")
class Request(Message):
    """server -> authority: the sum of the ciphertexts, and the signed list of who is in it."""

    contributors: Table = field(Rows(CONTRIBUTORS))
    vector: bytes = field(Packed())


@declare(code=3, phase="open")
class Opened(Message):
    """authority -> server: the sum, packed."""

    total: bytes = field(Blob())


@declare(code=4, phase="open")
class Refused(Message):
    """authority -> server: no sum; the clients whose sealed seeds do not open, if that is why."""

    culprits: Table = field(Rows(IDS))
