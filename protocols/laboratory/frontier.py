"""Detection against leakage: what each mode finds of attackers, and tells of everybody else.

    for point in points(QUICK, seed=1): ...
    print(advice(found))

Leakage is the greatest advantage that an attack of `protocols.laboratory.opened` has over its
control. Detection is the share of attackers that round 10 of a trial leaves out, with 3 % of honest
clients as the budget of the run. Both are of one population: digits under Dirichlet(0.3), one
network, one clip bound.

Nobody can be left out for the sum of a group. What groups are given instead is hindsight: their
figure is the share of attackers above that place in the better of two rankings which no more of the
honest clients exceed than the budget allows, and no rule could do better with it.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from functools import cached_property
from itertools import islice
from statistics import fmean
from typing import Any, NamedTuple

import numpy as np

from dp.audit.measure import Interval, around, true_positives
from dp.audit.tails_scipy import rate_above, rate_below
from protocols.federation.data import digits, split
from protocols.federation.model import Training
from protocols.laboratory.modes import NOTHING, Kind, Mode
from protocols.laboratory.opened import Seen, Strongest, measured, strongest
from protocols.laboratory.screened import CLIP_FACTOR, Ranked, defense_of
from protocols.laboratory.statistics import clients
from protocols.trial.trial import Case, played
from secagg.errors import ParameterError

__all__ = ["BUDGET", "FULL", "QUICK", "Detection", "Point", "Scale", "Side", "advice", "points"]

BUDGET = 0.03
"""Of honest clients ever left out of a run."""

_ROUNDS, _CLIENTS, _SHARE, _ALPHA = 10, 40, 0.2, 0.3
_RECORDS = 30  # of a client, as in a trial on digits
_HIDDEN = 96  # as there
_SEEDS = 1 << 32
_ERROR = 0.05
_ENOUGH = 0.9
_LITTLE = 0.25


class Side(NamedTuple):
    """Attackers of one kind; root: whether the rules that need a root set judge them too."""

    name: str
    attacks: tuple[str, ...]
    root: bool = False


@dataclass(frozen=True, kw_only=True)
class Scale:
    """How much is run. sides: attackers. runs: of each attack, with a seed of its own each."""

    modes: tuple[Mode, ...]
    sides: tuple[Side, ...]
    runs: int


@dataclass(frozen=True, kw_only=True)
class Detection:
    """How many attackers a mode lets a server leave out.

    Attributes
    ----------
    recall: by round 10. The interval is the wider of two: over runs, and of single attackers.
    wronged: share of the honest clients ever left out; for groups, the budget by construction.
    runs: how many there were.
    """

    recall: Interval
    wronged: float
    runs: int


@dataclass(frozen=True, kw_only=True)
class Point:
    """One mode. told: what each attack finds. sides: kind of attackers -> their detection."""

    mode: Mode
    told: tuple[Seen, ...]
    sides: Mapping[str, Detection]

    @cached_property
    def leakage(self) -> Strongest:
        """The attack of the greatest advantage."""
        return strongest(self.told)

    def document(self) -> dict[str, Any]:
        """JSON types."""
        return {
            "mode": self.mode.name,
            **asdict(self.mode),
            "kind": self.mode.kind.value,
            "offered": self.mode.offered,
            "leakage": asdict(self.leakage.advantage),
            "by": _record(self.leakage.seen),
            "figures": [_record(seen) for seen in self.told],
            "detection": {name: asdict(side) for name, side in self.sides.items()},
        }


def points(scale: Scale, *, seed: int, jobs: int = 1) -> Iterator[Point]:
    """One for each mode, in order, as they are done. seed: of everything; two seeds have no run in
    common. jobs: processes for the trials.

    Raises `ImportError` without scikit-learn, and `ParameterError` unless jobs >= 1.
    """
    if jobs < 1:
        raise ParameterError(f"jobs >= 1 must hold, got {jobs}")
    rng = np.random.default_rng(seed)
    found = clients(
        split(digits(), rng),
        rng,
        records=_RECORDS,
        alpha=_ALPHA,
        hidden=_HIDDEN,
        training=Training(),
    )
    bound = CLIP_FACTOR * float(np.linalg.norm(found.root))
    asked = f"the most frequent label of {_RECORDS}?"
    tasks = [task for mode in scale.modes for task in _tasks(mode, scale, seed)]
    results = _results(tasks, jobs)
    try:
        for mode in scale.modes:
            yield Point(
                mode=mode,
                told=tuple(measured(mode, found, bound, _own_rng(seed, mode), question=asked)),
                sides=_sides(scale, results),
            )
    finally:
        results.close()


def _own_rng(seed: int, mode: Mode) -> np.random.Generator:
    """Figures of a mode are the same whichever others are measured before it."""
    return np.random.default_rng([seed, *mode.name.encode()])


def _record(seen: Seen) -> dict[str, Any]:
    return {"question": seen.question, "how": seen.how, **asdict(seen.figure)}


def advice(found: Sequence[Point]) -> str:
    """What follows from the figures for somebody who has to choose, of what plans can declare: a
    line for each kind of attackers. What leaves out more honest clients than the budget is no
    choice.
    """
    offered = [point for point in found if point.mode.offered]
    names = list(offered[0].sides) if offered else []
    return "\n".join(_advice(name, offered) for name in names)


def _advice(name: str, offered: Sequence[Point]) -> str:
    """The least leakage that catches enough, and the most that is caught at little of it."""

    def recall(point: Point) -> float:
        return point.sides[name].recall.value

    def told(point: Point) -> float:
        return point.leakage.advantage.value

    def catches(point: Point) -> bool:
        return recall(point) >= _ENOUGH and point.sides[name].wronged <= BUDGET

    enough = [point for point in offered if catches(point)]
    quiet = [point for point in offered if told(point) <= _LITTLE]
    best = max(quiet, key=lambda point: (catches(point), recall(point), -told(point)), default=None)
    least = min(enough, key=told, default=None)
    if best is not None and catches(best):
        return f"Against {name}, open “{best.mode.name}”: {_figures(best, name)}."
    hidden = "" if best is None else _at_most(recall(best))
    if least is None:
        return (
            f"Against {name}, nothing that is opened leaves out {_ENOUGH:.0%} of them and at most "
            f"{BUDGET:.0%} of the honest clients{hidden}."
        )
    return (
        f"Against {name}, open “{least.mode.name}” or nothing: {_figures(least, name)}{hidden}, so "
        "that what is in between costs privacy and buys little."
    )


def _figures(point: Point, name: str) -> str:
    side, seen = point.sides[name], point.leakage.seen
    return (
        f"{side.recall.value:.0%} of them are out by round {_ROUNDS}, and the server is "
        f"{point.leakage.advantage.value:.0%} of the way from a guess to certainty about "
        f"“{seen.question}”"
    )


def _at_most(recall: float) -> str:
    return (
        f"; what leaves the server less than {_LITTLE:.0%} of the way lets it find "
        f"{recall:.0%} at most"
    )


class _Task(NamedTuple):
    mode: Mode
    attack: str
    seed: int
    root: bool


class _Result(NamedTuple):
    """Attackers that were left out of round 10, of so many, and the share of honest ever out."""

    caught: int
    attackers: int
    wronged: float


def _tasks(mode: Mode, scale: Scale, seed: int) -> Iterator[_Task]:
    first = (seed - 1) % _SEEDS * scale.runs
    for side in scale.sides:
        for attack in side.attacks:
            for each in range(first, first + scale.runs):
                yield _Task(mode, attack, each, side.root and _judges(mode.kind))


def _judges(kind: Kind) -> bool:
    """Whether a root set is of use with what is opened."""
    return kind is Kind.SKETCH or kind.has_reference


def _results(tasks: Sequence[_Task], jobs: int) -> Generator[_Result, None, None]:
    if jobs == 1:
        yield from map(_result, tasks)
        return
    pool = ProcessPoolExecutor(jobs)
    try:
        yield from pool.map(_result, tasks)
    finally:
        pool.shutdown(cancel_futures=True)


def _result(task: _Task) -> _Result:
    case = Case(
        data="digits",
        alpha=_ALPHA,
        attack=task.attack,
        share=_SHARE,
        method="ours",
        seed=task.seed,
        rounds=_ROUNDS,
        clients=_CLIENTS,
    )
    defense = defense_of(task.mode, rounds=_ROUNDS, seed=task.seed, root=task.root)
    run = played(case, defense)
    if isinstance(defense, Ranked):
        caught = max((_hindsight(each, defense) for each in defense.rankings), default=0.0)
        return _Result(round(caught * case.attackers), case.attackers, BUDGET)
    return _Result(round(run.by_tenth * case.attackers), case.attackers, run.wronged)


def _hindsight(ranking: Any, defense: Ranked) -> float:
    honest = defense.honest
    return true_positives(ranking[~honest], ranking[honest], BUDGET).value


def _sides(scale: Scale, results: Iterator[_Result]) -> Mapping[str, Detection]:
    """Of the next results, as many as one mode has."""
    return {
        side.name: _detection(list(islice(results, len(side.attacks) * scale.runs)))
        for side in scale.sides
    }


def _detection(results: Sequence[_Result]) -> Detection:
    runs = around(np.array([one.caught / one.attackers for one in results]), 0.0, 1.0)
    caught, many = sum(one.caught for one in results), sum(one.attackers for one in results)
    low, high = rate_above(caught, many, _ERROR / 2), rate_below(caught, many, _ERROR / 2)
    return Detection(
        recall=Interval(value=caught / many, low=min(low, runs.low), high=max(high, runs.high)),
        wronged=fmean(one.wronged for one in results),
        runs=len(results),
    )


def _sketch(numbers: int, noise: float = 0.0) -> Mode:
    return Mode(kind=Kind.SKETCH, numbers=numbers, noise=noise)


def _groups(size: int) -> Mode:
    return Mode(kind=Kind.GROUPS, numbers=128, group=size)


_PROVEN = (
    *(Mode(kind=Kind.BIT), Mode(kind=Kind.PROOF, least=0.1)),
    *(Mode(kind=Kind.EXACT), Mode(kind=Kind.COSINE)),
)
"""What two aggregators open beside sketches."""

_NORM = Mode(kind=Kind.NORM, numbers=64)
_RIDERS = ("fr_delta", "fr_advanced-delta", "fr_cosine-matched", "fr_random-weights")
_BACKDOORS = ("bd_norm-matched", "bd_blend")
_FREE = "free-riders without data"
_BACK = "backdoors, with a root set"

QUICK = Scale(
    modes=(
        *(NOTHING, *_PROVEN, _NORM, _groups(3)),
        *(_sketch(64), _sketch(256), _sketch(64, 0.03)),
    ),
    sides=(Side(_FREE, _RIDERS[:2]), Side(_BACK, _BACKDOORS[:1], root=True)),
    runs=1,
)
"""Ten modes that a plan can have, and three runs of each: most of a minute of one core."""

FULL = Scale(
    modes=(
        *(NOTHING, *_PROVEN, _NORM),
        *(_groups(size) for size in (2, 3, 5, 10)),
        *(_sketch(1 << power) for power in range(10)),
        *(_sketch(numbers, noise) for numbers in (64, 256) for noise in (0.01, 0.03, 0.1, 0.3)),
    ),
    sides=(Side(_FREE, _RIDERS), Side(_BACK, _BACKDOORS, root=True)),
    runs=2,
)
"""Every mode, twelve runs of each."""
