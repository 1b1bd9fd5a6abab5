"""The server's part of rounds whose plan has a screen. An exchange for each phase of the scheme:

    begin    hello, if nodes are unknown; adverts; shares; one delivery per node
    finish   masked updates; what is opened of them; dispute, where two clients disagree;
             the judge; consent; unmask; strike, where a client turns out to have lied; the result

What a client of an honest round is told at its end needs no answer and is not sent.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace

from protocols.adapters.flower.call import Call
from protocols.adapters.flower.coordinator import Ask, Asked, Coordinator, Node
from protocols.round import Result, ServerRound
from secagg.errors import Aborted, InputRefused
from secagg.event import Discarded, FraudProven, GroupStatistics, PeerRejected, Statistics
from secagg.identity import Identity, PartyId, Roster
from secagg.rand import Rand

__all__ = ["Exclude", "ScreenedCoordinator"]

Exclude = Callable[[ServerRound, Statistics], Iterable[PartyId]]
_log = logging.getLogger("flwr")


class ScreenedCoordinator(Coordinator):
    """exclude: whom to leave out of those within the bounds; None for nobody."""

    def __init__(
        self,
        identity: Identity,
        roster: Roster,
        ask: Ask,
        rand: Rand = os.urandom,
        exclude: Exclude | None = None,
    ) -> None:
        super().__init__(identity, roster, ask, rand)
        self._exclude = exclude
        self._statistics: Statistics | None = None

    def _begun(
        self, call: Call, claims: Mapping[Node, PartyId], model: bytes
    ) -> tuple[ServerRound, Call]:
        self._statistics = None
        self._number += 1
        call = replace(call, number=self._number, model=model, ahead=False)
        server = self._server(call, self._number)
        self._exchange(server, call, {node: {} for node in claims})
        self._exchange(server, call, self._frames(server))
        return server, call

    def _finished(self, server: ServerRound, call: Call, replies: Iterable[Asked]) -> Result:
        for reply in replies:
            self._take(server, reply, "frame")
        result = self._closed(server, "masked")
        while not server.ended:
            result = self._exchange(server, call, self._frames(server))
        return self._reported(result)

    def _exchange(
        self, server: ServerRound, call: Call, frames: Mapping[Node, Mapping[str, bytes]]
    ) -> Result | None:
        """One phase; its result, if it was the last."""
        phase = server.phase

        def enough() -> bool:
            return server.phase != phase or server.satisfied

        self._ask_all(
            replace(call, stage=phase),
            frames,
            lambda reply: self._take(server, reply, "frame"),
            enough,
        )
        return self._closed(server, phase)

    def _closed(self, server: ServerRound, phase: str) -> Result | None:
        """The phase is over, and all that follows from it without the clients is done."""
        if server.phase == phase:
            server.deadline()
        result = self._drain(server)
        if server.phase == "decide":
            self._decide(server)
        return result

    def _decide(self, server: ServerRound) -> None:
        assert self._statistics is not None, "they come before a decision is due"
        if self._exclude is None:
            server.deadline()
            return
        excluded = frozenset(self._exclude(server, self._statistics))
        try:
            server.accept(self._statistics.eligible - excluded)
        except InputRefused as error:
            raise Aborted(server.phase, f"{len(excluded)} clients are excluded: {error}") from None

    def _note(self, event: PeerRejected | Discarded | Statistics | GroupStatistics) -> None:
        if isinstance(event, Statistics):
            self._statistics = event
            if beyond := set(event.clients) - event.eligible:
                _log.warning("secagg: beyond the bounds, and left out: %s", sorted(beyond))
            return
        if isinstance(event, FraudProven):
            self.proofs += (event,)
        super()._note(event)

    def _frames(self, server: ServerRound) -> dict[Node, dict[str, bytes]]:
        return {node: {"frame": frame} for node, frame in self._by_node(server.to_send()).items()}
