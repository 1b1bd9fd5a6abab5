"""Named plans: the name says who is trusted."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from protocols import presets
from protocols.helper import HelperKeeper
from protocols.simulate import run_round
from secagg.errors import ParameterError
from secagg.quantize import NormClip
from secagg.schemes.pine import TwoAggregators
from secagg.schemes.plain import PlainInsecure
from secagg.schemes.secagg_plus import SecAggPlus, SecAggPlusSemiHonest

PRESETS: dict[Any, type[Any]] = {
    presets.malicious_safe: SecAggPlus,
    presets.cross_silo: SecAggPlus,
    presets.cross_device: SecAggPlus,
    presets.semi_honest: SecAggPlusSemiHonest,
    presets.plain_insecure: PlainInsecure,
    presets.two_aggregators: TwoAggregators,
}


@pytest.mark.parametrize(("preset", "scheme"), PRESETS.items())
def test_each_runs_a_round(preset: Any, scheme: type[Any]) -> None:
    plan = preset(np.zeros(4), clients=6, clip=NormClip(20.0), max_weight=3)
    assert type(plan.scheme) is scheme
    updates = {i: (np.full(4, float(i)), 1) for i in range(1, 7)}
    third = HelperKeeper.generate() if plan.scheme.helpers else None
    outcome = run_round(plan, updates, third=third)
    assert outcome.exact
    assert outcome.result is not None
    np.testing.assert_allclose(outcome.result.mean, 3.5, atol=1e-4)


def test_every_public_preset_is_tested() -> None:
    assert {preset.__name__ for preset in PRESETS} == set(presets.__all__)


def test_the_fractions_are_defaults() -> None:
    plan = presets.cross_silo(np.zeros(4), clients=10, clip=NormClip(1.0))
    assert (plan.scheme.corrupt, plan.scheme.survivors) == (0.33, 9)
    plan = presets.cross_silo(np.zeros(4), clients=10, clip=NormClip(1.0), dropout=0.2)
    assert (plan.scheme.corrupt, plan.scheme.survivors) == (0.33, 8)
    plan = presets.cross_device(np.zeros(4), clients=500, clip=NormClip(1.0))
    assert (plan.scheme.corrupt, plan.scheme.survivors) == (0.1, 300)


@pytest.mark.parametrize("preset", PRESETS)
def test_an_unknown_keyword_is_a_type_error(preset: Any) -> None:
    with pytest.raises(TypeError, match="secure"):
        preset(np.zeros(4), clients=6, clip=NormClip(10.0), secure=False)


def test_impossible_fractions_are_refused() -> None:
    with pytest.raises(ParameterError, match="survivors - corrupt >= 2"):
        presets.malicious_safe(np.zeros(4), clients=6, clip=NormClip(1.0), dropout=0.9)
