"""Frames and message bodies, read with a cursor and written by concatenation."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from reference import ed25519
from reference.hashing import digest, text
from reference.refused import require

__all__ = [
    "BROADCAST",
    "CODES",
    "PARCEL",
    "SERVER",
    "SIGNATURE",
    "Frame",
    "Reader",
    "covered",
    "header",
    "parse",
    "parse_rows",
    "row",
    "rows",
    "sign",
    "verify_signature",
]

SERVER = 0
BROADCAST = 2**32 - 1
MAGIC = b"SA"
VERSION = 1
HEADER = 45
SIGNATURE = 64

CODES = {
    1: "Advert",
    2: "Cohort",
    3: "Shares",
    4: "Inbox",
    5: "Masked",
    6: "Survivors",
    7: "Consent",
    8: "Consents",
    9: "Unmask",
}
PARCEL = (16, 16, 16, 112)
"""Edge tag, self tag, key tag, and the sealed pair of shares: 32 + 64 + 16 bytes."""

Row = tuple[bytes, ...]


@dataclass(frozen=True, kw_only=True)
class Frame:
    """A frame cut into its fields. Nothing is verified yet."""

    scheme: int
    kind: str
    context: bytes
    sender: int
    receiver: int
    body: bytes
    signature: bytes


class Reader:
    """A cursor that never reads past the end."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    def take(self, size: int) -> bytes:
        """The next `size` bytes."""
        require(self._at + size <= len(self._data), "a message has all bytes of its fields")
        self._at += size
        return self._data[self._at - size : self._at]

    def number(self, size: int) -> int:
        """An unsigned little-endian integer."""
        return int.from_bytes(self.take(size), "little")

    def finish(self) -> None:
        """Refuse trailing bytes."""
        require(self._at == len(self._data), "a message has no trailing bytes")


def parse(data: bytes) -> Frame:
    """The fields of a frame of version 1."""
    require(len(data) >= HEADER + SIGNATURE, "a frame has a header and a signature")
    reader = Reader(data)
    require(reader.take(2) == MAGIC, "a frame starts with SA")
    require(reader.number(1) == VERSION, "the wire version is 1")
    scheme, code = reader.number(1), reader.number(1)
    require(code in CODES, "the message type exists")
    return Frame(
        scheme=scheme,
        kind=CODES[code],
        context=reader.take(32),
        sender=reader.number(4),
        receiver=reader.number(4),
        body=reader.take(len(data) - HEADER - SIGNATURE),
        signature=reader.take(SIGNATURE),
    )


def header(scheme: int, kind: str, context: bytes, sender: int, receiver: int) -> bytes:
    """The 45 bytes before a body."""
    code = next(code for code, name in CODES.items() if name == kind)
    parties = sender.to_bytes(4, "little") + receiver.to_bytes(4, "little")
    return MAGIC + bytes((VERSION, scheme, code)) + context + parties


def covered(head: bytes, body: bytes) -> bytes:
    """What a frame's signature covers: the label, then a digest of header and body."""
    return text("frame") + digest("frame", head, body)


def sign(private: bytes, head: bytes, body: bytes) -> bytes:
    """The signature of a frame."""
    return ed25519.sign(private, covered(head, body))


def verify_signature(public: bytes, head: bytes, body: bytes, signature: bytes) -> None:
    """Return if the signature of a frame verifies, else raise `Refused`."""
    ed25519.verify(public, covered(head, body), signature)


def rows(table: Mapping[int, Row]) -> bytes:
    """A list: its length as u32, and the rows ascending by party."""
    return len(table).to_bytes(4, "little") + b"".join(row(p, table[p]) for p in sorted(table))


def row(party: int, cells: Row) -> bytes:
    """One row: the party as u32, then the cells."""
    return party.to_bytes(4, "little") + b"".join(cells)


def parse_rows(reader: Reader, sizes: tuple[int, ...], most: int) -> dict[int, Row]:
    """The inverse of `rows`; another order, or more than `most` rows, is refused."""
    count = reader.number(4)
    require(count <= most, "a list has no more rows than there can be")
    table: dict[int, Row] = {}
    last = -1
    for _ in range(count):
        party = reader.number(4)
        require(party > last, "rows ascend strictly by party")
        table[party] = tuple(reader.take(size) for size in sizes)
        last = party
    return table
