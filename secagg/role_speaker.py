"""A client that says one thing: it waits for its input, sends one message, and is done."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, ClassVar, Generic, TypeVar

from secagg.errors import Aborted
from secagg.event import Finished
from secagg.frame import Signed
from secagg.identity import PartyId
from secagg.rand import Rand
from secagg.role import Over, Send, Side, Signal, State, Step, Transitions
from secagg.wire import Message

__all__ = ["Speaker", "speaks_once"]

S = TypeVar("S", bound=State)


def speaks_once(waiting: type[State]) -> Transitions:
    """The table of a `Speaker` that waits in that state."""
    return {waiting: {Signal.INPUT: (Over,), Signal.DEADLINE: (Over,)}}


class Speaker(ABC, Generic[S]):
    """A role whose `transitions` are `speaks_once`, and whose one phase is that of its message."""

    side = Side.CLIENT
    phases: ClassVar[tuple[str, ...]]
    transitions: Transitions

    def __init__(self, me: PartyId) -> None:
        self.me = me

    @abstractmethod
    def message(self, value: Any, rand: Rand) -> Message:
        """What it sends for its input; `InputRefused` if it is none."""

    def start(self, rand: Rand) -> Step[S]:
        """Wait."""
        (waiting,) = self.transitions
        return Step(waiting())  # type: ignore[arg-type]  # the table of a Speaker has S alone

    def on_input(self, state: S, value: Any, rand: Rand) -> Step[S]:
        """Speak, and be done."""
        return Step(Over(), (Send.to_server(self.message(value, rand)),), (Finished(),))

    def on_message(self, state: S, signed: Signed[Any], rand: Rand) -> Step[S]:
        """Never: nobody speaks to it."""
        raise AssertionError("the transition table allows no message")

    def on_deadline(self, state: S, rand: Rand) -> Step[S]:
        """Give up."""
        raise Aborted(self.phases[0], "no input was submitted in time", {self.me})

    def on_lost(self, state: S, peer: PartyId, rand: Rand) -> Step[S]:
        """Never: it listens to nobody."""
        raise AssertionError("a client has no peers to lose")

    def expected(self, state: S) -> frozenset[PartyId]:
        """Nobody."""
        return frozenset()

    def satisfied(self, state: S) -> bool:
        """Never before it has spoken."""
        return False
