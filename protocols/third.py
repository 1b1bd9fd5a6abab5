"""The third party of a round, in schemes that have one: it answers the server, frame by frame.

In an encrypted plan that is the key authority, with two aggregators the helper.
"""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from typing import Any, Protocol

from protocols.journal import ClientJournal
from secagg.context import Round
from secagg.errors import DecodeError, LocalProtocolError, SecAggError
from secagg.identity import SERVER, Roster
from secagg.machine import Machine
from secagg.rand import Rand
from secagg.scheme import Scheme

__all__ = ["Keeper", "ThirdParty"]


class ThirdParty(Protocol):
    """What answers the requests of a server, in this process or in another one."""

    def enrolled(self, roster: Roster) -> Roster:
        """The roster of server and clients, with what a round needs of this party."""
        ...

    def answer(self, scheme: Scheme, round: Round, request: bytes) -> bytes:
        """The frame to send back for the frame `request`."""
        ...


class Keeper(ABC):
    """Helps to open at most one sum of each round, and the rounds of a session in ascending order.

    journal: the rounds that it has answered in or begun to. Store `journal.to_bytes()` after every
    `answer`, before the reply is sent; a round that is in it is refused, so that a crash costs a
    round and never opens two sums.
    """

    def __init__(self, *, journal: ClientJournal | None = None, rand: Rand = os.urandom) -> None:
        self.journal = ClientJournal() if journal is None else journal
        self._rand = rand
        self._begun: tuple[Scheme, Round, Machine[Any]] | None = None
        self._last: tuple[bytes, bytes] | None = None

    def enrolled(self, roster: Roster) -> Roster:
        """The roster of server and clients, with what a round needs of this party."""
        return roster

    def answer(self, scheme: Scheme, round: Round, request: bytes) -> bytes:
        """The frame to send back to the server; the same again for the same request as before.

        Raises `ParameterError` for a scheme that is not for this party; `LocalProtocolError` for a
        round that is not after those in the journal, and for an earlier request; `DecodeError` for
        bytes that are not of this round, which may still be asked for; `RemoteProtocolError` for a
        request that no honest server makes, and `CipherFailed` where native code failed: then
        nothing was opened, and nothing of this round will be.
        """
        if self._last is not None and self._last[0] == request:
            return self._last[1]
        machine = self._machine(scheme, round)
        try:
            machine.receive(SERVER, request)
        except DecodeError:
            raise
        except SecAggError:
            self._begin(scheme, round, machine)
            raise
        self._begin(scheme, round, machine)
        frames = machine.to_send()
        if not frames:
            raise LocalProtocolError("this request was answered before")
        self._last = (request, frames[0][1])
        return self._last[1]

    @abstractmethod
    def _made(self, scheme: Scheme, round: Round) -> Machine[Any]:
        """The machine of a new round."""

    def _machine(self, scheme: Scheme, round: Round) -> Machine[Any]:
        if self._begun is not None and self._begun[:2] == (scheme, round):
            machine = self._begun[2]
            if not machine.ended:
                return machine
        machine = self._made(scheme, round)
        self._require_new(round)
        return machine

    def _begin(self, scheme: Scheme, round: Round, machine: Machine[Any]) -> None:
        if self._begun is None or self._begun[2] is not machine:
            self.journal.join(round.session, round.number)
            self._begun = (scheme, round, machine)

    def _require_new(self, round: Round) -> None:
        last = self.journal.joined.get(round.session)
        if last is not None and round.number <= last:
            raise LocalProtocolError(
                f"round {round.number} of this session is not after round {last}, which was "
                "answered: a context is opened once"
            )

    def __repr__(self) -> str:
        return f"<{type(self).__name__}, {len(self.journal.joined)} sessions>"
