"""The control of reconstruction: what somebody expects who has seen nothing of any round."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from dp.audit.attack import Access, Array, Attack, Goal, View

__all__ = ["ClassMean"]


@dataclass(frozen=True, kw_only=True)
class ClassMean(Attack):
    """For each label the mean record of its class."""

    name = "class mean"
    goal = Goal.RECORDS
    needs = frozenset({Access.LABELS, Access.TYPICAL})

    @property
    def control(self) -> Attack:
        return self

    def conclude(self, view: View, _: np.random.Generator, /) -> Array:
        records: Array = view[Access.TYPICAL][view[Access.LABELS].astype(np.int64)]
        return records
