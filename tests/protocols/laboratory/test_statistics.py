"""What opened numbers tell: the more of them, the more, and a control beside each."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache, partial
from typing import Any

import numpy as np
import pytest

from dp.audit.attack import Access, Array, Attack, Trial
from dp.audit.choice_fit_scipy import LabelFit, label_mix
from dp.audit.choice_learned import Learned
from dp.audit.choice_linked import Linked
from dp.audit.choice_nearest import Nearest
from dp.audit.measure import Figure, measure
from dp.audit.testing import AttackConformance
from dp.audit.update_sparse import SparseRecovery
from dp.errors import ParameterError
from protocols.federation.data import digits, split
from protocols.federation.observe import gaussian
from protocols.laboratory.statistics import (
    Clients,
    both,
    clients,
    cosine,
    label_trials,
    lifted,
    link_trials,
    norm,
    passed,
    sketch,
    sparse_trials,
)
from secagg.errors import ParameterError as PlanError


@cache
def several(records: int) -> Clients:
    rng = np.random.default_rng(1)
    return clients(split(digits(), rng), rng, records=records, imitated=600)


@cache
def projection(rows: int, seed: int = 2) -> Array:
    size = several(1).updates.shape[1]
    return gaussian(rows, size, np.random.default_rng([seed, rows]))


@cache
def sketched(rows: int, group: int = 1) -> Sequence[Trial]:
    opened = projection(rows)
    rng = np.random.default_rng(3)
    return label_trials(several(1), sketch(opened), rng, group=group, projection=opened)


def figure(attack: Attack, trials: Sequence[Trial]) -> Figure:
    return measure(attack, trials, np.random.default_rng(4))[0]


class TestLabels(AttackConformance):
    def attacks(self) -> Sequence[Attack]:
        return [Learned(), Learned(shared=False), Learned(floor=0.01), LabelFit()]

    def exposed(self, attack: Attack) -> Sequence[Trial]:
        return sketched(64)


class TestLinks(AttackConformance):
    def attacks(self) -> Sequence[Attack]:
        return [Linked(), Nearest()]

    def exposed(self, attack: Attack) -> Sequence[Trial]:
        return link_trials(several(20), sketch(projection(64)))


class TestSparse(AttackConformance):
    def attacks(self) -> Sequence[Attack]:
        return [SparseRecovery(), SparseRecovery(most=8)]

    def exposed(self, attack: Attack) -> Sequence[Trial]:
        return sparse_trials(several(1).updates[:20], projection(64), kept=4)


def test_a_sketch_of_sixteen_numbers_names_the_label() -> None:
    found = [figure(Learned(), sketched(rows)).found.value for rows in (1, 4, 16, 64)]
    assert found == sorted(found)
    assert found[0] < 0.4
    assert found[2] > 0.9
    assert figure(Learned(), sketched(16)).control.high < 0.2


def test_a_mix_of_labels_is_told_less_surely_than_one() -> None:
    opened = sketch(projection(64))
    trials = label_trials(several(20), opened, np.random.default_rng(5))
    assert 0.6 < figure(Learned(), trials).found.value < figure(Learned(), sketched(64)).found.value


def test_one_number_tells_something_and_two_tell_more() -> None:
    found = several(1)
    rng = np.random.default_rng(6)
    one, other = norm, cosine(found.root)
    figures = [
        figure(Learned(shared=False), label_trials(found, each, rng))
        for each in (one, other, both(one, other))
    ]
    assert all(each.leaks for each in figures)
    assert figures[2].found.value > max(each.found.value for each in figures[:2])


def test_a_bit_tells_little() -> None:
    limits = np.median(norm(several(1).imitated), axis=0)
    trials = label_trials(several(1), passed(norm, limits), np.random.default_rng(7))
    assert set(np.concatenate([trial.view[Access.STATISTIC] for trial in trials])) == {0.0, 1.0}
    assert figure(Learned(), trials).found.value < 0.35


def test_a_group_tells_less_than_a_client() -> None:
    found = [figure(Learned(), sketched(64, group)).found.value for group in (1, 5, 25)]
    assert found == sorted(found, reverse=True)
    assert found[1] < 0.6
    assert found[2] < 0.25


def test_a_map_for_each_round_makes_links_harder_and_not_impossible() -> None:
    found = several(20)
    first, second = projection(64), projection(64, seed=8)

    def mixed(each: Array, updates: Array) -> Array:
        pairs = [label_mix(row, found.classes @ each.T) for row in updates @ each.T]
        return np.stack(pairs)

    same = link_trials(found, sketch(first))
    fresh = link_trials(found, sketch(first), sketch(second))
    by_mix = link_trials(found, partial(mixed, first), partial(mixed, second))
    assert figure(Linked(), same).found.low > 0.6
    assert not figure(Linked(), fresh).leaks
    assert figure(Linked(), by_mix).found.low > 0.1
    long = (lifted(projection(512)), lifted(projection(512, seed=9)))
    assert figure(Linked(), link_trials(found, *long)).found.low > 0.2


def test_few_numbers_link_by_their_size_and_not_by_their_angle() -> None:
    found = several(20)
    trials = link_trials(found, both(norm, cosine(found.root)))
    near, angle = figure(Nearest(), trials), figure(Linked(), trials)
    assert near.found.low > angle.found.value
    equal = link_trials(found, lambda rows: np.zeros((len(rows), 2)))
    assert not figure(Nearest(), equal).leaks


def test_sparse_updates_are_recovered_exactly_from_enough_numbers() -> None:
    rows = several(1).updates[:10]
    exact = figure(SparseRecovery(), sparse_trials(rows, projection(128), kept=8))
    assert exact.found.low > 0.999999
    dense = figure(SparseRecovery(), sparse_trials(rows, projection(128), kept=rows.shape[1]))
    assert dense.found.value < 0.6


def test_what_is_kept_of_an_update_are_its_largest_coordinates() -> None:
    (trial,) = sparse_trials(np.array([[3.0, -5.0, 1.0, 0.0]]), np.eye(4), kept=2)
    np.testing.assert_array_equal(trial.truth, [3.0, -5.0, 0.0, 0.0])


def test_an_update_of_nothing_is_recovered_as_nothing() -> None:
    (trial,) = sparse_trials(np.zeros((1, 6)), np.ones((4, 6)), kept=1)
    found = SparseRecovery().run(trial.view, np.random.default_rng(0))
    np.testing.assert_array_equal(found, np.zeros(6))


def test_a_mix_of_class_updates_is_found_exactly() -> None:
    rng = np.random.default_rng(10)
    classes, shares = rng.standard_normal((4, 30)), np.array([0.5, 0.3, 0.2, 0.0])
    np.testing.assert_allclose(label_mix(7 * shares @ classes, classes), shares, atol=1e-9)
    np.testing.assert_array_equal(label_mix(np.zeros(30), classes), np.zeros(4))


def test_a_candidate_that_nobody_imitates_is_ruled_out() -> None:
    trials = sketched(16)
    given = {access: array.copy() for access, array in trials[0].view.given.items()}
    given[Access.ANSWERS][given[Access.ANSWERS] == 3] = 4
    given[Access.SHARES][3] = 0
    scores = Learned().run(type(trials[0].view)(given), np.random.default_rng(0))
    assert scores.argmin() == 3


@pytest.mark.parametrize("floor", [0.0, np.inf, np.nan])
def test_a_floor_that_is_none_is_refused(floor: float) -> None:
    with pytest.raises(ParameterError, match="0 < floor < infinity"):
        Learned(floor=floor)


def test_no_coordinates_are_refused() -> None:
    with pytest.raises(ParameterError, match="most >= 1"):
        SparseRecovery(most=0)
    for kept in (0, 5):
        with pytest.raises(PlanError, match="1 <= kept <= 4"):
            sparse_trials(np.ones((1, 4)), np.eye(4), kept=kept)


def test_impossible_groups_are_refused() -> None:
    for group in (0, 201):
        with pytest.raises(PlanError, match="1 <= group <= 200"):
            label_trials(several(1), norm, np.random.default_rng(0), group=group)


@pytest.mark.parametrize(
    "options", [{"count": 0}, {"imitated": 0}, {"records": 0}, {"alpha": 0.0}, {"alpha": np.inf}]
)
def test_impossible_clients_are_refused(options: dict[str, Any]) -> None:
    rng = np.random.default_rng(0)
    with pytest.raises(PlanError, match="records >= 1 and 0 < alpha"):
        clients(split(digits(), rng), rng, **options)
