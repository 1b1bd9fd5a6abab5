"""Coalitions: the detector, the quotient that it maximizes, and the rule in a screening."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from robust.decide import Cascade, Screening, Verdicts, rooted
from robust.detect import Abstained, Reason, Scores
from robust.detect_coalition import Coalition, Common, Group, common, find_group
from robust.errors import ObservationError, ParameterError
from robust.observe import Array, Imitated, Public, Sketches
from robust.rule_coalition import CoalitionRule
from robust.testing import DetectorConformance, sketches
from robust.window import Memory

CLASSES, NUMBERS, CLIENTS = 4, 200, 24
MEMBERS = (2, 3, 5, 11, 17)


class TestCoalition(DetectorConformance):
    def detector(self) -> Coalition:
        return Coalition()


def sent(rng: np.random.Generator, mixes: Array, known: Array, misses: float) -> Array:
    """Updates of label-skewed clients; what the server knows of a class misses a part of it."""
    missed = misses * rng.standard_normal(known.shape)
    return np.asarray(mixes @ (known + missed) + 0.7 * rng.standard_normal((CLIENTS, NUMBERS)))


def skewed(rng: np.random.Generator, *, aim: float = 0.0) -> Sketches:
    """A round of clients with new label mixes, of whom MEMBERS have an aim."""
    return seen_round(rng, rng.dirichlet(np.full(CLASSES, 0.3), size=(1, CLIENTS)), aim, 0)


def rounds(count: int, *, aim: float, splits: int = 3, seed: int = 0) -> list[Sketches]:
    """Rounds of the same clients, with imitations of the same law, but for the aim."""
    rng = np.random.default_rng(seed)
    mixes = rng.dirichlet(np.full(CLASSES, 0.3), size=(1 + 3 * splits, CLIENTS))
    return [seen_round(rng, mixes, aim, number) for number in range(count)]


def seen_round(rng: np.random.Generator, mixes: Array, aim: float, number: int) -> Sketches:
    known = rng.standard_normal((CLASSES, NUMBERS))
    # between halves of the root set the missing part has four times the variance
    misses = 0.5, *((1.0, 1.0, 0.5) * (len(mixes) // 3))
    rows, *others = (sent(rng, mix, known, miss) for mix, miss in zip(mixes, misses, strict=True))
    rows[list(MEMBERS)] += aim * rng.standard_normal(NUMBERS)
    made_up = None
    if others:
        parts = np.array(others).reshape(-1, 3, CLIENTS, NUMBERS)
        made_up = Imitated(
            rows=parts, classes=np.broadcast_to(known, (len(parts), 2, *known.shape))
        )
    return Sketches(
        number=number,
        clients=tuple(range(CLIENTS)),
        rows=rows,
        public=Public(known=np.empty((0, NUMBERS)), classes=known),
        imitations=made_up,
    )


def with_root(seen: Sketches, number: int) -> Sketches:
    """The same with what the rules before the one on coalitions need."""
    rng = np.random.default_rng(number)
    known = rng.standard_normal((2, NUMBERS))
    return replace(seen, public=replace(seen.public, known=known, root=seen.rows.mean(axis=0)))


def found_in(seen: Sketches) -> Group:
    assert seen.public.classes is not None
    group = find_group(common(seen.rows, seen.public.classes), 3, 0.4)
    assert group is not None
    return group


# -- the detector ------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(5))
def test_a_common_aim_is_found_and_its_members_are_named(seed: int) -> None:
    scores = Coalition().score(skewed(np.random.default_rng(seed), aim=0.6))
    assert isinstance(scores, Scores)
    assert np.flatnonzero(scores.figures["member"]).tolist() == list(MEMBERS)
    outside = np.delete(scores.suspicion, MEMBERS)
    assert scores.suspicion[list(MEMBERS)].min() > outside.max()


@pytest.mark.parametrize("seed", range(5))
def test_an_aim_makes_the_quotient_larger_than_label_mix_does(seed: int) -> None:
    with_aim = found_in(skewed(np.random.default_rng(seed), aim=0.6)).quotient
    without = found_in(skewed(np.random.default_rng(seed))).quotient
    assert with_aim > 1.25 * without


def test_label_mix_alone_is_explained_and_only_with_the_class_parts() -> None:
    rng = np.random.default_rng(3)
    ratios = []
    for _ in range(10):
        seen = skewed(rng)
        assert seen.public.classes is not None
        found = common(seen.rows, seen.public.classes)
        bare = find_group(Common(found.rest, 0 * found.span, 0 * found.loads), 3, 0.4)
        assert bare is not None
        ratios.append(found_in(seen).quotient / bare.quotient)
    assert np.median(ratios) < 0.75


@given(st.integers(0, 2**32 - 1), st.integers(2, 9))
def test_the_quotient_is_the_rayleigh_quotient_of_the_group(seed: int, vectors: int) -> None:
    # without class parts the whitened matrix is the centered one over its mean eigenvalue
    rng = np.random.default_rng(seed)
    rows = rng.standard_normal((12, 40))
    rest = rows @ rows.T
    group = find_group(Common(rest, np.zeros((12, 12)), np.zeros((12, 3))), vectors, 0.4)
    assert group is not None
    centered = np.eye(12) - 1 / 12
    indicator = centered @ group.members
    scale = np.trace(centered @ rest @ centered) / 11
    quotient = indicator @ rest @ indicator / (indicator @ indicator) / scale
    assert group.quotient == pytest.approx(quotient, rel=1e-9)
    top = np.linalg.eigvalsh(centered @ rest @ centered)[-1] / scale
    assert group.quotient <= top * (1 + 1e-9)
    assert 2 <= group.members.sum() <= 4


@given(st.integers(0, 2**32 - 1))
def test_means_over_different_rounds_that_are_no_gram_matrix_still_give_a_quotient(
    seed: int,
) -> None:
    """Clients that come and go leave matrices with negative eigenvalues, which a fit must bear."""
    rng = np.random.default_rng(seed)
    parts = rng.standard_normal((12, 2))
    together = np.triu(rng.random((12, 12)) < 0.7, 1)
    gaps = parts @ parts.T * (together | together.T | np.eye(12, dtype=bool))
    assert np.linalg.eigvalsh(gaps)[0] < 0
    group = find_group(Common(gaps, gaps, np.zeros((12, 3))), 3, 0.4)
    assert group is not None
    assert np.isfinite(group.quotient)
    assert np.isfinite(group.loadings).all()
    assert 2 <= group.members.sum() <= 4


def test_who_cannot_be_compared_is_told_why() -> None:
    rng = np.random.default_rng(0)
    seen = skewed(rng)
    cases = {
        Reason.NO_REFERENCE: replace(seen, public=Public.nothing(NUMBERS)),
        Reason.TOO_FEW_CLIENTS: seen.only(np.arange(CLIENTS) < 7),
        Reason.NO_VARIATION: replace(seen, rows=np.zeros_like(seen.rows)),
        Reason.TOO_FEW_ROWS: sketches(rng.standard_normal((CLIENTS, 10))),
    }
    assert isinstance(Coalition().score(seen.only(np.arange(CLIENTS) < 8)), Scores)
    for reason, case in cases.items():
        result = Coalition().score(case)
        assert isinstance(result, Abstained)
        assert result.reason is reason


@pytest.mark.parametrize("wrong", [{"vectors": 0}, {"most": 0.0}, {"most": 0.5}])
def test_parameters_out_of_range_are_refused(wrong: dict[str, float]) -> None:
    Coalition(vectors=1, most=0.49)
    with pytest.raises(ParameterError):
        Coalition(**wrong)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "wrong",
    [{"explained": -0.1}, {"explained": 1.0}, {"core": 0.0}, {"core": 1.0}, {"margin": 1.0}],
)
def test_shares_out_of_range_are_refused(wrong: dict[str, float]) -> None:
    CoalitionRule(explained=0.0, core=0.9, margin=1.01)
    with pytest.raises(ParameterError, match=next(iter(wrong))):
        CoalitionRule(**wrong)


def test_what_all_training_does_is_explained_by_imitations_and_an_aim_is_not() -> None:
    """Clients and imitations have directions in common that classes do not span."""
    rng = np.random.default_rng(7)
    (seen,) = rounds(1, aim=1.0, splits=2, seed=7)
    assert seen.imitations is not None
    common_ones = rng.standard_normal((6, NUMBERS))
    styles = rng.standard_normal((7, CLIENTS, 6)) @ common_ones
    others = replace(
        seen.imitations, rows=seen.imitations.rows + styles[1:].reshape(2, 3, *styles.shape[1:])
    )
    styled = replace(seen, rows=seen.rows + styles[0], imitations=others)
    ratios = []
    for explained in (0.0, 0.25):
        rule = CoalitionRule(explained=explained)
        figures = rule.measure(styled)
        assert not isinstance(figures, Abstained)
        rest = np.array([figures[f"rest 0 {client}"] for client in range(CLIENTS)])
        inside = rest[np.ix_(MEMBERS, MEMBERS)][np.triu_indices(len(MEMBERS), 1)].mean()
        ratios.append(inside / np.abs(np.delete(rest, MEMBERS, 0)).mean())
    assert ratios[1] > 1.5 * ratios[0]


# -- imitations --------------------------------------------------------------------------------


def test_imitations_have_a_place_for_each_client_and_leave_with_it() -> None:
    (seen,) = rounds(1, aim=0.0)
    keep = np.arange(CLIENTS) % 2 == 0
    part = seen.only(keep)
    assert seen.imitations is not None
    assert part.imitations is not None
    np.testing.assert_array_equal(part.imitations.rows, seen.imitations.rows[:, :, keep])
    np.testing.assert_array_equal(part.imitations.classes, seen.imitations.classes)
    assert not part.imitations.rows.flags.writeable
    assert skewed(np.random.default_rng(0)).only(keep).imitations is None


@pytest.mark.parametrize(
    "shape",
    [(1, 3, CLIENTS, NUMBERS), (2, 2, CLIENTS, NUMBERS), (2, 3, 0, NUMBERS), (2, CLIENTS, NUMBERS)],
)
def test_imitated_rows_of_another_shape_are_refused(shape: tuple[int, ...]) -> None:
    classes = np.zeros((2, 2, CLASSES, NUMBERS))
    Imitated(rows=np.zeros((2, 3, CLIENTS, NUMBERS)), classes=classes)
    with pytest.raises(ObservationError):
        Imitated(rows=np.zeros(shape), classes=classes)


@pytest.mark.parametrize(
    "shape", [(1, 2, CLASSES, NUMBERS), (2, 2, 0, NUMBERS), (2, 2, CLASSES, 7), (CLASSES, NUMBERS)]
)
def test_imitated_classes_of_another_shape_are_refused(shape: tuple[int, ...]) -> None:
    rows = np.zeros((2, 3, CLIENTS, NUMBERS))
    Imitated(rows=rows, classes=np.zeros((2, 2, CLASSES, NUMBERS)))
    with pytest.raises(ObservationError):
        Imitated(rows=rows, classes=np.zeros(shape))


def test_imitations_must_fit_the_clients_and_the_classes() -> None:
    (seen,) = rounds(1, aim=0.0)
    made_up = seen.imitations
    assert made_up is not None
    replace(seen, imitations=made_up)
    with pytest.raises(ObservationError, match="a row for each client"):
        replace(seen, imitations=made_up.only(np.arange(CLIENTS) > 0))
    fewer = replace(made_up, classes=made_up.classes[:, :, 1:])
    with pytest.raises(ObservationError, match="the classes of `public`"):
        replace(seen, imitations=fewer)
    with pytest.raises(ObservationError, match="the classes of `public`"):
        replace(seen, public=Public.nothing(NUMBERS))


# -- the rule ----------------------------------------------------------------------------------


def judged(history: list[Sketches], window: int = 5) -> list[Verdicts]:
    screening = Screening(Cascade(rules=(CoalitionRule(),), window=window))
    return [screening.judge(seen) for seen in history]


@pytest.mark.parametrize("seed", range(3))
def test_a_weak_aim_is_found_over_rounds_and_nobody_else_is_excluded(seed: int) -> None:
    last = judged(rounds(5, aim=0.6, seed=seed))[-1]
    assert last.excluded == MEMBERS
    (finding,) = last.by_client[2].reasons
    assert finding.figure > finding.threshold > 0
    assert "common aim" in finding.in_words
    assert "Not one" in last.by_client[0].findings[0].in_words


@pytest.mark.slow
def test_honest_clients_seldom_exceed_imitations() -> None:
    trials = 30
    history = (rounds(1, aim=0.0, splits=2, seed=seed) for seed in range(trials))
    alarms = sum(bool(judged(one)[0].excluded) for one in history)
    assert alarms <= 0.1 * trials


def test_what_a_root_set_misses_of_one_class_is_no_aim() -> None:
    """Who has class 0 shares a large miss: a component of variance for it alone explains that."""
    rng = np.random.default_rng(5)
    mixes = rng.dirichlet(np.full(CLASSES, 0.3), size=CLIENTS)
    classes = 2 * rng.standard_normal((CLASSES, NUMBERS))
    rows = mixes @ classes + 0.3 * rng.standard_normal((CLIENTS, NUMBERS))
    rows += np.outer(mixes[:, 0], rng.standard_normal(NUMBERS))
    found = common(rows, classes)
    whole, bare = (
        find_group(Common(found.rest, 0 * found.span, loads), 3, 0.4)
        for loads in (found.loads, 0 * found.loads)
    )
    assert whole is not None
    assert bare is not None
    assert whole.quotient < 0.6 * bare.quotient


def test_who_begins_late_is_found_by_the_last_round_alone() -> None:
    history = [*rounds(8, aim=0.0, seed=3), *rounds(9, aim=1.0, seed=3)[8:]]
    verdicts = judged(history, window=20)
    assert not set(MEMBERS) & set(verdicts[7].excluded)
    assert set(MEMBERS) <= set(verdicts[8].excluded)


def test_a_finding_stands_for_the_window_and_no_longer() -> None:
    # the last window with a round of attack ends at 5, so that findings stand until 8
    history = [*rounds(3, aim=1.0, seed=3), *rounds(10, aim=0.0, seed=3)[3:]]
    verdicts = judged(history, window=4)
    assert all(set(MEMBERS) <= set(one.excluded) for one in verdicts[:7])
    (finding,) = verdicts[6].by_client[2].reasons
    assert finding.figure <= finding.threshold
    assert "earlier round" in finding.in_words
    assert not verdicts[-1].excluded


def test_earlier_findings_give_way_where_half_of_the_clients_would_be_out() -> None:
    everybody, nobody = np.ones(CLIENTS), np.zeros(CLIENTS)
    rule, screening = CoalitionRule(), Screening(Cascade(rules=(CoalitionRule(),)))
    (seen,) = rounds(1, aim=0.0)
    assert not screening.judge(seen).excluded
    figures = rule.measure(seen)
    assert not isinstance(figures, Abstained)
    for marks, most in ((everybody, 0), (np.eye(CLIENTS)[0], 1), (nobody, 0)):
        memory = Memory(3)
        memory.add(0, seen.clients, figures)
        memory.amend({"found": marks})
        memory.add(1, seen.clients, figures)
        found = rule.find(memory.past(seen.clients, 3), 0.01)
        assert found.excludes.sum() == most


def test_who_has_only_some_of_what_a_group_shares_is_not_excluded() -> None:
    (seen,) = rounds(1, aim=0.0)
    rows = np.array(seen.rows)
    direction = 1.2 * np.random.default_rng(4).standard_normal(NUMBERS)
    rows[list(MEMBERS)] += direction
    rows[7] += 0.35 * direction
    half = replace(seen, rows=rows)
    whole = CoalitionRule(core=0.01)
    found = Screening(Cascade(rules=(whole,))).judge(half)
    assert found.excluded == tuple(sorted((*MEMBERS, 7)))
    assert judged([half])[0].excluded == MEMBERS


def test_less_than_half_of_the_clients_are_excluded() -> None:
    # imitations without label skew have hardly anything in common: everybody is above them
    (seen,) = rounds(1, aim=0.5)
    assert seen.imitations is not None
    noise = np.random.default_rng(0).standard_normal(seen.imitations.rows.shape)
    excluded = judged([replace(seen, imitations=replace(seen.imitations, rows=noise))])[0].excluded
    assert set(MEMBERS) <= set(excluded)
    assert len(excluded) <= CLIENTS / 2


def test_without_imitations_it_abstains() -> None:
    (seen,) = rounds(1, aim=1.0)
    verdicts = judged([replace(seen, imitations=None)])[0]
    assert [one.reason for one in verdicts.abstained] == [Reason.NO_REFERENCE]
    assert not verdicts.excluded
    assert judged([seen])[0].excluded == MEMBERS


def test_imitations_that_are_all_zero_are_no_comparison() -> None:
    (seen,) = rounds(1, aim=1.0)
    assert seen.imitations is not None
    zero = replace(seen.imitations, rows=0 * seen.imitations.rows)
    nothing = judged([replace(seen, imitations=zero)])[0]
    assert [one.reason for one in nothing.abstained] == [Reason.NO_VARIATION]
    assert not nothing.excluded
    assert judged([seen])[0].excluded == MEMBERS


def test_splits_may_be_added_and_dropped() -> None:
    parts = []
    for seen, count in zip(rounds(4, aim=0.9, splits=4), (4, 2, 4, 3), strict=True):
        part = seen.only(np.arange(CLIENTS) >= 2)
        made_up = part.imitations
        assert made_up is not None
        fewer = Imitated(rows=made_up.rows[:count], classes=made_up.classes[:count])
        parts.append(replace(part, imitations=fewer))
    assert judged(parts)[-1].excluded == MEMBERS


def test_clients_that_come_and_go_are_judged_by_what_they_share_when_both_are_there() -> None:
    history = rounds(6, aim=0.9)
    rng = np.random.default_rng(1)
    parts = [seen.only(rng.random(CLIENTS) < 0.8) for seen in history]
    for seen, verdicts in zip(parts, judged(parts), strict=True):
        assert verdicts.excluded == tuple(one for one in MEMBERS if one in seen.clients)


def test_a_screening_that_stops_after_every_round_judges_as_one_that_does_not() -> None:
    """Under all rules, with clients that come and go, and findings that stand."""
    cascade, rng = rooted(20), np.random.default_rng(2)
    one, other = Screening(cascade), Screening(cascade)
    for number, seen in enumerate(rounds(9, aim=0.6)):
        part = with_root(seen.only(rng.random(CLIENTS) < 0.7), number)
        other = Screening.load(cascade, json.loads(json.dumps(other.export(), allow_nan=False)))
        verdicts = one.judge(part)
        assert other.judge(part) == verdicts
    assert set(verdicts.excluded) & set(MEMBERS)


def test_relabeling_clients_relabels_verdicts() -> None:
    order = np.random.default_rng(3).permutation(CLIENTS)
    one, other = Screening(rooted(20)), Screening(rooted(20))
    for number, seen in enumerate(rounds(6, aim=0.6)):
        assert seen.imitations is not None
        others = replace(seen.imitations, rows=seen.imitations.rows[:, :, order])
        moved = replace(seen, rows=seen.rows[order], imitations=others)
        excluded = one.judge(with_root(seen, number)).excluded
        again = other.judge(with_root(moved, number)).excluded
        assert sorted(order[list(again)].tolist()) == list(excluded)
    assert excluded == MEMBERS


def test_a_screening_goes_on_where_it_was_exported() -> None:
    history = rounds(4, aim=0.35)
    cascade = Cascade(rules=(CoalitionRule(),))
    first = Screening(cascade)
    for seen in history[:3]:
        first.judge(seen)
    second = Screening.load(cascade, json.loads(json.dumps(first.export())))
    assert second.judge(history[3]) == first.judge(history[3])
