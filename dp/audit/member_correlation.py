"""Whether a target is in a sum, by how far the sum reaches in its direction."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from dp.audit.attack import Access, Array, Attack, Coin, Goal, View

__all__ = ["Correlation"]


@dataclass(frozen=True, kw_only=True)
class Correlation(Attack):
    """The inner product of the sum and the target.

    The best test against spherical noise, and a weak one against other clients, whose updates have
    much in common: that it finds little says little. See `Whitened`.
    """

    name = "correlation"
    goal = Goal.MEMBERSHIP
    needs = frozenset({Access.TARGET, Access.SUM})

    @property
    def control(self) -> Attack:
        return Coin()

    def conclude(self, view: View, _: np.random.Generator, /) -> Array:
        return np.asarray(view[Access.SUM] @ view[Access.TARGET])
