"""Peers side by side: the same workload, one process, in turns."""

from __future__ import annotations

from dataclasses import dataclass
from types import ModuleType

from benchmarks import secagg_round
from benchmarks.cost import Cost, median_cost
from benchmarks.secagg_round import Tick
from benchmarks.workload import Workload

__all__ = ["FULL", "QUICK", "Comparison", "Target", "compare", "warm_up"]


@dataclass(frozen=True, kw_only=True)
class Target:
    """How many times less processor time ours is to take; None where there is no target."""

    server: float | None = None
    client: float | None = None


_LOST = (0.0, 0.1, 0.3)

FULL = {Workload(50, 100_000, lost): Target(server=100, client=5) for lost in _LOST}
QUICK = {Workload(10, 10_000, lost): Target() for lost in _LOST}

_WARM_UP = Workload(4, 100, 0.0)


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """One workload on both sides."""

    workload: Workload
    target: Target
    ours: Cost
    flower: Cost

    @property
    def server_ratio(self) -> float:
        """How many times less server CPU ours takes."""
        return self.flower.server_cpu / self.ours.server_cpu

    @property
    def client_ratio(self) -> float:
        """How many times less CPU a client of ours takes."""
        return self.flower.client_cpu_mean / self.ours.client_cpu_mean


def warm_up() -> None:
    """One tiny round on each side: tables are built and modules imported before the clock runs."""
    for side in (secagg_round, _flower()):
        side.run(_WARM_UP, lambda: None)


def compare(workload: Workload, target: Target, repeats: int, tick: Tick) -> Comparison:
    """`repeats` times in turns: ours, Flower, ours."""
    ours: list[Cost] = []
    flower: list[Cost] = []
    for _ in range(repeats):
        ours.append(secagg_round.run(workload, tick))
        flower.append(_flower().run(workload, tick))
        ours.append(secagg_round.run(workload, tick))
    return Comparison(
        workload=workload,
        target=target,
        ours=median_cost(ours),
        flower=median_cost(flower),
    )


def _flower() -> ModuleType:
    try:
        from benchmarks import peers_flower  # noqa: PLC0415  behind an extra, slow to import
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError("the peer is missing: pip install 'secagg[flower]'") from error
    return peers_flower
