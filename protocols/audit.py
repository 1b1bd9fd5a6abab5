"""A null round: everybody's update is zero, so that what comes out is noise and nothing else.

It goes through the real machines, as real bytes, by the plan that is to be audited.
"""

from __future__ import annotations

from collections.abc import Set
from dataclasses import dataclass

import numpy as np

from dp.audit import NoiseVerdict, check_noise
from dp.mechanism import ByClients
from protocols.plan import RoundPlan
from protocols.private import Private
from protocols.simulate import Outcome, run_round
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
    plan: RoundPlan, *, silent: Set[PartyId] = frozenset(), false_alarm: float = 1e-6
) -> NoiseAudit:
    """Run a null round of `plan` and test the variance of what it releases.

    silent: clients, of 1 … n, that add no noise; to see the test find them.

    Raises `ParameterError` for a plan without noise or shorter than the test needs, and what ended
    the round, if it ended without a sum.
    """
    encoding = plan.quantize
    if not isinstance(encoding, Private):
        raise ParameterError("this plan adds no noise")
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
    )
    if outcome.result is None:
        assert outcome.failure is not None, "a round without a result has failed"
        raise outcome.failure
    mechanism = encoding.mechanism
    clients = len(outcome.result.included)
    copies = clients if isinstance(mechanism.noise, ByClients) else 1
    rotated = outcome.result.total[: mechanism.coordinates].astype(np.int64)
    promised = copies * mechanism.noise.noise.variance
    return NoiseAudit(check_noise(rotated, promised, false_alarm=false_alarm), clients, outcome)
