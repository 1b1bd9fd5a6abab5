"""Large average submatrices."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from robust.errors import ObservationError, ParameterError
from robust.scan import Block, densest

SEEDS = st.integers(0, 2**32 - 1)


def table(seed: int, shape: tuple[int, int] = (20, 15)) -> np.ndarray[tuple[int, int], np.dtype]:
    return np.random.default_rng(seed).standard_normal(shape)


def test_a_planted_block_is_found_whole() -> None:
    values = table(0, (40, 60))
    rows, columns = (1, 4, 8, 20, 33), (0, 7, 30, 59)
    values[np.ix_(rows, columns)] += 4
    found = densest(values, rows=20, columns=8)
    assert (found.rows, found.columns) == (rows, columns)
    assert found.score > 100


def test_chance_scores_about_nothing() -> None:
    scores = [densest(table(seed, (40, 60)), rows=20, columns=8).score for seed in range(100)]
    # the score pays for all choices of rows and columns of one size; sizes are 160
    assert np.mean(np.array(scores) > math.log(160)) <= 0.01
    assert np.median(scores) < math.log(160) / 2


@settings(max_examples=30)
@given(SEEDS)
def test_the_score_is_what_it_says_and_never_more(seed: int) -> None:
    values = table(seed) + (table(seed + 1, (20, 1)) > 1)
    found = densest(values, rows=10, columns=5)
    total = values[np.ix_(found.rows, found.columns)].sum()
    size = len(found.rows) * len(found.columns)
    ways = math.comb(20, len(found.rows)) * math.comb(15, len(found.columns))
    due = -math.log(ways * math.erfc(total / math.sqrt(2 * size)) / 2)
    assert due - 0.1 <= found.score <= due + 1e-6
    assert 1 <= len(found.rows) <= 10
    assert 1 <= len(found.columns) <= 5


def test_no_block_of_a_small_table_is_much_better() -> None:
    for seed in range(5):
        values = table(seed, (6, 5))
        values[:3, :2] += 2

        def score(rows: tuple[int, ...], columns: tuple[int, ...]) -> float:
            total = values[np.ix_(rows, columns)].sum()  # noqa: B023 -- used at once
            total /= math.sqrt(len(rows) * len(columns))
            ways = math.comb(6, len(rows)) * math.comb(5, len(columns))
            return -math.log(ways * math.erfc(total / math.sqrt(2)) / 2)

        best = max(
            score(rows, columns)
            for g, s in itertools.product(range(1, 7), range(1, 6))
            for rows in itertools.combinations(range(6), g)
            for columns in itertools.combinations(range(5), s)
        )
        assert densest(values, rows=6, columns=5).score >= best - 2.5


@settings(max_examples=30)
@given(SEEDS)
def test_relabeling_rows_and_columns_relabels_the_block(seed: int) -> None:
    rng = np.random.default_rng(seed)
    values, rows, columns = table(seed), rng.permutation(20), rng.permutation(15)
    values[:4, :3] += 4
    found, moved = (densest(one, rows=10, columns=5) for one in (values, values[rows][:, columns]))
    assert moved.score == pytest.approx(found.score)
    assert sorted(rows[list(moved.rows)]) == list(found.rows)
    assert sorted(columns[list(moved.columns)]) == list(found.columns)


def test_what_is_asked_for_beyond_the_table_is_the_table() -> None:
    found = densest(np.ones((2, 3)), rows=50, columns=50)
    assert (found.rows, found.columns) == ((0, 1), (0, 1, 2))
    assert isinstance(found, Block)
    assert densest(np.ones((1, 1)), rows=1, columns=1).rows == (0,)
    assert densest(np.zeros((5, 5)), rows=2, columns=2).score < 0


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_what_is_no_table_is_refused(bad: float) -> None:
    for values in (np.zeros((0, 3)), np.zeros((3, 0)), np.zeros(3), np.full((2, 2), bad)):
        with pytest.raises(ObservationError, match="finite"):
            densest(values, rows=1, columns=1)
    for sizes in ({"rows": 0, "columns": 1}, {"rows": 1, "columns": 0}):
        with pytest.raises(ParameterError, match=">= 1"):
            densest(np.zeros((2, 2)), **sizes)
