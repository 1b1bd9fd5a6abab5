"""The server's protocol across rounds: who is who, who still answers, and what a round took.

It knows machines and nodes, but neither models nor strategies. How a round goes is in
`coordinator_brief`, and in `coordinator_screened` where the plan has a screen.

Node ids are Flower's and may change when a SuperNode restarts. The party behind a node is known
for sure only by a frame that its party signed; what a node says in a hello is a claim, and so is
what one says that is asked for a frame of another party, as its key is a new one.
"""

from __future__ import annotations

import logging
import os
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Protocol

from protocols.adapters.flower.call import Call, invitation
from protocols.adapters.flower.exchange import never
from protocols.round import Result, ServerRound
from robust.triggers import Suspect
from secagg.errors import Aborted, DecodeError, ParameterError
from secagg.event import FraudProven, GroupStatistics, Statistics
from secagg.frame import parse_header
from secagg.identity import Identity, PartyId, Roster
from secagg.machine import Discarded, Failed, PeerRejected
from secagg.rand import Rand

__all__ = ["Ask", "Asked", "Coordinator", "Node", "RoundReport"]

Node = int
_log = logging.getLogger("flwr")


@dataclass
class RoundReport:
    """What a round took.

    exchanges: messages to a client and back, training included. sent, received: bytes of frames,
    all clients together. included, dropped: as in `Result`; parties of the roster. In phase
    "unmask", a client is dropped too that had not answered when the others' shares were enough.
    epsilon: spent by the session with this round, at the delta of the server's ledger; None where
    it keeps none. refused: who was screened and left out of the sum; none where the plan has no
    screen. weights: by client, the public weight that it multiplied by; none where the round has
    none. audit: whether this was an audit round, whose sum is not applied. unlearned: suspected
    triggers that the model obeyed after this round, and was made to unlearn.
    """

    exchanges: int = 0
    sent: int = 0
    received: int = 0
    included: frozenset[PartyId] = frozenset()
    dropped: Mapping[str, frozenset[PartyId]] = field(default_factory=dict)
    total_weight: int = 0
    epsilon: float | None = None
    refused: frozenset[PartyId] = frozenset()
    weights: Mapping[PartyId, int] = field(default_factory=dict)
    audit: bool = False
    unlearned: tuple[Suspect, ...] = ()


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


class Coordinator(ABC):
    """The server's part of a whole run; a subclass for each kind of round.

    Raises `ParameterError` for a roster without share keys, or of another server.
    """

    def __init__(
        self, identity: Identity, roster: Roster, ask: Ask, rand: Rand = os.urandom
    ) -> None:
        if roster.server != identity.public:
            raise ParameterError("the roster lists another server key than this identity's")
        if not roster.share_keys:
            raise ParameterError("the roster lists no share keys: enroll writes them")
        self.report = RoundReport()
        # of the round at hand, whatever comes of it
        self.proofs: tuple[FraudProven, ...] = ()
        self.groups: GroupStatistics | None = None
        self._identity = identity
        self._roster = roster
        self._ask = ask
        self._rand = rand
        self._session = rand(16)
        self._number = 0  # the last that a client may have joined
        self._claims: dict[Node, PartyId] = {}
        self._node: dict[PartyId, Node] = {}
        self._current: ServerRound | None = None
        self._call: Call | None = None

    # -- a round ----------------------------------------------------------------------------

    def begin(self, call: Call, nodes: list[Node], model: bytes) -> tuple[Call, dict[Node, bytes]]:
        """The call for training, and what to deliver to each node with it.

        `call` says all but the session, the number and the cohort. Raises `Aborted` where too few
        clients are there, `ParameterError` where the plan is impossible for so many, and
        `dp.errors.BudgetExceeded` where the ledger cannot afford the round.
        """
        self.report, self.proofs, self.groups = RoundReport(), (), None
        self._current = None
        call = replace(call, session=self._session, number=self._number)
        claims = self._claimed(call, nodes)
        call = replace(call, cohort=tuple(sorted(set(claims.values()))))
        if len(call.cohort) < call.plan.least_clients:
            raise Aborted(
                "hello", f"{len(call.cohort)} clients, at least {call.plan.least_clients} needed"
            )
        server, call = self._begun(call, claims, model)
        frames = self._by_node(server.to_send())
        self.report.sent += sum(map(len, frames.values()))
        self._current, self._call = server, call
        return call, frames

    def finish(self, replies: Iterable[Asked]) -> Result:
        """The result of the round whose training these replies end. Raises `Aborted`, or
        `IntegrityError` where the sum cannot be one of honest clients.
        """
        server, call = self._current, self._call
        if server is None or call is None:
            raise Aborted("masked", "no round was begun")
        self._current = None
        self.report.exchanges += 1
        return self._finished(server, call, replies)

    @abstractmethod
    def _begun(
        self, call: Call, claims: Mapping[Node, PartyId], model: bytes
    ) -> tuple[ServerRound, Call]:
        """The round, ready to send what goes with the model, and its call for training."""

    @abstractmethod
    def _finished(self, server: ServerRound, call: Call, replies: Iterable[Asked]) -> Result:
        """The rest of the round."""

    # -- parts ------------------------------------------------------------------------------

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

    def _server(self, call: Call, number: int) -> ServerRound:
        return ServerRound(invitation(call, self._roster, number), self._identity, rand=self._rand)

    def _reported(self, result: Result | None) -> Result:
        assert result is not None, "a server that has ended has a result or has failed"
        self.report.included = result.included
        self.report.dropped = result.dropped
        self.report.total_weight = result.total_weight
        self.report.refused = result.refused
        return result

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
        """Give a frame to the machine; one that it accepts shows which party the node is. A node
        that was taken for another one says so in the place of a frame.
        """
        frame = reply.frames.get(name)
        if frame is None:
            self._take_claim(reply)
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
                case _:
                    self._note(event)
        return result

    def _note(self, event: PeerRejected | Discarded | Statistics | GroupStatistics) -> None:
        """Whatever does not end the round."""
        _log.warning("secagg: %s", event)

    def _by_node(self, frames: Iterable[tuple[PartyId, bytes]]) -> dict[Node, bytes]:
        return {self._node[party]: frame for party, frame in frames}
