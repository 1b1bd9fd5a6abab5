"""Noise, clipping, accounting, and audits of leakage.

So far the noise: exact integer samplers whose sums are known, and proved bounds on their laws.
"""

from dp.errors import DPError, ParameterError, RandomnessError
from dp.noise import DivisibleNoise, IntegerNoise
from dp.noise_discrete_gaussian import DiscreteGaussian
from dp.noise_skellam import Skellam
from dp.sample import Rand

__all__ = [
    "DPError",
    "DiscreteGaussian",
    "DivisibleNoise",
    "IntegerNoise",
    "ParameterError",
    "Rand",
    "RandomnessError",
    "Skellam",
]
