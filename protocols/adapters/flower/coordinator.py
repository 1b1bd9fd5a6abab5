"""The server's protocol across rounds: who is who, which deals are there, who still answers.

It knows machines and nodes, but neither models nor strategies. A round goes

    begin    hello, if nodes are unknown; deal, from those who have not dealt; one delivery per node
    finish   masked updates and next deals in; survivors out, shares in; the result

Node ids are Flower's and may change when a SuperNode restarts. The party behind a node is known
for sure only by a frame that its party signed; what a node says in a hello is a claim.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Protocol

from protocols.adapters.flower.call import Call, invitation
from protocols.adapters.flower.exchange import never
from protocols.ledger import PrivacyLedger
from protocols.round import Result, ServerRound
from secagg.errors import Aborted, DecodeError, ParameterError
from secagg.frame import parse_header
from secagg.identity import Identity, PartyId, Roster
from secagg.machine import Discarded, Failed, PeerRejected
from secagg.rand import Rand

__all__ = ["Asked", "Coordinator", "RoundReport"]

Node = int
_log = logging.getLogger("flwr")


@dataclass
class RoundReport:
    """What a round took.

    exchanges: messages to a client and back, training included. sent, received: bytes of frames,
    all clients together. included, dropped: as in `Result`; parties of the roster. In phase
    "unmask", a client is dropped too that had not answered when the others' shares were enough.
    epsilon: spent by the session with this round, at the delta of the server's ledger; None where
    it keeps none.
    """

    exchanges: int = 0
    sent: int = 0
    received: int = 0
    included: frozenset[PartyId] = frozenset()
    dropped: Mapping[str, frozenset[PartyId]] = field(default_factory=dict)
    total_weight: int = 0
    epsilon: float | None = None


@dataclass(frozen=True)
class Asked:
    """One reply: the node that gave it, its frames, and the party of a hello."""

    node: Node
    frames: Mapping[str, bytes]
    party: PartyId | None = None


class Ask(Protocol):
    """Send a call to nodes, each with its frames, and give `take` each answer that is no error.

    It may stop waiting for the others once `enough()` holds.
    """

    def __call__(
        self,
        call: Call,
        frames: Mapping[Node, Mapping[str, bytes]],
        take: Callable[[Asked], None],
        enough: Callable[[], bool],
    ) -> None: ...


class Coordinator:
    """The server's part of a whole run.

    ledger: what each round is charged to before its model leaves. Raises `ParameterError` for a
    roster without share keys, or of another server.
    """

    def __init__(
        self,
        identity: Identity,
        roster: Roster,
        ask: Ask,
        rand: Rand = os.urandom,
        ledger: PrivacyLedger | None = None,
    ) -> None:
        if roster.server != identity.public:
            raise ParameterError("the roster lists another server key than this identity's")
        if not roster.share_keys:
            raise ParameterError("the roster lists no share keys: enroll writes them")
        self.report = RoundReport()
        self._identity = identity
        self._roster = roster
        self._ask = ask
        self._rand = rand
        self._ledger = ledger
        self._session = rand(16)
        self._number = 0  # the last that a client may have joined
        self._claims: dict[Node, PartyId] = {}
        self._node: dict[PartyId, Node] = {}
        self._current: ServerRound | None = None
        self._next: ServerRound | None = None
        self._call: Call | None = None

    # -- a round ----------------------------------------------------------------------------

    def begin(self, call: Call, nodes: list[Node], model: bytes) -> tuple[Call, dict[Node, bytes]]:
        """The call for training, and what to deliver to each node with it.

        `call` says all but the session, the number and the cohort. Raises `Aborted` where too few
        clients are there, `ParameterError` where the plan is impossible for so many, and
        `dp.errors.BudgetExceeded` where the ledger cannot afford the round.
        """
        self.report = RoundReport()
        self._current = None
        call = replace(call, session=self._session, number=self._number)
        claims = self._claimed(call, nodes)
        call = replace(call, cohort=tuple(sorted(set(claims.values()))))
        if len(call.cohort) < call.plan.least_clients:
            raise Aborted(
                "hello", f"{len(call.cohort)} clients, at least {call.plan.least_clients} needed"
            )
        server, call = self._round(call, nodes)
        self._collect_deals(server, call, claims)
        self._charge(server)
        server.submit(model)
        return call, self._opened(server, call)

    def finish(self, replies: Iterable[Asked]) -> Result:
        """The result of the round whose training these replies end. Raises `Aborted`, or
        `IntegrityError` where the sum cannot be one of honest clients.
        """
        server, call = self._current, self._call
        if server is None or call is None:
            raise Aborted("masked", "no round was begun")
        self.report.exchanges += 1
        for reply in replies:
            self._take(server, reply, "masked")
            if self._next is not None:
                self._take(self._next, reply, "deal")
        survivors = self._sent(server, "masked", "survivors")
        self._current = None

        def enough() -> bool:
            return server.ended or server.satisfied

        self._ask_all(
            replace(call, stage="unmask"),
            survivors,
            lambda reply: self._take(server, reply, "unmask"),
            enough,
        )
        return self._result(server)

    # -- the beginning ----------------------------------------------------------------------

    def _claimed(self, call: Call, nodes: list[Node]) -> dict[Node, PartyId]:
        """Who the nodes say they are; in the direct case, everybody could be anybody."""
        unknown = [node for node in nodes if node not in self._claims]
        if len(unknown) == len(nodes) == len(self._roster):
            # All of the roster: the cohort is known without knowing who is who.
            return dict(zip(nodes, self._roster.ids, strict=True))
        if unknown:
            hello = replace(call, stage="hello")
            self._ask_all(hello, {node: {} for node in unknown}, self._take_claim)
        return {node: self._claims[node] for node in nodes if node in self._claims}

    def _round(self, call: Call, nodes: list[Node]) -> tuple[ServerRound, Call]:
        """The round that was prepared, if it is for these clients and nodes; else a new one."""
        prepared, self._next = self._next, None
        if prepared is not None and self._fits(prepared, call, nodes):
            return prepared, replace(call, number=prepared.invitation.number)
        # Clients may have dealt for what was prepared, and join each number once.
        self._number += 1
        call = replace(call, number=self._number)
        return self._server(call, call.number), call

    def _fits(self, prepared: ServerRound, call: Call, nodes: list[Node]) -> bool:
        """Whether clients, plan and nodes are as they were: a client whose node is new has lost
        its state, thus its deal.
        """
        if prepared.invitation.roster.ids != call.cohort:
            return False
        if prepared.plan != call.plan.round_plan(len(call.cohort), *call.sizes):
            return False
        dealt = set(call.cohort) - prepared.expected
        return all(self._node.get(party) in nodes for party in dealt)

    def _collect_deals(self, server: ServerRound, call: Call, claims: dict[Node, PartyId]) -> None:
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

    def _opened(self, server: ServerRound, call: Call) -> dict[Node, bytes]:
        """Deliveries by node; from here on the round is the current one."""
        frames = self._by_node(server.to_send())
        self.report.sent += sum(map(len, frames.values()))
        self._current, self._call, self._next = server, call, None
        if call.ahead:
            self._number = call.number + 1
            self._next = self._server(call, self._number)
        return frames

    def _server(self, call: Call, number: int) -> ServerRound:
        return ServerRound(invitation(call, self._roster, number), self._identity, rand=self._rand)

    # -- the end ----------------------------------------------------------------------------

    def _sent(self, server: ServerRound, phase: str, name: str) -> dict[Node, dict[str, bytes]]:
        if server.phase == phase:
            server.deadline()
        self._drain(server)
        frames = self._by_node(server.to_send())
        return {node: {name: frame} for node, frame in frames.items()}

    def _result(self, server: ServerRound) -> Result:
        if not server.ended:
            server.deadline()
        result = self._drain(server)
        assert result is not None, "a server that has ended has a result or has failed"
        self.report.included = result.included
        self.report.dropped = result.dropped
        self.report.total_weight = result.total_weight
        return result

    # -- parts ------------------------------------------------------------------------------

    def _ask_all(
        self,
        call: Call,
        frames: Mapping[Node, Mapping[str, bytes]],
        take: Callable[[Asked], None],
        enough: Callable[[], bool] = never,
    ) -> None:
        self.report.exchanges += 1
        self.report.sent += sum(len(frame) for named in frames.values() for frame in named.values())
        self._ask(call, frames, take, enough)

    def _take_claim(self, reply: Asked) -> None:
        if reply.party is not None and reply.party in self._roster.clients:
            self._claims[reply.node] = reply.party

    def _take(self, server: ServerRound, reply: Asked, name: str) -> None:
        """Give a frame to the machine; one that it accepts shows which party the node is."""
        frame = reply.frames.get(name)
        if frame is None:
            return
        self.report.received += len(frame)
        try:
            party = parse_header(frame).sender
        except DecodeError as error:
            _log.warning("secagg: node %d sent no frame: %s", reply.node, error)
            return
        phase, waiting = server.phase, server.expected
        server.receive(party, frame)
        if party in waiting and (server.phase != phase or party not in server.expected):
            self._node[party] = reply.node
            self._claims[reply.node] = party

    def _drain(self, server: ServerRound) -> Result | None:
        """Log what the machine reports; return its result, or raise why there is none."""
        result = None
        while (event := server.next_event()) is not None:
            match event:
                case Result():
                    result = event
                case Failed():
                    raise event.error
                case PeerRejected() | Discarded():
                    _log.warning("secagg: %s", event)
        return result

    def _by_node(self, frames: Iterable[tuple[PartyId, bytes]]) -> dict[Node, bytes]:
        return {self._node[party]: frame for party, frame in frames}
