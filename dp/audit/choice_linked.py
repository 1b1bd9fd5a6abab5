"""Which client of an earlier round this one is."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from dp.audit.attack import Access, Array, Attack, Goal, Guess, View

__all__ = ["Linked"]


@dataclass(frozen=True, kw_only=True)
class Linked(Attack):
    """The cosine of what two rounds opened, after the mean of all candidates is taken off.

    Sketches are comparable where both rounds used one map. Where each round draws its own, as
    `SecAggPlusVerified` does, mixes of labels are (`dp.audit.choice_fit_scipy.label_mix`), and
    sketches that are brought back to the space of updates, if they are long.
    """

    name = "linked"
    goal = Goal.CHOICE
    needs = frozenset({Access.STATISTIC, Access.EARLIER, Access.SHARES})

    @property
    def control(self) -> Attack:
        return Guess()

    def conclude(self, view: View, rng: np.random.Generator, /) -> Array:
        mean = view[Access.EARLIER].mean(axis=0)
        earlier, now = view[Access.EARLIER] - mean, view[Access.STATISTIC] - mean
        lengths = np.linalg.norm(earlier, axis=1) * np.linalg.norm(now)
        cosines: Array = earlier @ now / np.maximum(lengths, 1e-300)
        return cosines + 1e-9 * Guess().conclude(view, rng)
