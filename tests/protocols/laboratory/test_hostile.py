"""A hostile server: what it gets from an ideal sum, and where the library stands in its way."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Any

import numpy as np
import pytest

from dp.audit.attack import Access, Array, Attack, Trial, View
from dp.audit.measure import Figure, measure
from dp.audit.records_imprinted import Imprinted
from dp.audit.testing import AttackConformance
from dp.audit.update_differenced import Differenced
from dp.audit.update_disaggregated import Disaggregated
from dp.audit.update_silenced import Silenced
from dp.errors import ParameterError
from protocols import RoundPlan, model_digest
from protocols.federation.data import digits
from protocols.federation.model import Network
from protocols.laboratory.hostile import (
    cohort_trials,
    deceived_round,
    disaggregation_trials,
    imprint_trials,
    imprinted_model,
    silenced_model,
)
from protocols.laboratory.images import SHAPE, pixels
from protocols.round import Result
from protocols.simulate import run_round
from robust.attacks.attack import Examples
from secagg.errors import Aborted
from secagg.errors import ParameterError as PlanError
from secagg.machine import Failed
from secagg.quantize import NormClip
from secagg.scheme import Floors
from secagg.schemes.secagg_plus import SecAggPlus
from secagg.structure import flatten

images = pytest.importorskip("dp.audit.images_skimage")

NETWORK = Network(inputs=64, hidden=200, classes=10)
SMALL = Network(inputs=64, hidden=8, classes=10)
VICTIM = 3


@cache
def examples() -> Examples:
    return pixels(digits())


@cache
def imprinted(clients: int, noise: float = 0.0, records: int = 1) -> Sequence[Trial]:
    rng = np.random.default_rng([1, clients])
    return imprint_trials(examples(), NETWORK, rng, clients=clients, noise=noise, records=records)


@cache
def updates() -> Array:
    """Of forty clients that start from one model."""
    rng = np.random.default_rng(2)
    cohort = [examples().take(rng.choice(len(examples()), 10)) for _ in range(40)]
    return SMALL.updates(SMALL.fresh(rng), cohort, [np.arange(10)[None]] * 40, 0.1)


def silenced(clients: int = 5) -> Sequence[Trial]:
    """The victim trains the model, and all others its silenced version."""
    rng = np.random.default_rng(3)
    stop = SMALL.layers["hidden.bias"].stop
    found = []
    for _ in range(8):
        cohort = [examples().take(rng.choice(len(examples()), 10)) for _ in range(clients)]
        real = SMALL.fresh(rng)
        batches = [np.arange(10)[None]] * clients
        mine = SMALL.updates(real, cohort[:1], batches[:1], 0.1)
        theirs = SMALL.updates(silenced_model(SMALL, real), cohort[1:], batches[1:], 0.1)
        truth = np.where(np.arange(SMALL.size) < stop, mine[0], 0.0)
        total = mine.sum(axis=0) + theirs.sum(axis=0)
        found.append(Trial(View({Access.SUM: total}), truth))
    return found


def figures(attack: Attack, trials: Sequence[Trial]) -> dict[str, Figure]:
    found = images.measure_images(attack, trials, np.random.default_rng(4), shape=SHAPE)
    return {figure.metric: figure for figure in found}


def cosine(attack: Attack, trials: Sequence[Trial]) -> Figure:
    return measure(attack, trials, np.random.default_rng(5))[0]


class TestImprinted(AttackConformance):
    def attacks(self) -> Sequence[Attack]:
        return [Imprinted(inputs=64, bins=200)]

    def exposed(self, attack: Attack) -> Sequence[Trial]:
        return imprinted(1)

    def figures(self, attack: Attack, trials: Sequence[Trial]) -> Sequence[Figure]:
        return list(figures(attack, trials).values())


class TestSilenced(AttackConformance):
    def attacks(self) -> Sequence[Attack]:
        return [Silenced(start=0, stop=SMALL.layers["hidden.bias"].stop)]

    def exposed(self, attack: Attack) -> Sequence[Trial]:
        return silenced()


class TestDisaggregated(AttackConformance):
    def attacks(self) -> Sequence[Attack]:
        return [Disaggregated(), Disaggregated(ridge=100.0)]

    def exposed(self, attack: Attack) -> Sequence[Trial]:
        return disaggregation_trials(np.random.default_rng(6))


class TestDifferenced(AttackConformance):
    def attacks(self) -> Sequence[Attack]:
        return [Differenced()]

    def exposed(self, attack: Attack) -> Sequence[Trial]:
        return cohort_trials(updates(), np.random.default_rng(7), known=9)


# -- imprinted layers: agreeing on the model does not help, noise does ----------------------------


def test_images_come_out_of_large_sums() -> None:
    attack = Imprinted(inputs=64, bins=200)
    shares = [
        figures(attack, imprinted(clients))["above 40 dB"].found.value
        for clients in (1, 10, 50, 200)
    ]
    assert shares == sorted(shares, reverse=True)
    assert shares[0] == 1.0
    assert shares[2] > 0.5
    assert shares[3] > 0.1


def test_a_little_noise_is_enough_against_it() -> None:
    found = figures(Imprinted(inputs=64, bins=200), imprinted(10, noise=0.01))
    assert found["above 40 dB"].found.value == 0.0
    assert not found["PSNR"].leaks


def test_a_real_round_sums_imprinted_updates_as_any_other() -> None:
    """All clients have the same model and agree on it: five of six images come out, or more."""
    rng = np.random.default_rng(8)
    weights = imprinted_model(NETWORK, examples(), rng)
    chosen = examples().take(rng.choice(len(examples()), 6, replace=False))
    cohort = [chosen.take(np.array([at])) for at in range(6)]
    rows = NETWORK.updates(weights, cohort, [np.zeros((1, 1), np.int64)] * 6, 0.1)
    norm = float(np.linalg.norm(rows, axis=1).max())
    plan = RoundPlan.for_update(rows[0], clients=6, clip=NormClip(1.01 * norm))
    outcome = run_round(
        plan,
        {at: (row, 1) for at, row in enumerate(rows, start=1)},
        model=model_digest(weights),
    )
    assert outcome.result is not None
    total = 6 * flatten(outcome.result.mean)[0]
    given = {
        Access.SUM: total,
        Access.LABELS: chosen.labels.astype(np.float64),
        Access.TYPICAL: np.zeros((10, 64)),
    }
    trial = Trial(View(given), chosen.inputs)
    found = figures(Imprinted(inputs=64, bins=200), [trial])
    assert found["above 40 dB"].found.value >= 5 / 6


# -- two models: stopped by the context -----------------------------------------------------------


def deceive(digest: Any, shown: int) -> tuple[Result | Failed, Array]:
    """The victim gets a model, and seven others the silenced one; also the victim's update."""
    rng = np.random.default_rng(9)
    real = SMALL.fresh(rng)
    other = silenced_model(SMALL, real)
    models = {party: real if party == VICTIM else other for party in range(1, 9)}
    rows = {}
    for party, model in models.items():
        one = examples().take(rng.choice(len(examples()), 10))
        rows[party] = SMALL.updates(model, [one], [np.arange(10)[None]], 0.1)[0]
    plan = RoundPlan.for_update(
        real, clients=8, clip=NormClip(10.0), scheme=SecAggPlus, corrupt=0.1, dropout=0.2
    )
    ended = deceived_round(plan, models, rows, shown=shown, digest=digest, rng=rng)
    return ended, rows[VICTIM]


