"""The helper's part of a round with two aggregators: an answer to each frame of the leader.

keeper = HelperKeeper.generate()
invitation = Invitation(plan=plan, ..., roster=keeper.enrolled(roster))
...
reply = keeper.answer(plan.scheme, invitation.round, request)   # frames of, and to, the leader
"""

from __future__ import annotations

import os
from dataclasses import replace
from typing import Any, Self

from protocols.journal import ClientJournal
from protocols.third import Keeper
from secagg.context import Round
from secagg.identity import THIRD, Identity, Roster
from secagg.machine import Machine
from secagg.rand import Rand
from secagg.scheme import Scheme

__all__ = ["HelperKeeper", "enlisted"]


class HelperKeeper(Keeper):
    """Verifies its half of every report, and gives its share of at most one sum of each round."""

    def __init__(
        self,
        identity: Identity,
        *,
        journal: ClientJournal | None = None,
        rand: Rand = os.urandom,
    ) -> None:
        super().__init__(journal=journal, rand=rand)
        self._identity = identity

    @classmethod
    def generate(cls, rand: Rand = os.urandom) -> Self:
        """A helper with a fresh identity."""
        return cls(Identity.generate(rand), rand=rand)

    @property
    def public(self) -> bytes:
        """Its public identity, which the roster lists."""
        return self._identity.public

    @property
    def share_key(self) -> bytes:
        """What clients seal its shares to, with its signature; the roster lists it too."""
        return self._identity.share_key

    def enrolled(self, roster: Roster) -> Roster:
        """The roster with this helper on it."""
        return enlisted(roster, self.public, self.share_key)

    def _made(self, scheme: Scheme, round: Round) -> Machine[Any]:
        return scheme.helper(round, self._identity, rand=self._rand)


def enlisted(roster: Roster, public: bytes, share_key: bytes) -> Roster:
    """The roster with the helper of these keys on it."""
    return replace(
        roster,
        clients={**roster.clients, THIRD: public},
        share_keys={**roster.share_keys, THIRD: share_key},
    )
