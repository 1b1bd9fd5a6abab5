"""Federated averaging: rounds of local training, one secure sum each, and what they cost."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from dp.audit.measure import Figure
from dp.errors import BudgetExceeded
from protocols.authority_process import AuthorityProcess
from protocols.demo import model
from protocols.demo.data import split_digits
from protocols.demo.leak import in_the_sum
from protocols.demo.model import Tree
from protocols.invitation import round_name
from protocols.ledger import PrivacyLedger
from protocols.plan import RoundPlan, model_digest
from protocols.planfile import PlanFile
from protocols.simulate import Frame, Outcome, Population, phases, run_round
from protocols.third import ThirdParty
from secagg.identity import PartyId
from secagg.parameters import dropout_bound
from secagg.primitives.field64 import field64
from secagg.schemes.pine import TwoAggregators

if TYPE_CHECKING:
    from protocols.demo.served import Served

__all__ = ["Federation", "RoundReport", "fallen_silent"]

Watcher = Callable[[str], None]


def _ignore(*_: object) -> None:
    """Nobody watches."""


@dataclass(frozen=True, kw_only=True)
class RoundReport:
    """One round of the demo.

    Attributes
    ----------
    number: from 1. accuracy: of the global model after the round, on the test set.
    included: clients in the mean, of `cohort` invited.
    dropped: per phase, how many fell silent in it.
    bytes_up, bytes_down: mean over the clients that stayed to the end.
    client_cpu: seconds, mean over the same. server_cpu: seconds.
    deviation, exact, largest_frame, peak_memory: see `Outcome`.
    failure: why no sum was released, or None. seconds: wall time, training included.
    epsilon: what the budget has spent after the round; None without one. clip: the bound of an
    update in this round. told: how well a server that knows a client's update tells whether it is
    in the sum; None without one.
    """

    number: int
    accuracy: float
    cohort: int
    included: int
    dropped: dict[str, int]
    bytes_up: float
    bytes_down: float
    client_cpu: float
    server_cpu: float
    deviation: float
    exact: bool
    largest_frame: int
    peak_memory: int | None
    failure: str | None
    seconds: float
    epsilon: float | None
    clip: float
    told: Figure | None


class Federation:
    """Clients with their digits, a global model, and one session of rounds.

    on_frame: is shown every frame as it leaves, with the number of its round.
    """

    def __init__(
        self, file: PlanFile, on_frame: Callable[[int, Frame], None] | None = None
    ) -> None:
        torch.set_num_threads(1)  # the model is so small that threads only get in each other's way
        self._file = file
        self._training = file.training
        self._on_frame = on_frame or _ignore
        self._rng = np.random.default_rng(file.training.seed)
        self._weights: Tree = model.fresh(file.training.seed)
        authority = AuthorityProcess() if file.scheme.has_authority else None
        self.plan: RoundPlan = file.plan(self._weights, authority)
        self._third: ThirdParty | None = authority
        self.digits = split_digits(file.scheme.clients, file.training.alpha, self._rng)
        self._people = Population.generate(self.digits.clients)
        self._session = os.urandom(16)
        self._served = self._serve(file) if self.plan.scheme.helpers else None
        budget = file.privacy
        self.ledger = (
            PrivacyLedger(epsilon=budget.epsilon, delta=budget.delta) if budget.epsilon else None
        )
        self.stopped: BudgetExceeded | None = None
        self._bound = budget.follower(file.quantize.bound)

    def rounds(self, watch: Watcher = _ignore) -> Iterator[RoundReport]:
        """The rounds, as they are done. `watch` is told what is going on.

        A round that ends without a sum leaves the model as it was. Where the budget affords no
        more round, `stopped` says so.
        """
        for number in range(1, self._training.rounds + 1):
            start = time.perf_counter()
            try:
                spent = self._charged(number)
            except BudgetExceeded as error:
                self.stopped = error
                return
            watch("clients train")
            updates = {i: (self._local(i), self._weight(i)) for i in self.digits.clients}
            watch(self._summing(number))
            outcome = self._sum(number, updates)
            if outcome.result is not None:
                self._weights = model.step(self._weights, outcome.result.mean)
            told = self._told(outcome, updates)
            yield self._report(number, outcome, told, spent, time.perf_counter() - start)
            self._follow(outcome)

    def _serve(self, file: PlanFile) -> Served:
        from protocols.demo.served import Served  # noqa: PLC0415 -- an extra of its own

        cohort = file.scheme.clients
        reports = cohort - dropout_bound(cohort, self._training.drop)
        size = self.plan.structure.size
        return Served(file, self._people, size=size, reports=reports)

    def _summing(self, number: int) -> str:
        """What is said of a sum: a first proof may take seconds more than any other."""
        proves = isinstance(self.plan.scheme, TwoAggregators)
        if number == 1 and proves and field64().compiled:
            return "one secure sum, whose kernels are compiled or loaded first"
        return "one secure sum"

    def _charged(self, number: int) -> float | None:
        """What is spent with this round, which is charged before anybody sends anything."""
        if self.ledger is None:
            return None
        assert self.plan.event is not None, "a plan with a budget has noise"
        return self.ledger.charge(round_name(self._session, number), self.plan.event)

    def _follow(self, outcome: Outcome) -> None:
        """The next round's clip bound, from how many updates were within this one's."""
        if self._bound is None or outcome.result is None or outcome.result.within is None:
            return
        self._bound = self._bound.updated(outcome.result.within)
        self.plan = self.plan.clipped(self._bound.bound)

    def _local(self, client: PartyId) -> Tree:
        return model.local_update(
            self._weights,
            self.digits.clients[client],
            epochs=self._training.epochs,
            batch=self._training.batch,
            learning_rate=self._training.learning_rate,
            rng=self._rng,
        )

    def _weight(self, client: PartyId) -> int:
        return min(len(self.digits.clients[client]), self.plan.quantize.max_weight)

    def _sum(self, number: int, updates: dict[PartyId, tuple[Any, int]]) -> Outcome:
        stages = phases(self.plan.scheme)
        drops = fallen_silent(number, list(updates), stages, self._training.drop, self._rng)
        if self._served is not None:
            return self._served_sum(self._served, number, updates, drops)
        return run_round(
            self.plan,
            updates,
            drops=drops,
            population=self._people,
            session=self._session,
            number=number,
            model=model_digest(self._weights),
            third=self._third,
            on_frame=lambda frame: self._on_frame(number, frame),
        )

    def _served_sum(
        self,
        served: Served,
        number: int,
        updates: dict[PartyId, tuple[Any, int]],
        drops: dict[PartyId, str],
    ) -> Outcome:
        outcome, frames = served.round(
            number, updates, drops=drops, session=self._session, model=model_digest(self._weights)
        )
        for frame in frames:
            self._on_frame(number, frame)
        if outcome.result is None:
            return outcome
        mean = self.plan.structure.restore(outcome.result.mean)
        return replace(outcome, result=replace(outcome.result, mean=mean))

    def _report(
        self,
        number: int,
        outcome: Outcome,
        told: Figure | None,
        epsilon: float | None,
        seconds: float,
    ) -> RoundReport:
        gone = set().union(*outcome.dropped.values()) | outcome.stopped.keys()
        stayed = [cost for client, cost in outcome.clients.items() if client not in gone]
        return RoundReport(
            number=number,
            accuracy=model.accuracy(self._weights, self.digits.test),
            cohort=len(outcome.clients),
            included=0 if outcome.result is None else len(outcome.result.included),
            dropped={phase: len(silent) for phase, silent in outcome.dropped.items()},
            bytes_up=_mean([cost.bytes_up for cost in stayed]),
            bytes_down=_mean([cost.bytes_down for cost in stayed]),
            client_cpu=_mean([cost.cpu for cost in stayed]),
            server_cpu=outcome.server_cpu,
            deviation=outcome.deviation,
            exact=outcome.exact,
            largest_frame=outcome.largest_frame,
            peak_memory=outcome.peak_memory,
            failure=None if outcome.failure is None else str(outcome.failure),
            seconds=seconds,
            epsilon=epsilon,
            clip=self._clip,
            told=told,
        )

    @property
    def _clip(self) -> float:
        return self._file.quantize.bound if self._bound is None else self._bound.bound

    def _told(self, outcome: Outcome, updates: dict[PartyId, tuple[Any, int]]) -> Figure | None:
        if outcome.result is None:
            return None
        included = {client: updates[client] for client in outcome.result.included}
        bound = self._clip if self._file.quantize.clip == "norm" else math.inf
        return in_the_sum(outcome.result.mean, outcome.result.total_weight, included, bound)


def fallen_silent(
    number: int,
    clients: list[PartyId],
    stages: tuple[str, ...],
    fraction: float,
    rng: np.random.Generator,
) -> dict[PartyId, str]:
    """floor(fraction * clients) random ones, dealt to the stages in turn.

    The turn goes on from round to round, so that every stage loses clients sooner or later.
    """
    count = dropout_bound(len(clients), fraction)
    chosen = rng.permutation(np.asarray(clients))[:count].tolist()
    first = (number - 1) * count
    return {client: stages[(first + at) % len(stages)] for at, client in enumerate(chosen)}


def _mean(values: list[float]) -> float:
    return sum(values) / len(values) if values else 0.0
