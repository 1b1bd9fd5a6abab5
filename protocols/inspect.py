"""What a frame shows without any key: its header, its message type, and how long its parts are.

The signature is not verified, for that takes the roster; and no content is shown, for a frame may
hold an update (plain) or a share.
"""

from __future__ import annotations

from dataclasses import dataclass

from protocols.removal import Excess
from secagg import wire
from secagg.errors import DecodeError
from secagg.frame import HEADER_SIZE, SIGNATURE_SIZE, VERSION, Header, parse_header
from secagg.identity import BROADCAST, SERVER, THIRD, PartyId
from secagg.scheme import Scheme
from secagg.schemes.ckks import EncryptedExact, EncryptedRounded, EncryptedScreened
from secagg.schemes.ckks.messages import Opened, Refused, Request, Upload
from secagg.schemes.ckks.screened.messages import Query, Shown
from secagg.schemes.pine import TwoAggregators
from secagg.schemes.pine import messages as pine
from secagg.schemes.plain import PlainInsecure
from secagg.schemes.secagg_plus import SecAggPlus, SecAggPlusBrief, SecAggPlusSemiHonest
from secagg.wire import Limits, Message, Rows, Table

__all__ = ["FrameInfo", "inspect"]

# Instances of any size: only their message types are asked for.
_SIZED: tuple[Scheme, ...] = tuple(
    kind(clients=3, length=1, width=32)
    for kind in (PlainInsecure, SecAggPlus, SecAggPlusSemiHonest, SecAggPlusBrief)
)
_SCHEMES: dict[int, tuple[str, tuple[type[Message], ...]]] = {
    **{each.code: (each.name, (*each.server_messages, *each.client_messages)) for each in _SIZED},
    EncryptedExact.code: (EncryptedExact.name, (Upload, Request, Opened, Refused)),
    EncryptedRounded.code: (EncryptedRounded.name, (Upload, Request, Opened, Refused)),
    EncryptedScreened.code: (
        EncryptedScreened.name,
        (Upload, Query, Shown, Request, Opened, Refused),
    ),
    TwoAggregators.code: (TwoAggregators.name, tuple(getattr(pine, name) for name in pine.__all__)),
}
_THIRD = {
    EncryptedExact.code: "key authority",
    EncryptedRounded.code: "key authority",
    EncryptedScreened.code: "key authority",
    TwoAggregators.code: "helper",
}


@dataclass(frozen=True, kw_only=True)
class FrameInfo:
    """What one frame shows. `fields` maps a field to its size in words; all sizes are bytes."""

    version: int
    scheme: str
    message: str
    phase: str
    sender: str
    receiver: str
    context: str
    size: int
    body: int
    fields: dict[str, str]
    signature: str


def inspect(data: bytes) -> FrameInfo:
    """What these bytes show; `DecodeError` unless they are one frame of a known scheme."""
    header = parse_header(data)
    scheme, kind = _kind(header)
    body = memoryview(data)[HEADER_SIZE:-SIGNATURE_SIZE]
    limits = Limits(
        parties=BROADCAST, near=BROADCAST, vector=_vector_size(kind, body), blob=len(body)
    )
    message = wire.decode(kind, body, limits)
    return FrameInfo(
        version=VERSION,
        scheme=scheme,
        message=kind.__name__,
        phase=kind.phase,
        sender=_party(header.sender, header.scheme),
        receiver=_party(header.receiver, header.scheme),
        context=_short(header.context),
        size=len(data),
        body=len(body),
        fields={name: _shape(getattr(message, name)) for name, _ in kind.codecs()},
        signature=_short(data[-SIGNATURE_SIZE:]),
    )


def _kind(header: Header) -> tuple[str, type[Message]]:
    if header.scheme not in _SCHEMES:
        raise DecodeError(f"scheme {header.scheme} is not one of this library")
    name, messages = _SCHEMES[header.scheme]
    every: tuple[type[Message], ...] = (*messages, Excess)
    kinds = {kind.code: kind for kind in every}
    if header.code not in kinds:
        raise DecodeError(f"scheme {name} has no message of type {header.code}")
    return name, kinds[header.code]


def _vector_size(kind: type[Message], body: memoryview) -> int:
    """A packed vector says its length nowhere: it is what the other fields leave."""
    rest = len(body) - wire.size_bound(kind, Limits())
    _, first = kind.codecs()[0]
    if isinstance(first, Rows):
        rest -= int.from_bytes(body[:4], "little") * first.columns.dtype.itemsize
    return max(0, rest)


def _party(party: PartyId, scheme: int) -> str:
    names = {SERVER: "server", BROADCAST: "everybody it concerns"}
    if scheme in _THIRD:
        names[THIRD] = _THIRD[scheme]
    return names.get(party, f"client {party}")


def _shape(value: object) -> str:
    match value:
        case Table():
            dtype = value.rows.dtype
            cells = ", ".join(f"{name} {dtype[name].itemsize}" for name in dtype.names or ())
            return f"{len(value):,} rows of {dtype.itemsize} bytes: {cells}"
        case bytes():
            return f"{len(value):,} bytes"
        case int():
            return "a number"
    raise AssertionError("messages hold tables, bytes and numbers")


def _short(data: bytes) -> str:
    return f"{data[:8].hex()}…"
