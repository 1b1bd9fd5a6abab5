"""Defenses behind one interface: a round of updates -> the server's update, and who is not in it.

    mean               no defense at all
    bounds             the plan alone: honest clients clip, who is beyond the bounds is left out
    ours               bounds, then `robust.decide.Cascade`; all that it sees is the statistics
    ours+root          ours, and the rules that need a root set: reference, coalition
    ...+mending        and suspected triggers are unlearned after the sum
    ours+flame, ...    ours, then a second stage: of those that are left, only whom the rule selects
    krum, fltrust, ... robust rules from the literature

What the comparison gives away to the rules from the literature: they work on the exact inner
products of the raw updates, which no server that sums securely has; Krum, Multi-Krum and
nearest-neighbor mixing are told how many attackers to expect; FoolsGold accumulates raw updates
over rounds. What it does not give them: FLAME clusters updates and not models, and adds no noise.

`ours` and its variants do what the scheme can do: accept or refuse, never weigh.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from protocols.federation.federation import RoundData
from protocols.federation.unlearning import Unlearning, transposed
from protocols.plan import RoundPlan
from protocols.trial.statistics import encoded, opened, plan_for, released, seen
from robust.decide import Cascade, Screening, rooted
from robust.gram import Gram
from robust.observe import Array, Sketches
from robust.weigh import Weigher
from robust.weigh_flame import Flame
from robust.weigh_fltrust import FLTrust
from robust.weigh_foolsgold import FoolsGold, History
from robust.weigh_krum import Krum, MultiKrum
from robust.weigh_median import GeometricMedian
from robust.weigh_mixing import NearestNeighborMixing
from secagg.errors import ParameterError
from secagg.event import Statistics
from secagg.identity import PartyId

__all__ = [
    "METHODS",
    "Defense",
    "Mean",
    "Method",
    "Ours",
    "Setting",
    "Taken",
    "Weighed",
    "method_of",
]

_MENDING = 1
"""The stream of the server's own training, and of what is planted."""

_CLIP_FACTOR = 4.0
"""The bound, over the norm of the server's own first update on its root set: known before round 0,
and above every honest norm on the development sets."""


@dataclass(frozen=True, kw_only=True)
class Setting:
    """What a defense is told before the first round.

    Attributes
    ----------
    clients: of the cohort. rounds: of the run. rows: numbers of a sketch.
    corrupt: attackers that it should expect.
    seed: of the sketch maps and of rounding.
    """

    clients: int
    rounds: int
    rows: int
    corrupt: int
    seed: int


@dataclass(frozen=True, kw_only=True, eq=False)
class Taken:
    """What a server made of a round.

    Attributes
    ----------
    update: (d,), added to the model; zeros where nothing could be taken.
    left_out: clients with weight 0.
    short: whether the scheme would have released nothing: too few were left. The mean is taken all
        the same, so that detection can be measured beyond what the scheme allows.
    """

    update: Array
    left_out: frozenset[PartyId]
    short: bool = False


class Defense(ABC):
    """A method at work in one run. It may remember rounds."""

    @abstractmethod
    def take(self, data: RoundData) -> Taken:
        """The server's part of the next round."""


@dataclass(frozen=True, kw_only=True)
class Method(ABC):
    """A defense that has not begun; `name` is one word, for tables and results."""

    name: str

    @abstractmethod
    def start(self, setting: Setting, /) -> Defense:
        """It, at the beginning of a run."""


@dataclass(frozen=True, kw_only=True)
class Mean(Method):
    """Everybody counts, with whatever they send."""

    name: str = "mean"

    def start(self, _: Setting, /) -> Defense:
        return _Averaging()


@dataclass(frozen=True, kw_only=True)
class Ours(Method):
    """Statistics that the scheme opens, judged in each round.

    Attributes
    ----------
    screens: whether the cascade judges; without it the bounds of the plan are all.
    root: whether the rules that need a root set come last, with imitated clients.
    second: from the Gram matrix of the sketches, beside the server's own; whoever has weight 0 is
        left out, the others count equally.
    mends: whether the server makes the model unlearn what the sketches say a trigger could be.
    """

    name: str = "ours"
    screens: bool = True
    root: bool = False
    second: Weigher | None = None
    mends: bool = False

    def start(self, setting: Setting, /) -> Defense:
        return _Screened(self, setting)


@dataclass(frozen=True, kw_only=True)
class Weighed(Method):
    """A rule on the exact Gram matrix of the raw updates, with the server's own update beside.

    Attributes
    ----------
    rule: attackers to expect -> the rule.
    accumulates: whether it sees sums of each client's updates over all rounds.
    """

    rule: Callable[[int], Weigher]
    accumulates: bool = False

    def start(self, setting: Setting, /) -> Defense:
        return _Weighing(self.rule(setting.corrupt), accumulates=self.accumulates)


