"""The noise in class sums, which whoever solves them has to know."""

from __future__ import annotations

import math
from dataclasses import dataclass

from apiwatch.encode import SIZE
from apiwatch.settings import require

__all__ = ["EXACT", "Noise"]

_RIDGE = 0.2  # of the spectral norm of noise: half and twice as much name nearly as well


@dataclass(frozen=True, kw_only=True)
class Noise:
    """What was added to class sums: the standard deviation in an entry of products, off the
    diagonal, and of moments. 0 is exact.

    Raises `ParameterError` unless both are at least 0 and finite.
    """

    products: float = 0.0
    moments: float = 0.0

    def __post_init__(self) -> None:
        for deviation in (self.products, self.moments):
            require(0 <= deviation < math.inf, "0 <= deviation < infinity", deviation)

    def __add__(self, other: Noise) -> Noise:
        """That of the sum of two that are independent."""
        return Noise(
            products=math.hypot(self.products, other.products),
            moments=math.hypot(self.moments, other.moments),
        )

    @property
    def ridge(self) -> float:
        """What regularizes the products: a fifth of 2 s sqrt(2049), which is about the largest
        eigenvalue of symmetric noise [Wigner58].
        """
        return _RIDGE * 2.0 * self.products * math.sqrt(SIZE)


EXACT = Noise()
