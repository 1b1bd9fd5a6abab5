"""Centered clipping: every client moves the aggregate by at most a radius [Karimireddy21].

From a center v, usually the last aggregate, each step is

    v <- v + (1/n) sum_i (u_i - v) min(1, radius / |u_i - v|)

which is (1 - mean of the factors) v + (1/n) sum_i factor_i u_i: weights on clients and on the
public row of the center that are >= 0 and sum to 1. From the origin the center has no row, and the
weights sum to at most 1.

[Karimireddy21]  Karimireddy, He, Jaggi: Learning from History for Byzantine Robust Optimization,
                 ICML 2021.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from robust.errors import ObservationError
from robust.gram import Gram
from robust.observe import Array
from robust.weigh import Weigher, check_count, check_positive

__all__ = ["CenteredClipping"]


@dataclass(frozen=True, kw_only=True)
class CenteredClipping(Weigher):
    """Centered clipping; weights sum to 1, or with center None to at most 1.

    Attributes
    ----------
    radius: > 0, in the units of updates.
    iterations: steps, >= 1.
    center: which public row the steps start from; None for the origin.
    """

    name: ClassVar[str] = "centered_clipping"

    radius: float
    iterations: int = 1
    center: int | None = None

    def __post_init__(self) -> None:
        check_positive("radius", self.radius)
        check_count("iterations", self.iterations, 1)
        if self.center is not None:
            check_count("center", self.center)

    def weigh(self, gram: Gram) -> Array:
        """Weights of clients, and of the center."""
        n = gram.clients
        weights = self._start(gram)
        for _ in range(self.iterations):
            distances = gram.distances_to(weights)[:n]
            factors = self.radius / np.maximum(distances, self.radius)
            weights = weights * (1.0 - factors.mean())
            weights[:n] += factors / n
        return weights

    def _start(self, gram: Gram) -> Array:
        weights = np.zeros(gram.clients + gram.public)
        if self.center is not None:
            if self.center >= gram.public:
                raise ObservationError(
                    f"center < public rows must hold, got {self.center} of {gram.public}"
                )
            weights[gram.clients + self.center] = 1.0
        return weights
