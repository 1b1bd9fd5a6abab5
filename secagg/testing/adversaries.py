"""Adversaries with real identities: an honest machine whose messages are replaced by lies.

A lie is a function from what the honest machine would send to what travels instead, so that the
liar reaches every phase of a round and can misbehave in each. It may sign anything at all.

    run(scheme, inputs, hostile={3: second_different})
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from secagg import wire
from secagg.errors import RemoteProtocolError
from secagg.frame import HEADER_SIZE, OVERHEAD, SIGNATURE_SIZE, Endpoint, Header
from secagg.identity import BROADCAST, PartyId
from secagg.machine import Event, Machine, State
from secagg.primitives.digest import Label
from secagg.testing.node import Outbox, Peer
from secagg.testing.parties import Parties
from secagg.testing.rand import SeededRand
from secagg.wire import Message

__all__ = [
    "CLIENT_LIES",
    "Hostile",
    "Lie",
    "Outgoing",
    "body_cut",
    "body_extended",
    "body_garbage",
    "early",
    "forged_sender",
    "garbage",
    "honest",
    "on",
    "replacing",
    "second_different",
    "silent_after",
    "unknown_type",
    "wrong_signature",
]


@dataclass(frozen=True)
class Outgoing:
    """What the honest machine would send."""

    to: PartyId
    message: Message
    frame: bytes


class Hostile:
    """A party that runs the honest machine and lies about what it says.

    As the server it signs every frame anew for its receiver, so that each client may be told
    something else. `told` lists what the honest machine wanted to send so far.
    """

    def __init__(
        self, honest: Peer, parties: Parties, me: PartyId, lie: Lie, rand: SeededRand
    ) -> None:
        self.me = me
        self.parties = parties
        self.endpoint: Endpoint = parties.endpoint(me)
        self.rand = rand
        self.told: list[Outgoing] = []
        self._honest = honest
        self._lie = lie

    # -- what a lie may use -------------------------------------------------------------------

    def seal(self, to: PartyId, message: Message) -> bytes:
        """A frame with an honest signature over any message."""
        return self.endpoint.seal(to, message)

    def seal_body(self, to: PartyId, code: int, body: bytes) -> bytes:
        """A frame with an honest signature over any bytes."""
        header = Header(
            scheme=self.endpoint.scheme,
            code=code,
            context=self.endpoint.context,
            sender=self.me,
            receiver=to,
        ).encode()
        return header + body + self.endpoint.identity.sign(Label.FRAME, header, body)

    @property
    def state(self) -> State:
        """The honest machine's state."""
        assert isinstance(self._honest, Machine)
        state: State = self._honest._state
        return state

    def adopt(self, **changes: object) -> None:
        """Change fields in the honest machine's state, so that it goes along with the lie."""
        assert isinstance(self._honest, Machine)
        self._honest._state = dataclasses.replace(self._honest._state, **changes)

    # -- what the network drives --------------------------------------------------------------

    @property
    def ended(self) -> bool:
        return self._honest.ended

    def submit(self, value: Any) -> None:
        self._honest.submit(value)

    def receive(self, sender: PartyId, data: bytes) -> None:
        self._honest.receive(sender, data)

    def deadline(self) -> None:
        self._honest.deadline()

    def next_event(self) -> Event | None:
        return self._honest.next_event()

    def snapshot(self) -> bytes:
        raise RemoteProtocolError("an adversary keeps no snapshots")

    def to_send(self) -> Outbox:
        return [sent for to, frame in self._honest.to_send() for sent in self._twist(to, frame)]

    def _twist(self, to: PartyId, frame: bytes) -> Iterable[tuple[PartyId, bytes]]:
        kind = self.parties.kind(to, frame)
        assert kind is not None
        body = frame[HEADER_SIZE:-SIGNATURE_SIZE]
        message = wire.decode(kind, body, self.parties.scheme.limits)
        outgoing = Outgoing(to, message, frame)
        self.told.append(outgoing)
        return self._lie(self, outgoing)


Lie = Callable[[Hostile, Outgoing], Iterable[tuple[PartyId, bytes]]]


def honest(_: Hostile, out: Outgoing) -> Iterator[tuple[PartyId, bytes]]:
    """No lie at all: the positive twin of the others."""
    yield out.to, out.frame


def on(kind: type[Message], lie: Lie, *, to: PartyId | None = None) -> Lie:
    """`lie` where a message of `kind` (to the party `to`, if given) is due, honest elsewhere."""

    def chosen(liar: Hostile, out: Outgoing) -> Iterable[tuple[PartyId, bytes]]:
        struck = isinstance(out.message, kind) and to in (None, out.to)
        return (lie if struck else honest)(liar, out)

    return chosen


