"""What a sum of counters tells somebody who has the salt: every site does, and no outsider.

    membership   whether a given request is in the sum (`dp.audit.member_whitened`)
    inversion    which of some guessed values a parameter had, by the counters of the values

A sum opens no value by itself: its counters are hashes. What is left to an attacker is to guess.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from dp import Release, Skellam
from dp.audit.attack import Access, Array, Attack, Goal, Guess, Trial, View
from numpy.typing import NDArray

from apiwatch.contributions import counted
from apiwatch.event import Field, Request
from apiwatch.features import events
from apiwatch.settings import Settings
from apiwatch.table import cells_of

__all__ = ["GuessedValue", "choice_trials", "membership_trials"]

_SHADOWS = 16
_MANY = 100  # requests: counters that hold something else hold up to so many, any as likely
_Integers = NDArray[np.int64]


@dataclass(frozen=True, kw_only=True)
class GuessedValue(Attack):
    """The candidate whose counter most looks like one request and nothing else.

    taken: the share of counters that hold something else, by which a counter says nothing.
    """

    name = "guessed value"
    goal = Goal.CHOICE
    needs = frozenset({Access.CLASSES, Access.NOISE, Access.SUM})
    taken: float = 0.1

    @property
    def control(self) -> Attack:
        return Guess()

    def conclude(self, view: View, rng: np.random.Generator, /) -> Array:
        classes, deviation = view[Access.CLASSES], max(float(view[Access.NOISE]), 0.25)
        one = classes.max(axis=1)
        held = (classes @ view[Access.SUM]) / one
        other = self.taken / (1 - self.taken) / _MANY / one
        near, none = (np.exp(-0.5 * ((held - x) / deviation) ** 2) / deviation for x in (one, 0))
        ratio = np.log((near + other) / (none + other))
        # an order among equals that has nothing to do with their position
        return np.asarray(ratio + 1e-9 * rng.random(held.size))


def membership_trials(
    requests: Sequence[Request],
    settings: Settings,
    *,
    size: int,
    trials: int,
    release: Release | None,
    rng: np.random.Generator,
) -> list[Trial]:
    """Sums of `size` requests, half of them with a target; by the cells of the target alone.

    release: whose noise the sum has, with contributions of its norm; None for an exact sum.
    """
    cut, units = _form(release)
    each = [_sparse(request, settings, cut, units) for request in requests]
    found = []
    for number in range(trials):
        order = rng.permutation(len(requests))
        at, target = each[order[0]]
        groups = [order[1 + k * size : 1 + (k + 1) * size] for k in range(_SHADOWS + 1)]
        sums = [_counts([each[i] for i in group], at, release) for group in groups]
        member = number % 2
        view = {
            Access.TARGET: target.astype(np.float64),
            Access.SHADOWS: np.stack(sums[1:]),
            Access.SUM: sums[0] + member * target,
        }
        found.append(Trial(View(view), np.array(member)))
    return found


def choice_trials(
    requests: Sequence[Request],
    values: Sequence[Field],
    settings: Settings,
    *,
    candidates: int,
    trials: int,
    release: Release | None,
    rng: np.random.Generator,
) -> list[Trial]:
    """Sums of `requests` and one more field, of as many candidates that are in none of them."""
    _, units = _form(release)
    cells = cells_of(events(values, settings.salt), settings).whole[0]
    background = counted(requests, settings, None, units)
    found = []
    for _ in range(trials):
        chosen = cells[rng.choice(len(values), candidates, replace=False)]
        at, place = np.unique(chosen, return_inverse=True)
        classes = units * np.eye(at.size)[place]
        truth = int(rng.integers(candidates))
        total = background[at] + classes[truth] + _noise(release, at.size)
        view = {
            Access.CLASSES: classes,
            Access.SHARES: np.full(candidates, 1 / candidates),
            Access.NOISE: np.array(_deviation(release)),
            Access.SUM: total.astype(np.float64),
        }
        found.append(Trial(View(view), np.array(truth)))
    return found


def _form(release: Release | None) -> tuple[float | None, int]:
    """The clip and the units of contributions under a release; whole counts under none."""
    return (None, 1) if release is None else (release.sensitivity.l2 / 16, 16)


def _sparse(
    request: Request, settings: Settings, cut: float | None, units: int
) -> tuple[_Integers, _Integers]:
    """The cells that a request touches, ascending, and what it adds there."""
    counts = counted([request], settings, cut, units)
    cells = np.flatnonzero(counts)
    return cells, counts[cells]


def _counts(
    group: Sequence[tuple[_Integers, _Integers]], at: _Integers, release: Release | None
) -> Array:
    """The sum of these requests, in the cells `at`."""
    cells = np.concatenate([cells for cells, _ in group])
    added = np.concatenate([added for _, added in group])
    place = np.minimum(np.searchsorted(at, cells), at.size - 1)
    inside = at[place] == cells
    total = np.bincount(place[inside], added[inside], at.size)
    return np.asarray(total + _noise(release, at.size), np.float64)


def _deviation(release: Release | None) -> float:
    return math.sqrt(release.noise.sigma_squared * release.parts) if release else 0.0


def _noise(release: Release | None, size: int) -> _Integers:
    """Of the parts that are promised, and no more."""
    if release is None:
        return np.zeros(size, np.int64)
    law = Skellam(release.noise.sigma_squared * release.parts)
    return law.sample(size, np.random.default_rng().bytes)
