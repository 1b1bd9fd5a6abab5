"""The sans-IO core: a `Role` says what a party does, a `Machine` is what a user drives.

A machine never touches a socket, a clock or a thread. Bytes go in through `receive`, bytes come
out of `to_send`, and deadlines are calls. One shell serves every scheme and both sides: it
decodes, authenticates, ignores identical duplicates, refuses what the transition table does not
allow, and keeps the books that a crash must not lose.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any, Generic, Self, TypeVar

from secagg import wire
from secagg.errors import (
    Aborted,
    DecodeError,
    IntegrityError,
    LocalProtocolError,
    RemoteProtocolError,
)
from secagg.event import Aggregate, Discarded, Event, Failed, Finished, PeerRejected
from secagg.frame import HEADER_SIZE, Endpoint, Header
from secagg.identity import BROADCAST, PartyId
from secagg.primitives.digest import DIGEST_SIZE, Label, digest
from secagg.rand import Rand
from secagg.role import Over, Role, Send, Side, Signal, State, Step, Transitions, Trigger
from secagg.wire import Blob, Fixed, Items, Joined, Limits, Message, Record, Rows, Table, Uint

__all__ = [
    "Aggregate",
    "Discarded",
    "Event",
    "Failed",
    "Finished",
    "Machine",
    "Over",
    "PeerRejected",
    "Role",
    "Send",
    "Side",
    "Signal",
    "State",
    "Step",
    "Transitions",
    "Trigger",
]


S = TypeVar("S", bound=State)


@wire.declare(code=1, phase="snapshot")
class _Outgoing(Record):
    receivers: Table = wire.field(Rows(wire.IDS))
    frame: bytes = wire.field(Blob(), secret=True)


_SAID, _SIGNATURE = 9, 64
"""Bytes of what `_seen_as` says and of the signature on it, which are a row of a snapshot."""


@wire.declare(code=3, phase="snapshot")
class _Snapshot(Record):
    scheme: int = wire.field(Uint(1))
    me: int = wire.field(Uint(4))
    context: bytes = wire.field(Fixed(32))
    state_code: int = wire.field(Uint(1))
    state: bytes = wire.field(Blob(), secret=True)
    outbox: tuple[_Outgoing, ...] = wire.field(Items(_Outgoing), secret=True)
    seen: bytes = wire.field(Joined(_SAID + _SIGNATURE))
    rejected: Table = wire.field(Rows(wire.IDS))


class Machine(Generic[S]):
    """One party of one round.

    Drive it in a loop: hand every received frame to `receive`, transmit all that `to_send`
    returns, drain `next_event`, and call `deadline` when *your* clock says a phase is over.
    Randomness comes from `rand`, but for HPKE, which `cryptography` gives its own. A machine is
    not thread-safe.

    A server never raises for a peer's fault; it reports `PeerRejected` or `Discarded` and goes on.
    A client raises: `DecodeError` leaves it as it was, `RemoteProtocolError` and `Aborted` finish
    it, and its secrets are dropped.
    """

    def __init__(self, role: Role[S], endpoint: Endpoint, rand: Rand = os.urandom) -> None:
        self._setup(role, endpoint, rand)
        self._apply(Signal.START, role.start(rand))

    def _setup(self, role: Role[S], endpoint: Endpoint, rand: Rand) -> None:
        self._role = role
        self._endpoint = endpoint
        self._rand = rand
        self._state: S | Over = Over()
        self._queue: list[_Outgoing] = []
        self._last: list[_Outgoing] = []
        self._events: deque[Event] = deque()
        self._discarded: dict[PartyId, Discarded] = {}
        self._seen: dict[bytes, bytes] = {}
        self._rejected: set[PartyId] = set()
        self._failed = False
        self._durable = False
        self._uncovered = False

    # -- what a user reads ------------------------------------------------------------------

    @property
    def me(self) -> PartyId:
        """This party's id."""
        return self._role.me

    @property
    def context(self) -> bytes:
        """The round's 32-byte context."""
        return self._endpoint.context

    @property
    def phase(self) -> str:
        """The phase this party is in; "over" at the end."""
        return self._state.phase

    @property
    def ended(self) -> bool:
        """Whether this party takes no more messages; `to_send` may still hold its last frames."""
        return isinstance(self._state, Over)

    @property
    def expected(self) -> frozenset[PartyId]:
        """The parties whose message is still awaited in this phase."""
        if isinstance(self._state, Over):
            return frozenset()
        return self._role.expected(self._state) - self._rejected

    @property
    def satisfied(self) -> bool:
        """Whether whoever is still awaited in this phase cannot change the output any more.

        A transport that sees it may call `deadline` at once, and a peer that died late costs no
        time. It is checked anew at each call, so ask after messages and not in a busy loop.
        """
        return not isinstance(self._state, Over) and self._role.satisfied(self._state)

    def next_event(self) -> Event | None:
        """The oldest event not yet taken, or None; `Discarded` comes after all others."""
        if self._events:
            return self._events.popleft()
        return self._discarded.pop(next(iter(self._discarded))) if self._discarded else None

    def to_send(self) -> list[tuple[PartyId, bytes]]:
        """Frames to transmit now, each with its receiver; every frame is returned once.

        Once a machine has been snapshotted, nothing leaves that a snapshot does not cover: after
        each step that sends, `snapshot` must come first, else `LocalProtocolError`. A crash then
        loses only steps that nobody saw, and a resumed client can never mask a second input with
        masks that are already in use.
        """
        if self._queue and self._durable and self._uncovered:
            raise LocalProtocolError("call snapshot() and store it before to_send()")
        if self._queue:
            self._last, self._queue = self._queue, []
            return [(to, item.frame) for item in self._last for to in item.receivers.peers]
        return []

    # -- what a user does -------------------------------------------------------------------

    def receive(self, sender: PartyId, data: bytes | memoryview) -> None:
        """Take one frame that the transport attributes to `sender`.

        An identical duplicate is ignored. A different second message of one type, or of one type
        for one client, rejects its sender. See the class for what raises.
        """
        if self._failed:
            raise LocalProtocolError("this party has failed and takes no more messages")
        try:
            header = self._endpoint.authenticate(data)
            if header.sender != sender:
                raise DecodeError(f"party {sender} delivered a frame of party {header.sender}")
        except DecodeError as error:
            self._discard(sender, error)
            return
        if sender not in self._rejected:
            self._take(header, data)

    def submit(self, value: Any) -> None:
        """Give this party's own input; a client's is its ring vector.

        Raises `LocalProtocolError` if an input was given before or comes too late, `InputRefused`
        if it does not fit the round's parameters. The machine is then unchanged.
        """
        if self._failed or Signal.INPUT not in self._allowed():
            raise LocalProtocolError(f"no input is accepted in phase {self.phase!r}")
        self._run(Signal.INPUT, lambda state: self._role.on_input(state, value, self._rand))

    def deadline(self) -> None:
        """Tell that the time for this phase is over; after the end this does nothing.

        A server goes on with what arrived, or fails below its thresholds. A client raises
        `Aborted`: its server was silent.
        """
        if Signal.DEADLINE in self._allowed():
            self._run(Signal.DEADLINE, lambda state: self._role.on_deadline(state, self._rand))

    def abandon(self) -> None:
        """Give up: nothing more leaves, nothing is accepted, and the secrets are dropped."""
        self._fail()
        self._failed = True

    def snapshot(self) -> bytes:
        """Everything needed to go on after a crash. It holds secrets: store it as such.

        Replace the stored snapshot by each newer one *before* sending, and never resume two
        machines from one. Raises `LocalProtocolError` while events wait in `next_event`.
        """
        if self._events or self._discarded:
            raise LocalProtocolError("drain next_event() before snapshot()")
        if self._failed:
            raise LocalProtocolError("this party has failed; join the next round")
        self._durable, self._uncovered = True, False
        body = wire.encode(
            _Snapshot(
                scheme=self._endpoint.scheme,
                me=self.me,
                context=self.context,
                state_code=self._state.code,
                state=wire.encode(self._state),
                outbox=tuple(self._queue or self._last),
                seen=b"".join(map(b"".join, self._seen.items())),
                rejected=wire.ids(self._rejected),
            )
        )
        return body + digest(Label.SNAPSHOT, body)

    @classmethod
    def restore(
        cls, role: Role[S], endpoint: Endpoint, data: bytes, rand: Rand = os.urandom
    ) -> Self:
        """The machine that `snapshot` described; the frames it last sent are to be sent again.

        Raises `DecodeError` for bytes that are damaged or belong to another party, round or scheme.
        """
        body, check = data[:-DIGEST_SIZE], data[-DIGEST_SIZE:]
        if digest(Label.SNAPSHOT, body) != check:
            raise DecodeError("the snapshot is damaged")
        limits = Limits(parties=BROADCAST, near=BROADCAST, blob=len(body))
        saved = wire.decode(_Snapshot, body, limits)
        if (saved.scheme, saved.me, saved.context) != (
            endpoint.scheme,
            endpoint.me,
            endpoint.context,
        ):
            raise DecodeError("the snapshot belongs to another party, round or scheme")
        machine = cls.__new__(cls)
        machine._setup(role, endpoint, rand)
        machine._state = wire.decode(_state_type(role, saved.state_code), saved.state, limits)
        machine._queue = list(saved.outbox)
        machine._seen = dict(_rows(saved.seen))
        machine._rejected = set(saved.rejected.peers)
        machine._durable = True
        return machine

    def __repr__(self) -> str:
        return f"<{type(self._role).__name__} machine of party {self.me}, phase {self.phase!r}>"

    def __reduce__(self) -> str:
        raise TypeError("a machine holds secrets and does not pickle; use snapshot()")

    # -- one step ---------------------------------------------------------------------------

    def _allowed(self) -> Mapping[Trigger, tuple[type[State], ...]]:
        return self._role.transitions.get(type(self._state), {})

    def _take(self, header: Header, data: bytes | memoryview) -> None:
        kind = self._endpoint.accepts[header.code]
        signature = bytes(memoryview(data)[-64:])
        known = self._seen.get(_seen_as(kind, header, data))
        if known == signature:
            return  # the network repeats itself
        if known is not None:
            self._refuse(header.sender, f"a second, different {kind.__name__}")
        elif kind in self._allowed():
            self._read(kind, header, data)
        else:
            self._misplace(kind, header.sender)

    @property
    def _outlives(self) -> bool:
        """Whether peers may be at fault, and this party goes on."""
        return self._role.side is Side.SERVER

    def _misplace(self, kind: type[Message], sender: PartyId) -> None:
        """A message that is not due. The server goes on without a client that missed a frame, and
        may tell it what comes next all the same: nobody's fault.
        """
        late = DecodeError(f"{kind.__name__} came too late")
        order = (*self._role.phases, Over.phase)
        match self._role.side:
            case Side.CLIENT if self._state.leads_to(self._role.transitions, kind):
                reason = f"{kind.__name__} came too early: a frame or a state before it was lost"
                error = Aborted(self.phase, reason, {sender})
                self._fail()
                raise error
            case Side.CLIENT:
                self._discard(sender, late)
            case Side.SERVER if order.index(kind.phase) < order.index(self.phase):
                self._discard(sender, late)
            case _:
                self._refuse(sender, f"{kind.__name__} is not due in phase {self.phase!r}")

    def _read(self, kind: type[Message], header: Header, data: bytes | memoryview) -> None:
        try:
            signed = self._endpoint.open(header, data)
        except DecodeError as error:
            self._refuse(header.sender, f"malformed {kind.__name__}: {error}")
            return
        self._seen[_seen_as(kind, header, data)] = signed.signature
        try:
            self._run(kind, lambda state: self._role.on_message(state, signed, self._rand))
        except RemoteProtocolError as error:
            self._refuse(header.sender, str(error))

    def _run(self, trigger: Trigger, step: Any) -> None:
        try:
            self._apply(trigger, step(self._state))
        except (Aborted, IntegrityError) as error:
            self._fail()
            if not self._outlives:
                raise
            self._events.append(Failed(error))

    def _apply(self, trigger: Trigger, step: Step[S]) -> None:
        if trigger is not Signal.START and type(step.state) not in self._allowed()[trigger]:
            raise AssertionError(f"{trigger} led to {type(step.state).__name__}: not in the table")
        self._state = step.state
        self._events.extend(step.events)
        self._uncovered = True
        if step.send:
            self._queue.extend(self._sealed(send) for send in step.send)

    def _sealed(self, send: Send) -> _Outgoing:
        receiver = BROADCAST if send.broadcast else send.to[0]
        frame = self._endpoint.seal(receiver, send.message)
        return _Outgoing(receivers=wire.ids(send.to), frame=frame)

    def _discard(self, sender: PartyId, error: DecodeError) -> None:
        if not self._outlives:
            raise error
        # one event per sender, however much it floods
        known = self._discarded.get(sender)
        self._discarded[sender] = (
            replace(known, count=known.count + 1) if known else Discarded(sender, str(error))
        )

    def _refuse(self, peer: PartyId, reason: str) -> None:
        if not self._outlives:
            self._fail()
            raise RemoteProtocolError(f"party {peer}: {reason}")
        self._events.append(PeerRejected(peer, self.phase, reason))
        self._rejected.add(peer)
        if Signal.LOST in self._allowed():
            self._run(Signal.LOST, lambda state: self._role.on_lost(state, peer, self._rand))

    def _fail(self) -> None:
        self._failed = not self._outlives
        self._state = Over()
        self._queue, self._last = [], []


def _seen_as(kind: type[Message], header: Header, data: bytes | memoryview) -> bytes:
    """What a sender says once: a type, and where the type is for clients, a client, u32 u8 u32."""
    subject = bytes(data[HEADER_SIZE : HEADER_SIZE + 4]) if kind.for_client else bytes(4)
    return header.sender.to_bytes(4, "little") + header.code.to_bytes(1) + subject


def _rows(seen: bytes) -> Iterator[tuple[bytes, bytes]]:
    for start in range(0, len(seen), _SAID + _SIGNATURE):
        middle = start + _SAID
        yield seen[start:middle], seen[middle : middle + _SIGNATURE]


def _state_type(role: Role[Any], code: int) -> type[Any]:
    kinds: tuple[type[State], ...] = (*role.transitions, Over)
    for kind in kinds:
        if kind.code == code:
            return kind
    raise DecodeError(f"no state has code {code}")
