"""Scores come out of group values, and say when they cannot."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from robust.contribution import GroupUtilities, contributions, leave_one_group_out
from robust.errors import ObservationError
from robust.observe import Array


def simulated(
    worth: Array, rounds: int, groups: int, noise: float, seed: int
) -> list[GroupUtilities]:
    rng = np.random.default_rng(seed)
    found = []
    for number in range(rounds):
        parts = [
            tuple(sorted(part.tolist()))
            for part in np.array_split(rng.permutation(len(worth)), groups)
        ]
        values = [worth[list(part)].mean() + 1 / (1 + number) for part in parts]
        noisy = np.array(values) + noise * rng.normal(size=groups)
        found.append(GroupUtilities(number=number, groups=tuple(parts), utilities=noisy))
    return found


@given(seed=st.integers(0, 10**6), n=st.integers(6, 14), groups=st.integers(2, 3))
def test_without_noise_scores_are_exact_up_to_a_shift(seed: int, n: int, groups: int) -> None:
    worth = np.random.default_rng(seed).normal(size=n)
    found = contributions(simulated(worth, 4 * n, groups, 0.0, seed))
    np.testing.assert_allclose(found.scores, worth - worth.mean(), atol=1e-6)
    assert found.errors.max() < 1e-6
    assert found.spare == 4 * n * groups - 4 * n - (n - 1)


def test_standard_errors_are_those_of_repeated_runs() -> None:
    worth = np.linspace(-1, 1, 8)
    runs = [contributions(simulated(worth, 60, 3, 0.3, seed)) for seed in range(150)]
    off = np.array([run.scores - worth for run in runs]) / np.array([run.errors for run in runs])
    assert abs(off.mean()) < 0.1
    assert 0.9 < off.std() < 1.1


def test_a_client_that_is_never_told_apart_has_an_infinite_error() -> None:
    rng = np.random.default_rng(0)
    rounds = []
    for number in range(40):
        a, b, c = rng.permutation([1, 2, 3]).tolist()
        groups = (tuple(sorted((a, b))), tuple(sorted((c, 8, 9))))  # 8 and 9 always together
        rounds.append(GroupUtilities(number=number, groups=groups, utilities=rng.normal(size=2)))
    found = contributions(rounds)
    assert found.clients == (1, 2, 3, 8, 9)
    np.testing.assert_array_equal(np.isinf(found.errors), [False] * 3 + [True] * 2)


def test_rounds_without_a_common_client_are_scored_apart() -> None:
    def pair(number: int, a: int, b: int, gain: float) -> GroupUtilities:
        return GroupUtilities(number=number, groups=((a,), (b,)), utilities=np.array([gain, -gain]))

    found = contributions([pair(0, 1, 2, 1.0), pair(1, 1, 2, 2.0), pair(2, 5, 6, 7.0)])
    np.testing.assert_allclose(found.scores, [1.5, -1.5, 7.0, -7.0])
    np.testing.assert_array_equal(found.rounds, [2, 2, 1, 1])
    assert found.spare == 1
    assert np.isfinite(found.errors).all()


def test_with_nothing_to_spare_errors_are_infinite() -> None:
    one = GroupUtilities(number=0, groups=((1,), (2,)), utilities=np.array([3.0, 1.0]))
    found = contributions([one])
    np.testing.assert_allclose(found.scores, [1.0, -1.0])
    assert found.spare == 0
    assert np.isinf(found.errors).all()


@given(seed=st.integers(0, 1000), order=st.permutations(range(7)))
def test_ids_and_the_order_of_rounds_do_not_matter(seed: int, order: list[int]) -> None:
    seen = simulated(np.arange(7.0), 12, 2, 0.5, seed)
    renamed = [
        GroupUtilities(
            number=one.number,
            groups=tuple(tuple(sorted(order[c] for c in group)) for group in one.groups),
            utilities=one.utilities,
        )
        for one in reversed(seen)
    ]
    direct, other = contributions(seen), contributions(renamed)
    np.testing.assert_allclose(other.scores[order], direct.scores, atol=1e-9)


@pytest.mark.parametrize(
    ("number", "groups", "utilities"),
    [
        (-1, ((1,), (2,)), [1.0, 2.0]),
        (0, ((1, 2),), [1.0]),
        (0, ((1,), ()), [1.0, 2.0]),
        (0, ((2, 1), (3,)), [1.0, 2.0]),
        (0, ((1, 2), (2,)), [1.0, 2.0]),
        (0, ((1,), (2,)), [1.0]),
        (0, ((1,), (2,)), [1.0, float("nan")]),
    ],
)
def test_malformed_rounds_are_refused(
    number: int, groups: tuple[tuple[int, ...], ...], utilities: list[float]
) -> None:
    GroupUtilities(number=0, groups=((1,), (2,)), utilities=np.ones(2))
    with pytest.raises(ObservationError):
        GroupUtilities(number=number, groups=groups, utilities=np.array(utilities))


def test_leaving_a_group_out() -> None:
    rng = np.random.default_rng(5)
    sums, counts, slope = rng.normal(size=(3, 4)), [2, 5, 3], rng.normal(size=4)
    found = leave_one_group_out(sums, counts, lambda mean: float(slope @ mean))
    total = sums.sum(axis=0)
    expected = [slope @ (total / 10 - (total - sums[g]) / (10 - counts[g])) for g in range(3)]
    np.testing.assert_allclose(found, expected)
    even = leave_one_group_out(sums, [4, 4, 4], lambda mean: float(slope @ mean))
    np.testing.assert_allclose(even, (sums / 4 - total / 12) @ slope / 2)
    for wrong, sizes in ((sums[:1], [2]), (sums, [1, 2]), (sums * np.nan, counts), (sums, [0] * 3)):
        with pytest.raises(ObservationError, match="must"):
            leave_one_group_out(wrong, sizes, lambda mean: 0.0)
    with pytest.raises(ObservationError, match="utilities"):
        leave_one_group_out(sums, counts, lambda mean: float("nan"))


def test_rounds_come_once() -> None:
    seen = simulated(np.arange(4.0), 3, 2, 0.1, 0)
    assert len(contributions(seen).clients) == 4
    for wrong in ([], [seen[0], seen[0]]):
        with pytest.raises(ObservationError, match="each once"):
            contributions(wrong)