def replacing(change: Callable[[Hostile, Outgoing], Message | None]) -> Lie:
    """The lie that sends another message in the place of the honest one, or none."""

    def replaced(liar: Hostile, out: Outgoing) -> Iterator[tuple[PartyId, bytes]]:
        message = change(liar, out)
        if message is not None:
            yield out.to, liar.seal(out.to, message)

    return replaced


# -- lies that any client of any scheme can tell; all of them also send the honest message -------


def garbage(liar: Hostile, out: Outgoing) -> Iterator[tuple[PartyId, bytes]]:
    """Random bytes, of every length that could make a decoder stumble."""
    for size in (0, 1, HEADER_SIZE, OVERHEAD - 1, OVERHEAD, len(out.frame)):
        yield out.to, liar.rand(size)
    yield out.to, out.frame[:HEADER_SIZE] + liar.rand(len(out.frame) - HEADER_SIZE)
    yield out.to, out.frame


def wrong_signature(liar: Hostile, out: Outgoing) -> Iterator[tuple[PartyId, bytes]]:
    """The honest body under a signature that does not verify."""
    yield out.to, out.frame[:-SIGNATURE_SIZE] + liar.rand(SIGNATURE_SIZE)
    yield out.to, out.frame


def forged_sender(liar: Hostile, out: Outgoing) -> Iterator[tuple[PartyId, bytes]]:
    """The honest body in everybody else's name, and in names that are not on the roster."""
    for name in (*liar.parties.everybody, max(liar.parties.clients) + 1, BROADCAST):
        if name != liar.me:
            header = out.frame[:37] + name.to_bytes(4, "little") + out.frame[41:HEADER_SIZE]
            body = out.frame[HEADER_SIZE:-SIGNATURE_SIZE]
            signature = liar.endpoint.identity.sign(Label.FRAME, header, body)
            yield out.to, header + body + signature
    yield out.to, out.frame


def unknown_type(liar: Hostile, out: Outgoing) -> Iterator[tuple[PartyId, bytes]]:
    """Signed frames of types that the receiver does not take."""
    for code in set(range(256)) - liar.parties.accepted(out.to).keys():
        yield out.to, liar.seal_body(out.to, code, b"")
    yield out.to, out.frame


def body_garbage(liar: Hostile, out: Outgoing) -> Iterator[tuple[PartyId, bytes]]:
    """A signed body of random bytes, half as long as the honest one and ahead of it."""
    body = liar.rand((len(out.frame) - OVERHEAD) // 2)
    yield out.to, liar.seal_body(out.to, out.message.code, body)
    yield out.to, out.frame


def body_cut(liar: Hostile, out: Outgoing) -> Iterator[tuple[PartyId, bytes]]:
    """A signed body that is a byte short, ahead of the honest one."""
    body = out.frame[HEADER_SIZE : -SIGNATURE_SIZE - 1]
    yield out.to, liar.seal_body(out.to, out.message.code, body)
    yield out.to, out.frame


def body_extended(liar: Hostile, out: Outgoing) -> Iterator[tuple[PartyId, bytes]]:
    """A signed body with a byte too many, ahead of the honest one."""
    body = out.frame[HEADER_SIZE:-SIGNATURE_SIZE] + b"\0"
    yield out.to, liar.seal_body(out.to, out.message.code, body)
    yield out.to, out.frame


def second_different(liar: Hostile, out: Outgoing) -> Iterator[tuple[PartyId, bytes]]:
    """After the honest message a second one of its type with another body."""
    yield out.to, out.frame
    body = bytearray(out.frame[HEADER_SIZE:-SIGNATURE_SIZE])
    body[0] ^= 1
    yield out.to, liar.seal_body(out.to, out.message.code, bytes(body))


def early(liar: Hostile, out: Outgoing) -> Iterator[tuple[PartyId, bytes]]:
    """Before the honest message, every other type that the receiver takes, well formed or not."""
    for code in liar.parties.accepted(out.to):
        if code != out.message.code:
            yield out.to, liar.seal_body(out.to, code, liar.rand(64))
    yield out.to, out.frame


def silent_after(messages: int) -> Lie:
    """Honest for so many messages, then silent."""

    def lie(liar: Hostile, out: Outgoing) -> Iterator[tuple[PartyId, bytes]]:
        if len(liar.told) <= messages:
            yield out.to, out.frame

    return lie


CLIENT_LIES: tuple[Lie, ...] = (
    garbage,
    wrong_signature,
    forged_sender,
    unknown_type,
    body_garbage,
    body_cut,
    body_extended,
    second_different,
    early,
)
"""Lies after which a server must still release the exact sum of everybody it kept."""
