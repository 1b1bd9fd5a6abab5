"""How examples respond to a class model, each by itself to the last bit.

In float64 a text in a batch gets another last bit than alone, and of many copies of one that is at
the edge of a step, one more example would move all. So the model is rounded once, to integers whose
sums of products float64 holds exactly, whatever their order.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from apiwatch.classes import MOST_LEVERAGE, ClassModel
from apiwatch.encode import encode

__all__ = ["Responses"]

_BITS = 29  # of integers; an encoded text is below 2**12 in the sum of its entries
_BATCH = 2048
_Floats = NDArray[np.float64]


class Responses:
    """Those of a model. All examples that were in its sums weighed the same.

    weight: of each.
    """

    def __init__(self, model: ClassModel, weight: int) -> None:
        self._attacks = model.attacks
        inverse: _Floats = np.asarray(np.linalg.inv(model.regular), np.float64)
        moments = [model.sums.labels.index(label) for label in self._attacks]
        solution: _Floats = np.asarray(model.sums.moments[moments] @ inverse, np.float64)
        self._solution, self._unit = _whole(solution)
        self._inverse, per = _whole(inverse)
        self._weight = weight * per

    def strongest(
        self, texts: Sequence[str], labels: Sequence[str], *, fresh: bool
    ) -> Iterator[_Floats]:
        """The largest of an attack, as many texts at a time as memory has room for.

        fresh: they are not in the sums. What is in them gets what `ClassModel.unseen` says.
        """
        for start in range(0, len(texts), _BATCH):
            encoded = encode(texts[start : start + _BATCH])
            answers = encoded @ self._solution.T * self._unit
            if not fresh:
                own = np.array(labels[start : start + _BATCH])[:, None] == self._attacks
                alone = ((encoded @ self._inverse) * encoded).sum(axis=1) * self._weight
                leverage = np.minimum(alone, MOST_LEVERAGE)[:, None]
                answers = (answers - leverage * own) / (1.0 - leverage)
            yield answers.max(axis=1)


def _whole(matrix: _Floats) -> tuple[_Floats, float]:
    """Integers of 29 bits and what 1 of them is, a power of two."""
    exponent = int(np.frexp(np.abs(matrix).max())[1]) - _BITS
    whole: _Floats = np.rint(np.ldexp(matrix, -exponent))
    return whole, float(np.ldexp(1.0, exponent))
