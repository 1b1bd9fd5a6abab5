"""Which client of an earlier round this one is, by numbers that mean the same in both rounds."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from dp.audit.attack import Access, Array, Attack, Goal, Guess, View

__all__ = ["Nearest"]


@dataclass(frozen=True, kw_only=True)
class Nearest(Attack):
    """The candidate whose numbers are the nearest, each in deviations of the candidates, where all
    are equally frequent; else the likeliest by a normal law of that deviation.

    For few numbers, such as norms, of which the angle that `dp.audit.choice_linked` goes by says
    next to nothing.
    """

    name = "nearest"
    goal = Goal.CHOICE
    needs = frozenset({Access.STATISTIC, Access.EARLIER, Access.SHARES})

    @property
    def control(self) -> Attack:
        return Guess()

    def conclude(self, view: View, rng: np.random.Generator, /) -> Array:
        earlier = view[Access.EARLIER]
        deviation = earlier.std(axis=0)
        apart = (earlier - view[Access.STATISTIC]) / np.where(deviation > 0, deviation, 1.0)
        prior = np.log(np.maximum(view[Access.SHARES], 1e-300))
        scores: Array = prior - (apart**2).sum(axis=1) / 2
        # an order among equals that has nothing to do with their position
        return scores + 1e-9 * rng.random(len(scores))
