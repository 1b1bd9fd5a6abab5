"""The envelope of every message: header, body, signature.

    "SA" | version u8 | scheme u8 | type u8 | context 32 | sender u32 | receiver u32 | body
    | Ed25519 signature 64

The transport delimits frames. The signature covers everything before it, so there is no byte
that a third party can change or redirect. A broadcast has the receiver 2**32 - 1.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Generic, TypeVar

from secagg import wire
from secagg.errors import DecodeError
from secagg.identity import BROADCAST, SERVER, Identity, PartyId, Roster
from secagg.primitives.digest import Label
from secagg.wire import Limits, Message

__all__ = ["HEADER_SIZE", "OVERHEAD", "VERSION", "Endpoint", "Header", "Signed", "parse_header"]

VERSION = 1
MAGIC = b"SA"
HEADER_SIZE = 2 + 1 + 1 + 1 + 32 + 4 + 4
SIGNATURE_SIZE = 64
OVERHEAD = HEADER_SIZE + SIGNATURE_SIZE

M_co = TypeVar("M_co", bound=Message, covariant=True)


@dataclass(frozen=True, kw_only=True)
class Header:
    """What a frame says of itself before its body."""

    scheme: int
    code: int
    context: bytes
    sender: PartyId
    receiver: PartyId

    def encode(self) -> bytes:
        return (
            MAGIC
            + bytes((VERSION, self.scheme, self.code))
            + self.context
            + self.sender.to_bytes(4, "little")
            + self.receiver.to_bytes(4, "little")
        )


@dataclass(frozen=True)
class Signed(Generic[M_co]):
    """A message whose signature was verified, with the signature for handing on."""

    sender: PartyId
    message: M_co
    signature: bytes = field(repr=False)


def parse_header(data: bytes | memoryview) -> Header:
    """The header of a frame of this version; `DecodeError` for anything else."""
    view = memoryview(data)
    if len(view) < OVERHEAD:
        raise DecodeError(f"a frame has at least {OVERHEAD} bytes, got {len(view)}")
    if bytes(view[:2]) != MAGIC:
        raise DecodeError("not a frame of this library")
    if view[2] != VERSION:
        raise DecodeError(f"wire version {view[2]}, this library speaks version {VERSION}")
    return Header(
        scheme=view[3],
        code=view[4],
        context=bytes(view[5:37]),
        sender=int.from_bytes(view[37:41], "little"),
        receiver=int.from_bytes(view[41:45], "little"),
    )


@dataclass(frozen=True, kw_only=True)
class Endpoint:
    """One party's end of one round: it signs what leaves and verifies what arrives.

    accepts: the message types this party may receive, by code. limits: their size bounds.
    """

    scheme: int
    context: bytes
    me: PartyId
    identity: Identity
    roster: Roster
    accepts: Mapping[int, type[Message]]
    limits: Limits

    def seal(self, receiver: PartyId, message: Message) -> bytes:
        """The signed frame that carries `message`."""
        header = self._header(self.me, receiver, type(message)).encode()
        body = wire.encode(message)
        return b"".join((header, body, self.identity.sign(Label.FRAME, header, body)))

    def authenticate(self, data: bytes | memoryview) -> Header:
        """The header of a frame that its sender signed for this party in this round.

        Raises `DecodeError` for another version, scheme, context, receiver or type, for a size
        over the bound, and for a signature that does not verify. Nothing of the body is read.
        """
        header = parse_header(data)
        if header.scheme != self.scheme:
            raise DecodeError(f"scheme {header.scheme}, this round runs scheme {self.scheme}")
        if header.context != self.context:
            raise DecodeError("frame of another round: its context is not this round's")
        self._check_route(header)
        most = self._bounds.get(header.code)
        if most is None:
            raise DecodeError(f"message type {header.code} is not for this party")
        if len(data) > OVERHEAD + most:
            raise DecodeError(f"frame of {len(data)} bytes, at most {OVERHEAD + most} are possible")
        view = memoryview(data)
        self.roster.verify(
            header.sender,
            bytes(view[-SIGNATURE_SIZE:]),
            Label.FRAME,
            view[:HEADER_SIZE],
            view[HEADER_SIZE:-SIGNATURE_SIZE],
        )
        return header

    def open(self, header: Header, data: bytes | memoryview) -> Signed[Message]:
        """The message in a frame that `authenticate` accepted; `DecodeError` if malformed."""
        view = memoryview(data)
        body = view[HEADER_SIZE:-SIGNATURE_SIZE]
        message = wire.decode(self.accepts[header.code], body, self.limits)
        return Signed(header.sender, message, bytes(view[-SIGNATURE_SIZE:]))

    def verify(
        self, sender: PartyId, receiver: PartyId, message: Message, signature: bytes
    ) -> None:
        """Check a signature that came inside another message, over the frame it was made for."""
        header = self._header(sender, receiver, type(message)).encode()
        self.roster.verify(sender, signature, Label.FRAME, header, wire.encode(message))

    def attest(self, label: Label, *parts: bytes) -> bytes:
        """A signature that third parties check without the message that carries it."""
        return self.identity.sign(label, *parts)

    def check_attested(self, party: PartyId, signature: bytes, label: Label, *parts: bytes) -> None:
        """Return if `party` made `attest`'s signature; `DecodeError` otherwise."""
        self.roster.verify(party, signature, label, *parts)

    def _check_route(self, header: Header) -> None:
        if (header.sender == SERVER) == (self.me == SERVER):
            raise DecodeError(f"party {header.sender} does not speak to party {self.me}")
        # signatures are handed on as made for the server, so a client may address only it
        to_all = header.sender == SERVER and header.receiver == BROADCAST
        if header.receiver != self.me and not to_all:
            raise DecodeError(f"frame for party {header.receiver}, this is party {self.me}")

    def _header(self, sender: PartyId, receiver: PartyId, kind: type[Message]) -> Header:
        return Header(
            scheme=self.scheme,
            code=kind.code,
            context=self.context,
            sender=sender,
            receiver=receiver,
        )

    @cached_property
    def _bounds(self) -> dict[int, int]:
        return {code: wire.size_bound(kind, self.limits) for code, kind in self.accepts.items()}
