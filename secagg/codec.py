"""How values are written and read: integers, bytes, vectors. Records are in `secagg.wire`.

Everything refused is a `DecodeError`; nothing is allocated before its length was checked.
"""

from __future__ import annotations

import dataclasses
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

from secagg.errors import DecodeError

__all__ = ["Array", "Blob", "Codec", "Fixed", "Limits", "Packed", "Reader", "Uint"]

T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class Limits:
    """What the public parameters of a round say about sizes; decoding allows no more.

    parties: most rows of a list. near: most rows of a list of neighbours. vector: bytes of a
    packed vector, exactly. cell: bytes of a `Cells` row, exactly; 0 for any, as in snapshots.
    blob: most bytes of a `Blob`, which only snapshots use.
    """

    parties: int = 0
    near: int = 0
    vector: int = 0
    cell: int = 0
    blob: int = 0


class Reader:
    """A cursor over received bytes that never reads past their end."""

    __slots__ = ("_data", "_position", "limits")

    def __init__(self, data: bytes | memoryview, limits: Limits) -> None:
        self._data = memoryview(data)
        self._position = 0
        self.limits = limits

    def take(self, size: int) -> memoryview:
        """The next `size` bytes, as a view."""
        end = self._position + size
        if end > len(self._data):
            raise DecodeError("message is shorter than its fields")
        view = self._data[self._position : end]
        self._position = end
        return view

    def uint(self, size: int) -> int:
        """An unsigned little-endian integer of `size` bytes."""
        return int.from_bytes(self.take(size), "little")

    def finish(self) -> None:
        """Refuse trailing bytes."""
        if self._position != len(self._data):
            raise DecodeError(f"{len(self._data) - self._position} trailing bytes")


class Codec(ABC, Generic[T]):
    """How one field is written and read. `spec` is what the generated tables print."""

    spec: str

    @abstractmethod
    def write(self, value: T, out: bytearray) -> None:
        """Append the one encoding of `value`."""

    @abstractmethod
    def read(self, reader: Reader) -> T:
        """Read one value, or raise `DecodeError`."""

    @abstractmethod
    def most(self, limits: Limits) -> int:
        """The most bytes a value takes under `limits`."""


@dataclass(frozen=True)
class Uint(Codec[int]):
    """An unsigned integer of `size` bytes."""

    size: int

    @property
    def spec(self) -> str:  # type: ignore[override]
        return f"u{8 * self.size}"

    def write(self, value: int, out: bytearray) -> None:
        out += value.to_bytes(self.size, "little")

    def read(self, reader: Reader) -> int:
        return reader.uint(self.size)

    def most(self, limits: Limits) -> int:
        return self.size


@dataclass(frozen=True)
class Fixed(Codec[bytes]):
    """Exactly `size` bytes."""

    size: int

    @property
    def spec(self) -> str:  # type: ignore[override]
        return f"{self.size} bytes"

    def write(self, value: bytes, out: bytearray) -> None:
        if len(value) != self.size:
            raise ValueError(f"field of {self.size} bytes given {len(value)}")
        out += value

    def read(self, reader: Reader) -> bytes:
        return bytes(reader.take(self.size))

    def most(self, limits: Limits) -> int:
        return self.size


@dataclass(frozen=True)
class Blob(Codec[bytes]):
    """A u64 length and that many bytes, at most `limits.blob`. For snapshots."""

    spec: str = dataclasses.field(default="u64 length, bytes", init=False)

    def write(self, value: bytes, out: bytearray) -> None:
        out += len(value).to_bytes(8, "little")
        out += value

    def read(self, reader: Reader) -> bytes:
        size = reader.uint(8)
        if size > reader.limits.blob:
            raise DecodeError(f"blob of {size} bytes exceeds {reader.limits.blob}")
        return bytes(reader.take(size))

    def most(self, limits: Limits) -> int:
        return 8 + limits.blob


@dataclass(frozen=True)
class Packed(Codec[bytes]):
    """A packed vector of exactly `limits.vector` bytes; `ring.unpack` reads it."""

    spec: str = dataclasses.field(default="packed residues", init=False)

    def write(self, value: bytes, out: bytearray) -> None:
        out += value

    def read(self, reader: Reader) -> bytes:
        return bytes(reader.take(reader.limits.vector))

    def most(self, limits: Limits) -> int:
        return limits.vector


@dataclass(frozen=True)
class Array(Codec["NDArray[Any] | None"]):
    """An unsigned vector or nothing: item size (0 for none), u64 bytes, words. For snapshots."""

    spec: str = dataclasses.field(default="u8 item size, u64 length, words", init=False)

    def write(self, value: NDArray[Any] | None, out: bytearray) -> None:
        if value is None:
            out.append(0)
            return
        out.append(value.itemsize)
        out += value.nbytes.to_bytes(8, "little")
        out += value.astype(value.dtype.newbyteorder("<"), copy=False).tobytes()

    def read(self, reader: Reader) -> NDArray[Any] | None:
        itemsize = reader.uint(1)
        if itemsize == 0:
            return None
        size = reader.uint(8)
        if itemsize not in (1, 2, 4, 8) or size % itemsize or size > reader.limits.blob:
            raise DecodeError("malformed array")
        return np.frombuffer(reader.take(size), f"<u{itemsize}").copy()

    def most(self, limits: Limits) -> int:
        return 9 + limits.blob
