"""`audit_noise`: a null round through the real scheme."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from protocols import CentralNoise, DistributedNoise, RoundPlan
from protocols.audit import audit_noise
from secagg.errors import ParameterError
from secagg.quantize import NormClip


def plan(size: int = 1 << 14, privacy: Any = None, clients: int = 10) -> RoundPlan:
    return RoundPlan.for_update(
        {"update": np.zeros(size)}, clients=clients, clip=NormClip(1.0),
        privacy=privacy or DistributedNoise(multiplier=1.0),
    )  # fmt: skip


@pytest.mark.parametrize(
    "privacy",
    [
        DistributedNoise(multiplier=1.0),
        DistributedNoise(multiplier=0.3, counts_clipped=True),
        DistributedNoise(multiplier=1.0, removal=True),
        CentralNoise(multiplier=1.0),
    ],
)
def test_honest_noise_passes(privacy: Any) -> None:
    audit = audit_noise(plan(privacy=privacy))
    assert audit.verdict.passed
    assert audit.clients == 10
    assert audit.verdict.size == 1 << 14
    assert audit.outcome.exact


def test_a_tenth_of_the_shares_missing_is_found() -> None:
    audit = audit_noise(plan(), silent={4})
    assert not audit.verdict.variance_fits
    assert audit.verdict.ratio == pytest.approx(0.9, abs=0.05)


def test_a_tenth_missing_is_found_where_excess_is_removed() -> None:
    """And what is expected is what stays: of 8 shares in 10 that no drop-out needed, 5 of them."""
    private = plan(privacy=DistributedNoise(multiplier=1.0, removal=True))
    audit = audit_noise(private, silent={4})
    assert not audit.verdict.variance_fits
    result = audit.outcome.result
    assert result is not None
    assert result.included - result.removed == {4}
    # nine clients keep 5/8 of a share, and one was expected to add a whole one
    assert audit.verdict.ratio == pytest.approx(9 * 5 / (9 * 5 + 8), abs=0.05)


def test_a_plan_without_noise_cannot_be_audited() -> None:
    exact = RoundPlan.for_update({"u": np.zeros(5000)}, clients=10, clip=NormClip(1.0))
    with pytest.raises(ParameterError, match="adds no noise"):
        audit_noise(exact)


@pytest.mark.slow
def test_five_percent_missing_are_found_at_a_false_alarm_rate_of_a_millionth() -> None:
    private = plan(1 << 17, clients=20)
    for _ in range(10):
        assert audit_noise(private, false_alarm=1e-6).verdict.passed
        assert not audit_noise(private, silent={7}, false_alarm=1e-6).verdict.variance_fits
