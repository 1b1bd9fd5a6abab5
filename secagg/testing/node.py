"""One party of a simulated round: its machine, its stored snapshot, its mishaps."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, Protocol

from secagg.errors import Aborted, DecodeError, IntegrityError, RemoteProtocolError, SecAggError
from secagg.identity import PartyId
from secagg.machine import Event
from secagg.testing.faults import Crash, Moment, PeerFault, Tardy, Vanish
from secagg.wire import Message

__all__ = ["Action", "Node", "Outbox", "Peer"]

Outbox = list[tuple[PartyId, bytes]]


class Peer(Protocol):
    """What the network drives: a `Machine`, or an adversary that looks like one."""

    @property
    def ended(self) -> bool: ...
    def submit(self, value: Any) -> None: ...
    def receive(self, sender: PartyId, data: bytes) -> None: ...
    def deadline(self) -> None: ...
    def to_send(self) -> Outbox: ...
    def next_event(self) -> Event | None: ...
    def snapshot(self) -> bytes: ...


Action = Callable[[Peer], None]


class Node:
    """A party and the way its caller treats it.

    peer: the machine in use; another one after each crash. stored: its latest snapshot, if its
    caller keeps any. last: what it sent in the latest step that sent anything. events: what it
    reported. refused: why it threw frames away by raising `DecodeError`. error: what ended it.
    gone: whether it left without a word.

    An exception that a peer's fault must not cause leaves `act`, and with it the test: any at all
    from a tolerant party, and everything but `DecodeError`, `RemoteProtocolError`, `Aborted` and
    `IntegrityError` from another one.
    """

    def __init__(
        self,
        me: PartyId,
        peer: Peer,
        *,
        tolerant: bool,
        scripts: Sequence[PeerFault],
        kind: Callable[[PartyId, bytes], type[Message] | None],
        revive: Callable[[bytes], Peer] | None = None,
    ) -> None:
        self.me = me
        self.peer = peer
        self.tolerant = tolerant
        self.events: list[Event] = []
        self.refused: list[DecodeError] = []
        self.error: SecAggError | None = None
        self.gone = False
        self.last: Outbox = []
        self.tardy = any(isinstance(script, Tardy) for script in scripts)
        self._scripts = scripts
        self._kind = kind
        self._revive = revive
        self._began = False
        self.stored = peer.snapshot() if revive else None

    @property
    def over(self) -> bool:
        """Whether nothing more comes from this party."""
        return self.gone or self.error is not None or self.peer.ended

    def act(self, action: Action) -> Outbox:
        """Let the party take one step; what leaves it, after its crashes and resumptions."""
        if self.gone or self.error is not None:
            return []
        before = self.stored
        events, saved, out = self._take(action)
        # a crash after every duplicate would make two crashing parties repeat themselves forever
        moments = set(Moment) if saved != before or not self._began else set()
        self._began = True
        if Moment.UNSAVED in moments and self._crashes(Moment.UNSAVED, out):
            self._resume()
            events, saved, out = self._take(action)
        self.events += events
        self.stored = saved
        self.last = out or self.last
        if any(self._struck(script, out) for script in self._each(Vanish)):
            self.gone = True
            return []
        if Moment.SAVED in moments and self._crashes(Moment.SAVED, out):
            self._resume()
            out = self.peer.to_send()
        if Moment.SENT in moments and self._crashes(Moment.SENT, out):
            self._resume()
            out = out + self.peer.to_send()
        return out

    def crash(self) -> Outbox:
        """Start again from the stored snapshot; what it says to send is sent again."""
        if self.gone or self.error is not None:
            return []
        self._resume()
        return self.peer.to_send()

    def _take(self, action: Action) -> tuple[list[Event], bytes | None, Outbox]:
        if self.tolerant:
            action(self.peer)
        else:
            self._attempt(action)
        events = list(_drain(self.peer))
        if self.error is not None:
            return events, None, []
        saved = self.peer.snapshot() if self._revive else None
        return events, saved, self.peer.to_send()

    def _attempt(self, action: Action) -> None:
        try:
            action(self.peer)
        except DecodeError as error:
            self.refused.append(error)
        except (RemoteProtocolError, Aborted, IntegrityError) as error:
            self.error = error

    def _resume(self) -> None:
        if self._revive is None or self.stored is None:
            raise ValueError(f"party {self.me} keeps no snapshots and cannot crash")
        self.peer = self._revive(self.stored)

    def _crashes(self, moment: Moment, out: Outbox) -> bool:
        crashes = [crash for crash in self._each(Crash) if crash.moment is moment]
        return self.error is None and any(self._struck(crash, out) for crash in crashes)

    def _struck(self, script: Any, out: Outbox) -> bool:
        kinds = (self._kind(to, frame) for to, frame in out)
        return script.message is None or script.message in kinds

    def _each(self, kind: type[Any]) -> Iterator[Any]:
        return (script for script in self._scripts if isinstance(script, kind))


def _drain(peer: Peer) -> Iterator[Event]:
    while (event := peer.next_event()) is not None:
        yield event
