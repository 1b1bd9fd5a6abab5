"""The control of the search for an update: a direction that nothing speaks for."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from dp.audit.attack import Array, Attack, Goal, View

__all__ = ["AnyDirection"]


@dataclass(frozen=True, kw_only=True)
class AnyDirection(Attack):
    """A direction at random."""

    name = "any direction"
    goal = Goal.UPDATE
    needs = frozenset()

    @property
    def control(self) -> Attack:
        return self

    def conclude(self, view: View, rng: np.random.Generator, /) -> Array:
        return rng.standard_normal(view.size("d"))
