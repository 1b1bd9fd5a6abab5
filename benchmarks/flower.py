"""Flower's own SecAgg+ beside ours in Flower, through one grid: costs, deviations, growth.

Each case runs on both sides in turns, in one process, under the same terms; how, is in
`flower_sides`. Time is processor time, without transport and serialization.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from types import ModuleType

from benchmarks.flower_task import Outcome, Task
from benchmarks.secagg_round import Tick

__all__ = [
    "LIMIT",
    "Case",
    "Flower",
    "Pair",
    "Point",
    "cases",
    "compare",
    "curve",
    "grow",
    "warm_up",
]

LIMIT = 60.0
"""Processor seconds that one side may take for one case."""

_SETUP, _SHARE, _COLLECT, _UNMASK = "setup", "share_keys", "collect_masked_vectors", "unmask"
_QUIET = {
    "FLWR_TELEMETRY_ENABLED": "0",
    "FLWR_DISABLE_UPDATE_CHECK": "1",
    "RAY_USAGE_STATS_ENABLED": "0",
}
_LOST = (1, 2)  # of ten clients; any two would do


@dataclass(frozen=True, kw_only=True)
class Case:
    """One task for both sides.

    costly: whether its costs are compared, or only its results. lost_at: the stage of theirs and
    of ours from which the clients 1 and 2 do not answer. shares: of a key of theirs, by default
    one for every client. single: whether ours runs one round only, not a steady one after it.
    """

    name: str
    task: Task
    costly: bool = False
    lost_at: tuple[str, str] | None = None
    shares: int | None = None
    single: bool = False

    @property
    def first(self) -> bool:
        """Whether the first round of ours is measured: one stage may be in no other."""
        return self.single or (self.lost_at is not None and self.lost_at[1] in {"hello", "deal"})

    def lost(self, side: int) -> frozenset[tuple[str, int]]:
        """Stages and nodes; side is 0 for theirs, 1 for ours."""
        if self.lost_at is None:
            return frozenset()
        return frozenset((self.lost_at[side], node) for node in _LOST)


@dataclass(frozen=True, kw_only=True)
class Pair:
    """One case on both sides."""

    case: Case
    theirs: Outcome
    ours: Outcome


@dataclass(frozen=True, kw_only=True)
class Point:
    """A steady round of ours."""

    task: Task
    ours: Outcome


@dataclass(frozen=True, kw_only=True)
class Flower:
    """All that this part measured. limit: CPU seconds for one side of one case."""

    limit: float
    pairs: Sequence[Pair]
    points: Sequence[Point]


def cases(quick: bool) -> Iterator[Case]:
    """The costly ones, then those where somebody gets lost, then the odd inputs."""
    for clients, dimension in (
        [(10, 10_000)] if quick else [(10, 10_000), (10, 100_000), (50, 100_000)]
    ):
        name = f"n={clients}, d={dimension:,}"
        task = Task(clients=clients, dimension=dimension)
        yield Case(name=f"{name}, none lost", task=task, costly=True)
        lost_at = (_COLLECT, "train")
        yield Case(name=f"{name}, 2 lost", task=task, costly=True, lost_at=lost_at)
    yield from _losses()
    yield from _odd_inputs()
    if not quick:
        many = Task(clients=1024, dimension=100, weights=(1000, 1000))
        name = "1,024 clients, 3 shares of a key in Flower's"
        yield Case(name=name, task=many, shares=3, single=True)


def curve(quick: bool) -> Iterator[Task]:
    """From ten clients to two hundred."""
    for clients in (10, 20) if quick else (10, 20, 50, 100, 200):
        for dimension in (10_000,) if quick else (10_000, 100_000):
            yield Task(clients=clients, dimension=dimension)


def warm_up() -> None:
    """One tiny round on each side, so that no import is on anybody's account."""
    compare(Case(name="", task=Task(clients=4, dimension=10)), LIMIT, lambda: None)


def compare(case: Case, limit: float, tick: Tick) -> Pair:
    """Theirs, then ours, each within `limit` CPU seconds."""
    sides = _sides()
    return Pair(
        case=case,
        theirs=sides.run_theirs(case.task, case.lost(0), tick, limit, case.shares),
        ours=sides.run_ours(case.task, case.lost(1), tick, limit, first=case.first),
    )


def grow(task: Task, limit: float, tick: Tick) -> Point:
    """Ours alone."""
    return Point(task=task, ours=_sides().run_ours(task, frozenset(), tick, limit))


def _losses() -> Iterator[Case]:
    task = Task(clients=10, dimension=1000)
    yield Case(name="nobody is lost", task=task)
    for when, lost_at in {
        "are lost at the first message": (_SETUP, "hello"),
        "are lost at the second": (_SHARE, "deal"),
        "do not send their update": (_COLLECT, "train"),
        "are lost after their update": (_UNMASK, "unmask"),
    }.items():
        yield Case(name=f"2 of 10 {when}", task=task, lost_at=lost_at)


def _odd_inputs() -> Iterator[Case]:
    ten = partial(Task, clients=10, dimension=1000)
    many = (110_000, 110_000)
    for name, task in {
        "1.1 million examples, max_weight 1,000": ten(weights=many),
        "1.1 million examples, max_weight 110,000": ten(weights=many, max_weight=110_000),
        "1 example each, max_weight 100,000": ten(weights=(1, 1), max_weight=100_000),
        "a 0-d array in the model": ten(scalar=True),
        "a float16 model": ten(dtype="float16"),
        "a stored value of 100, clip 8": ten(stored=100.0),
        "one client changes a value by 100, clip 8": ten(jump=100.0),
        "the same, clip 128": ten(jump=100.0, clip=128.0),
    }.items():
        yield Case(name=name, task=task)


def _sides() -> ModuleType:
    os.environ.update(_QUIET)  # read when flwr is imported
    try:
        from benchmarks import flower_sides  # noqa: PLC0415  behind an extra, slow to import
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError("Flower is missing: pip install 'secagg[flower]'") from error
    return flower_sides
