"""A null round: everybody's update is zero, so that what comes out is noise and nothing else.

It goes through the real machines, as real bytes, by the plan that is to be audited.
"""

from __future__ import annotations

from collections.abc import Set
from dataclasses import dataclass
from fractions import Fraction

import numpy as np

from dp.audit import NoiseVerdict, check_noise
from dp.layers import ByLayers
from dp.mechanism import Mechanism
from dp.parties import ByClients
from protocols.plan import RoundPlan
from protocols.private import Private
from protocols.round import Result
from protocols.simulate import Outcome, run_round
from protocols.third import ThirdParty
from secagg.errors import ParameterError
from secagg.identity import PartyId
from secagg.primitives.ring import word

__all__ = ["NoiseAudit", "audit_noise"]


@dataclass(frozen=True)
class NoiseAudit:
    """A verdict on the noise in a sum of `clients` clients, and the round that it comes from."""

    verdict: NoiseVerdict
    clients: int
    outcome: Outcome


def audit_noise(
    plan: RoundPlan,
    *,
    silent: Set[PartyId] = frozenset(),
    false_alarm: float = 1e-6,
    authority: ThirdParty | None = None,
) -> NoiseAudit:
    """Run a null round of `plan` and test the variance of what it releases.

    silent: clients, of 1 … n, that add no noise; to see the test find them. authority: whose keys
    the plan has, if it has a key authority's.

    Raises `ParameterError` for a plan without noise or shorter than the test needs, and what ended
    the round, if it ended without a sum.
    """
    encoding = plan.quantize
    if not isinstance(encoding, Private):
        raise ParameterError("this plan adds no noise")
    if encoding.is_split:
        raise ParameterError("a null round here has no second aggregator to add its noise")
    strangers = silent - set(range(1, plan.scheme.clients + 1))
    if strangers:
        raise ParameterError(f"client {min(strangers)} is not one of {plan.scheme.clients}")
    zero = plan.structure.restore(np.zeros(plan.structure.size))
    forgetful = np.zeros(plan.scheme.length, word(plan.scheme.width))
    cohort = range(1, plan.scheme.clients + 1)
    outcome = run_round(
        plan,
        dict.fromkeys(cohort, (zero, 1)),
        vectors=dict.fromkeys(silent, forgetful),
        third=authority,
    )
    if outcome.result is None:
        assert outcome.failure is not None, "a round without a result has failed"
        raise outcome.failure
    mechanism = encoding.mechanism
    rotated = outcome.result.total[: mechanism.coordinates].astype(np.int64)
    verdict = check_noise(rotated, _promised(mechanism, outcome.result), false_alarm=false_alarm)
    return NoiseAudit(verdict, len(outcome.result.included), outcome)


def _promised(mechanism: Mechanism, result: Result) -> Fraction:
    """The variance of what the clients of a sum, or the server, have added and not removed."""
    noise, clients = mechanism.noise, len(result.included)
    if not isinstance(noise, ByClients):
        return noise.noise.variance
    variance = clients * noise.noise.variance
    if isinstance(noise, ByLayers):
        left = noise.remaining(mechanism.clients - clients).variance
        variance -= len(result.removed) * (noise.noise.variance - left)
    return variance
