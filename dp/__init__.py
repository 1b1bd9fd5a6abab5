"""Noise, clipping, accounting, and audits of what was promised.

    mechanism    clip, rotate, round and noise: an update -> integers that a secure sum adds
    accountants  what a release costs, certified; budgets are kept by `protocols.PrivacyLedger`

`protocols.DistributedNoise` puts both into a round.
"""

from dp.account import Accountant
from dp.account_published import PublishedAccountant
from dp.account_reduction import ReductionAccountant
from dp.calibrate import choose_within, noise_multiplier
from dp.choose import Choice, choose
from dp.clip import AdaptiveBound, Flat, PerLeaf
from dp.errors import (
    BudgetExceeded,
    DecodeError,
    DPError,
    InputRefused,
    IntegrityError,
    ParameterError,
    RandomnessError,
    UnknownEvent,
)
from dp.events import Composed, Event, Gaussian, Release, Sampled
from dp.layers import ByLayers
from dp.mechanism import Decoded, Mechanism
from dp.noise import DivisibleNoise, IntegerNoise
from dp.noise_discrete_gaussian import DiscreteGaussian
from dp.noise_skellam import Skellam
from dp.parties import ByAggregators, ByClients, ByServer
from dp.sample import Rand
from dp.sensitivity import Sensitivity

__all__ = [
    "Accountant",
    "AdaptiveBound",
    "BudgetExceeded",
    "ByAggregators",
    "ByClients",
    "ByLayers",
    "ByServer",
    "Choice",
    "Composed",
    "DPError",
    "DecodeError",
    "Decoded",
    "DiscreteGaussian",
    "DivisibleNoise",
    "Event",
    "Flat",
    "Gaussian",
    "InputRefused",
    "IntegerNoise",
    "IntegrityError",
    "Mechanism",
    "ParameterError",
    "PerLeaf",
    "PublishedAccountant",
    "Rand",
    "RandomnessError",
    "ReductionAccountant",
    "Release",
    "Sampled",
    "Sensitivity",
    "Skellam",
    "UnknownEvent",
    "choose",
    "choose_within",
    "noise_multiplier",
]
