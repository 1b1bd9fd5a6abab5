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
    """The last round that one client joined in each session.

    Store `to_bytes()` after every `ClientRound`, before anything of that round is sent.
    """

    def __init__(self) -> None:
        self._joined: dict[bytes, int] = {}

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

    def rejoin(self, session: bytes, number: int) -> None:
        """Raise `LocalProtocolError` unless this round was the last joined of its session.

        For a client that resumes from a snapshot.
        """
        if self._joined.get(session) != number:
            raise LocalProtocolError(
                f"round {number} is not the last that the journal has of this session: the "
                "snapshot or the journal is out of date"
            )

    def forget(self, session: bytes) -> None:
        """Drop a session that is over, for good: its rounds could be joined again."""
        self._joined.pop(session, None)

    def to_bytes(self) -> bytes:
        """The journal as JSON, for the caller's own store; it holds no secret."""
        rounds = {session.hex(): self._joined[session] for session in sorted(self._joined)}
        return json.dumps({"format": _FORMAT, "joined": rounds}).encode()

    @classmethod
    def from_bytes(cls, data: bytes) -> Self:
        """The journal that `to_bytes` wrote; `DecodeError` for anything else."""
        journal = cls()
        try:
            journal._joined = _parse(json.loads(data))
        except ValueError:  # not UTF-8, not JSON, not hexadecimal
            raise DecodeError("not a client journal") from None
        return journal

    def __repr__(self) -> str:
        return f"<ClientJournal of {len(self._joined)} sessions>"


def _parse(document: Any) -> dict[bytes, int]:
    if not isinstance(document, dict) or document.keys() != {"format", "joined"}:
        raise ValueError
    rounds = document["joined"]
    if document["format"] != _FORMAT or not isinstance(rounds, dict):
        raise ValueError
    if any(type(number) is not int or number < 0 for number in rounds.values()):
        raise ValueError
    return {bytes.fromhex(session): number for session, number in rounds.items()}
