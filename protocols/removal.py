"""How excess noise is taken off a sum: one more signed frame of each client, before its shares.

    client: key -> encode -> ... -> Finished(included) -> frame      `Discloser`
    server: frames -> keys of clients in the sum -> noise to subtract    `Disclosures`

The frame leaves with the client's last message, so it costs no exchange. One that does not come
leaves this client's excess in the sum: more noise, never less. See docs/spec/mechanism.md.
"""

from __future__ import annotations

from collections.abc import Set
from dataclasses import replace

from dp.mechanism import Mechanism
from dp.sample import KEY_SIZE, draw
from protocols.invitation import Invitation
from secagg.errors import DecodeError
from secagg.event import Discarded
from secagg.frame import Endpoint, parse_header
from secagg.identity import SERVER, Identity, PartyId
from secagg.primitives.ring import Words
from secagg.rand import Rand
from secagg.wire import Fixed, Limits, Message, declare, field

__all__ = ["Discloser", "Disclosures", "Excess", "endpoint", "is_excess"]


@declare(code=64, phase="unmask")
class Excess(Message):
    """client -> server: from what the layers of its noise follow that this sum does not need."""

    key: bytes = field(Fixed(KEY_SIZE), secret=True)


class Discloser:
    """A client's side. It knows the layers of the vector that was submitted, and tells them once.

    Nothing of it is in a snapshot: a client that was restored discloses nothing.
    """

    def __init__(self, endpoint: Endpoint, mechanism: Mechanism) -> None:
        self._endpoint = endpoint
        self._mechanism = mechanism
        self._encoded: tuple[Words, bytes] | None = None
        self._key: bytes | None = None
        self._frame: bytes | None = None

    def fresh(self, rand: Rand) -> bytes:
        """A key for one encoding: 32 bytes of `rand`."""
        return draw(KEY_SIZE, rand)

    def encoded(self, vector: Words, key: bytes) -> None:
        """`vector` has the layers of `key`."""
        self._encoded = vector, key

    def submitted(self, vector: Words) -> None:
        """This client's input is `vector`: without layers to disclose unless it is that encoded."""
        known, self._encoded = self._encoded, None
        self._key = known[1] if known is not None and known[0] is vector else None

    def finish(self, included: Set[PartyId]) -> None:
        """The sum is over exactly these clients; the key is forgotten."""
        key, self._key = self._key, None
        told = None if key is None else self._mechanism.disclosed(key, len(included))
        self._frame = None if told is None else self._endpoint.seal(SERVER, Excess(key=told))

    def take(self) -> list[tuple[PartyId, bytes]]:
        """The frame to send, at most one and once."""
        frame, self._frame = self._frame, None
        return [] if frame is None else [(SERVER, frame)]


class Disclosures:
    """The server's side. It never raises for a client's fault, and reports it as `Discarded`.

    A client at fault here is not rejected: it harms only how precise the sum is, and its shares
    may be needed to open it. Nothing of it is in a snapshot.
    """

    def __init__(self, endpoint: Endpoint, mechanism: Mechanism) -> None:
        self._endpoint = endpoint
        self._mechanism = mechanism
        self._keys: dict[PartyId, bytes] = {}
        self._discarded: dict[PartyId, Discarded] = {}
        self._closed = False

    def complete(self, expected: Set[PartyId]) -> bool:
        """Whether all of these clients have disclosed, or have nothing to disclose."""
        if expected <= self._keys.keys():
            return True
        # at most as many as are in the sum; where there is excess, who has answered has disclosed
        clients = max(len(expected | self._keys.keys()), self._mechanism.event.parts)
        return self._mechanism.excess_layers(clients) == 0

    def receive(self, sender: PartyId, data: bytes | memoryview) -> None:
        """Take one frame that the transport attributes to `sender`, if it is good."""
        try:
            key = self._opened(sender, data)
            if self._keys.get(sender, key) != key:
                raise DecodeError("a second, different Excess")
            if self._closed and sender not in self._keys:
                raise DecodeError("Excess came too late")
        except DecodeError as error:
            self._discard(sender, str(error))
        else:
            self._keys.setdefault(sender, key)

    def close(self, included: Set[PartyId]) -> dict[PartyId, bytes]:
        """What clients disclosed of a sum over exactly `included`. What comes later is late."""
        self._closed = True
        needed = self._mechanism.excess_layers(len(included)) == 0
        useful = frozenset() if needed else included
        for sender in self._keys.keys() - useful:
            self._discard(sender, "Excess of noise that is not in the sum, or is needed there")
        return {sender: self._keys[sender] for sender in sorted(self._keys.keys() & useful)}

    def next_event(self) -> Discarded | None:
        """The oldest event not yet taken, or None; one for each sender, however much it floods."""
        return self._discarded.pop(next(iter(self._discarded))) if self._discarded else None

    def _opened(self, sender: PartyId, data: bytes | memoryview) -> bytes:
        header = self._endpoint.authenticate(data)
        if header.sender != sender:
            raise DecodeError(f"party {sender} delivered a frame of party {header.sender}")
        message = self._endpoint.open(header, data).message
        assert isinstance(message, Excess)
        return message.key

    def _discard(self, sender: PartyId, reason: str) -> None:
        known = self._discarded.get(sender)
        self._discarded[sender] = (
            replace(known, count=known.count + 1) if known else Discarded(sender, reason)
        )


def endpoint(invitation: Invitation, context: bytes, me: PartyId, identity: Identity) -> Endpoint:
    """One party's end of the round's `context` for `Excess`, which only the server takes."""
    return Endpoint(
        scheme=invitation.plan.scheme.code,
        context=context,
        me=me,
        identity=identity,
        roster=invitation.roster,
        accepts={Excess.code: Excess} if me == SERVER else {},
        limits=Limits(),
    )


def is_excess(data: bytes | memoryview) -> bool:
    """Whether these bytes say that they are an `Excess`; nothing is verified."""
    try:
        return parse_header(data).code == Excess.code
    except DecodeError:
        return False
