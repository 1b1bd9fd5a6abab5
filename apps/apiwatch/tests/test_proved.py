"""Two aggregators: the sum of whoever proves its norm, and nobody else."""

from __future__ import annotations

import numpy as np
import pytest

from apiwatch.contributions import limited
from apiwatch.errors import ParameterError, RoundFailed
from apiwatch.proved import proved_sum
from apiwatch.secure import Members

SITES = tuple(range(1, 7))
MODEL = bytes(32)


@pytest.fixture(scope="module")
def members() -> Members:
    return Members.generate(SITES)


def vectors(size: int = 300, bound: int = 100) -> dict[int, np.ndarray]:
    rng = np.random.default_rng(1)
    return {site: limited(rng.integers(0, 50, size), bound) for site in SITES}


def proved(given: dict[int, np.ndarray], members: Members, **changes):
    options = {"bound": 100, "model": MODEL, "minimum": 4, "corrupt": 0.2} | changes
    return proved_sum(given, members, **options)


def test_everybody_within_the_bound_is_summed(members: Members) -> None:
    given = vectors()
    summed = proved(given, members)
    assert np.array_equal(summed.total, sum(given.values()))
    assert (summed.included, summed.refused) == (frozenset(SITES), frozenset())


def test_who_repeats_itself_beyond_the_bound_is_left_out_and_named(members: Members) -> None:
    given = vectors()
    summed = proved(given | {3: 20 * given[3]}, members)
    assert summed.refused == {3}
    assert np.array_equal(summed.total, sum(v for site, v in given.items() if site != 3))


def test_silence_costs_nothing_until_too_few_are_left(members: Members) -> None:
    given = vectors()
    assert proved(given, members, silent=frozenset({1, 2})).included == {3, 4, 5, 6}
    with pytest.raises(RoundFailed, match="without output"):
        proved(given, members, silent=frozenset({1, 2, 3}))


def test_a_minimum_that_would_show_one_site_is_refused(members: Members) -> None:
    assert proved(vectors(), members, minimum=3).total.size == 300
    with pytest.raises(ValueError, match="must hold"):
        proved(vectors(), members, minimum=2)


def test_vectors_of_two_lengths_are_refused(members: Members) -> None:
    with pytest.raises(ParameterError, match="one length"):
        proved(vectors() | {2: np.zeros(3, np.int64)}, members)


@pytest.mark.parametrize("norm", [1.0, 7.5, 1e4])
def test_limited_is_within_the_norm_and_points_the_same_way(norm: float) -> None:
    vector = np.random.default_rng(2).integers(0, 1000, 500)
    within = limited(vector, norm)
    assert int((within**2).sum()) <= norm**2
    assert np.all(np.sign(within) * np.sign(vector) >= 0)
    assert np.abs(limited(vector, 1 << 20) - vector).max() <= 1