def hidden_part(ended: Result) -> Array:
    total = flatten(ended.mean)[0] * len(ended.included)
    attack = Silenced(start=0, stop=SMALL.layers["hidden.bias"].stop)
    return attack.run(View({Access.SUM: total}), np.random.default_rng(0))


def test_two_models_show_the_victims_update_where_nothing_binds_them() -> None:
    """The double: clients that take part without looking at what they were sent."""
    ended, victim = deceive(lambda _: bytes(32), shown=1)
    assert isinstance(ended, Result)
    stop = SMALL.layers["hidden.bias"].stop
    np.testing.assert_allclose(hidden_part(ended)[:stop], victim[:stop], atol=1e-6)
    assert np.linalg.norm(victim[:stop]) > 0.01


def test_the_context_keeps_the_victim_out_of_the_sum() -> None:
    ended, _ = deceive(model_digest, shown=1)
    assert isinstance(ended, Result)
    assert ended.included == frozenset(range(1, 9)) - {VICTIM}
    assert not hidden_part(ended).any()


def test_the_victims_context_has_too_few_clients() -> None:
    ended, _ = deceive(model_digest, shown=VICTIM)
    assert isinstance(ended, Failed)
    assert isinstance(ended.error, Aborted)


# -- who is summed with whom ----------------------------------------------------------------------


def test_more_rounds_tell_more_and_noise_less() -> None:
    found = {
        rounds: cosine(
            Disaggregated(), disaggregation_trials(np.random.default_rng(10), rounds=rounds)
        ).found.value
        for rounds in (10, 60, 240)
    }
    assert found[10] < found[60] < found[240]
    assert found[240] > 0.75
    trials = disaggregation_trials(np.random.default_rng(11), rounds=240, noise=100.0)
    assert cosine(Disaggregated(), trials).found.value < 0.3


def test_one_honest_stranger_is_not_enough_to_hide_among() -> None:
    exact = cosine(Differenced(), cohort_trials(updates(), np.random.default_rng(12), known=9))
    assert exact.found.low > 0.999999
    shares = [
        cosine(
            Differenced(),
            cohort_trials(updates(), np.random.default_rng(13), known=9, strangers=strangers),
        ).found.value
        for strangers in (1, 5, 20)
    ]
    assert 0.999999 > shares[0] > shares[1] > shares[2]


def test_a_client_refuses_a_cohort_below_its_floor() -> None:
    """Small cohorts are for the client to refuse: a plan cannot talk it into one."""
    scheme = SecAggPlus(clients=4, length=8, width=32)
    Floors(clients=4).check(scheme)
    with pytest.raises(PlanError, match="clients"):
        Floors(clients=5).check(scheme)


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: Imprinted(inputs=0, bins=2), "inputs >= 1"),
        (lambda: Imprinted(inputs=1, bins=1), "bins >= 2"),
        (lambda: Silenced(start=3, stop=3), "0 <= start < stop"),
        (lambda: Disaggregated(ridge=0.0), "0 < ridge"),
    ],
)
def test_parameters_are_checked(make: Any, says: str) -> None:
    with pytest.raises(ParameterError, match=says):
        make()


@pytest.mark.parametrize("options", [{"clients": 0}, {"clients": 900}, {"clients": 1, "noise": -1}])
def test_impossible_imprints_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(PlanError, match="clients, records, count >= 1"):
        imprint_trials(examples(), NETWORK, np.random.default_rng(0), **options)


@pytest.mark.parametrize("options", [{"rounds": 0}, {"share": 0.0}, {"change": -1.0}])
def test_impossible_rounds_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(PlanError, match="0 < share <= 1"):
        disaggregation_trials(np.random.default_rng(0), **options)


@pytest.mark.parametrize("options", [{"known": -1}, {"known": 40}, {"known": 1, "strangers": 39}])
def test_impossible_cohorts_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(PlanError, match="known, strangers >= 0"):
        cohort_trials(updates(), np.random.default_rng(0), **options)
