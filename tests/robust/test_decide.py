"""Screenings: whom they exclude, whom they keep, what they remember and how they say it."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import chi2

from robust.calibrate import Calibration
from robust.decide import Cascade, Screening, Verdicts
from robust.detect import Abstained, Scores
from robust.detect_class_residual import ClassResidual
from robust.detect_direction import Direction
from robust.detect_evidence import EvidenceOfTraining
from robust.detect_reference import Reference
from robust.errors import ObservationError, ParameterError
from robust.explain import explanation, history_of
from robust.features import unit_rows
from robust.group_suspicion import GroupSuspicion
from robust.observe import Array, GroupSketches, Norms, Public, Sketches
from robust.rule_evidence import CopyRule, TrainingRule, fisher
from robust.rule_shape import CloneRule
from robust.rule_votes import VoteRule
from robust.testing import sketches
from robust.window import Past

Make = Callable[..., Any]


def judged(run: Any, rounds: int, cascade: Cascade | None = None) -> list[Verdicts]:
    screening = Screening(cascade or Cascade())
    return [screening.judge(seen) for seen in run.rounds(rounds)]


def ever_excluded(history: list[Verdicts]) -> set[int]:
    return {client for verdicts in history for client in verdicts.excluded}


def extrapolated(attackers: int) -> Callable[..., Array]:
    """Half history, half noise, of an honest norm."""

    def attack(history: Any, honest: Array, rng: np.random.Generator) -> Array:
        noise = unit_rows(rng.standard_normal((attackers, honest.shape[1])))
        mixed = unit_rows(history.last / np.linalg.norm(history.last) + noise)
        return np.asarray(np.linalg.norm(honest, axis=1).mean() * mixed)

    return attack


# -- whom --------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("concentration", [0.3, 100.0], ids=["skewed", "even"])
def test_clean_runs_keep_the_budget(federation: Make, concentration: float) -> None:
    """Seeds that nothing was chosen by."""
    excluded = [
        len(ever_excluded(judged(federation(concentration=concentration, seed=seed), 20))) / 40
        for seed in range(100, 105)
    ]
    assert np.mean(excluded) <= Cascade().budget


def test_free_riders_are_excluded_and_honest_clients_kept(federation: Make, replayed: Make) -> None:
    history = judged(federation(attackers=8, attack=replayed(8), seed=11), 12)
    assert set(history[-1].excluded) == set(range(8))
    assert not ever_excluded(history) & set(range(8, 40))


def test_a_majority_of_free_riders_is_excluded(federation: Make) -> None:
    """Twenty-four of forty, of honest norm and cosine: the honest minority is kept."""
    history = judged(federation(attackers=24, attack=extrapolated(24), seed=12), 14)
    assert len(set(history[-1].excluded) & set(range(24))) >= 22
    assert not ever_excluded(history) & set(range(24, 40))


def test_clones_and_a_long_update_are_excluded_at_once(federation: Make) -> None:
    def attack(history: Any, honest: Array, rng: np.random.Generator) -> Array:
        return np.array(
            [honest.mean(axis=0) - honest.std(axis=0)] * 3 + [30.0 * (honest[0] - honest[1])]
        )

    history = judged(federation(attackers=4, attack=attack, seed=13), 4)
    third = history[2].by_client
    assert history[2].excluded == (0, 1, 2, 3)
    assert {finding.test for finding in third[3].reasons} <= {"copy", "norm"}
    assert history[1].excluded == ()


def test_the_first_round_excludes_hardly_anybody_and_needs_no_history(federation: Make) -> None:
    assert judged(federation(seed=14), 1)[0].excluded == ()


def test_absent_clients_are_judged_by_the_rounds_they_were_there(
    federation: Make, replayed: Make
) -> None:
    screening, rng = Screening(Cascade()), np.random.default_rng(0)
    run = federation(attackers=8, attack=replayed(8), seed=15)
    for seen in run.rounds(20):
        keep = rng.random(40) < 0.6
        verdicts = screening.judge(seen.only(keep))
        assert [verdict.client for verdict in verdicts.verdicts] == np.flatnonzero(keep).tolist()
    assert set(verdicts.excluded) == set(np.flatnonzero(keep[:8]).tolist())


def test_norms_alone_are_judged_by_norms_alone() -> None:
    norms = np.array([1.0, 1.1, 0.9, 1.0, 50.0])
    seen = Norms(number=0, clients=(1, 3, 5, 7, 9), norms=norms)
    verdicts = Screening(Cascade()).judge(seen)
    assert verdicts.excluded == (9,)
    assert [finding.test for finding in verdicts.by_client[9].findings] == ["norm"]


def test_an_agreed_bound_binds() -> None:
    norms, clients = np.array([1.0, 1.1, 0.9, 1.0, 1.3]), (1, 3, 5, 7, 9)
    free = Norms(number=0, clients=clients, norms=norms)
    bound = Norms(number=0, clients=clients, norms=norms, bound=1.2)
    assert Screening(Cascade()).judge(free).excluded == ()
    assert Screening(Cascade()).judge(bound).excluded == (9,)


def test_too_few_clients_are_kept_and_the_rules_say_so() -> None:
    seen = Sketches(number=0, clients=(4,), rows=np.ones((1, 32)), public=Public.nothing(32))
    verdicts = Screening(Cascade()).judge(seen)
    assert verdicts.excluded == ()
    assert len(verdicts.abstained) == 5


@given(st.integers(0, 2**32 - 1))
def test_no_finite_round_breaks_a_screening(seed: int) -> None:
    """Rows of all sizes, zero, equal or too few: verdicts for all, figures finite, no warning."""
    rng = np.random.default_rng(seed)
    n, k = rng.integers(1, 14), int(rng.choice([8, 16, 40]))
    rows = rng.uniform(-1, 1, (n, k)) * 10.0 ** rng.integers(-300, 70, (n, 1))
    rows[rng.random(n) < 0.1] = 0.0
    rows[rng.random(n) < 0.2] = rows[0]
    known = rng.uniform(-1, 1, (rng.integers(0, 6), k)) * 10.0 ** rng.integers(-200, 70)
    seen = sketches(rows, known=known)
    verdicts = Screening(Cascade()).judge(seen)
    assert [verdict.client for verdict in verdicts.verdicts] == list(seen.clients)
    found = [finding for verdict in verdicts.verdicts for finding in verdict.findings]
    assert np.isfinite([[finding.figure, finding.threshold] for finding in found]).all()
    for detector in (Direction(), Reference(), ClassResidual()):
        assert isinstance(detector.score(seen), Scores | Abstained)


# -- votes -------------------------------------------------------------------------------------


def test_votes_see_a_flipped_update_by_the_deployments_own_calibration(federation: Make) -> None:
    def flipped(history: Any, honest: Array, rng: np.random.Generator) -> Array:
        return -honest[:4]

    detectors = (Direction(), Reference(), ClassResidual())
    warm = Calibration.collect(federation(seed=16).rounds(25), detectors)
    rule = VoteRule(detectors=detectors, calibration=warm)
    cascade = Cascade(rules=(rule,), rounds=10, budget=0.05)
    history = judged(federation(attackers=4, attack=flipped, seed=17), 10, cascade)
    assert len(set(history[-1].excluded) & set(range(4))) >= 3
    clean = judged(federation(seed=18), 10, cascade)
    assert len(ever_excluded(clean)) <= 4


def test_a_warm_up_too_short_for_the_level_is_refused(federation: Make) -> None:
    detectors = (Direction(),)
    warm = Calibration.collect(federation(seed=16).rounds(7), detectors, window=5)
    rule = VoteRule(detectors=detectors, calibration=warm)
    assert Cascade(rules=(rule,), window=5, rounds=1, budget=0.05).level == pytest.approx(0.05)
    with pytest.raises(ParameterError, match="warm-up"):
        Cascade(rules=(rule,), window=5, rounds=100, budget=0.05)


def test_calibrated_p_values_are_ranks() -> None:
    warm = Calibration(window=2, values={"x": (np.arange(9.0), np.arange(4.0))})
    p = warm.p_values("x", np.array([8.0, 8.5, -1.0, 3.0, 0.0]), np.array([1, 1, 1, 2, 0]))
    assert p == pytest.approx([0.2, 0.1, 1.0, 0.4, 1.0])
    again = Calibration.load(json.loads(json.dumps(warm.export())))
    assert again.p_values("x", np.array([8.0]), np.array([1])) == pytest.approx([0.2])
    for wrong in ({}, {"window": 2, "values": {"x": [[1.0]]}}, {"window": 1, "values": {"x": "y"}}):
        with pytest.raises(ObservationError):
            Calibration.load(wrong)


# -- early rounds, and evidence beside little ---------------------------------------------------


def remembered(share: list[float], log_p: float, single: float = 0.4, beyond: float = -0.5) -> Past:
    """One client, seen in as many rounds, by a sketch with hardly any error."""
    column = np.array(share)[:, None]
    figures = {"share": column, "error": 0.02 + 0 * column, "spread": 0.05 + 0 * column}
    figures["single"] = single + 0 * column
    figures["log_beyond"] = beyond + 0 * column
    return Past(figures={**figures, "log_p": log_p + 0 * column})


def test_a_threshold_rises_with_the_rounds_that_were_seen() -> None:
    found = [
        float(TrainingRule().find(remembered([0.5] * rounds, -1.0), 1e-4).threshold[0])
        for rounds in range(1, 21)
    ]
    assert found[0] < 0.02
    assert found == sorted(found)
    assert found[-1] == pytest.approx(TrainingRule().floor)


@pytest.mark.parametrize(
    ("share", "log_p", "excluded"),
    [(0.15, -1.0, True), (0.15, -20.0, False), (0.05, -20.0, True), (0.25, -1.0, False)],
    ids=["little", "little, with evidence", "next to nothing", "enough"],
)
def test_evidence_counts_beside_a_small_share(share: float, log_p: float, excluded: bool) -> None:
    found = TrainingRule().find(remembered([share] * 10, log_p), 1e-4)
    assert bool(found.excludes[0]) == excluded


@pytest.mark.parametrize(
    ("rounds", "log_p", "beyond", "excluded"),
    [
        (10, -1.0, -1.0, True),
        (10, -5.0, -1.0, False),
        (10, -1.0, -5.0, False),
        (7, -1.0, -1.0, False),
        (8, -1.0, -1.0, True),
    ],
    ids=["none", "along it", "beyond it", "early", "in time"],
)
def test_where_all_share_one_direction_only_p_values_speak(
    rounds: int, log_p: float, beyond: float, excluded: bool
) -> None:
    past = remembered([0.001] * rounds, log_p, 0.95, beyond)
    assert bool(TrainingRule().find(past, 1e-4).excludes[0]) == excluded
    compared = remembered([0.001] * 10, log_p, 0.5, beyond)
    assert TrainingRule().find(compared, 1e-4).excludes[0]


@pytest.mark.parametrize(("absent", "excluded"), [(3, True), (4, False)])
def test_who_was_not_judged_at_first_is_judged_by_five_rounds_of_the_eight(
    absent: int, excluded: bool
) -> None:
    """As free-riders who were out as clones: that must not win them as many rounds."""
    past = remembered([0.001] * 8, -0.5, single=0.95)
    for figure in past.figures.values():
        figure[:absent] = np.nan
    assert bool(TrainingRule().find(past, 1e-4).excludes[0]) == excluded


@given(st.lists(st.tuples(st.floats(1e-6, 1.0), st.floats(1e-6, 1.0)), min_size=1, max_size=12))
def test_the_better_of_two_tests_has_its_price(p: list[tuple[float, float]]) -> None:
    """The p-value where p-values decide: no round counts below 1e-3, and the best counts twice."""
    table = np.log(p)
    past = remembered([0.001] * len(p), 0.0, single=0.95)
    past.figures["log_p"][:, 0], past.figures["log_beyond"][:, 0] = table.T
    found = TrainingRule().find(past, 1e-4).p_at(0)
    sums = np.maximum(table, np.log(1e-3)).sum(axis=0)
    assert found == pytest.approx(min(2 * chi2.sf(-2 * sums.min(), 2 * len(p)), 1.0), rel=1e-9)


def test_before_p_values_decide_nothing_is_said_of_training() -> None:
    """A share of next to nothing is no evidence, and excludes nobody yet."""
    rule = TrainingRule()
    early, late = (
        rule.finding(rule.find(remembered([0.001] * rounds, -1.0, single=0.95), 1e-4), 0)
        for rounds in (7, 8)
    )
    assert early.threshold == 0
    assert early.in_words.startswith("Too little seen to judge the training")
    assert late.in_words.startswith("No evidence of training")


def test_one_round_of_training_does_not_speak_for_nine() -> None:
    past = remembered([0.001] * 10, -0.5, single=0.95)
    past.figures["log_p"][0] = -500.0
    assert TrainingRule().find(past, 1e-4).excludes[0]
    past.figures["log_p"][:8] = -500.0
    assert not TrainingRule().find(past, 1e-4).excludes[0]


@pytest.mark.parametrize(
    ("rounds", "share", "single", "excluded"),
    [(8, 0.02, 0.4, True), (7, 0.02, 0.4, False), (8, 0.08, 0.4, False), (8, 0.02, 0.9, False)],
    ids=["copy", "early", "more than nothing", "one direction"],
)
def test_a_copy_shows_after_some_rounds(
    rounds: int, share: float, single: float, excluded: bool
) -> None:
    past = remembered([share] * rounds, -1.0, single)
    column = np.full((rounds, 1), 0.7)
    past = Past(figures={**past.figures, "nearest": column, "neighbor": column})
    # a level at which the threshold is at its floor
    rule = CopyRule()
    found = rule.find(past, 0.2)
    assert bool(found.excludes[0]) == excluded
    judged = rounds >= 8 and single < 0.8
    assert rule.words(found, 0).startswith("Nothing is concluded") == (not judged)


# -- numbers -----------------------------------------------------------------------------------


@given(st.lists(st.floats(1e-12, 1.0), min_size=1, max_size=6))
def test_fisher_is_the_chi_square_tail(p: list[float]) -> None:
    expected = chi2.sf(-2.0 * np.log(p).sum(), 2 * len(p))
    column = np.array([*np.log(p), np.nan])[:, None]
    assert fisher(column)[0] == pytest.approx(expected, rel=1e-9, abs=1e-300)


def test_the_level_is_the_budget_over_rounds_and_rules() -> None:
    cascade = Cascade(rounds=50, budget=0.1)
    assert cascade.level == pytest.approx(0.1 / (50 * 5))


WRONG: tuple[Callable[[], object], ...] = (
    lambda: Cascade(rules=()),
    lambda: Cascade(window=0),
    lambda: Cascade(rounds=0),
    lambda: Cascade(memory=4),
    lambda: Cascade(budget=0.0),
    lambda: TrainingRule(floor=0.6),
    lambda: TrainingRule(plausible=1.0),
    lambda: TrainingRule(wander=1.0),
    lambda: TrainingRule(poor=0.2),
    lambda: TrainingRule(single=0.0),
    lambda: TrainingRule(doubt=1.0),
    lambda: TrainingRule(doubt=1e-12),
    lambda: TrainingRule(least=0),
    lambda: TrainingRule(least=9),
    lambda: TrainingRule(patience=0),
    lambda: CopyRule(single=1.1),
    lambda: CopyRule(patience=True),
    lambda: Cascade(window=7),
    lambda: CopyRule(wander=-0.1),
    lambda: CopyRule(near=1.0),
    lambda: CloneRule(honest=1.0),
    lambda: VoteRule(detectors=(), calibration=Calibration(window=1, values={})),
    lambda: VoteRule(detectors=(Direction(),), calibration=Calibration(window=1, values={})),
)


@pytest.mark.parametrize("make", WRONG)
def test_parameters_are_checked(make: Callable[[], object]) -> None:
    with pytest.raises(ParameterError, match="must hold"):
        make()


# -- what is remembered ------------------------------------------------------------------------


def test_a_stored_state_goes_on_where_it_was(federation: Make, replayed: Make) -> None:
    rounds = list(federation(attackers=8, attack=replayed(8), seed=19).rounds(8))
    one = Screening(Cascade())
    for seen in rounds[:5]:
        one.judge(seen)
    other = Screening.load(Cascade(), json.loads(json.dumps(one.export())))
    for seen in rounds[5:]:
        assert one.judge(seen) == other.judge(seen)


def test_a_state_that_was_changed_is_refused(federation: Make) -> None:
    screening = Screening(Cascade())
    for seen in federation(seed=20).rounds(2):
        screening.judge(seen)
    good = json.loads(json.dumps(screening.export()))
    Screening.load(Cascade(), good)
    for path, value in (
        (("version",), 2),
        (("last",), "3"),
        (("rules",), good["rules"][:-1]),
        (("rules", 0, "name"), "other"),
        (("rules", 0, "rounds"), None),
        (("rules", 0, "rounds", 0, "number"), 7),
        (("rules", 0, "rounds", 0, "clients", 0), 5),
        (("rules", 0, "rounds", 0, "clients", 39), 1 << 53),
        (("rules", 0, "rounds", 0, "clients"), []),
        (("rules", 1, "rounds", 0, "figures", "share", 0), "1"),
        (("rules", 1, "rounds", 0, "figures", "share"), [1.0]),
    ):
        wrong = copy.deepcopy(good)
        at = wrong
        for step in path[:-1]:
            at = at[step]
        at[path[-1]] = value
        with pytest.raises(ObservationError):
            Screening.load(Cascade(), wrong)


@pytest.mark.parametrize("name", ["transform", "error", "log_p"])
def test_figures_that_no_round_gave_are_refused_when_they_are_reckoned_with(
    federation: Make, name: str
) -> None:
    """A threshold that is NaN would exclude nobody, whatever they send."""
    rounds = list(federation(seed=20).rounds(3))
    screening = Screening(Cascade())
    for seen in rounds[:2]:
        screening.judge(seen)
    state: Any = json.loads(json.dumps(screening.export()))
    Screening.load(Cascade(), state).judge(rounds[2])
    for rule in state["rules"]:
        for entry in rule["rounds"]:
            entry["figures"] |= {name: [1e308] * 40} if name in entry["figures"] else {}
    wrong = Screening.load(Cascade(), state)
    with pytest.raises(ObservationError, match="remembered figures out of range"):
        wrong.judge(rounds[2])


def test_rounds_must_ascend(federation: Make) -> None:
    screening, seen = Screening(Cascade()), next(federation(seed=20).rounds(1))
    screening.judge(seen)
    before = screening.export()
    with pytest.raises(ObservationError, match="ascend"):
        screening.judge(seen)
    assert screening.export() == before


# -- words -------------------------------------------------------------------------------------


def test_an_explanation_has_test_figure_threshold_and_history(
    federation: Make, replayed: Make
) -> None:
    history = judged(federation(attackers=8, attack=replayed(8), seed=21), 10)
    text = explanation(2, history)
    assert "Client 2, round 9: excluded." in text
    assert "No evidence of training: shares " in text
    assert "threshold" in text
    assert "p = " in text
    assert "Client 30, round 9: kept." in explanation(30, history)
    assert "Excluded in 0 of the 10 rounds that judged it." in explanation(30, history)
    nothing = "in none of 10 rounds: it was absent, or beyond the bounds of the plan."
    assert explanation(99, history) == f"Client 99 was judged {nothing}"
    points = history_of(2, history)["training"]
    assert [point.number for point in points] == list(range(10))
    assert all(np.isfinite([p.finding.figure, p.finding.threshold]).all() for p in points)
    assert points[-1].excluded


# -- groups ------------------------------------------------------------------------------------


def grouped(seen: Sketches, rng: np.random.Generator, size: int) -> GroupSketches:
    order = rng.permutation(len(seen.clients)).reshape(-1, size)
    groups = tuple(tuple(sorted(group.tolist())) for group in order)
    rows = np.array([seen.rows[list(group)].sum(axis=0) for group in groups])
    return GroupSketches(
        number=seen.number, clients=seen.clients, groups=groups, rows=rows, public=seen.public
    )


def test_groups_rank_a_client_that_spoils_every_group_it_is_in(federation: Make) -> None:
    def flipped(history: Any, honest: Array, rng: np.random.Generator) -> Array:
        return -6.0 * honest[:1]

    groups, rng = GroupSuspicion(Direction()), np.random.default_rng(0)
    for seen in federation(attackers=1, attack=flipped, seed=22).rounds(30):
        groups.add(grouped(seen, rng, 4))
    found = groups.suspects()
    assert np.argmax(found.fitted) == 0
    assert np.argmax(found.mean) == 0
    assert ((found.told > 0.5) & (found.told < 1)).all()
    again = GroupSuspicion.load(Direction(), json.loads(json.dumps(groups.export())))
    assert (again.suspects().fitted == found.fitted).all()
    with pytest.raises(ObservationError):
        GroupSuspicion.load(Direction(), {**groups.export(), "clients": [1]})


def test_clients_always_together_are_equally_suspicious() -> None:
    rng, groups = np.random.default_rng(1), GroupSuspicion(EvidenceOfTraining())
    with pytest.raises(ObservationError, match="round first"):
        groups.suspects()
    pairs = tuple((2 * i, 2 * i + 1) for i in range(6))
    for number in range(4):
        rows = rng.standard_normal((6, 64)) + 2.0 * rng.standard_normal(64)
        rows[0] = rng.standard_normal(64)
        groups.add(
            GroupSketches(
                number=number,
                clients=tuple(range(12)),
                groups=pairs,
                rows=rows,
                public=Public.nothing(64),
            )
        )
    found = groups.suspects()
    assert found.fitted[0] == pytest.approx(found.fitted[1])
    assert set(np.argsort(found.fitted)[-2:]) == {0, 1}
