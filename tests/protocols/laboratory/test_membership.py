"""Membership in sums and in models: the attacks work, the weak ones are weaker, noise holds."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from functools import cache
from typing import Any

import numpy as np
import pytest

from dp.audit.attack import Access, Attack, Trial, View
from dp.audit.measure import Figure, measure
from dp.audit.member_correlation import Correlation
from dp.audit.member_lira import LikelihoodRatio, LowLoss
from dp.audit.member_whitened import Whitened
from dp.audit.testing import AttackConformance
from dp.errors import ParameterError
from protocols.federation.data import Split, digits, split
from protocols.laboratory.membership import (
    Pool,
    final_models,
    model_trials,
    records,
    sum_trials,
    users,
)
from secagg.errors import ParameterError as PlanError


@cache
def data() -> Split:
    return split(digits(), np.random.default_rng(1))


@cache
def pool() -> Pool:
    return users(data(), np.random.default_rng(2), count=300)


@cache
def sums(clients: int, noise: float = 0.0, count: int = 300) -> Sequence[Trial]:
    rng = np.random.default_rng([3, clients])
    return sum_trials(pool(), rng, clients=clients, noise=noise, count=count, shadows=100)


@cache
def models() -> Sequence[Trial]:
    """Of models that learn 75 records by heart."""
    rng = np.random.default_rng(4)
    few = dataclasses.replace(data(), train=data().train.take(np.arange(150)))
    inside, losses = final_models(few, rng, models=32, clients=2, rounds=20)
    return model_trials(inside, losses, rng, count=3000)


def area(attack: Attack, trials: Sequence[Trial], mu: float | None = None) -> Figure:
    return measure(attack, trials, np.random.default_rng(5), mu=mu)[0]


class TestSums(AttackConformance):
    def attacks(self) -> Sequence[Attack]:
        return [Correlation(), Whitened(), Whitened(floor=1.0), Whitened(share=True)]

    def exposed(self, attack: Attack) -> Sequence[Trial]:
        return sums(2)


class TestModels(AttackConformance):
    def attacks(self) -> Sequence[Attack]:
        return [LowLoss(), LikelihoodRatio(), LikelihoodRatio(least=1e-6)]

    def exposed(self, attack: Attack) -> Sequence[Trial]:
        return models()


def test_the_likelihood_ratio_finds_what_the_loss_misses() -> None:
    ratio, loss = area(LikelihoodRatio(), models()), area(LowLoss(), models())
    assert ratio.found.value > loss.found.value


def test_a_lone_client_is_certain() -> None:
    assert area(Whitened(), sums(1)).found.value == 1.0


@pytest.mark.parametrize("scale", [1e-6, 1e3])
def test_a_lone_client_is_certain_however_long_its_update(scale: float) -> None:
    """No sums without the target vary here, so that nothing says what a large number is."""
    scaled = Pool(clients=scale * pool().clients, imitated=scale * pool().imitated)
    trials = sum_trials(scaled, np.random.default_rng(3), clients=1, count=40)
    assert area(Whitened(), trials).found.value == 1.0


def test_the_whitened_attack_finds_what_the_plain_one_misses() -> None:
    """Which made secure sums look private [Ngo24]: many others do not hide a client."""
    for clients in (10, 50):
        plain, whitened = area(Correlation(), sums(clients)), area(Whitened(), sums(clients))
        assert whitened.found.low > plain.found.value
    assert area(Whitened(), sums(10)).found.value > 0.95


def test_the_share_of_the_target_is_found_where_the_ratio_is_misled() -> None:
    """At a low rate of false positives the ratio goes by the tails of a law that is not so."""
    trials = sums(10, count=1000)
    ratio, share = (
        {one.metric: one.found for one in measure(attack, trials, np.random.default_rng(6))}
        for attack in (Whitened(), Whitened(share=True))
    )
    assert share["area"].value > ratio["area"].value
    at = "true positives at 1.0%"
    assert share[at].value > ratio[at].value + 0.1


def test_a_target_of_zeros_has_a_score() -> None:
    given = {Access.TARGET: np.zeros(3), Access.SHADOWS: np.eye(3), Access.SUM: np.ones(3)}
    assert Whitened(share=True).run(View(given), np.random.default_rng(0)) == 0


def test_a_crowd_hides_somewhat() -> None:
    found = [area(Whitened(), sums(clients)).found.value for clients in (1, 10, 50, 150)]
    assert found == sorted(found, reverse=True)
    assert found[-1] < 0.8


@pytest.mark.parametrize("clients", [1, 10])
@pytest.mark.parametrize("noise", [0.5, 1.0, 3.0])
def test_noise_keeps_every_attack_below_the_bound(clients: int, noise: float) -> None:
    trials = sums(clients, noise)
    for attack in (Correlation(), Whitened(), Whitened(share=True)):
        for figure in measure(attack, trials, np.random.default_rng(6), mu=1 / noise):
            assert figure.bound is not None
            assert not figure.exceeds


def test_a_bound_for_more_noise_than_there_is_is_exceeded() -> None:
    assert area(Whitened(), sums(1, 0.1), mu=1 / 3.0).exceeds


def test_one_record_among_a_few_is_found() -> None:
    trials = sum_trials(
        records(data(), np.random.default_rng(7)), np.random.default_rng(8), clients=20, count=300
    )
    assert area(Whitened(), trials).found.low > 0.85


def test_records_add_up_to_the_update_of_a_user() -> None:
    """One step on b records is the mean of b gradients: what `records` divides by b."""
    rng = np.random.default_rng(9)
    ours = records(data(), np.random.default_rng(9), batch=10)
    theirs = users(data(), rng, count=1, batch=669, steps=1)
    np.testing.assert_allclose(ours.clients.mean(axis=0) * 10, theirs.clients[0], atol=1e-12)


def test_each_record_is_in_half_of_the_models_and_losses_tell_it() -> None:
    inside, losses = final_models(data(), np.random.default_rng(10), models=4, rounds=3)
    assert (inside.sum(axis=0) == 2).all()
    assert losses.shape == inside.shape
    assert (losses >= 0).all()
    assert losses[inside].mean() < losses[~inside].mean()


def test_losses_of_the_attacked_model_are_not_among_the_shadows() -> None:
    inside = np.array([[True, True], [True, False], [False, True], [False, False]])
    losses = np.arange(8.0).reshape(4, 2)
    for trial in model_trials(inside, losses, np.random.default_rng(11), count=50):
        loss = trial.view[Access.LOSS]
        shadows = [trial.view[Access.LOSSES_WITH], trial.view[Access.LOSSES_WITHOUT]]
        record = int(loss) % 2
        assert loss not in np.concatenate(shadows)
        assert inside[int(loss) // 2, record] == bool(trial.truth)
        for side, found in zip((True, False), shadows, strict=True):
            assert set(found) <= set(losses[inside[:, record] == side, record])


def test_certain_losses_have_finite_scores() -> None:
    given = {
        Access.LOSS: np.array(0.0),
        Access.LOSSES_WITH: np.array([0.0, 1e-300]),
        Access.LOSSES_WITHOUT: np.array([800.0, 3.0]),
    }
    score = LikelihoodRatio().run(View(given), np.random.default_rng(0))
    assert np.isfinite(score)
    assert score > 0


@pytest.mark.parametrize("floor", [0.0, -1.0, np.inf, np.nan])
def test_a_floor_that_is_none_is_refused(floor: float) -> None:
    with pytest.raises(ParameterError, match="0 < floor < infinity"):
        Whitened(floor=floor)


@pytest.mark.parametrize("least", [0.0, 0.2, np.nan])
def test_a_least_loss_that_is_none_is_refused(least: float) -> None:
    with pytest.raises(ParameterError, match=r"0 < least <= 0\.1"):
        LikelihoodRatio(least=least)


@pytest.mark.parametrize(
    "options", [{"clients": 0}, {"clients": 151}, {"count": 1}, {"shadows": 1}, {"noise": -0.1}]
)
def test_impossible_sums_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(PlanError, match="1 <= clients <= 150"):
        sum_trials(pool(), np.random.default_rng(0), **{"clients": 2, **options})


@pytest.mark.parametrize("models", [2, 5])
def test_models_come_in_pairs(models: int) -> None:
    with pytest.raises(PlanError, match="models >= 4"):
        final_models(data(), np.random.default_rng(0), models=models)


def test_a_user_has_no_more_records_than_its_half() -> None:
    with pytest.raises(PlanError, match="half of the records"):
        users(data(), np.random.default_rng(0), count=2, batch=700)
