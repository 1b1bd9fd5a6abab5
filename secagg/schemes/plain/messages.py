"""Messages of the plain scheme."""

from __future__ import annotations

from secagg.wire import Message, Packed, declare, field

__all__ = ["Update"]


@declare(code=1, phase="update")
class Update(Message):
    """client -> server: the vector, readable."""

    vector: bytes = field(Packed())
