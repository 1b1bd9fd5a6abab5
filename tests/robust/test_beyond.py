"""Evidence beyond one common direction: what it is, its null law, and whom it tells apart."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import kstest

from robust.detect import Scores
from robust.detect_beyond import EvidenceBeyond, leading
from robust.detect_evidence import EvidenceOfTraining, single, trimmed_mean
from robust.errors import ParameterError
from robust.features import cosine_matrix, orthonormal, residuals, unit_rows
from robust.observe import Array, Public, Sketches
from robust.testing import DetectorConformance

CLIENTS, NUMBERS, FAKES, BALANCED = 40, 128, 5, 5


class TestEvidenceBeyond(DetectorConformance):
    def detector(self) -> EvidenceBeyond:
        return EvidenceBeyond()


class TestUntrimmedEvidenceBeyond(DetectorConformance):
    def detector(self) -> EvidenceBeyond:
        return EvidenceBeyond(evidence=EvidenceOfTraining(trim=0.0, directions=256))


def two_classes(seed: int) -> Sketches:
    """Five clients without data, five with as much of both classes, and thirty with any mix.

    Those who train are pulled along one direction by what they have more of, and within twelve
    others by their examples; all have noise in all dimensions.
    """
    rng = np.random.default_rng(seed)
    known, pull = rng.standard_normal((3, NUMBERS)), rng.standard_normal(NUMBERS)
    tilt = rng.uniform(1.0, 2.0, CLIENTS) * rng.choice([-1.0, 1.0], CLIENTS)
    tilt[: FAKES + BALANCED] = 0.0
    rows = rng.standard_normal((CLIENTS, NUMBERS)) + 3.0 * np.outer(tilt, pull)
    rows[FAKES:] += rng.standard_normal((CLIENTS - FAKES, 12)) @ rng.standard_normal((12, NUMBERS))
    rows += rng.standard_normal((CLIENTS, 3)) @ known
    return Sketches(
        number=seed, clients=tuple(range(CLIENTS)), rows=rows, public=Public(known=known)
    )


def p_values(detector: EvidenceBeyond | EvidenceOfTraining, seed: int) -> Array:
    found = detector.score(two_classes(seed))
    assert isinstance(found, Scores)
    assert found.p_values is not None
    return found.p_values


def explained(rows: Array, trim: float) -> Array:
    """Energies by the definition: one client after the other, by eigenvectors in k dimensions."""
    energies = np.empty(len(rows))
    for i, row in enumerate(rows):
        others = unit_rows(np.delete(rows, i, axis=0))
        first = np.linalg.eigh(others.T @ others)[1][:, -1:].T
        squares = (
            unit_rows(residuals(others, first)) @ unit_rows(residuals(row[None], first))[0]
        ) ** 2
        energies[i] = trimmed_mean(squares[None], len(others), trim)[0]
    return energies


@pytest.mark.parametrize("trim", [0.0, 0.4])
def test_energies_are_those_off_the_others_leading_direction(trim: float) -> None:
    seen = two_classes(1)
    found = EvidenceBeyond(evidence=EvidenceOfTraining(trim=trim)).score(seen)
    assert isinstance(found, Scores)
    rest = residuals(seen.rows, orthonormal(seen.public.known))
    np.testing.assert_allclose(found.figures["energy"], explained(rest, trim), rtol=1e-9)


def test_a_leading_direction_does_not_know_the_client() -> None:
    """Whatever client i sends, w_i is the same."""
    rng = np.random.default_rng(2)
    unit = unit_rows(np.outer(rng.normal(size=12), np.eye(30)[0]) + 0.1 * rng.normal(size=(12, 30)))
    other = np.vstack([unit_rows(rng.normal(size=(1, 30))), unit[1:]])
    before, after = (leading(cosine_matrix(rows))[0] @ rows for rows in (unit, other))
    assert np.linalg.norm(before) == pytest.approx(1.0)
    assert abs(before @ after) == pytest.approx(1.0, abs=1e-12)
    assert abs(before[0]) > 0.9


def test_a_balanced_client_shows_beyond_and_one_without_data_does_not() -> None:
    seen = two_classes(3)
    rest = residuals(seen.rows, orthonormal(seen.public.known))
    assert single(cosine_matrix(rest), NUMBERS - 3) > 0.8
    balanced = slice(FAKES, FAKES + BALANCED)
    along, beyond = (
        np.array([np.log10(p_values(detector, seed)) for seed in range(10)]).mean(axis=0)
        for detector in (EvidenceOfTraining(), EvidenceBeyond())
    )
    assert along[balanced].min() > -1.5
    assert beyond[balanced].max() < -2.0
    assert beyond[:FAKES].min() > -1.0


def fakes(trim: float, clique: float, rounds: int) -> Array:
    law = EvidenceOfTraining(trim=trim, directions=512)
    detector = EvidenceBeyond(evidence=law, clique=clique)
    return np.concatenate([p_values(detector, seed)[:FAKES] for seed in range(rounds)])


@pytest.mark.parametrize("trim", [0.0, 0.4])
def test_p_values_of_clients_without_data_are_near_uniform(trim: float) -> None:
    assert kstest(fakes(trim, 0.0, 60), "uniform").pvalue > 1e-3


@pytest.mark.slow
@pytest.mark.parametrize("trim", [0.0, 0.4])
def test_p_values_of_clients_without_data_are_uniform(trim: float) -> None:
    p = fakes(trim, 0.0, 800)
    assert kstest(p, "uniform").pvalue > 1e-3
    assert 0.004 < (p <= 0.01).mean() < 0.0165
    assert (p <= 0.001).mean() < 0.003


def test_p_values_that_allow_for_a_clique_err_upwards() -> None:
    for trim, errs in ((0.0, False), (0.4, True)):
        exact, mild = fakes(trim, 0.0, 10), fakes(trim, 1 / 7, 10)
        assert (mild >= exact).all()
        assert bool((mild > exact).any()) == errs


def test_a_clique_of_a_seventh_gains_nothing_by_its_noise() -> None:
    """Those without data share two thirds of the energy of their noise."""
    logarithms = []
    for seed in range(10):
        seen, rng = two_classes(seed), np.random.default_rng([seed, 1])
        rows = np.array(seen.rows)
        rows[:FAKES] += np.sqrt(2.0) * rng.standard_normal(NUMBERS)
        joined = replace(seen, rows=rows)
        for clique in (0.0, 1 / 7):
            found = EvidenceBeyond(clique=clique).score(joined)
            assert isinstance(found, Scores)
            assert found.p_values is not None
            logarithms.append(np.log10(found.p_values[:FAKES]).mean())
    unaware, aware = np.array(logarithms).reshape(-1, 2).mean(axis=0)
    assert unaware < -0.7
    assert aware > -0.5  # of a uniform p-value it is -0.43


@pytest.mark.parametrize("clique", [-0.1, 1.0, True])
def test_a_share_that_is_none_is_refused(clique: float) -> None:
    EvidenceBeyond(clique=0.0)
    with pytest.raises(ParameterError, match="clique"):
        EvidenceBeyond(clique=clique)


def test_who_has_the_common_direction_and_nothing_else_has_nothing_beyond() -> None:
    rng = np.random.default_rng(4)
    pull = rng.standard_normal(64)
    rows = np.outer(rng.uniform(1, 2, 12), pull) + 0.2 * rng.standard_normal((12, 64))
    rows[0] = leading(cosine_matrix(rows))[0] @ unit_rows(rows)
    seen = Sketches(number=0, clients=tuple(range(12)), rows=rows, public=Public.nothing(64))
    beyond, along = EvidenceBeyond().score(seen), EvidenceOfTraining().score(seen)
    assert isinstance(beyond, Scores)
    assert isinstance(along, Scores)
    assert beyond.p_values is not None
    assert along.p_values is not None
    assert beyond.figures["energy"][0] == 0.0
    assert beyond.p_values[0] == pytest.approx(1.0)
    assert along.p_values[0] < 1e-6
