"""The key authority's part of a round: one request of the server, one answer.

keeper = AuthorityKeeper(KeyAuthority.generate())
plan = RoundPlan.for_update(model, clients=20, clip=clip, scheme=keeper.authority.scheme)
...
reply = keeper.answer(plan.scheme, invitation.round, request)   # frames of, and to, the server
"""

from __future__ import annotations

import os
from typing import Any, Protocol

from protocols.journal import ClientJournal
from secagg.context import Round
from secagg.errors import DecodeError, LocalProtocolError, ParameterError, SecAggError
from secagg.identity import SERVER
from secagg.rand import Rand
from secagg.scheme import Scheme
from secagg.schemes.ckks import EncryptedExact, KeyAuthority

__all__ = ["AuthorityKeeper", "Opener"]


class Opener(Protocol):
    """What answers the requests of a server, in this process or in another one."""

    def scheme(self, *, clients: int, length: int, width: int, **fields: Any) -> EncryptedExact:
        """The scheme of these parameters under this authority's keys."""
        ...

    def answer(self, scheme: Scheme, round: Round, request: bytes) -> bytes:
        """The frame to send back for the frame `request`."""
        ...


class AuthorityKeeper:
    """Opens at most one sum of each round, and the rounds of a session in ascending order.

    journal: the rounds that it has answered or begun to. Store `journal.to_bytes()` after every
    `answer`, before the reply is sent; a round that is in it is refused, so that a crash costs a
    round and never opens two sums.
    """

    def __init__(
        self,
        authority: KeyAuthority,
        *,
        journal: ClientJournal | None = None,
        rand: Rand = os.urandom,
    ) -> None:
        self.authority = authority
        self.journal = ClientJournal() if journal is None else journal
        self._rand = rand
        self._last: tuple[bytes, bytes] | None = None

    def scheme(self, *, clients: int, length: int, width: int, **fields: Any) -> EncryptedExact:
        """See `KeyAuthority.scheme`."""
        return self.authority.scheme(clients=clients, length=length, width=width, **fields)

    def answer(self, scheme: Scheme, round: Round, request: bytes) -> bytes:
        """The frame to send back to the server; the same again for the same request.

        Raises `ParameterError` for a scheme without an authority, or of another one;
        `LocalProtocolError` for a round that is not after those in the journal; `DecodeError` for
        bytes that are not of this round, which may still be asked for; `RemoteProtocolError` for a
        request that no honest server makes, and `CipherFailed` where the native code failed: then
        nothing was opened, and nothing of this round will be.
        """
        if self._last is not None and self._last[0] == request:
            return self._last[1]
        if not isinstance(scheme, EncryptedExact):
            raise ParameterError(f"{scheme.name} has no key authority")
        self._require_new(round)
        machine = self.authority.machine(scheme, round, rand=self._rand)
        try:
            machine.receive(SERVER, request)
        except DecodeError:
            raise
        except SecAggError:
            self.journal.join(round.session, round.number)
            raise
        self.journal.join(round.session, round.number)
        ((_, reply),) = machine.to_send()
        self._last = (request, reply)
        return reply

    def _require_new(self, round: Round) -> None:
        last = self.journal.joined.get(round.session)
        if last is not None and round.number <= last:
            raise LocalProtocolError(
                f"round {round.number} of this session is not after round {last}, which was "
                "answered: a context is opened once"
            )

    def __repr__(self) -> str:
        return f"<AuthorityKeeper, {len(self.journal.joined)} sessions>"
