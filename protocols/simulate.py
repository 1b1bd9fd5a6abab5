"""A whole round in one process: every party, real bytes between them, and what it cost.

    outcome = run_round(plan, {1: (tree, 30), 2: (tree, 12), 3: (tree, 25)}, drops={3: "masked"})
    outcome.result.mean, outcome.exact, outcome.clients[1].bytes_up

Only the network is simulated: it delivers everything, in order. `secagg.testing` has networks
that do not, and parties that cheat.
"""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from itertools import groupby
from typing import Any, Self, TypeVar

import numpy as np

from protocols.journal import ClientJournal
from protocols.memory import peak_memory
from protocols.outcome import ClientCost, Frame, Outcome
from protocols.plan import RoundPlan
from protocols.private import Private
from protocols.removal import Excess
from protocols.round import ClientRound, Invitation, Result, ServerRound
from protocols.third import ThirdParty
from secagg.errors import (
    Aborted,
    InputRefused,
    IntegrityError,
    ParameterError,
    RemoteProtocolError,
)
from secagg.event import GroupStatistics, Statistics
from secagg.frame import parse_header
from secagg.identity import SERVER, THIRD, Identity, PartyId, Roster
from secagg.machine import Aggregate, Discarded, Failed, PeerRejected
from secagg.primitives.ring import Words, centered, reduce
from secagg.rand import Rand
from secagg.scheme import Floors, Scheme
from secagg.structure import flatten
from secagg.wire import Message

__all__ = [
    "ClientCost",
    "Frame",
    "Judge",
    "Outcome",
    "Population",
    "deviation",
    "phases",
    "run_round",
]

T = TypeVar("T")
Judge = Callable[[Statistics], Collection[PartyId]]


@dataclass(frozen=True)
class Population:
    """The long-term part of everybody: identities, and the clients' journals."""

    server: Identity
    clients: Mapping[PartyId, Identity]
    journals: Mapping[PartyId, ClientJournal]

    @classmethod
    def generate(cls, ids: Iterable[PartyId], rand: Rand = os.urandom) -> Self:
        """Fresh identities from `rand`, and empty journals."""
        clients = {party: Identity.generate(rand) for party in ids}
        return cls(Identity.generate(rand), clients, {party: ClientJournal() for party in clients})

    @cached_property
    def roster(self) -> Roster:
        """Everybody's public keys."""
        return Roster(
            self.server.public,
            {i: key.public for i, key in self.clients.items()},
            {i: key.share_key for i, key in self.clients.items()},
            self.server.share_key,
        )


def phases(scheme: Scheme) -> tuple[str, ...]:
    """The phases of a scheme in which clients send, thus may fall silent, in order."""
    return tuple(kind.phase for kind in sorted(scheme.server_messages, key=lambda kind: kind.code))


def run_round(
    plan: RoundPlan,
    updates: Mapping[PartyId, tuple[Any, int]],
    *,
    drops: Mapping[PartyId, str] | None = None,
    population: Population | None = None,
    session: bytes | None = None,
    number: int = 0,
    model: bytes = bytes(32),
    vectors: Mapping[PartyId, Words] | None = None,
    judge: Judge | None = None,
    third: ThirdParty | None = None,
    on_frame: Callable[[Frame], None] | None = None,
    rand: Rand = os.urandom,
) -> Outcome:
    """One round over `updates`: per client a tree and its weight.

    drops: clients and the phase, one of `phases(plan.scheme)`, from which on they are silent.
    population: who takes part; invented when absent. vectors: ring vectors that these clients
    submit in the place of what their update encodes to, as a client that cheats could. judge: in a
    plan with a screen, whom to accept of what was opened; without it, all within the bounds are. In
    a plan that opens groups that is nothing yet: it may go by what earlier rounds showed.
    Fewer than the scheme can sum end the round. third: the key authority or the helper, in a plan
    that needs one.
    on_frame: is shown every frame as it leaves.

    Raises `ParameterError` for updates or drops that do not fit the plan, and what `ClientRound`
    raises for an update or a round that it refuses. How the round itself ends is the outcome.
    """
    drops = drops or {}
    _check(plan, updates, drops)
    people = population or Population.generate(updates, rand)
    invitation = Invitation(
        plan=plan,
        session=session or rand(16),
        number=number,
        model=None if plan.binds_model_last else model,
        roster=people.roster if third is None else third.enrolled(people.roster),
    )
    simulation = _Simulation(invitation, people, drops, judge, third, on_frame, rand)
    simulation.submit(updates, vectors or {}, model if plan.binds_model_last else None)
    simulation.run()
    return simulation.outcome(updates)


