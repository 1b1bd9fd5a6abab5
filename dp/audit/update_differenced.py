"""One client's update from a sum of which the attacker knows all the rest."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from dp.audit.attack import Access, Array, Attack, Goal, View
from dp.audit.update_any import AnyDirection

__all__ = ["Differenced"]


@dataclass(frozen=True, kw_only=True)
class Differenced(Attack):
    """The sum less what is known of it: exact, whatever adds up the sum.

    What is known are the updates of clients that the attacker invented, or that collude with it, or
    the sum of another round over the same updates with the target left out.
    """

    name = "differenced"
    goal = Goal.UPDATE
    needs = frozenset({Access.SUM, Access.KNOWN})

    @property
    def control(self) -> Attack:
        return AnyDirection()

    def conclude(self, view: View, _: np.random.Generator, /) -> Array:
        return view[Access.SUM] - view[Access.KNOWN]
