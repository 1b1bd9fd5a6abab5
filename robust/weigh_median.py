"""The geometric median, by the smoothed Weiszfeld algorithm in kernel form: RFA [Pillutla22].

The geometric median minimizes g(y) = sum_i |u_i - y|. Each step replaces y by the mean of the
updates with weights 1 / max(nu, |u_i - y|). All iterates are linear combinations of the updates, so
their coefficients are all that is kept, and distances come from the Gram matrix.

[Pillutla22] runs three steps, since each costs a secure sum; here a step costs n^2 operations, so
the default goes on until nothing moves. Clients count equally: weights by declared data sizes, as
in [Pillutla22], would let a client buy influence with a number that nobody checks.

Breakdown [Pillutla22, after Lopuhaä and Rousseeuw]: if f < n/2 clients send anything and the others
are within R of a point c, the exact median is within 2 R (n - f) / (n - 2f) of c.

[Pillutla22]  Pillutla, Kakade, Harchaoui: Robust Aggregation for Federated Learning, IEEE
              Transactions on Signal Processing 70, 2022, arXiv 1912.13445.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from robust.errors import require
from robust.gram import Gram
from robust.observe import Array
from robust.weigh import Weigher, check_count, check_positive, on_clients

__all__ = ["GeometricMedian"]


@dataclass(frozen=True, kw_only=True)
class GeometricMedian(Weigher):
    """The smoothed geometric median.

    Attributes
    ----------
    nu: smoothing, in the units of updates: distances below it count as it. Take it well below the
        spread of honest updates, and above 1e-7 of their norms, which rounding reaches.
    iterations: at most so many steps, >= 1.
    tolerance: stops when no weight moves by more than it, >= 0.
    from_origin: starts at 0 instead of the mean; matters only for few steps.
    """

    name: ClassVar[str] = "geometric_median"

    nu: float = 1e-6
    iterations: int = 1000
    tolerance: float = 1e-12
    from_origin: bool = False

    def __post_init__(self) -> None:
        check_positive("nu", self.nu)
        check_count("iterations", self.iterations, 1)
        require(0 <= self.tolerance < 1, f"0 <= tolerance < 1, here {self.tolerance},")

    def weigh(self, gram: Gram) -> Array:
        """Positive weights, the larger the nearer a client is to the median."""
        n = gram.clients
        weights = on_clients(gram, np.full(n, 0.0 if self.from_origin else 1.0 / n))
        for _ in range(self.iterations):
            inverse = 1.0 / np.maximum(self.nu, gram.distances_to(weights)[:n])
            moved = on_clients(gram, inverse / inverse.sum())
            settled = float(np.abs(moved - weights).max()) <= self.tolerance
            weights = moved
            if settled:
                break
        return weights