class _Simulation:
    def __init__(
        self,
        invitation: Invitation,
        people: Population,
        drops: Mapping[PartyId, str],
        judge: Judge | None,
        third: ThirdParty | None,
        on_frame: Callable[[Frame], None] | None,
        rand: Rand,
    ) -> None:
        self._judge = judge
        self._plan = invitation.plan
        self._drops = drops
        self._on_frame = on_frame
        self._phase_of = _phase_names(self._plan.scheme)
        self._cpu: dict[PartyId, float] = dict.fromkeys((SERVER, THIRD, *people.clients), 0.0)
        self._up: dict[PartyId, int] = dict.fromkeys(people.clients, 0)
        self._down: dict[PartyId, int] = dict.fromkeys(people.clients, 0)
        self._frames = self._largest = 0
        self._vectors: dict[PartyId, Words] = {}
        self._silent: dict[str, set[PartyId]] = {
            phase: set() for phase in phases(self._plan.scheme)
        }
        self._stopped: dict[PartyId, Exception] = {}
        self._result: Result | None = None
        self._failure: Aborted | IntegrityError | None = None
        self._statistics: Statistics | None = None
        self._groups: GroupStatistics | None = None
        self._rejected: list[PeerRejected | Discarded] = []
        self._server = self._timed(SERVER, _Observed, invitation, people.server, rand=rand)
        self._third = third
        self._round = invitation.round
        scheme = invitation.plan.scheme
        floors = Floors(opened=scheme.opened, authority=scheme.authority)
        self._clients = {
            i: self._timed(
                i,
                ClientRound,
                invitation,
                key,
                i,
                journal=people.journals[i],
                floors=floors,
                rand=rand,
            )
            for i, key in people.clients.items()
        }

    def submit(
        self,
        updates: Mapping[PartyId, tuple[Any, int]],
        vectors: Mapping[PartyId, Words],
        model: bytes | None,
    ) -> None:
        if model is not None:
            self._timed(SERVER, self._server.submit, model)
        # `ClientRound.submit` in its two steps: the vectors are kept to check the sum against.
        for client, (tree, weight) in updates.items():
            vector = vectors.get(client)
            if vector is None:
                vector = self._timed(client, self._clients[client].encode, tree, weight)
            self._timed(client, self._clients[client].submit_encoded, vector, model=model)
            self._vectors[client] = vector

    def run(self) -> None:
        """Move frames until nobody has more to say; then time is up for whoever still waits."""
        while True:
            moved = self._clients_speak() + self._server_speaks()
            self._collect()
            if not moved and (self._server.ended or self._failure):
                break
            if not moved:
                self._timed(SERVER, self._server.deadline)
        for client in self._alive():
            self._guarded(client, self._clients[client].deadline)

    def outcome(self, updates: Mapping[PartyId, tuple[Any, int]]) -> Outcome:
        return Outcome(
            result=self._result,
            failure=self._failure,
            exact=self._result is not None and self._is_exact(self._result),
            deviation=math.nan if self._result is None else deviation(self._result, updates),
            dropped={phase: frozenset(silent) for phase, silent in self._silent.items()},
            stopped=self._stopped,
            rejected=tuple(self._rejected),
            clients={
                i: ClientCost(self._up[i], self._down[i], self._cpu[i]) for i in self._clients
            },
            server_cpu=self._cpu[SERVER],
            third_cpu=self._cpu[THIRD],
            largest_frame=self._largest,
            peak_memory=peak_memory(),
            statistics=self._statistics,
            groups=self._groups,
        )

    def _clients_speak(self) -> int:
        return sum(self._client_speaks(client) for client in self._alive())

    def _client_speaks(self, client: PartyId) -> int:
        """How many frames reached the server. A client that falls silent keeps its frame."""
        frames = self._timed(client, self._clients[client].to_send)
        for _, data in frames:
            phase = self._phase_of[parse_header(data).code]
            if self._drops.get(client) == phase:
                self._silent[phase].add(client)
                return 0
            self._show(phase, client, (SERVER,), data)
            self._up[client] += len(data)
            self._timed(SERVER, self._server.receive, client, data)
        return len(frames)

    def _server_speaks(self) -> int:
        frames = self._timed(SERVER, self._server.to_send)
        # A broadcast is one frame for many receivers: one object, many rows.
        for _, copies in groupby(frames, key=lambda row: id(row[1])):
            rows = list(copies)
            data = rows[0][1]
            phase = self._phase_of[parse_header(data).code]
            self._show(phase, SERVER, tuple(to for to, _ in rows), data)
            if rows[0][0] == THIRD and self._third is not None:
                self._ask(self._third, phase, data)
        for client in self._alive():
            for data in (data for to, data in frames if to == client):
                self._down[client] += len(data)
                self._guarded(client, self._clients[client].receive, SERVER, data)
        return len(frames)

    def _ask(self, third: ThirdParty, phase: str, data: bytes) -> None:
        """One answer of the third party. One that ends the round for itself is silent from then."""
        if THIRD in self._stopped:
            return
        try:
            reply = self._timed(THIRD, third.answer, self._plan.scheme, self._round, data)
        except (RemoteProtocolError, Aborted) as error:
            self._stopped[THIRD] = error
            return
        self._show(phase, THIRD, (SERVER,), reply)
        self._timed(SERVER, self._server.receive, THIRD, reply)

    def _collect(self) -> None:
        while (event := self._server.next_event()) is not None:
            match event:
                case Result():
                    self._result = event
                case Failed():
                    self._failure = event.error
                case GroupStatistics():
                    self._groups = event
                case Statistics():
                    self._statistics = event
                    if self._judge is not None:
                        self._decide(event, self._judge(event))
                case _:
                    self._rejected.append(event)

    def _decide(self, statistics: Statistics, accepted: Collection[PartyId]) -> None:
        """Too few to go on with end the round: the server says nothing more."""
        try:
            self._timed(SERVER, self._server.accept, accepted)
        except InputRefused as refused:
            if not statistics.eligible.issuperset(accepted):
                raise
            self._failure = Aborted("decide", str(refused))

    def _alive(self) -> list[PartyId]:
        gone = self._stopped.keys() | set().union(*self._silent.values())
        return [client for client in self._clients if client not in gone]

    def _show(self, phase: str, sender: PartyId, to: tuple[PartyId, ...], data: bytes) -> None:
        self._frames += 1
        self._largest = max(self._largest, len(data))
        if self._on_frame is not None:
            self._on_frame(Frame(self._frames, phase, sender, to, data))

    def _timed(self, party: PartyId, call: Callable[..., T], *args: Any, **kwargs: Any) -> T:
        start = time.process_time()
        try:
            return call(*args, **kwargs)
        finally:
            self._cpu[party] += time.process_time() - start

    def _guarded(self, client: PartyId, call: Callable[..., None], *args: Any) -> None:
        try:
            self._timed(client, call, *args)
        except (RemoteProtocolError, Aborted) as error:
            self._stopped[client] = error

    def _is_exact(self, result: Result) -> bool:
        assert self._server.aggregate is not None, "a result comes from an aggregate"
        total = self._server.aggregate.total
        expected = np.zeros_like(total)
        for client in result.included:
            expected += self._vectors[client]
        rest, quantize = reduce(total - expected, self._plan.scheme.width), self._plan.quantize
        if isinstance(quantize, Private) and quantize.is_split:
            return quantize.mechanism.is_likely(centered(rest, quantize.width))
        return not rest.any()


