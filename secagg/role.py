"""What a scheme author writes: states, a table of what may follow what, and steps between them."""

from __future__ import annotations

import enum
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Generic, Protocol, Self, TypeVar

from secagg import wire
from secagg.event import Event
from secagg.frame import Signed
from secagg.identity import SERVER, PartyId
from secagg.rand import Rand
from secagg.wire import Message, Record

__all__ = ["Over", "Role", "Send", "Side", "Signal", "State", "Step", "Transitions", "Trigger"]


class State(Record):
    """A frozen record of everything a party remembers between two calls.

    The step that consumes a state owns it: large accumulators are updated in place, so no step
    may be taken twice from one state object. `Machine` sees to that.
    """

    @classmethod
    def leads_to(cls, table: Transitions, kind: type[Message]) -> bool:
        """Whether it, or a state that may come after it, takes `kind`."""
        ahead, seen = {cls}, set[type[State]]()
        while ahead:
            row = table.get(now := ahead.pop(), {})
            if kind in row:
                return True
            seen.add(now)
            ahead.update({after for follow in row.values() for after in follow} - seen)
        return False


@wire.declare(code=255, phase="over")
class Over(State):
    """Nothing is remembered and nothing is accepted any more."""


class Side(enum.Enum):
    """What a party is in its round. A server outlives faulty peers, and goes on without a client
    that does not answer, but not without the third party.
    """

    SERVER = "server"
    CLIENT = "client"
    THIRD = "third"


class Signal(enum.Enum):
    """What moves a machine besides a message."""

    START = "start"
    INPUT = "input"
    DEADLINE = "deadline"
    LOST = "peer rejected"


Trigger = type[Message] | Signal
Transitions = Mapping[type[State], Mapping[Trigger, tuple[type[State], ...]]]
"""State -> trigger -> the states that may follow; what is absent is refused."""

S = TypeVar("S", bound=State)


@dataclass(frozen=True)
class Send:
    """A message and its receivers; a broadcast is signed once, and every receiver gets it."""

    message: Message
    to: tuple[PartyId, ...]
    broadcast: bool = False

    @classmethod
    def to_server(cls, message: Message) -> Self:
        """From a client."""
        return cls(message, (SERVER,))

    @classmethod
    def to_all(cls, message: Message, clients: Iterable[PartyId]) -> Self:
        """From the server: the same frame to each of `clients`."""
        return cls(message, tuple(clients), broadcast=True)


@dataclass(frozen=True)
class Step(Generic[S]):
    """What one trigger leads to."""

    state: S | Over
    send: tuple[Send, ...] = ()
    events: tuple[Event, ...] = ()


class Role(Protocol[S]):
    """What a scheme author writes: pure steps over states, one class per side.

    A step raises `RemoteProtocolError` when the sender is at fault, `Aborted` or `IntegrityError`
    when the round cannot go on, and `InputRefused` or `LocalProtocolError` when the caller is.
    """

    @property
    def me(self) -> PartyId:
        """This party's id."""
        ...

    @property
    def phases(self) -> tuple[str, ...]:
        """The names of the phases, in order."""
        ...

    @property
    def side(self) -> Side:
        """What this party is."""
        ...

    @property
    def transitions(self) -> Transitions:
        """The table of what may follow what."""
        ...

    def start(self, rand: Rand) -> Step[S]:
        """The first state, and what to send at once."""
        ...

    def on_message(self, state: S, signed: Signed[Any], rand: Rand) -> Step[S]:
        """Take a message that the transition table allows in `state`."""
        ...

    def on_input(self, state: S, value: Any, rand: Rand) -> Step[S]:
        """Take this party's own input."""
        ...

    def on_deadline(self, state: S, rand: Rand) -> Step[S]:
        """End the phase with what has arrived."""
        ...

    def on_lost(self, state: S, peer: PartyId, rand: Rand) -> Step[S]:
        """Go on without a peer that was rejected."""
        ...

    def expected(self, state: S) -> frozenset[PartyId]:
        """Whose message this state still waits for."""
        ...

    def satisfied(self, state: S) -> bool:
        """Whether `on_deadline` leads to the same output as waiting for more would."""
        ...
