"""The helper's part of rounds with two aggregators: each context once, across restarts.

keeper = HelperKeeper(identity)
machine = keeper.join(scheme, round)       # then store keeper.journal.to_bytes(), before it sends
machine = keeper.resume(snapshot, scheme, round)    # after a crash
keeper.finish(round)                       # when it has ended
"""

from __future__ import annotations

import os
from typing import Any

from protocols.journal import ClientJournal
from secagg.context import Round
from secagg.identity import Identity
from secagg.machine import Machine
from secagg.rand import Rand
from secagg.scheme import Scheme

__all__ = ["HelperKeeper"]


class HelperKeeper:
    """Takes part in a round once, and in the rounds of a session in ascending order.

    Two machines of one context would give a leader two sums, whose difference is one client's
    input. journal: the rounds that it has begun. Store `journal.to_bytes()` after each call, before
    anything of that round is sent.
    """

    def __init__(
        self, identity: Identity, *, journal: ClientJournal | None = None, rand: Rand = os.urandom
    ) -> None:
        self.journal = ClientJournal() if journal is None else journal
        self._identity = identity
        self._rand = rand

    def join(self, scheme: Scheme, round: Round) -> Machine[Any]:
        """The helper's machine.

        Raises `ParameterError` for a scheme without a helper or a roster without this one,
        `LocalProtocolError` for a round that is not after those in the journal.
        """
        machine = scheme.helper(round, self._identity, rand=self._rand)
        self.journal.join(round.session, round.number)
        return machine

    def resume(self, snapshot: bytes, scheme: Scheme, round: Round) -> Machine[Any]:
        """The machine as it was at `snapshot`, which must be its latest.

        Raises `LocalProtocolError` for a round that was not begun or is finished, `DecodeError` for
        a snapshot of another round.
        """
        self.journal.rejoin(round.session, round.number)
        return scheme.resume_helper(snapshot, round, self._identity, rand=self._rand)

    def finish(self, round: Round) -> None:
        """Remember that the round is over: no snapshot of it may be resumed any more."""
        self.journal.finish(round.session, round.number)

    def __repr__(self) -> str:
        return f"<HelperKeeper, {len(self.journal.joined)} sessions>"
