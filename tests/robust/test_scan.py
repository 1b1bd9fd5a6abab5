"""Large average submatrices."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from robust.errors import ObservationError, ParameterError
from robust.observe import Array
from robust.scan import Block, Law, densest

SEEDS = st.integers(0, 2**32 - 1)
SIZES = {"rows": 10, "columns": 5}


def table(seed: int, shape: tuple[int, int] = (20, 15)) -> Array:
    return np.random.default_rng(seed).standard_normal(shape)


def independent(rows: int, columns: int) -> Law:
    """That of standard normal entries which know nothing of each other."""
    return Law(rows=np.broadcast_to(np.eye(rows), (columns, rows, rows)), basis=np.eye(columns))


def found_in(values: Array, *, rows: int, columns: int) -> Block:
    """In a table of independent entries."""
    law = independent(*values.shape)
    return densest(values, law, rows=rows, columns=columns)


def test_a_planted_block_is_found_whole() -> None:
    values = table(0, (40, 60))
    rows, columns = (1, 4, 8, 20, 33), (0, 7, 30, 59)
    values[np.ix_(rows, columns)] += 4
    found = found_in(values, rows=20, columns=8)
    assert (found.rows, found.columns) == (rows, columns)
    assert found.score > 100


def test_chance_scores_about_nothing() -> None:
    scores = [found_in(table(seed, (40, 60)), rows=20, columns=8).score for seed in range(100)]
    # the score pays for all choices of rows and columns of one size; sizes are 160
    assert np.mean(np.array(scores) > math.log(160)) <= 0.01
    assert np.median(scores) < math.log(160) / 2


@settings(max_examples=30)
@given(SEEDS)
def test_the_score_is_what_it_says_and_never_more(seed: int) -> None:
    values = table(seed) + (table(seed + 1, (20, 1)) > 1)
    found = found_in(values, rows=10, columns=5)
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
        assert found_in(values, rows=6, columns=5).score >= best - 2.5


@settings(max_examples=30)
@given(SEEDS)
def test_relabeling_rows_and_columns_relabels_the_block(seed: int) -> None:
    rng = np.random.default_rng(seed)
    values, rows, columns = table(seed), rng.permutation(20), rng.permutation(15)
    values[:4, :3] += 4
    found, moved = (found_in(one, rows=10, columns=5) for one in (values, values[rows][:, columns]))
    assert moved.score == pytest.approx(found.score)
    assert sorted(rows[list(moved.rows)]) == list(found.rows)
    assert sorted(columns[list(moved.columns)]) == list(found.columns)


def test_what_is_asked_for_beyond_the_table_is_the_table() -> None:
    found = found_in(np.ones((2, 3)), rows=50, columns=50)
    assert (found.rows, found.columns) == ((0, 1), (0, 1, 2))
    assert isinstance(found, Block)
    assert found_in(np.ones((1, 1)), rows=1, columns=1).rows == (0,)
    assert found_in(np.zeros((5, 5)), rows=2, columns=2).score < 0


def correlated(seed: int, n: int = 20, f: int = 12) -> tuple[Law, Array]:
    """A law in which rows and columns know of each other, and the root of its whole covariance."""
    rng = np.random.default_rng(seed)
    basis, _ = np.linalg.qr(rng.standard_normal((f, f)))
    mixed = rng.standard_normal((f, n, n)) / np.sqrt(n)
    shared = rng.uniform(0, 3, (f, 1, 1)) * np.ones((n, n))
    law = Law(rows=mixed @ mixed.transpose(0, 2, 1) + shared + 0.1 * np.eye(n), basis=basis)
    whole = np.einsum("jq,lq,qik->ijkl", basis, basis, law.rows).reshape(n * f, n * f)
    return law, np.linalg.cholesky(whole)


def test_the_score_is_that_of_the_whole_covariance() -> None:
    law, root = correlated(0)
    n, f = law.deviations.shape
    rng = np.random.default_rng(1)
    whole = root @ root.T
    assert np.allclose(law.deviations.reshape(-1) ** 2, np.diag(whole))
    for _ in range(5):
        values = (root @ rng.standard_normal(n * f)).reshape(n, f)
        found = densest(values, law, rows=8, columns=4)
        inside = np.zeros((n, f))
        inside[np.ix_(found.rows, found.columns)] = 1
        z = (inside * values).sum() / math.sqrt(inside.reshape(-1) @ whole @ inside.reshape(-1))
        ways = math.comb(n, len(found.rows)) * math.comb(f, len(found.columns))
        due = -math.log(ways * math.erfc(z / math.sqrt(2)) / 2)
        assert due - 0.1 <= found.score <= due + 1e-6


def test_chance_scores_about_nothing_where_entries_know_of_each_other() -> None:
    law, root = correlated(2)
    n, f = law.deviations.shape
    rng = np.random.default_rng(3)

    def score(law: Law) -> float:
        values = (root @ rng.standard_normal(n * f)).reshape(n, f)
        return densest(values / law.deviations if law is blind else values, law, **SIZES).score

    blind = independent(n, f)
    limit = math.log(20 * SIZES["rows"] * SIZES["columns"])  # which one in twenty exceeds, at most
    assert np.mean([score(law) > limit for _ in range(60)]) <= 0.05
    assert np.mean([score(blind) > limit for _ in range(60)]) >= 0.5


def test_a_sum_without_variance_says_nothing() -> None:
    apart = np.array([[1.0, -1.0], [-1.0, 1.0]])
    law = Law(rows=apart[None], basis=np.ones((1, 1)))
    for other in (-3.0, 2.9):
        found = densest(np.array([[3.0], [other]]), law, rows=2, columns=1)
        assert found.rows == (0,)
        assert found.score == pytest.approx(-math.log(2 * math.erfc(3 / math.sqrt(2)) / 2), abs=0.1)


def test_what_is_no_law_is_refused() -> None:
    good = np.eye(3)[None]
    for rows, basis, message in (
        (good[0], np.ones((2, 1)), "must hold"),
        (good[:, :2], np.ones((2, 1)), "must hold"),
        (good, np.ones((2, 2)), "must hold"),
        (good, np.ones(2), "must hold"),
        (good, np.zeros((2, 1)), "deviation"),
        (-good, np.ones((2, 1)), "deviation"),
        (np.full((1, 3, 3), np.nan), np.ones((2, 1)), "finite"),
        (np.full((1, 3, 3), np.inf), np.ones((2, 1)), "finite"),
        (np.where(np.eye(3) > 0, 1.0, np.nan)[None], np.ones((2, 1)), "finite"),
        (good, np.full((2, 1), np.nan), "finite"),
    ):
        with pytest.raises(ObservationError, match=message):
            Law(rows=rows, basis=basis)
    law = Law(rows=good, basis=np.ones((2, 1)))
    assert law.deviations.shape == (3, 2)
    with pytest.raises(ObservationError, match="shape of its law"):
        densest(np.zeros((2, 3)), law, rows=1, columns=1)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_what_is_no_table_is_refused(bad: float) -> None:
    for values in (np.zeros((0, 3)), np.zeros((3, 0)), np.zeros(3), np.full((2, 2), bad)):
        with pytest.raises(ObservationError, match="finite"):
            densest(values, independent(2, 2), rows=1, columns=1)
    for sizes in ({"rows": 0, "columns": 1}, {"rows": 1, "columns": 0}):
        with pytest.raises(ParameterError, match=">= 1"):
            found_in(np.zeros((2, 2)), **sizes)
