"""What every accountant promises, whatever its bounds are."""

from __future__ import annotations

import math
import sys
from fractions import Fraction
from typing import Any

import pytest

from dp import DiscreteGaussian, ParameterError, Skellam
from dp.account import Accountant
from dp.account_published import PublishedAccountant
from dp.account_reduction import ReductionAccountant
from dp.errors import UnknownEvent
from dp.events import Composed, Event, Gaussian, Release, Sampled
from dp.sensitivity import Sensitivity

SENSITIVITY = Sensitivity(squared=Fraction(10_000), coordinates=1000, integral=True)
SKELLAM = Release(Skellam(100), 100, SENSITIVITY)
NORMAL = Release(DiscreteGaussian(100), 100, SENSITIVITY)
EVENTS = [
    Gaussian(1.0),
    SKELLAM,
    NORMAL,
    Sampled(0.1, Gaussian(1.0)),
    Sampled(0.1, SKELLAM),
    Sampled(0.1, NORMAL),
    Composed(((SKELLAM, 3), (Sampled(0.1, NORMAL), 5), (Gaussian(4.0), 2))),
]


class Foreign(Event):
    """An event that nobody knows."""

    def document(self) -> dict[str, object]:
        return {}


class ForeignNoise(Skellam):
    """Noise that nobody knows, as a subclass may have another law."""


@pytest.fixture(params=[ReductionAccountant, PublishedAccountant])
def accountant(request: pytest.FixtureRequest) -> Accountant:
    found = request.param()
    assert isinstance(found, Accountant)
    return found


@pytest.mark.parametrize("event", EVENTS, ids=repr)
def test_epsilon_and_delta_are_inverse(accountant: Accountant, event: Event) -> None:
    epsilon = accountant.epsilon(event, 1e-5)
    assert 0 < epsilon < math.inf
    assert 0.5e-5 < accountant.delta(event, epsilon) <= 1e-5 * (1 + 1e-6) + 1.1e-11


@pytest.mark.parametrize("event", EVENTS, ids=repr)
def test_less_delta_costs_more_and_more_epsilon_less(accountant: Accountant, event: Event) -> None:
    epsilons = [accountant.epsilon(event, delta) for delta in (0.5, 1e-2, 1e-5, 1e-9)]
    assert epsilons == sorted(epsilons)
    deltas = [accountant.delta(event, epsilon) for epsilon in (0.0, 0.5, 2.0, 8.0)]
    assert deltas == sorted(deltas, reverse=True)
    assert 0 <= deltas[-1] < deltas[0] <= 1


def test_events_cost_together_what_they_are(accountant: Accountant) -> None:
    once, twice = Composed.of(SKELLAM), Composed.of(SKELLAM, SKELLAM)
    assert accountant.epsilon(once, 1e-5) == accountant.epsilon(SKELLAM, 1e-5)
    assert accountant.epsilon(SKELLAM, 1e-5) < accountant.epsilon(twice, 1e-5)
    assert accountant.epsilon(twice, 1e-5) < 2 * accountant.epsilon(SKELLAM, 1e-5)
    assert accountant.epsilon(Composed(()), 1e-5) == 0
    assert accountant.delta(Composed(()), 0.0) == 0


def test_a_sample_of_all_is_no_sample(accountant: Accountant) -> None:
    for event in (Gaussian(1.0), SKELLAM, NORMAL):
        whole = accountant.epsilon(event, 1e-5)
        assert accountant.epsilon(Sampled(1.0, event), 1e-5) == whole
        assert accountant.epsilon(Sampled(0.5, event), 1e-5) < whole


def test_more_parts_and_smaller_norms_cost_less(accountant: Accountant) -> None:
    for noise in (Skellam(100), DiscreteGaussian(100)):
        many = Release(noise, 200, SENSITIVITY)
        few = Release(noise, 100, SENSITIVITY)
        assert accountant.epsilon(many, 1e-5) < accountant.epsilon(few, 1e-5)
        replaced = Release(noise, 100, SENSITIVITY.replaced())
        assert accountant.epsilon(few, 1e-5) < accountant.epsilon(replaced, 1e-5)


@pytest.mark.parametrize("delta", [0, 1, -1e-5, 2, math.nan, math.inf, True])
def test_deltas_that_are_none(accountant: Accountant, delta: Any) -> None:
    assert accountant.epsilon(Gaussian(1.0), 0.5) >= 0
    with pytest.raises(ParameterError, match="0 < delta < 1"):
        accountant.epsilon(Gaussian(1.0), delta)


@pytest.mark.parametrize("epsilon", [-1e-9, math.nan, math.inf, True])
def test_epsilons_that_are_none(accountant: Accountant, epsilon: Any) -> None:
    assert 0 < accountant.delta(Gaussian(1.0), 0) <= 1
    with pytest.raises(ParameterError, match="0 <= epsilon < infinity"):
        accountant.delta(Gaussian(1.0), epsilon)


def test_what_is_unknown_is_refused(accountant: Accountant) -> None:
    unknown = Release(ForeignNoise(100), 1, SENSITIVITY)
    for event in (Foreign(), Sampled(0.5, Foreign()), Composed.of(SKELLAM, Foreign()), unknown):
        with pytest.raises(UnknownEvent):
            accountant.epsilon(event, 1e-5)
        with pytest.raises(UnknownEvent):
            accountant.delta(event, 1.0)


def test_without_the_extra_the_error_names_it(
    accountant: Accountant, monkeypatch: pytest.MonkeyPatch
) -> None:
    event = Sampled(0.123, Gaussian(1.23))
    for module in [name for name in sys.modules if name.partition(".")[0] == "dp_accounting"]:
        monkeypatch.delitem(sys.modules, module)
    monkeypatch.setitem(sys.modules, "dp_accounting", None)
    with pytest.raises(ImportError, match=r"secagg\[dp\]"):
        accountant.epsilon(event, 1e-5)
    monkeypatch.undo()
    assert accountant.epsilon(event, 1e-5) > 0