class _Observed(ServerRound):
    """A server whose sum is compared with what went in, before noise is added or removed."""

    aggregate: Aggregate | None = None

    def _release(self, aggregate: Aggregate) -> Result | Failed:
        self.aggregate = aggregate
        return super()._release(aggregate)


def _check(
    plan: RoundPlan, updates: Mapping[PartyId, tuple[Any, int]], drops: Mapping[PartyId, str]
) -> None:
    if len(updates) != plan.scheme.clients:
        raise ParameterError(
            f"len(updates) == scheme.clients must hold, got {len(updates)} and "
            f"{plan.scheme.clients}"
        )
    possible = phases(plan.scheme)
    for client, phase in drops.items():
        if client not in updates:
            raise ParameterError(f"client {client} cannot drop out: it has no update")
        if phase not in possible:
            raise ParameterError(
                f"clients of {plan.scheme.name} drop out in {', '.join(possible)}; not in {phase!r}"
            )


def _phase_names(scheme: Scheme) -> dict[int, str]:
    kinds: tuple[type[Message], ...] = (
        *scheme.server_messages,
        *scheme.client_messages,
        *scheme.third_messages,
        *scheme.third_answers,
        Excess,
    )
    return {kind.code: kind.phase for kind in kinds}


def deviation(result: Result, updates: Mapping[PartyId, tuple[Any, int]]) -> float:
    """Largest distance of a coordinate of a result from the mean of the included updates."""
    mean = np.zeros_like(flatten(result.mean)[0])
    for client in result.included:
        tree, weight = updates[client]
        mean += flatten(tree)[0] * (weight / result.total_weight)
    return float(np.abs(flatten(result.mean)[0] - mean).max())
