"""The key authority's part of one round: one request of the aggregator, one answer.

authority = KeyAuthority.generate()
plan = RoundPlan.for_update(model, clients=20, clip=clip, scheme=authority.scheme)
...
keeper = AuthorityRound(invitation, authority, journal=journal)
reply = keeper.answer(request)     # a frame of the server; the reply goes back to it
"""

from __future__ import annotations

import os

from protocols.invitation import Invitation
from protocols.journal import ClientJournal
from secagg.errors import LocalProtocolError, ParameterError
from secagg.event import Event
from secagg.identity import SERVER
from secagg.rand import Rand
from secagg.schemes.ckks import EncryptedExact, KeyAuthority

__all__ = ["AuthorityRound"]


class AuthorityRound:
    """Opens at most one sum. The round enters the `journal` before anything can be opened.

    Store `journal.to_bytes()` before `answer`: a round that is in it raises `LocalProtocolError`,
    so that a crash costs a round and never opens two sums. Raises `ParameterError` for a plan
    without a key authority, or with another one.
    """

    def __init__(
        self,
        invitation: Invitation,
        authority: KeyAuthority,
        *,
        journal: ClientJournal,
        rand: Rand = os.urandom,
    ) -> None:
        scheme = invitation.plan.scheme
        if not isinstance(scheme, EncryptedExact):
            raise ParameterError(f"{scheme.name} has no key authority")
        self._machine = authority.machine(scheme, invitation.round, rand=rand)
        journal.join(invitation.session, invitation.number)
        self._answered: dict[bytes, bytes] = {}

    def answer(self, request: bytes) -> bytes:
        """The frame to send back to the server; the same for the same request.

        Raises `RemoteProtocolError` for a request that no honest server makes, and the round is
        over; `DecodeError` for bytes that are not of this round, and it goes on; `CipherFailed`
        where the native code failed, and nothing was opened.
        """
        if request not in self._answered:
            self._machine.receive(SERVER, request)
            frames = self._machine.to_send()
            if not frames:
                raise LocalProtocolError("this round was answered, or is over")
            self._answered = {request: frames[0][1]}
        return self._answered[request]

    def next_event(self) -> Event | None:
        """The oldest event not yet taken, or None."""
        return self._machine.next_event()

    def __repr__(self) -> str:
        return f"<AuthorityRound, phase {self._machine.phase!r}>"
