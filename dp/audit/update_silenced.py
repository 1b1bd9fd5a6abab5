"""One client's update from a sum in which a layer of all others was silenced.

[Pasquini22]  Pasquini, Francati, Ateniese: Eluding Secure Aggregation in Federated Learning via
              Model Inconsistency, CCS 2022.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from dp.audit.attack import Access, Array, Attack, Goal, View
from dp.audit.update_any import AnyDirection
from dp.errors import require

__all__ = ["Silenced"]


@dataclass(frozen=True, kw_only=True)
class Silenced(Attack):
    """The coordinates start … stop of the sum [Pasquini22].

    The server sent the target a model, and everybody else another one, in which these coordinates
    have no slope. Raises `ParameterError` unless 0 <= start < stop.
    """

    name = "silenced layer"
    goal = Goal.UPDATE
    needs = frozenset({Access.SUM})
    start: int
    stop: int

    def __post_init__(self) -> None:
        require(0 <= self.start < self.stop, f"0 <= start < stop, not {self.start}, {self.stop},")

    @property
    def control(self) -> Attack:
        return AnyDirection()

    def conclude(self, view: View, _: np.random.Generator, /) -> Array:
        found = np.zeros(view.size("d"))
        found[self.start : self.stop] = view[Access.SUM][self.start : self.stop]
        return found
