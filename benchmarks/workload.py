"""One aggregation task, the same for every side: updates, weights, who is lost, the exact mean."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from secagg.quantize import FixedPoint, RangeClip, Stochastic
from secagg.schemes.secagg_plus import SecAggPlus

__all__ = ["CLIP", "MAX_WEIGHT", "WIDTH", "Workload"]

CLIP = 8.0
MAX_WEIGHT = 1000
WIDTH = 32

_SPREAD = 0.1
_LEAST_WEIGHT = 500


@dataclass(frozen=True)
class Workload:
    """`clients` updates of `dimension` float32 coordinates from N(0, 0.1^2), weights 500 … 1000.

    lost_share: the fraction of clients lost after sharing keys and before the masked upload.
    corrupt, dropout: the fractions that the scheme's parameters must withstand.
    """

    clients: int
    dimension: int
    lost_share: float
    corrupt: float = 0.2
    dropout: float = 0.3

    @property
    def ids(self) -> range:
        """The clients."""
        return range(1, self.clients + 1)

    @property
    def lost(self) -> range:
        """The clients that get lost: the first so many ids, which are any clients."""
        return range(1, round(self.lost_share * self.clients) + 1)

    @property
    def survivors(self) -> range:
        """The clients that stay to the end."""
        return range(len(self.lost) + 1, self.clients + 1)

    @cached_property
    def scheme(self) -> SecAggPlus:
        """Our scheme against a malicious server, with one more coordinate for the weight."""
        return SecAggPlus(
            clients=self.clients,
            length=self.dimension + 1,
            width=WIDTH,
            corrupt=self.corrupt,
            dropout=self.dropout,
        )

    @cached_property
    def encoding(self) -> FixedPoint:
        """The finest fixed point that `clients` weighted updates cannot make wrap in 32 bits."""
        largest = ((1 << (WIDTH - 1)) - 1) // int(self.clients * MAX_WEIGHT * CLIP)
        return FixedPoint(
            clip=RangeClip(CLIP),
            fraction_bits=largest.bit_length() - 1,
            rounding=Stochastic(),
            cohort=self.clients,
            max_weight=MAX_WEIGHT,
            width=WIDTH,
        )

    def update(self, client: int) -> NDArray[np.float32]:
        """The same float32 (dimension,) at every call, so that nobody has to keep it."""
        drawn = np.random.default_rng((1, client)).standard_normal(self.dimension, np.float32)
        drawn *= np.float32(_SPREAD)
        return drawn

    def weight(self, client: int) -> int:
        """The client's number of examples."""
        return int(np.random.default_rng((2, client)).integers(_LEAST_WEIGHT, MAX_WEIGHT + 1))

    @cached_property
    def mean(self) -> NDArray[np.float64]:
        """The exact weighted mean of the survivors, float64 (dimension,)."""
        total = np.zeros(self.dimension)
        for client in self.survivors:
            total += self.weight(client) * self.update(client).astype(np.float64)
        return total / sum(self.weight(client) for client in self.survivors)

    def error(self, mean: NDArray[np.float64]) -> float:
        """The largest absolute error of a released mean."""
        return float(np.abs(mean - self.mean).max())
