"""What a client remembers between rounds, so that it never takes part in one twice.

Two sums over the same inputs and two cohorts differ by the inputs of the clients in between: a
server that can make a client repeat a round learns what no single round tells. So a client joins
the rounds of a session in ascending order, each at most once.

The journal cannot know that a *new* session asks about the same data. How often that may happen
is a question of privacy accounting.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Self

from secagg.errors import DecodeError, LocalProtocolError

__all__ = ["ClientJournal"]

_FORMAT = "secagg-journal-1"


class ClientJournal:
    """The rounds that one client has joined: the last of each session, and those still running.

    Store `to_bytes()` after every `ClientRound`, before anything of that round is sent. In a
    scheme with long-lived share keys a client that joins one round twice endangers the others
    too (docs/spec/brief.md, section 7), so there the journal is no option.
    """

    def __init__(self) -> None:
        self._joined: dict[bytes, int] = {}
        self._running: dict[bytes, set[int]] = {}

    @property
    def joined(self) -> Mapping[bytes, int]:
        """Session -> number of the last round joined."""
        return MappingProxyType(self._joined)

    def join(self, session: bytes, number: int) -> None:
        """Remember the round; `LocalProtocolError` unless it is newer than all of its session."""
        last = self._joined.get(session)
        if last is not None and number <= last:
            raise LocalProtocolError(
                f"round {number} of this session is not after round {last}, which this client "
                "joined: a second sum over the same inputs would give them away"
            )
        self._joined[session] = number
        self._running.setdefault(session, set()).add(number)

    def rejoin(self, session: bytes, number: int) -> None:
        """Raise `LocalProtocolError` unless this round was joined and is not finished.

        For a client that resumes from a snapshot. A run may have two rounds open at a time: the
        keys of the next ride on the messages of this one.
        """
        if number not in self._running.get(session, ()):
            raise LocalProtocolError(
                f"round {number} of this session is not running: the snapshot or the journal is "
                "out of date"
            )

    def finish(self, session: bytes, number: int) -> None:
        """Remember that the round is over: no snapshot of it may be resumed any more."""
        self._running.get(session, set()).discard(number)

    def forget(self, session: bytes) -> None:
        """Drop a session that is over, for good: its rounds could be joined again."""
        self._joined.pop(session, None)
        self._running.pop(session, None)

    def onto(self, stored: ClientJournal, *, since: ClientJournal) -> ClientJournal:
        """`stored`, and what this journal has joined and finished after it was `since`.

        For processes of one client that read one journal and end in any order: each writes its own
        changes into what the others have stored. Nothing that another joined is undone, and
        nothing that another finished runs again.
        """
        whole = ClientJournal.from_bytes(stored.to_bytes())
        for session, last in self._joined.items():
            was, now = since._running.get(session, set()), self._running.get(session, set())
            whole._joined[session] = max(last, whole._joined.get(session, last))
            others = whole._running.setdefault(session, set())
            whole._running[session] = (others | (now - was)) - (was - now)
        for session in since._joined.keys() - self._joined.keys():
            whole.forget(session)
        return whole

    def to_bytes(self) -> bytes:
        """The journal as JSON, for the caller's own store; it holds no secret."""
        rounds = {
            session.hex(): {"last": last, "running": sorted(self._running.get(session, ()))}
            for session, last in sorted(self._joined.items())
        }
        return json.dumps({"format": _FORMAT, "joined": rounds}).encode()

    @classmethod
    def from_bytes(cls, data: bytes) -> Self:
        """The journal that `to_bytes` wrote; `DecodeError` for anything else."""
        journal = cls()
        try:
            for session, (last, running) in _parse(json.loads(data)).items():
                journal._joined[session], journal._running[session] = last, running
        except ValueError:  # not UTF-8, not JSON, not hexadecimal
            raise DecodeError("not a client journal") from None
        return journal

    def __repr__(self) -> str:
        return f"<ClientJournal of {len(self._joined)} sessions>"


def _parse(document: Any) -> dict[bytes, tuple[int, set[int]]]:
    if not isinstance(document, dict) or document.keys() != {"format", "joined"}:
        raise ValueError
    rounds = document["joined"]
    if document["format"] != _FORMAT or not isinstance(rounds, dict):
        raise ValueError
    return {bytes.fromhex(session): _entry(entry) for session, entry in rounds.items()}


def _entry(entry: Any) -> tuple[int, set[int]]:
    if not isinstance(entry, dict) or entry.keys() != {"last", "running"}:
        raise ValueError
    last, running = entry["last"], entry["running"]
    if not isinstance(running, list) or any(type(n) is not int for n in (last, *running)):
        raise ValueError
    if last < 0 or any(not 0 <= number <= last for number in running):
        raise ValueError
    return last, set(running)
