"""The server's part of rounds whose plan has a screen. An exchange for each phase of the scheme:

    begin    hello, if nodes are unknown; adverts; shares; one delivery per node
    finish   masked updates; what is opened of them; dispute, where two clients disagree;
             the judge; consent; unmask; strike, where a client turns out to have lied; the result

What a client of an honest round is told at its end needs no answer and is not sent.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Protocol

from protocols.adapters.flower.call import Call
from protocols.adapters.flower.coordinator import Ask, Asked, Coordinator, Node
from protocols.round import Result, ServerRound
from protocols.weighing import PublicWeights
from secagg.errors import Aborted, InputRefused
from secagg.event import Discarded, FraudProven, GroupStatistics, PeerRejected, Statistics
from secagg.identity import Identity, PartyId, Roster
from secagg.rand import Rand

__all__ = ["ScreenedCoordinator", "Watch"]

_log = logging.getLogger("flwr")


class Watch(Protocol):
    """Who looks at what is opened, and says what follows."""

    def public(self, call: Call) -> PublicWeights | None:
        """The public weights of the round of `call`, whose cohort is known."""
        ...

    def accepted(
        self, server: ServerRound, call: Call, statistics: Statistics
    ) -> frozenset[PartyId]:
        """Whom to accept of those eligible; may raise `Aborted`."""
        ...

    def see(self, groups: GroupStatistics) -> None:
        """What was opened of groups, with the sum of the round that `accepted` was asked about."""
        ...


class ScreenedCoordinator(Coordinator):
    """watch: whom to ask."""

    def __init__(
        self,
        identity: Identity,
        roster: Roster,
        ask: Ask,
        watch: Watch,
        rand: Rand = os.urandom,
    ) -> None:
        super().__init__(identity, roster, ask, rand)
        self._watch = watch
        self._statistics: Statistics | None = None

    def _begun(
        self, call: Call, claims: Mapping[Node, PartyId], model: bytes
    ) -> tuple[ServerRound, Call]:
        self._statistics = None
        self._number += 1
        call = replace(call, number=self._number, model=model, ahead=False)
        call = replace(call, weights=self._watch.public(call))
        if call.weights is not None:
            self.report.weights = call.weights.by_client
        server = self._server(call, self._number)
        self._exchange(server, call, {node: {} for node in claims})
        self._exchange(server, call, self._frames(server))
        return server, call

    def _finished(self, server: ServerRound, call: Call, replies: Iterable[Asked]) -> Result:
        for reply in replies:
            self._take(server, reply, "frame")
        result = self._closed(server, call, "masked")
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
        return self._closed(server, call, phase)

    def _closed(self, server: ServerRound, call: Call, phase: str) -> Result | None:
        """The phase is over, and all that follows from it without the clients is done."""
        if server.phase == phase:
            server.deadline()
        result = self._drain(server)
        if server.phase == "decide":
            self._decide(server, call)
        return result

    def _decide(self, server: ServerRound, call: Call) -> None:
        statistics = self._statistics
        assert statistics is not None, "they come before a decision is due"
        accepted = self._watch.accepted(server, call, statistics)
        try:
            server.accept(accepted)
        except InputRefused as error:
            excluded = len(statistics.eligible - accepted)
            raise Aborted(server.phase, f"{excluded} clients are excluded: {error}") from None

    def _note(self, event: PeerRejected | Discarded | Statistics | GroupStatistics) -> None:
        match event:
            case Statistics():
                self._statistics = event
                if beyond := set(event.clients) - event.eligible:
                    _log.warning("secagg: beyond the bounds, and left out: %s", sorted(beyond))
                return
            case GroupStatistics():
                self._take_groups(event)
                return
            case FraudProven():
                self.proofs += (event,)
        super()._note(event)

    def _take_groups(self, groups: GroupStatistics) -> None:
        self.groups = groups
        for group, within in zip(groups.groups, groups.within.tolist(), strict=True):
            if not within:
                _log.warning(
                    "secagg: a group is beyond the bounds, and the sum withheld: %s", group
                )
        self._watch.see(groups)

    def _frames(self, server: ServerRound) -> dict[Node, dict[str, bytes]]:
        return {node: {"frame": frame} for node, frame in self._by_node(server.to_send()).items()}
