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
from secagg.identity import BROADCAST, SERVER, PartyId
from secagg.scheme import Scheme
from secagg.schemes.plain import PlainInsecure
from secagg.schemes.secagg_plus import SecAggPlus, SecAggPlusBrief, SecAggPlusSemiHonest
from secagg.wire import Limits, Message, Table

__all__ = ["FrameInfo", "inspect"]

# Instances of any size: only their message types are asked for.
_SCHEMES: dict[int, Scheme] = {
    kind.code: kind(clients=3, length=1, width=32)
    for kind in (PlainInsecure, SecAggPlus, SecAggPlusSemiHonest, SecAggPlusBrief)
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
    # A packed vector says its length nowhere: it is what the other fields leave.
    vector = max(0, len(body) - wire.size_bound(kind, Limits()))
    message = wire.decode(kind, body, Limits(parties=BROADCAST, near=BROADCAST, vector=vector))
    return FrameInfo(
        version=VERSION,
        scheme=scheme.name,
        message=kind.__name__,
        phase=kind.phase,
        sender=_party(header.sender),
        receiver=_party(header.receiver),
        context=_short(header.context),
        size=len(data),
        body=len(body),
        fields={name: _shape(getattr(message, name)) for name, _ in kind.codecs()},
        signature=_short(data[-SIGNATURE_SIZE:]),
    )


def _kind(header: Header) -> tuple[Scheme, type[Message]]:
    scheme = _SCHEMES.get(header.scheme)
    if scheme is None:
        raise DecodeError(f"scheme {header.scheme} is not one of this library")
    messages: tuple[type[Message], ...] = (*scheme.server_messages, *scheme.client_messages, Excess)
    kinds = {kind.code: kind for kind in messages}
    if header.code not in kinds:
        raise DecodeError(f"scheme {scheme.name} has no message of type {header.code}")
    return scheme, kinds[header.code]


def _party(party: PartyId) -> str:
    names = {SERVER: "server", BROADCAST: "everybody it concerns"}
    return names.get(party, f"client {party}")


def _shape(value: object) -> str:
    match value:
        case Table():
            dtype = value.rows.dtype
            cells = ", ".join(f"{name} {dtype[name].itemsize}" for name in dtype.names or ())
            return f"{len(value):,} rows of {dtype.itemsize} bytes: {cells}"
        case bytes():
            return f"{len(value):,} bytes"
    raise AssertionError("messages hold tables and bytes")


def _short(data: bytes) -> str:
    return f"{data[:8].hex()}…"
