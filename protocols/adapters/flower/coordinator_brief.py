"""The server's part of rounds without a screen. A round goes

begin    hello, if nodes are unknown; deal, from those who have not dealt; one delivery per node
finish   masked updates and next deals in; survivors out, shares in; the result

The deals of a round ride on the masked updates of the one before it.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable, Mapping
from dataclasses import replace

from protocols.adapters.flower.call import Call
from protocols.adapters.flower.coordinator import Ask, Asked, Coordinator, Node
from protocols.ledger import PrivacyLedger
from protocols.round import Result, ServerRound
from secagg.identity import Identity, PartyId, Roster
from secagg.rand import Rand

__all__ = ["BriefCoordinator"]


class BriefCoordinator(Coordinator):
    """ledger: what each round is charged to before its model leaves."""

    def __init__(
        self,
        identity: Identity,
        roster: Roster,
        ask: Ask,
        rand: Rand = os.urandom,
        ledger: PrivacyLedger | None = None,
    ) -> None:
        super().__init__(identity, roster, ask, rand)
        self._ledger = ledger
        self._next: ServerRound | None = None

    # -- the beginning ----------------------------------------------------------------------

    def _begun(
        self, call: Call, claims: Mapping[Node, PartyId], model: bytes
    ) -> tuple[ServerRound, Call]:
        server, call = self._round(call, claims)
        self._collect_deals(server, call, claims)
        self._charge(server)
        server.submit(model)
        self._prepare(call)
        return server, call

    def _round(self, call: Call, nodes: Collection[Node]) -> tuple[ServerRound, Call]:
        """The round that was prepared, if it is for these clients and nodes; else a new one."""
        prepared, self._next = self._next, None
        if prepared is not None and self._fits(prepared, call, nodes):
            return prepared, replace(call, number=prepared.invitation.number)
        # Clients may have dealt for what was prepared, and join each number once.
        self._number += 1
        call = replace(call, number=self._number)
        return self._server(call, call.number), call

    def _fits(self, prepared: ServerRound, call: Call, nodes: Collection[Node]) -> bool:
        """Whether clients, plan and nodes are as they were: a client whose node is new has lost
        its state, thus its deal.
        """
        if prepared.invitation.roster.ids != call.cohort:
            return False
        if prepared.plan != call.plan.round_plan(len(call.cohort), *call.sizes):
            return False
        dealt = set(call.cohort) - prepared.expected
        return all(self._node.get(party) in nodes for party in dealt)

    def _collect_deals(
        self, server: ServerRound, call: Call, claims: Mapping[Node, PartyId]
    ) -> None:
        lacking = server.expected
        nodes = [node for node, party in claims.items() if party in lacking]
        if nodes:
            self._ask_all(
                replace(call, stage="deal"),
                {node: {} for node in nodes},
                lambda reply: self._take(server, reply, "deal"),
            )
        if server.expected:
            server.deadline()
        self._drain(server)

    def _charge(self, server: ServerRound) -> None:
        """From here on the round counts, even if it fails: a sum of it may be known to someone."""
        if self._ledger is not None and server.plan.event is not None:
            self.report.epsilon = self._ledger.charge(server.invitation.name, server.plan.event)

    def _prepare(self, call: Call) -> None:
        """The next round, whose deals ride on the masked updates of this one."""
        self._next = None
        if call.ahead:
            self._number = call.number + 1
            self._next = self._server(call, self._number)

    # -- the end ----------------------------------------------------------------------------

    def _finished(self, server: ServerRound, call: Call, replies: Iterable[Asked]) -> Result:
        for reply in replies:
            self._take(server, reply, "masked")
            if self._next is not None:
                self._take(self._next, reply, "deal")
        survivors = self._survivors(server)

        def enough() -> bool:
            return server.ended or server.satisfied

        self._ask_all(
            replace(call, stage="unmask"),
            survivors,
            lambda reply: self._take(server, reply, "unmask"),
            enough,
        )
        if not server.ended:
            server.deadline()
        return self._reported(self._drain(server))

    def _survivors(self, server: ServerRound) -> dict[Node, dict[str, bytes]]:
        if server.phase == "masked":
            server.deadline()
        self._drain(server)
        frames = self._by_node(server.to_send())
        return {node: {"survivors": frame} for node, frame in frames.items()}
