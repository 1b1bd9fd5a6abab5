"""Each poisoner is what its source defines."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import norm

from robust.attacks.attack import Access, Attack, Knowledge
from robust.attacks.poison_distance import Away, DecorrelatedMinMax, Distant, MinMax, MinSum
from robust.attacks.poison_labels import LabelFlip, TargetedLabelFlip
from robust.attacks.poison_mean import InnerProduct, LittleIsEnough, SignFlip
from robust.attacks.testing import invented_cohort, invented_knowledge, refused
from robust.attacks.vectors import units
from robust.errors import ObservationError, ParameterError
from robust.observe import Array

KNOWLEDGE = invented_knowledge(number=6, malicious=4)
SEEDS = st.integers(0, 2**32)


def sent(attack: Attack, knowledge: Knowledge = KNOWLEDGE) -> Array:
    return attack.updates(knowledge, np.random.default_rng(1))


def distances(rows: Array, others: Array) -> Array:
    found: Array = np.linalg.norm(rows[:, None] - others, axis=2)
    return found


def test_all_labels_flip_and_flip_back() -> None:
    cohort = invented_cohort(3)
    rng = np.random.default_rng(1)
    flipped = LabelFlip().poison(cohort, rng)
    for one, other, before in zip(flipped, LabelFlip().poison(flipped, rng), cohort, strict=True):
        assert (one.labels + before.labels == 9).all()
        np.testing.assert_array_equal(other.labels, before.labels)
    np.testing.assert_array_equal(sent(LabelFlip()), KNOWLEDGE[Access.POISONED])


def test_one_label_flips() -> None:
    cohort = invented_cohort(3, least=60)
    poisoned = TargetedLabelFlip(source=2, target=5).poison(cohort, np.random.default_rng(1))
    for one, before in zip(poisoned, cohort, strict=True):
        was = before.labels == 2
        assert was.any()
        assert (one.labels[was] == 5).all()
        np.testing.assert_array_equal(one.labels[~was], before.labels[~was])


def test_a_class_that_is_not_there_is_refused() -> None:
    cohort, rng = invented_cohort(2), np.random.default_rng(1)
    for source, target in ((2, 10), (10, 2)):
        attack = TargetedLabelFlip(source=source, target=target)
        refused(ObservationError, partial(attack.poison, cohort, rng))


def test_sign_flip_is_the_opposite() -> None:
    np.testing.assert_array_equal(sent(SignFlip(scale=3.0)), -3 * KNOWLEDGE[Access.CLEAN])


@pytest.mark.parametrize(("omniscient", "access"), [(True, Access.BENIGN), (False, Access.CLEAN)])
def test_little_is_mean_less_deviations(omniscient: bool, access: Access) -> None:
    seen = KNOWLEDGE[access]
    row = seen.mean(axis=0) - 1.5 * seen.std(axis=0)
    rows = sent(LittleIsEnough(z=1.5, omniscient=omniscient))
    np.testing.assert_allclose(rows, np.tile(row, (4, 1)))


@given(st.integers(3, 1000), st.data())
def test_enough_is_the_quantile_of_the_paper(clients: int, data: st.DataObject) -> None:
    malicious = data.draw(st.integers(1, (clients - 1) // 2))
    supporters = clients // 2 + 1 - malicious
    honest = clients - malicious
    z = LittleIsEnough().deviations(clients, malicious)
    assert z == pytest.approx(max(min(norm.ppf(1 - supporters / honest), norm.ppf(0.999)), 0))
    assert LittleIsEnough(z=0.3).deviations(clients, malicious) == 0.3


def test_enough_of_the_papers_example_and_of_majorities() -> None:
    # [Baruch19]: 50 workers of whom 24 are corrupt need s = 2 of the 26 others
    assert LittleIsEnough().deviations(50, 24) == pytest.approx(norm.ppf(24 / 26))
    assert LittleIsEnough().deviations(10, 9) == pytest.approx(norm.ppf(0.999))
    assert LittleIsEnough().deviations(10, 10) == 0


def test_inner_product_is_negative() -> None:
    mean = KNOWLEDGE[Access.BENIGN].mean(axis=0)
    rows = sent(InnerProduct(epsilon=0.3))
    assert (rows @ mean < 0).all()
    np.testing.assert_allclose(rows, np.tile(-0.3 * mean, (4, 1)))


@given(SEEDS, st.sampled_from(Away), st.floats(0, 0.99), st.integers(1, 9))
def test_min_max_is_as_far_as_honest_updates_and_no_farther(
    seed: int, away: Away, private: float, malicious: int
) -> None:
    knowledge = invented_knowledge(number=2, malicious=malicious, seed=seed)
    honest = knowledge[Access.BENIGN]
    rows = sent(MinMax(away=away, private=private), knowledge)
    farthest = distances(rows, honest).max(axis=1)
    np.testing.assert_allclose(farthest, distances(honest, honest).max(), rtol=1e-9)


@given(SEEDS, st.sampled_from(Away), st.floats(0, 0.99), st.integers(1, 9))
def test_min_sum_is_as_far_as_honest_updates_and_no_farther(
    seed: int, away: Away, private: float, malicious: int
) -> None:
    knowledge = invented_knowledge(number=2, malicious=malicious, seed=seed)
    honest = knowledge[Access.BENIGN]
    rows = sent(MinSum(away=away, private=private), knowledge)
    sums = np.square(distances(rows, honest)).sum(axis=1)
    most = np.square(distances(honest, honest)).sum(axis=1).max()
    np.testing.assert_allclose(sums, most, rtol=1e-9)


def test_they_go_the_way_they_say() -> None:
    honest = KNOWLEDGE[Access.BENIGN]
    mean = honest.mean(axis=0)
    for away, way in (
        (Away.MEAN, -mean),
        (Away.DEVIATION, -honest.std(axis=0)),
        (Away.SIGN, -np.sign(mean)),
    ):
        np.testing.assert_allclose(
            units(sent(MinMax(away=away)) - mean), np.tile(units(way[None]), (4, 1)), atol=1e-12
        )


def test_decorrelated_clients_are_no_clones() -> None:
    mean = KNOWLEDGE[Access.BENIGN].mean(axis=0)
    alike = units(sent(MinMax()) - mean)
    apart = units(sent(DecorrelatedMinMax()) - mean)
    assert (alike @ alike.T).min() == pytest.approx(1)
    others = (apart @ apart.T)[~np.eye(4, dtype=bool)]
    assert others == pytest.approx(1 - 0.7**2, abs=0.3)


@pytest.mark.parametrize("attack", [MinMax(), MinSum()], ids=["max", "sum"])
def test_one_honest_update_leaves_no_room(attack: Distant) -> None:
    knowledge = invented_knowledge(number=2, malicious=11)
    np.testing.assert_array_equal(
        sent(attack, knowledge), np.tile(knowledge[Access.BENIGN], (11, 1))
    )


@pytest.mark.parametrize(
    ("right", "wrong"),
    [
        (lambda: SignFlip(scale=2), lambda: SignFlip(scale=0)),
        (lambda: LittleIsEnough(z=0), lambda: LittleIsEnough(z=-0.1)),
        (lambda: InnerProduct(epsilon=9), lambda: InnerProduct(epsilon=0)),
        (lambda: MinMax(private=0), lambda: MinMax(private=1)),
        (lambda: MinSum(private=0.9), lambda: MinSum(private=-0.1)),
        (
            lambda: TargetedLabelFlip(source=0, target=1),
            lambda: TargetedLabelFlip(source=1, target=1),
        ),
        (
            lambda: TargetedLabelFlip(source=1, target=0),
            lambda: TargetedLabelFlip(source=-1, target=0),
        ),
    ],
)
def test_parameters_are_checked(right: Callable[[], Attack], wrong: Callable[[], Attack]) -> None:
    assert right().name
    refused(ParameterError, wrong)
