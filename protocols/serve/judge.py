"""Whose updates are summed, once statistics of each are open: a decision for each context, once.

A decision is in the leader's store before anything that follows from it leaves, with what the judge
remembers of the rounds so far. After a kill it is read, and not made again.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from protocols.report.recorded import verdict_document
from protocols.screening import CosineScreen, ExactNormScreen, SketchScreen, observed
from protocols.serve.log import Log
from protocols.serve.reports import Reports
from protocols.serve.task import Task
from robust.decide import Cascade, Screening
from robust.errors import RobustError
from robust.observe import Norms, Sketches
from secagg.errors import ParameterError, StoreFailed
from secagg.event import Statistics
from secagg.identity import PartyId

__all__ = ["ByCascade", "Judge", "Judgment", "all_within_bounds", "cascade_of"]

Means = Callable[[Task], Sequence[NDArray[np.float64]]]


@dataclass(frozen=True, kw_only=True)
class Judgment:
    """Whose updates are summed. document: why the others are not, as JSON knows it."""

    accepted: frozenset[PartyId]
    document: dict[str, Any] | None = None


Judge = Callable[[Task, Statistics], Judgment]
"""Decides over what was opened of a round; the same each time for one task."""


def all_within_bounds(_: Task, statistics: Statistics) -> Judgment:
    """Accepts all that the plan allows: what is opened is for others to look at."""
    return Judgment(accepted=statistics.eligible)


class ByCascade:
    """The rules of a cascade, over the rounds of a session.

    means: of earlier rounds of the session, which everybody knows, and a client without data could
    send.
    """

    def __init__(self, cascade: Cascade, reports: Reports, means: Means, log: Log) -> None:
        self._cascade, self._reports, self._means = cascade, reports, means
        self._log = log

    @staticmethod
    def check(task: Task) -> None:
        """`ParameterError` for a plan that opens nothing of each client."""
        screen = task.invitation.plan.screen
        if not isinstance(screen, ExactNormScreen | CosineScreen | SketchScreen):
            raise ParameterError(
                'screen.opens = "norm" or "sketch" must stand for a cascade: it judges each client'
            )

    def judged(self, task: Task, statistics: Statistics) -> Judgment:
        """Who is not excluded. Raises `StoreFailed` if the decision is not kept, or the state that
        it goes on from is not of these rules.
        """
        kept = self._reports.decision(task)
        if kept is None:
            kept = self._decided(task, statistics)
            self._reports.decide(task, kept)
        found = json.loads(kept)
        return Judgment(accepted=frozenset(found["accepted"]), document=found["verdicts"])

    def _decided(self, task: Task, statistics: Statistics) -> str:
        screening, number = self._screening(task), task.invitation.number
        known = self._means(task)
        seen = observed(task.invitation.plan, statistics, number, known=known)
        assert isinstance(seen, Norms | Sketches), "what the plans that fit show"
        verdicts = screening.judge(seen)
        self._log("judged", task=task.id, excluded=len(verdicts.excluded))
        decision = {
            "accepted": sorted(statistics.eligible.difference(verdicts.excluded)),
            "verdicts": verdict_document(verdicts),
            "state": screening.export(),
        }
        return json.dumps(decision, allow_nan=False)

    def _screening(self, task: Task) -> Screening:
        """As the last round of the session before this one left it."""
        before = self._reports.decision_before(task)
        if before is None:
            return Screening(self._cascade)
        try:
            return Screening.load(self._cascade, json.loads(before)["state"])
        except RobustError as error:
            raise StoreFailed(f"{self._reports.path} has a state of other rules: {error}") from None


def cascade_of(rounds: int) -> Cascade:
    """The default cascade, over a run of so many rounds; `ParameterError` unless rounds >= 1."""
    try:
        return Cascade(rounds=rounds)
    except RobustError as error:
        raise ParameterError(str(error)) from None
