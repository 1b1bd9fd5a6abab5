"""An update from a sketch of it, where few of its coordinates are not zero.

[Pati93]  Pati, Rezaiifar, Krishnaprasad: Orthogonal Matching Pursuit, Asilomar 1993.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from dp.audit.attack import Access, Array, Attack, Goal, View
from dp.audit.update_any import AnyDirection
from dp.errors import require

__all__ = ["SparseRecovery"]


@dataclass(frozen=True, kw_only=True)
class SparseRecovery(Attack):
    """Orthogonal matching pursuit [Pati93], until the sketch is explained.

    most: coordinates that are taken, of k numbers at most k / 2.

    Raises `ParameterError` unless most >= 1.
    """

    name = "sparse recovery"
    goal = Goal.UPDATE
    needs = frozenset({Access.STATISTIC, Access.PROJECTION})
    most: int = 64

    def __post_init__(self) -> None:
        require(self.most >= 1, f"most >= 1, not {self.most!r},")

    @property
    def control(self) -> Attack:
        return AnyDirection()

    def conclude(self, view: View, _: np.random.Generator, /) -> Array:
        sketch, project = view[Access.STATISTIC], view[Access.PROJECTION]
        lengths = np.maximum(np.linalg.norm(project, axis=0), 1e-300)
        found, chosen, residual = np.zeros(project.shape[1]), np.zeros(0, dtype=np.int64), sketch
        for _step in range(min(self.most, max(len(sketch) // 2, 1))):
            if np.linalg.norm(residual) <= 1e-9 * np.linalg.norm(sketch):
                break
            nearest = np.abs(residual @ project) / lengths
            chosen = np.union1d(chosen, [int(nearest.argmax())])
            values = np.linalg.lstsq(project[:, chosen], sketch, rcond=None)[0]
            residual = sketch - project[:, chosen] @ values
            found = np.zeros(project.shape[1])
            found[chosen] = values
        return found
