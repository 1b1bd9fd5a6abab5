"""What leaks against one thing at a time: clients of a sum, numbers opened, and epsilon.

Each figure is between two lines: its control, and the bound where noise gives one. Without noise no
bound is known but certainty.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from dp.audit.attack import Attack
from dp.audit.measure import Figure, measure
from dp.audit.member_correlation import Correlation
from dp.audit.member_whitened import Whitened
from dp.calibrate import noise_multiplier
from protocols.federation.data import Split, digits, split
from protocols.laboratory.membership import Pool, sum_trials, users
from protocols.laboratory.modes import Kind, Mode
from protocols.laboratory.opened import measured
from protocols.laboratory.statistics import clients

__all__ = ["Curve", "Line", "curves"]

_DELTA = 1e-5
_COHORTS = (1, 2, 5, 10, 20, 50, 100, 200)
_NUMBERS = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512)
_EPSILONS = (0.25, 0.5, 1, 2, 4, 8, 16, 32)
_CLIENTS = 10
_RECORDS = 20


@dataclass(frozen=True, kw_only=True)
class Line:
    """One series: where, and what was found there; one kind of figure."""

    name: str
    figures: tuple[tuple[float, Figure], ...]


@dataclass(frozen=True, kw_only=True)
class Curve:
    """One plot: two lines over the same axis, which is logarithmic.

    title, along: in words; metric: what the figures are of.
    """

    title: str
    along: str
    metric: str
    lines: tuple[Line, ...]

    @property
    def ticks(self) -> list[float]:
        """Where something was measured."""
        return sorted({at for line in self.lines for at, _ in line.figures})

    @property
    def least(self) -> float:
        """The lowest control."""
        return min(one.control.value for line in self.lines for _, one in line.figures)

    def document(self) -> dict[str, Any]:
        """JSON types."""
        lines = [
            {"name": line.name, "figures": [{"at": at, **_record(one)} for at, one in line.figures]}
            for line in self.lines
        ]
        return {"title": self.title, "along": self.along, "metric": self.metric, "lines": lines}


def curves(rng: np.random.Generator, *, quick: bool = True) -> Iterator[Curve]:
    """Against the size of a cohort, the numbers opened, and epsilon at delta 1e-5.

    Raises `ImportError` without scikit-learn.
    """
    data = split(digits(), rng)
    step, count = (2, 400) if quick else (1, 2000)
    pool = users(data, rng, count=2 * _COHORTS[-1])
    yield _cohort(pool, rng, _COHORTS[::step], count)
    yield _opened(data, rng, _NUMBERS[::step])
    yield _epsilon(pool, rng, _EPSILONS[::step], count)


def _cohort(pool: Pool, rng: np.random.Generator, sizes: tuple[int, ...], count: int) -> Curve:
    def line(name: str, noise: float) -> Line:
        attack = Whitened(share=not noise)
        figures = ((float(size), _member(attack, pool, rng, size, noise, count)) for size in sizes)
        return Line(name=name, figures=tuple(figures))

    return Curve(
        title="Is a client in the sum?",
        along="clients in the sum",
        metric="area under the curve",
        lines=(line("no noise", 0.0), line("noise 1", 1.0)),
    )


def _opened(data: Split, rng: np.random.Generator, numbers: tuple[int, ...]) -> Curve:
    found = clients(data, rng, records=_RECORDS)
    bound = float(np.linalg.norm(found.updates, axis=1).max())

    def line(name: str, noise: float) -> Line:
        figures = []
        for many in numbers:
            mode = Mode(kind=Kind.SKETCH, numbers=many, noise=noise)
            seen = measured(mode, found, bound, rng, links=False)
            figures.append((float(many), max((one.figure for one in seen), key=_value)))
        return Line(name=name, figures=tuple(figures))

    return Curve(
        title=f"The most frequent label of {_RECORDS} records?",
        along="numbers opened of a client",
        metric="success",
        lines=(line("no noise", 0.0), line("noise 1", 1.0)),
    )


def _epsilon(
    pool: Pool, rng: np.random.Generator, epsilons: tuple[float, ...], count: int
) -> Curve:
    def line(name: str, clients: int, attack: Attack) -> Line:
        figures = []
        for epsilon in epsilons:
            noise = noise_multiplier(epsilon, _DELTA)
            figures.append((float(epsilon), _member(attack, pool, rng, clients, noise, count)))
        return Line(name=name, figures=tuple(figures))

    alone = line("all others known", 1, Correlation())
    among = line(f"one of {_CLIENTS}", _CLIENTS, Whitened())
    # one bound for both: it does not go by who else is in the sum
    quiet = replace(
        among, figures=tuple((at, replace(one, bound=None)) for at, one in among.figures)
    )
    return Curve(
        title="Is a client in the sum, at this epsilon?",
        along="epsilon of one round, at delta 1e-5",
        metric="area under the curve",
        lines=(alone, quiet),
    )


def _member(
    attack: Attack, pool: Pool, rng: np.random.Generator, clients: int, noise: float, count: int
) -> Figure:
    trials = sum_trials(pool, rng, clients=clients, noise=noise, count=count)
    return measure(attack, trials, rng, mu=1 / noise if noise else None)[0]


def _value(figure: Figure) -> float:
    return figure.found.value


def _record(figure: Figure) -> dict[str, Any]:
    return {
        "attack": figure.attack,
        "found": vars(figure.found),
        "control": vars(figure.control),
        "bound": figure.bound,
        "trials": figure.trials,
    }