METHODS: tuple[Method, ...] = (
    Mean(),
    Ours(name="bounds", screens=False),
    Ours(),
    Ours(name="ours+root", root=True),
    Ours(name="ours+mending", mends=True),
    Ours(name="ours+root+mending", root=True, mends=True),
    Ours(name="ours+fltrust", second=FLTrust()),
    Ours(name="ours+flame", second=Flame()),
    Weighed(name="krum", rule=lambda corrupt: Krum(corrupt=corrupt)),
    Weighed(name="multi-krum", rule=lambda corrupt: MultiKrum(corrupt=corrupt)),
    Weighed(
        name="nnm+gm",
        rule=lambda corrupt: NearestNeighborMixing(corrupt=corrupt, base=GeometricMedian()),
    ),
    Weighed(name="fltrust", rule=lambda _: FLTrust()),
    Weighed(name="flame", rule=lambda _: Flame()),
    Weighed(name="foolsgold", rule=lambda _: FoolsGold(), accumulates=True),
)
"""In the order of tables."""


def method_of(name: str) -> Method:
    """The method of `METHODS` with this name; `ParameterError` for any other."""
    for method in METHODS:
        if method.name == name:
            return method
    raise ParameterError(f"method must be one of {', '.join(one.name for one in METHODS)}")


class _Averaging(Defense):
    def take(self, data: RoundData) -> Taken:
        return Taken(update=data.mean(), left_out=frozenset())


class _Weighing(Defense):
    def __init__(self, rule: Weigher, *, accumulates: bool) -> None:
        self._rule = rule
        self._accumulates = accumulates
        self._history: History | None = None

    def take(self, data: RoundData) -> Taken:
        weights = self._rule.weigh(self._gram(data))[: len(data.clients)]
        out = np.array(data.clients)[weights == 0]
        return Taken(update=weights @ data.updates, left_out=frozenset(out.tolist()))

    def _gram(self, data: RoundData) -> Gram:
        if not self._accumulates:
            return Gram.of(data.updates, data.root)
        history = self._history or History(size=data.updates.shape[1])
        self._history = history.after(data.clients, data.updates)
        return self._history.gram(data.clients)


class _Screened(Defense):
    def __init__(self, method: Ours, setting: Setting) -> None:
        self._method, self._setting = method, setting
        cascade = rooted(setting.rounds) if method.root else Cascade(rounds=setting.rounds)
        self._screening = Screening(cascade)
        self._plan: RoundPlan | None = None
        self._unlearning: Unlearning | None = None

    def take(self, data: RoundData) -> Taken:
        plan = self._plan = self._plan or self._planned(data)
        rng = np.random.default_rng([self._setting.seed, data.number])
        vectors = encoded(plan, data, rng.bytes)
        statistics = opened(plan, data.clients, vectors, rng.bytes(32))
        sketches = seen(plan, statistics, data, imitates=self._method.root)
        excluded = self._excluded(sketches)
        accepted = statistics.eligible - excluded
        mean = released(plan, data.clients, vectors, accepted)
        update = np.zeros_like(data.weights) if mean is None else mean
        if self._method.mends and sketches is not None and accepted:
            # what is not summed teaches the model nothing
            summed = sketches.only(np.isin(sketches.clients, list(accepted)))
            self._look(plan, statistics, summed, data)
            update = self._mended(data, update)
        return Taken(
            update=update,
            left_out=frozenset(data.clients) - accepted,
            short=mean is None or len(accepted) < plan.scheme.survivors,
        )

    def _look(
        self, plan: RoundPlan, statistics: Statistics, sketches: Sketches, data: RoundData
    ) -> None:
        if self._unlearning is None:
            self._unlearning = Unlearning(model=data.network, root=data.examples)
        back = transposed(plan, statistics)
        self._unlearning.see(sketches, back=back, weights=data.weights, classes=data.classes)

    def _mended(self, data: RoundData, update: Array) -> Array:
        assert self._unlearning is not None, "a round was looked at"
        rng = np.random.default_rng([self._setting.seed, data.number, _MENDING])
        return self._unlearning.mended(data.weights + update, rng).weights - data.weights

    def _planned(self, data: RoundData) -> RoundPlan:
        bound = _CLIP_FACTOR * float(np.linalg.norm(data.root))
        return plan_for(
            len(data.weights), clients=self._setting.clients, clip=bound, rows=self._setting.rows
        )

    def _excluded(self, sketches: Sketches | None) -> frozenset[PartyId]:
        if sketches is None or not self._method.screens:
            return frozenset()
        excluded = frozenset(self._screening.judge(sketches).excluded)
        return excluded | self._unselected(sketches, excluded)

    def _unselected(self, sketches: Sketches, excluded: frozenset[PartyId]) -> frozenset[PartyId]:
        """Whom the second stage leaves out, of those that the cascade has left."""
        keep = ~np.isin(np.array(sketches.clients), list(excluded))
        if self._method.second is None or not keep.any():
            return frozenset()
        left = sketches.only(keep)
        weights = self._method.second.weigh(Gram.of(left.rows, left.public.root))
        out = np.array(left.clients)[weights[: len(left.clients)] == 0]
        return frozenset(out.tolist())
