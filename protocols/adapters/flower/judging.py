"""The server's judge: what it may see of a round, whom it excludes, and what the log says of it.

    judge = Screening(Cascade())                       # robust's rules, round after round
    judge = lambda seen: {client for …}                # or any function of an Observation

Beside the statistics it sees, sketched by the map of the round, what everybody knows and a client
without data could send: the last means, the model, and each side value by itself. Metrics and
integers fill as much of a vector as the clip allows the update; were they not among what is known,
a plausible loss would pass for evidence of training.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from protocols.adapters.flower.terms import Layout
from protocols.plan import RoundPlan
from protocols.screening import observed
from robust.decide import Cascade, Screening, Verdicts
from robust.observe import Norms, Observation, Sketches
from secagg.errors import ParameterError
from secagg.event import Statistics
from secagg.identity import PartyId

__all__ = ["Changes", "Classes", "Judge", "Judging", "Root"]

Changes = Mapping[str, NDArray[Any]]
Judge = Callable[[Observation], Collection[PartyId]] | Screening | Cascade
Root = Callable[[Changes], Changes]
Classes = Callable[[Changes], Sequence[Changes]]

_REMEMBERED = 6
_log = logging.getLogger("flwr")


class Judging:
    """A judge, and the public vectors that it is shown.

    root: the server's own update, given the model: the change of each of its arrays. classes: the
    same for each class of the server's own data.
    """

    def __init__(self, judge: Judge, root: Root | None, classes: Classes | None) -> None:
        self._judge = Screening(judge) if isinstance(judge, Cascade) else judge
        self._root = root
        self._classes = classes
        self._means: deque[NDArray[np.float64]] = deque(maxlen=_REMEMBERED)

    def verdict(
        self, plan: RoundPlan, statistics: Statistics, number: int, layout: Layout
    ) -> Verdicts | frozenset[PartyId]:
        """Whom to exclude: what a `Screening` finds, or the set that a function returns.

        Raises `ParameterError` for a function that returns other than a collection of ids.
        """
        model = layout.arrays
        means = [mean for mean in self._means if mean.size == layout.sizes[0]]
        if isinstance(self._judge, Screening):
            number = self._judge.last + 1  # it may go on from another run
        known = [layout.public(vector) for vector in (*means, layout.coordinates(model))]
        seen = observed(
            plan,
            statistics,
            number,
            known=[*known, *layout.sides()],
            root=None if self._root is None else layout.own(self._root(model)),
            classes=[layout.own(each) for each in self._classes(model)] if self._classes else (),
        )
        if isinstance(self._judge, Screening):
            assert isinstance(seen, Norms | Sketches), "all that a plan's screen shows"
            verdicts = self._judge.judge(seen)
            _say(verdicts)
            return verdicts
        return _checked(self._judge(seen))

    def learn(self, mean: NDArray[np.float64]) -> None:
        """Remember the mean update (d,) of a round, which is public from now on."""
        self._means.append(mean)


def _say(verdicts: Verdicts) -> None:
    for verdict in verdicts.verdicts:
        for finding in verdict.reasons:
            _log.warning("secagg: client %d is left out: %s", verdict.client, finding.in_words)
    for abstained in verdicts.abstained:
        _log.info("secagg: a rule abstained: %s", abstained)


def _checked(excluded: object) -> frozenset[PartyId]:
    if not isinstance(excluded, Collection) or any(type(client) is not int for client in excluded):
        raise ParameterError("a judge returns a collection of client ids")
    for client in sorted(excluded):
        _log.warning("secagg: client %d is left out by the judge", client)
    return frozenset(excluded)
