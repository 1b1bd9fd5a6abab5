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
from protocols.third import Keeper, ThirdParty
from secagg.context import Round
from secagg.errors import ParameterError
from secagg.machine import Machine
from secagg.rand import Rand
from secagg.scheme import Scheme
from secagg.schemes.ckks import EncryptedScheme, KeyAuthority

__all__ = ["AuthorityKeeper", "Opener"]


class Opener(ThirdParty, Protocol):
    """A key authority, in this process or in another one."""

    def scheme(self, *, clients: int, length: int, width: int, **fields: Any) -> EncryptedScheme:
        """The scheme of these parameters under this authority's keys."""
        ...


class AuthorityKeeper(Keeper):
    """Opens at most one sum of each round, and the rounds of a session in ascending order."""

    def __init__(
        self,
        authority: KeyAuthority,
        *,
        journal: ClientJournal | None = None,
        rand: Rand = os.urandom,
    ) -> None:
        super().__init__(journal=journal, rand=rand)
        self.authority = authority

    def scheme(self, *, clients: int, length: int, width: int, **fields: Any) -> EncryptedScheme:
        """See `KeyAuthority.scheme`."""
        return self.authority.scheme(clients=clients, length=length, width=width, **fields)

    def _made(self, scheme: Scheme, round: Round) -> Machine[Any]:
        if not isinstance(scheme, EncryptedScheme):
            raise ParameterError(f"{scheme.name} has no key authority")
        return self.authority.machine(scheme, round, rand=self._rand)
