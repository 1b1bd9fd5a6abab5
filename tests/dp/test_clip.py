"""Clips keep a norm bound, change nothing within it, and read no vector that is not one."""

from __future__ import annotations

import math
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from dp.clip import AdaptiveBound, Flat, PerLeaf
from dp.errors import InputRefused, ParameterError

floats = st.floats(allow_nan=False, allow_infinity=False)
vectors = hnp.arrays(np.float64, st.integers(0, 40), elements=floats)
bounds = st.integers(-500, 500).map(lambda power: 2.0**power)
TINY = 5e-324

REFUSED: list[Any] = [
    np.array([1.0, math.nan]),
    np.array([1.0, math.inf]),
    np.array([-math.inf]),
    np.array(1.0),
    np.ones((2, 2)),
    np.ones(2, np.float32),
    np.ones(2, int),
    np.ones(2, ">f8"),
    np.ma.array([1.0, 2.0]),
    [1.0, 2.0],
    None,
]


def squared(vector: np.ndarray) -> Fraction:
    return sum((Fraction(x) ** 2 for x in vector.tolist()), Fraction(0))


@given(vectors, bounds)
def test_a_flat_clip_is_within_and_scales_by_one_factor(vector: np.ndarray, bound: float) -> None:
    clipped = Flat(bound).apply(vector)
    assert squared(clipped) <= Fraction(bound) ** 2 * (1 + Fraction(vector.size + 20, 1 << 52)) ** 2
    if squared(vector) <= Fraction(bound) ** 2 * (1 - Fraction(1, 1 << 40)):
        assert clipped.tobytes() == vector.tobytes()
    elif squared(vector) > Fraction(bound) ** 2 * (1 + Fraction(1, 1 << 40)):
        assert squared(clipped) >= Fraction(bound) ** 2 * (1 - Fraction(1, 1 << 40)) ** 2
        factor = Fraction(bound) ** 2 / squared(vector)
        for before, after in zip(vector.tolist(), clipped.tolist(), strict=True):
            close = abs(Fraction(after) ** 2 - Fraction(before) ** 2 * factor)
            assert close <= Fraction(bound) ** 2 / (1 << 40)
            assert before * after >= 0


@given(vectors, bounds)
def test_holds_agrees_with_exact_arithmetic(vector: np.ndarray, bound: float) -> None:
    margin = Fraction(vector.size + 20, 1 << 50)
    if Flat(bound).holds(vector):
        assert squared(vector) <= Fraction(bound) ** 2 * (1 + margin)
    else:
        assert squared(vector) >= Fraction(bound) ** 2 * (1 - margin)


@pytest.mark.parametrize("bound", [2.0**-500, 1e-3, 1.0, 2.0**500])
def test_extremes_neither_overflow_nor_vanish(bound: float) -> None:
    huge = Flat(bound).apply(np.full(16, 1.7e308))
    assert huge == pytest.approx(np.full(16, bound / 4), rel=1e-14)
    tiny = np.array([TINY, -TINY])
    assert Flat(bound).apply(tiny).tobytes() == tiny.tobytes()
    mixed = Flat(bound).apply(np.array([1.7e308, TINY, 0.0]))
    assert mixed[0] == pytest.approx(bound, rel=1e-14)
    assert mixed[2] == 0


def test_the_bound_itself_is_within() -> None:
    at = np.array([3.0, 4.0])
    assert Flat(5.0).holds(at)
    assert (Flat(5.0).apply(at) == at).all()
    assert not Flat(math.nextafter(5.0, 0.0)).holds(at)
    for bound in (5.1, 7.0, 9.9, 1e9):
        assert (Flat(bound).apply(at) == at).all()


def test_the_input_is_left_alone_and_any_memory_layout_is_read() -> None:
    vector = np.array([6.0, 0.0, 8.0, 0.0])[::2]
    vector.flags.writeable = False
    clipped = Flat(5.0).apply(vector)
    assert clipped == pytest.approx([3.0, 4.0], rel=1e-15)
    assert vector.tolist() == [6.0, 8.0]
    assert clipped.flags.writeable


@pytest.mark.parametrize("vector", REFUSED, ids=lambda value: repr(value)[:40])
def test_what_is_no_vector_is_refused(vector: Any) -> None:
    assert Flat(1.0).apply(np.array([1.0, 0.0])).size == 2
    for call in (Flat(1.0).apply, Flat(1.0).holds, PerLeaf(((0, 2, 1.0),)).apply):
        with pytest.raises(InputRefused, match="not"):
            call(vector)


def test_no_error_shows_a_value() -> None:
    with pytest.raises(InputRefused, match="position 1") as caught:
        Flat(1.0).apply(np.array([12345.0, math.nan]))
    assert "12345" not in str(caught.value)


