"""One declaration per message: encoder, decoder, size bound, test strategy and spec table.

A message or a state is a frozen dataclass whose fields name their codec:

    @declare(code=1, phase="adverts")
    class Advert(Message):
        mask_key: bytes = field(Fixed(32))

Decoding is canonical: every value has one encoding, lists are strictly ascending by party,
lengths are checked against `Limits` and against the bytes at hand before anything is allocated,
and trailing bytes are refused. Everything refused is a `DecodeError`. Little-endian throughout.
"""

from __future__ import annotations

import dataclasses
from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, ClassVar, Generic, TypeVar, dataclass_transform

import numpy as np
from numpy.typing import NDArray

from secagg.errors import DecodeError
from secagg.table import IDS, Columns, Table, ids

__all__ = [
    "IDS",
    "Array",
    "Blob",
    "Codec",
    "Columns",
    "Fixed",
    "Items",
    "Limits",
    "Map",
    "Message",
    "One",
    "Packed",
    "Reader",
    "Record",
    "Rows",
    "Table",
    "Uint",
    "declare",
    "decode",
    "encode",
    "field",
    "ids",
    "size_bound",
]

T = TypeVar("T")
R = TypeVar("R", bound="Record")


@dataclass(frozen=True, kw_only=True)
class Limits:
    """What the public parameters of a round say about sizes; decoding allows no more.

    parties: most rows of a list. near: most rows of a list of neighbours. vector: bytes of a
    packed vector, exactly. blob: most bytes of a `Blob`, which only snapshots use.
    """

    parties: int = 0
    near: int = 0
    vector: int = 0
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


@dataclass(frozen=True)
class Rows(Codec[Table]):
    """A u32 count and that many rows, strictly ascending by party.

    At most `limits.parties` rows, or `limits.near` where `near` says that only neighbours have
    one. The order makes the encoding canonical and a repeated party impossible.
    """

    columns: Columns
    near: bool = False

    @property
    def spec(self) -> str:  # type: ignore[override]
        cells = ", ".join(f"{name} {size}" for name, size in self.columns.sizes.items())
        return f"u32 count, rows of peer u32{', ' + cells if cells else ''}"

    def write(self, value: Table, out: bytearray) -> None:
        out += len(value).to_bytes(4, "little")
        out += value.tobytes()

    def read(self, reader: Reader) -> Table:
        count, most = reader.uint(4), self._most_rows(reader.limits)
        if count > most:
            raise DecodeError(f"{count} rows, at most {most} are possible")
        view = reader.take(count * self.columns.dtype.itemsize)
        rows = np.frombuffer(view, self.columns.dtype).copy()
        peers = rows["peer"]
        if np.any(peers[1:] <= peers[:-1]):
            raise DecodeError("rows are not strictly ascending by party")
        return Table(rows)

    def most(self, limits: Limits) -> int:
        return 4 + self._most_rows(limits) * self.columns.dtype.itemsize

    def _most_rows(self, limits: Limits) -> int:
        return limits.near if self.near else limits.parties


@dataclass(frozen=True)
class Items(Codec["tuple[Any, ...]"]):
    """A u32 count and that many records. For snapshots: no order, no bound but the bytes."""

    record: type[Record]
    spec: str = dataclasses.field(default="u32 count, records", init=False)

    def write(self, value: tuple[Any, ...], out: bytearray) -> None:
        out += len(value).to_bytes(4, "little")
        for item in value:
            _write(item, out)

    def read(self, reader: Reader) -> tuple[Any, ...]:
        return tuple(_read(self.record, reader) for _ in range(reader.uint(4)))

    def most(self, limits: Limits) -> int:
        return 4 + limits.blob


@dataclass(frozen=True)
class One(Codec["Any"]):
    """One nested record. For snapshots."""

    record: type[Record]
    spec: str = dataclasses.field(default="record", init=False)

    def write(self, value: Any, out: bytearray) -> None:
        _write(value, out)

    def read(self, reader: Reader) -> Any:
        return _read(self.record, reader)

    def most(self, limits: Limits) -> int:
        return limits.blob


@dataclass(frozen=True)
class Map(Codec["dict[int, Any]"]):
    """A mutable mapping from parties to values of one codec. For the books a server keeps."""

    value: Codec[Any]
    spec: str = dataclasses.field(default="u32 count, party and value", init=False)

    def write(self, value: dict[int, Any], out: bytearray) -> None:
        out += len(value).to_bytes(4, "little")
        for party in sorted(value):
            out += party.to_bytes(4, "little")
            self.value.write(value[party], out)

    def read(self, reader: Reader) -> dict[int, Any]:
        found: dict[int, Any] = {}
        last = -1
        for _ in range(reader.uint(4)):
            party = reader.uint(4)
            if party <= last:
                raise DecodeError("parties are not strictly ascending")
            found[party] = self.value.read(reader)
            last = party
        return found

    def most(self, limits: Limits) -> int:
        return 4 + limits.blob


def field(codec: Codec[T], *, secret: bool = False) -> T:
    """A dataclass field written by `codec`; a secret one stays out of the repr."""
    value: T = dataclasses.field(metadata={"codec": codec}, repr=not secret)
    return value


class Record:
    """A frozen dataclass whose fields carry codecs, with a code that names its type."""

    code: ClassVar[int]
    phase: ClassVar[str]

    @classmethod
    def codecs(cls) -> Iterator[tuple[str, Codec[Any]]]:
        """Field names and their codecs, in wire order."""
        for item in dataclasses.fields(cls):  # type: ignore[arg-type]
            yield item.name, item.metadata["codec"]


class Message(Record):
    """A record that travels."""


@dataclass_transform(frozen_default=True, kw_only_default=True, field_specifiers=(field,))
def declare(*, code: int, phase: str) -> Any:
    """Class decorator: make a `Record` a frozen keyword-only dataclass, set its code and phase."""

    def decorate(cls: type[R]) -> type[R]:
        cls.code, cls.phase = code, phase
        return dataclass(frozen=True, kw_only=True)(cls)

    return decorate


def encode(record: Record) -> bytes:
    """The one encoding of the fields of `record`."""
    out = bytearray()
    _write(record, out)
    return bytes(out)


def decode(cls: type[R], data: bytes | memoryview, limits: Limits) -> R:
    """The record that `data` encodes; `DecodeError` if it is not canonical or exceeds `limits`."""
    reader = Reader(data, limits)
    record = _read(cls, reader)
    reader.finish()
    return record


def size_bound(cls: type[Record], limits: Limits) -> int:
    """The most bytes that a body of this type takes."""
    return sum(codec.most(limits) for _, codec in cls.codecs())


def _write(record: Record, out: bytearray) -> None:
    for name, codec in record.codecs():
        codec.write(getattr(record, name), out)


def _read(cls: type[R], reader: Reader) -> R:
    return cls(**{name: codec.read(reader) for name, codec in cls.codecs()})
