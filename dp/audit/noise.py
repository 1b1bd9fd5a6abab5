"""Whether a sum holds the noise that it should, from a round whose true sum is known.

Forgotten, halved or badly scaled noise is invisible in a model and shows at once in the variance
of a null round. An audit by canaries needs half of the noise gone, and many rounds, to see it.

The test is of an implementation, by those who run it. A client that cheats behaves in a null round
and forgets its noise in the next one.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from fractions import Fraction
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from dp.errors import InputRefused, ParameterError
from dp.noise import MOST_SUMMED, exact

__all__ = ["LEAST_SIZE", "NoiseVerdict", "check_noise"]

LEAST_SIZE = 1000  # below, a sum of squares is not near enough to normal for rates like 1e-6


@dataclass(frozen=True, kw_only=True)
class NoiseVerdict:
    """What the integers of a null round say.

    Attributes
    ----------
    size: how many integers were looked at.
    ratio: their mean square over the variance that was promised.
    tolerance: a ratio further from 1 than this happens by chance with probability `false_alarm`.
    offset: their mean, in standard deviations of a mean of honest noise.
    limit: an offset beyond +-limit happens by chance with probability `false_alarm`.
    """

    size: int
    ratio: float
    tolerance: float
    offset: float
    limit: float
    false_alarm: float

    @property
    def variance_fits(self) -> bool:
        """Whether there is neither less noise than was promised, nor more."""
        return abs(self.ratio - 1) <= self.tolerance

    @property
    def mean_fits(self) -> bool:
        """Whether the noise is centered."""
        return abs(self.offset) <= self.limit

    @property
    def passed(self) -> bool:
        """Whether both hold. Honest noise fails with probability 2 * `false_alarm`, at most."""
        return self.variance_fits and self.mean_fits


def check_noise(
    noise: NDArray[np.int64], variance: Fraction | float, *, false_alarm: float = 1e-6
) -> NoiseVerdict:
    """Compare integers, int64 (d,), with symmetric noise of that variance per coordinate.

    For a law whose fourth moment is at most 3 v**2 + v, as that of Skellam noise is and that of a
    discrete Gaussian, the mean square of d independent draws has the standard deviation
    sqrt((2 v**2 + v) / d) or less; beyond d = 1000 it is normal to what matters here.

    Raises `InputRefused` for another array, or one of fewer than 1000 integers, and
    `ParameterError` unless 2**-32 <= variance <= 2**60 and 2**-60 <= false_alarm < 0.5.
    """
    if type(noise) is not np.ndarray or noise.dtype != np.int64 or noise.ndim != 1:
        raise InputRefused("the noise is not an int64 array of shape (d,)")
    if noise.size < LEAST_SIZE:
        raise InputRefused(f"d >= {LEAST_SIZE} must hold, got {noise.size}")
    if not isinstance(false_alarm, float) or not 2.0**-60 <= false_alarm < 0.5:
        raise ParameterError(f"2**-60 <= false_alarm < 0.5 must hold, got {false_alarm!r}")
    v = float(exact("variance", variance, MOST_SUMMED))
    quantile = -NormalDist().inv_cdf(false_alarm / 2)
    values = noise.astype(np.float64)
    return NoiseVerdict(
        size=noise.size,
        ratio=float(np.mean(values * values)) / v,
        tolerance=quantile * math.sqrt((2 + 1 / v) / noise.size),
        offset=float(values.mean()) / math.sqrt(v / noise.size),
        limit=quantile,
        false_alarm=false_alarm,
    )
