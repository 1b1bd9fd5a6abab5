"""Evidence of training: its null law, what fools other statistics and not this one, and cliques."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from scipy.stats import kstest

from robust.detect import Scores
from robust.detect_copy import CopiedTraining
from robust.detect_evidence import EvidenceOfTraining, null_law, single, trimmed_mean
from robust.features import (
    cosine_matrix,
    krum_scores,
    orthonormal,
    residuals,
    unit_rows,
)
from robust.observe import Array, Public, Sketches
from robust.rule_evidence import TrainingRule
from robust.window import Past

Make = Callable[..., Any]
FROM = 4
"""The round from which attackers are looked at: two rounds after they begin."""


def auroc(suspicion: Array, attackers: int) -> float:
    """P[an attacker, of the first ones, is more suspicious than an honest client]."""
    bad, good = suspicion[:attackers, None], suspicion[None, attackers:]
    return float(((bad > good) + 0.5 * (bad == good)).mean())


def scores(detector: EvidenceOfTraining | CopiedTraining, seen: Sketches) -> Scores:
    found = detector.score(seen)
    assert isinstance(found, Scores)
    return found


# -- what clients have in common ---------------------------------------------------------------


def mixed(shares: Array, seed: int = 0) -> Array:
    """(40, 40) cosines of clients with so much of each of some directions, (40, r), and noise."""
    rng = np.random.default_rng(seed)
    rows = shares @ orthonormal(rng.standard_normal((shares.shape[1], 128)))
    return cosine_matrix(rows + rng.standard_normal((40, 128)) / np.sqrt(128))


@pytest.mark.parametrize("seed", range(5))
def test_two_classes_have_one_direction_and_more_have_several(seed: int) -> None:
    rng = np.random.default_rng(seed)
    two = mixed(rng.normal(size=(40, 1)), seed)
    several = mixed(rng.normal(size=(40, 9)), seed)
    assert single(two, 128) > 0.9
    assert single(several, 128) < 0.5
    assert single(two[::-1, ::-1], 128) == pytest.approx(single(two, 128), abs=1e-3)


def test_of_nothing_in_common_nothing_is_one_direction() -> None:
    assert single(mixed(np.zeros((40, 1))), 128) == 0.0
    assert single(np.eye(2), 128) == 0.0
    assert single(np.ones((40, 40)), 128) == pytest.approx(1.0)


def test_a_client_of_both_classes_is_told_from_one_without_data() -> None:
    """Of two classes: five clients have as much of both, five only noise; the others, any mix."""
    rng, law = np.random.default_rng(5), EvidenceOfTraining(trim=0.0)
    tilt = np.concatenate([np.zeros(5), np.full(5, 0.3), rng.uniform(1, 3, 30)])
    tilt *= rng.choice([-1, 1], 40)
    found = []
    for number in range(10):
        rows = np.outer(tilt, unit_rows(rng.standard_normal((1, 128)))[0])
        rows += rng.standard_normal((40, 128)) / np.sqrt(128)
        known = rng.standard_normal((2, 128))
        seen = Sketches(
            number=number, clients=tuple(range(40)), rows=rows, public=Public(known=known)
        )
        found.append(TrainingRule(detector=law).measure(seen))
    past = Past(figures={name: np.array([one[name] for one in found]) for name in found[0]})
    judged = TrainingRule(detector=law).find(past, 1e-4)
    assert (judged.figure[5:10] < 0.2).all()
    assert judged.excludes[:5].all()
    assert not judged.excludes[5:].any()


# -- the null law ------------------------------------------------------------------------------


FAKES = 5


def fakes(seed: int, others: str) -> Sketches:
    """Thirty-five clients of some kind and five without data: public history plus noise."""
    rng = np.random.default_rng(seed)
    known = rng.standard_normal((6, 128))
    rows = rng.standard_normal((40, 128))
    if others == "aligned":
        rows[FAKES:] += 3.0 * rng.standard_normal(128)
    elif others == "few dimensions":
        rows[FAKES:] = rng.standard_normal((35, 4)) @ rng.standard_normal((4, 128))
    rows[:FAKES] += 5.0 * known[rng.integers(0, 6, FAKES)]
    return Sketches(number=seed, clients=tuple(range(40)), rows=rows, public=Public(known=known))


def fake_p_values(detector: EvidenceOfTraining, others: str, rounds: int) -> Array:
    """(5 rounds,): nearly independent, since two fakes of a round have one square in common."""
    found = [scores(detector, fakes(seed, others)).p_values for seed in range(rounds)]
    return np.concatenate([values[:FAKES] for values in found if values is not None])


@pytest.mark.slow
@pytest.mark.parametrize("others", ["aligned", "few dimensions", "without data"])
@pytest.mark.parametrize("trim", [0.0, 0.4])
def test_p_values_of_ten_thousand_fakes_are_uniform(others: str, trim: float) -> None:
    p = fake_p_values(EvidenceOfTraining(trim=trim, directions=1024), others, 2000)
    assert len(p) == 10_000
    # six such tests with fixed seeds: all would pass with probability 0.994
    assert kstest(p, "uniform").pvalue > 1e-3
    assert 0.004 < (p <= 0.01).mean() < 0.015
    assert (p <= 0.001).mean() < 0.002
    assert (p <= 0.0001).mean() < 0.0005


def test_p_values_of_fakes_are_near_uniform() -> None:
    p = fake_p_values(EvidenceOfTraining(directions=512), "aligned", 120)
    assert kstest(p, "uniform").pvalue > 1e-3


def test_the_untrimmed_law_has_the_moments_of_the_quadratic_form() -> None:
    rng = np.random.default_rng(5)
    basis = orthonormal(rng.standard_normal((5, 64)))
    rows = rng.standard_normal((12, 64)) + rng.standard_normal(64)
    rest, dof = residuals(rows, basis), 59
    law = null_law(rest, basis, 0.0, 40_000)
    for i in range(12):
        unit = np.delete(unit_rows(rest), i, axis=0)
        matrix = unit.T @ unit
        mean, square = np.trace(matrix) / dof, np.trace(matrix @ matrix)
        variance = 2 * (dof * square - np.trace(matrix) ** 2) / (dof**2 * (dof + 2))
        assert law.mean[i] == pytest.approx(mean / 11, rel=0.02)
        assert law.deviation[i] == pytest.approx(variance**0.5 / 11, rel=0.04)


def test_the_law_leaves_out_the_client_whose_place_is_taken() -> None:
    rng = np.random.default_rng(6)
    rest, axes, none = rng.standard_normal((9, 16)), np.eye(16), np.empty((0, 16))
    # where there is one other, the law is that of its square: read off one pair at a time
    pair = np.vstack([rest[:1], rest[:1]])
    alone = null_law(pair, none, 0.0, 300).energies
    table = null_law(np.vstack([axes[:1], rest[:1]]), none, 0.0, 300).energies[:, 0]
    assert alone == pytest.approx(np.column_stack([table, table]))
    law = null_law(rest, none, 0.4, 300).energies
    for i in range(9):
        others = [
            null_law(np.vstack([axes[:1], row[None, :]]), none, 0.0, 300).energies[:, 0]
            for row in np.delete(rest, i, axis=0)
        ]
        kept = np.sort(np.column_stack(others), axis=1)[:, :5]  # 60 % of 8, rounded up
        assert law[:, i] == pytest.approx(kept.mean(axis=1))


def test_trimming_drops_the_nearest() -> None:
    squares = np.array([[np.inf, 0.9, 0.1, 0.2], [0.9, np.inf, 0.3, 0.5]])
    assert trimmed_mean(squares, 3, 0.0) == pytest.approx([0.4, 1.7 / 3])
    assert trimmed_mean(squares, 3, 0.4) == pytest.approx([0.15, 0.4])


# -- federated data ----------------------------------------------------------------------------


@pytest.mark.parametrize("concentration", [0.3, 100.0], ids=["skewed", "even"])
def test_replayed_history_fools_krum_and_not_evidence(
    federation: Make, replayed: Make, concentration: float
) -> None:
    run = federation(concentration=concentration, attackers=8, attack=replayed(8), seed=1)
    seen = [seen for seen in run.rounds(12) if seen.number >= FROM]
    krum = np.mean([auroc(krum_scores(one.gram, 0.2), 8) for one in seen])
    found = np.mean([auroc(scores(EvidenceOfTraining(), one).suspicion, 8) for one in seen])
    assert krum < 0.2
    assert found > 0.98


def test_clients_that_train_reject_the_null_hypothesis(federation: Make) -> None:
    seen = list(federation(seed=2).rounds(4))[-1]
    p = scores(EvidenceOfTraining(), seen).p_values
    assert p is not None
    assert np.median(p) < 1e-12
    assert (p < 1e-3).all()


def clique(history: Any, honest: Array, rng: np.random.Generator) -> Array:
    """Eight updates of the usual norm, of which four fifths of the energy is noise they share."""
    shared, own = rng.standard_normal(honest.shape[1]), rng.standard_normal((8, honest.shape[1]))
    noise = unit_rows(2.0 * shared + own)
    return np.asarray(np.linalg.norm(honest, axis=1).mean() * noise)


def test_a_clique_of_a_fifth_vouches_for_itself_unless_it_is_trimmed(federation: Make) -> None:
    run = federation(attackers=8, attack=clique, seed=3)
    seen = [seen for seen in run.rounds(12) if seen.number >= FROM]
    without = np.mean([auroc(scores(EvidenceOfTraining(trim=0.0), s).suspicion, 8) for s in seen])
    trimmed = np.mean([auroc(scores(EvidenceOfTraining(), s).suspicion, 8) for s in seen])
    assert without < 0.6
    assert trimmed > 0.97


def thieves(history: Any, honest: Array, rng: np.random.Generator) -> Array:
    """Three copies of the first honest update, each with half as much noise of its own."""
    noise = unit_rows(rng.standard_normal((3, honest.shape[1])))
    return np.asarray(honest[0] + 0.5 * np.linalg.norm(honest[0]) * noise)


def test_noisy_copies_have_nothing_beyond_their_neighbor_and_the_victim_has(
    federation: Make,
) -> None:
    run = federation(attackers=3, attack=thieves, seed=4)
    seen = [seen for seen in run.rounds(12) if seen.number >= FROM]
    found = [scores(CopiedTraining(), one).figures["share"] for one in seen]
    evidence = [auroc(scores(EvidenceOfTraining(), one).suspicion, 3) for one in seen]
    share = np.mean(found, axis=0)
    assert share[:3].max() < 0.1
    assert share[3:].min() > 0.15
    assert np.mean([auroc(-one, 3) for one in found]) > 0.98
    assert np.mean(evidence) < 0.9  # copies of work have evidence of work


def test_a_projection_known_in_advance_is_defeated_and_a_late_one_is_not(federation: Make) -> None:
    """Attackers add a large common aim from the null space of the projection that they expect."""
    run = federation(seed=5)
    seen = list(run.rounds(5))[-1]
    expected, updates = run.projections[-1], run.exact[-1].copy()
    rng = np.random.default_rng(0)
    aim = rng.standard_normal(len(expected))
    aim -= expected @ np.linalg.lstsq(expected, aim, rcond=None)[0]
    updates[:4] += np.linalg.norm(updates, axis=1).mean() * aim / np.linalg.norm(aim)
    late = rng.standard_normal(expected.shape) / np.sqrt(expected.shape[1])
    nearest = []
    for projection in (expected, late):
        rows = updates @ projection
        one = Sketches(
            number=0, clients=seen.clients, rows=rows, public=Public.nothing(rows.shape[1])
        )
        nearest.append(cosine_matrix(one.rows)[:4, :4][np.triu_indices(4, 1)].mean())
    before = cosine_matrix(seen.rows)[:4, :4][np.triu_indices(4, 1)].mean()
    assert nearest[0] == pytest.approx(before, abs=1e-9)  # nothing of the aim is seen
    assert nearest[1] > before + 0.1
