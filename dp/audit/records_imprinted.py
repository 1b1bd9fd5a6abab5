"""Records from a sum, by a first layer that the server made for it.

[Fowl22]  Fowl, Geiping, Czaja, Goldblum, Goldstein: Robbing the Fed: Directly Obtaining Private
          Data in Federated Learning with Modified Models, ICLR 2022.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from dp.audit.attack import Access, Array, Attack, Goal, View
from dp.audit.records_mean import ClassMean
from dp.errors import require

__all__ = ["Imprinted"]


@dataclass(frozen=True, kw_only=True)
class Imprinted(Attack):
    """The records that are alone in a bin of the imprinted layer [Fowl22].

    All units of the layer measure one number of a record, each with another threshold, and all
    count the same for the loss. What two units with neighboring thresholds differ in is due to the
    records between them; if there is one, the slope of the weights over that of the bias is it.

    An update begins with the weights of the layer (f, bins), then its biases (bins,), thresholds
    ascending. The sum holds m records; where fewer are alone, class means fill up.

    inputs, bins: f and the units; `ParameterError` unless inputs >= 1 and bins >= 2.
    """

    name = "imprinted layer"
    goal = Goal.RECORDS
    needs = frozenset({Access.SUM, *ClassMean.needs})
    inputs: int
    bins: int

    def __post_init__(self) -> None:
        require(self.inputs >= 1, f"inputs >= 1, not {self.inputs!r},")
        require(self.bins >= 2, f"bins >= 2, not {self.bins!r},")

    @property
    def control(self) -> Attack:
        return ClassMean()

    def conclude(self, view: View, rng: np.random.Generator, /) -> Array:
        found = ClassMean().conclude(view, rng).copy()
        weights, biases = self._layer(view[Access.SUM])
        # the last unit has the records beyond all thresholds for itself
        slopes, scales = (
            -np.diff(each, append=np.zeros_like(each[..., :1])) for each in (weights, biases)
        )
        largest = np.argsort(-np.abs(scales))[: len(found)]
        largest = largest[np.abs(scales[largest]) > 1e-9 * np.abs(biases).max(initial=0.0)]
        records = (slopes[:, largest] / scales[largest]).T
        found[: len(records)] = records
        return np.clip(found, 0, 1)

    def _layer(self, total: Array) -> tuple[Array, Array]:
        ends = self.inputs * self.bins
        return total[:ends].reshape(self.inputs, self.bins), total[ends : ends + self.bins]
