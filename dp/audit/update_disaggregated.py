"""One client's typical update, from sums of many rounds and who was in each.

[Lam21]  Lam, Wei, Cooper, Chen, Mitzenmacher, Reddi: Gradient Disaggregation: Breaking Privacy in
         Federated Learning by Reconstructing the User Participant Matrix, ICML 2021.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from dp.audit.attack import Access, Array, Attack, Goal, View
from dp.audit.update_any import AnyDirection
from dp.errors import require

__all__ = ["Disaggregated"]


@dataclass(frozen=True, kw_only=True)
class Disaggregated(Attack):
    """The update of client 0 by ridge regression of the sums (t, d) on who was there (t, n).

    That list is public in this library and most others, so that nothing of it has to be found as
    in [Lam21]. ridge: the variance of an update around a client's own mean over the variance of
    these means; as many rounds as clients without it make a system that nothing can be solved of.

    Raises `ParameterError` unless 0 < ridge < infinity.
    """

    name = "disaggregated"
    goal = Goal.UPDATE
    needs = frozenset({Access.SUMS, Access.PRESENCE})
    ridge: float = 1.0

    def __post_init__(self) -> None:
        require(0 < self.ridge < np.inf, f"0 < ridge < infinity, not {self.ridge!r},")

    @property
    def control(self) -> Attack:
        return AnyDirection()

    def conclude(self, view: View, _: np.random.Generator, /) -> Array:
        present, sums = view[Access.PRESENCE], view[Access.SUMS]
        # the mean of all clients explains most of every sum; what is their own is left
        sizes = present.sum(axis=1, keepdims=True)
        common = (sizes.T @ sums) / max(float((sizes**2).sum()), 1.0)
        inner = present.T @ present + self.ridge * np.eye(present.shape[1])
        own = np.linalg.solve(inner, present.T @ (sums - sizes * common))
        found: Array = common[0] + own[0]
        return found