@given(hnp.arrays(np.float64, 7, elements=st.floats(-1e200, 1e200)))
def test_leaves_are_clipped_alone_and_bounded_together(vector: np.ndarray) -> None:
    leaves = PerLeaf(((0, 2, 3.0), (2, 3, 0.5), (3, 7, 4.0)))
    clipped = leaves.apply(vector)
    for start, stop, bound in leaves.leaves:
        assert (clipped[start:stop] == Flat(bound).apply(vector[start:stop])).all()
    assert squared(clipped) <= Fraction(leaves.bound) ** 2 * (1 + Fraction(1, 1 << 48))
    assert leaves.bound == pytest.approx(math.sqrt(9 + 0.25 + 16), rel=1e-15)
    assert Fraction(leaves.bound) ** 2 >= Fraction(101, 4)


WRONG_LEAVES: list[Any] = [
    (),
    [(0, 1, 1.0)],
    ((1, 2, 1.0),),
    ((0, 0, 1.0),),
    ((0, 2, 1.0), (1, 3, 1.0)),
    ((0, 2, 1.0), (3, 4, 1.0)),
    ((0, 2, 0.0),),
    ((0, 2, math.nan),),
    ((0, 2.0, 1.0),),
]


@pytest.mark.parametrize("leaves", WRONG_LEAVES, ids=repr)
def test_leaves_with_gaps_overlaps_or_wrong_bounds_are_refused(leaves: Any) -> None:
    assert PerLeaf(((0, 2, 1.0), (2, 3, 1.0))).bound > 1
    with pytest.raises(ParameterError, match="must hold"):
        PerLeaf(leaves)


def test_leaves_of_another_size_are_refused() -> None:
    with pytest.raises(InputRefused, match="3 coordinates, and the leaves 2"):
        PerLeaf(((0, 2, 1.0),)).apply(np.zeros(3))


WRONG_BOUNDS: tuple[Any, ...] = (0, -1, math.nan, math.inf, True, "1", None, 2.0**501, 10**400, 0.0)


@pytest.mark.parametrize("bound", WRONG_BOUNDS, ids=repr)
def test_wrong_bounds_are_refused(bound: Any) -> None:
    assert type(Flat(3).bound) is float
    with pytest.raises(ParameterError, match=r"2\*\*-500 <= bound <= 2\*\*500"):
        Flat(bound)
    with pytest.raises(ParameterError, match=r"2\*\*-500 <= bound <= 2\*\*500"):
        AdaptiveBound(bound=bound)


@given(st.floats(-10, 10), st.floats(0.01, 0.99), st.floats(0.01, 1))
def test_the_bound_moves_against_the_share_and_no_further_than_the_rate(
    within: float, quantile: float, rate: float
) -> None:
    old = AdaptiveBound(bound=3.0, quantile=quantile, rate=rate)
    new = old.updated(within)
    assert (new.bound <= 3.0) if within >= quantile else (new.bound >= 3.0)
    assert abs(math.log(new.bound / 3.0)) <= rate + 1e-12
    if 0 <= within <= 1:
        assert new.bound == 3.0 * math.exp(-rate * (within - quantile))
    assert new == old.updated(min(max(within, 0.0), 1.0))


def test_the_bound_finds_the_quantile() -> None:
    norms = np.arange(1, 1001) / 100.0  # the median is 5
    state = AdaptiveBound(bound=0.01)
    for _ in range(200):
        state = state.updated(float(np.mean(norms <= state.bound)))
    assert state.bound == pytest.approx(5.0, rel=0.02)


def test_the_bound_stops_at_its_ends() -> None:
    low = AdaptiveBound(bound=1.0, least=0.9, most=1.1)
    assert low.updated(1.0).updated(1.0).bound == 0.9
    assert low.updated(0.0).updated(0.0).bound == 1.1


@pytest.mark.parametrize(
    "wrong",
    [
        {"quantile": 0.0},
        {"quantile": 1.0},
        {"quantile": math.nan},
        {"rate": 0.0},
        {"rate": 1.5},
        {"rate": math.nan},
        {"least": 2.0},
        {"most": 0.5},
    ],
    ids=repr,
)
def test_wrong_states_are_refused(wrong: dict[str, float]) -> None:
    assert AdaptiveBound(bound=1.0).quantile == 0.5
    with pytest.raises(ParameterError, match="must hold"):
        AdaptiveBound(**{"bound": 1.0} | wrong)
    for share in (math.nan, math.inf, -math.inf):
        with pytest.raises(ParameterError, match="finite"):
            AdaptiveBound(bound=1.0).updated(share)
