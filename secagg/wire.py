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
from dataclasses import dataclass
from typing import Any, ClassVar, TypeVar, dataclass_transform

import numpy as np

from secagg.codec import Array, Blob, Codec, Fixed, Limits, Packed, Reader, Uint
from secagg.errors import DecodeError
from secagg.table import IDS, Columns, Table, ids

__all__ = [
    "IDS",
    "Array",
    "Blob",
    "Cells",
    "Codec",
    "Columns",
    "Fixed",
    "Items",
    "Joined",
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
class Cells(Codec[Table]):
    """A u32 size, then `Rows` with one column `value` of that size, which the parameters fix."""

    near: bool = False
    spec: str = dataclasses.field(
        default="u32 size, u32 count, rows of peer u32, value", init=False
    )

    def write(self, value: Table, out: bytearray) -> None:
        out += value.rows.dtype["value"].itemsize.to_bytes(4, "little")
        Rows(Columns()).write(value, out)

    def read(self, reader: Reader) -> Table:
        size, due = reader.uint(4), reader.limits.cell
        if due and size != due:
            raise DecodeError(f"cells of {size} bytes where {due} are due")
        if size > max(due, reader.limits.blob):
            raise DecodeError(f"cells of {size} bytes")
        return self._rows(size).read(reader)

    def most(self, limits: Limits) -> int:
        return 4 + self._rows(limits.cell).most(limits)

    def _rows(self, size: int) -> Rows:
        return Rows(Columns(value=size), self.near)


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
class Joined(Codec[bytes]):
    """A u32 count and that many rows of `size` bytes. For snapshots: no order, as `Items`."""

    size: int
    spec: str = dataclasses.field(default="u32 count, rows", init=False)

    def write(self, value: bytes, out: bytearray) -> None:
        count, rest = divmod(len(value), self.size)
        if rest:
            raise ValueError(f"rows of {self.size} bytes given {len(value)}")
        out += count.to_bytes(4, "little")
        out += value

    def read(self, reader: Reader) -> bytes:
        return bytes(reader.take(reader.uint(4) * self.size))

    def most(self, limits: Limits) -> int:
        return 4 + limits.blob


@dataclass(frozen=True)
class One(Codec["Any"]):
    """One nested record."""

    record: type[Record]
    spec: str = dataclasses.field(default="record", init=False)

    def write(self, value: Any, out: bytearray) -> None:
        _write(value, out)

    def read(self, reader: Reader) -> Any:
        return _read(self.record, reader)

    def most(self, limits: Limits) -> int:
        return size_bound(self.record, limits)


@dataclass(frozen=True)
class Map(Codec["dict[int, Any]"]):
    """A mapping from parties to values of one codec, ascending: at most `limits.parties`, or
    `limits.near` where `near` says that only neighbours have one.
    """

    value: Codec[Any]
    near: bool = False
    spec: str = dataclasses.field(default="u32 count, party and value", init=False)

    def write(self, value: dict[int, Any], out: bytearray) -> None:
        out += len(value).to_bytes(4, "little")
        for party in sorted(value):
            out += party.to_bytes(4, "little")
            self.value.write(value[party], out)

    def read(self, reader: Reader) -> dict[int, Any]:
        found: dict[int, Any] = {}
        last, count, most = -1, reader.uint(4), self._most_entries(reader.limits)
        if count > most:
            raise DecodeError(f"{count} entries, at most {most} are possible")
        for _ in range(count):
            party = reader.uint(4)
            if party <= last:
                raise DecodeError("parties are not strictly ascending")
            found[party] = self.value.read(reader)
            last = party
        return found

    def most(self, limits: Limits) -> int:
        return 4 + self._most_entries(limits) * (4 + self.value.most(limits))

    def _most_entries(self, limits: Limits) -> int:
        return limits.near if self.near else limits.parties


def field(codec: Codec[T], *, secret: bool = False) -> T:
    """A dataclass field written by `codec`; a secret one stays out of the repr."""
    value: T = dataclasses.field(metadata={"codec": codec}, repr=not secret)
    return value


class Record:
    """A frozen dataclass whose fields carry codecs, with a code that names its type."""

    code: ClassVar[int]
    phase: ClassVar[str]
    _codecs: ClassVar[tuple[tuple[str, Codec[Any]], ...]]

    @classmethod
    def codecs(cls) -> tuple[tuple[str, Codec[Any]], ...]:
        """Field names and their codecs, in wire order."""
        return cls._codecs


class Message(Record):
    """A record that travels.

    for_client: whether a sender may send one for each client, which is then its first field, u32;
    otherwise it sends one in a round.
    """

    for_client: ClassVar[bool] = False


@dataclass_transform(frozen_default=True, kw_only_default=True, field_specifiers=(field,))
def declare(*, code: int, phase: str) -> Any:
    """Class decorator: make a `Record` a frozen keyword-only dataclass, set its code and phase."""

    def decorate(cls: type[R]) -> type[R]:
        cls.code, cls.phase = code, phase
        made = dataclass(frozen=True, kw_only=True)(cls)
        found = dataclasses.fields(made)  # type: ignore[arg-type]
        made._codecs = tuple((item.name, item.metadata["codec"]) for item in found)
        return made

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
