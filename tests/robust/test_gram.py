"""The geometry of a Gram matrix is that of the vectors it was made of."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from robust.errors import ObservationError, ParameterError
from robust.gram import Gram
from robust.observe import Array


def vectors(most: int = 8) -> st.SearchStrategy[Array]:
    """(n, k), entries of a size where rounding can be told from the truth."""
    entry = st.floats(-100, 100).map(lambda x: round(x, 3))
    shape = st.tuples(st.integers(1, most), st.integers(1, 6))
    return shape.flatmap(lambda s: arrays(np.float64, s, elements=entry))


@given(rows=vectors())
def test_norms_distances_and_cosines_are_those_of_the_vectors(rows: Array) -> None:
    gram = Gram.of(rows)
    largest = float(np.abs(rows).max()) + 1e-12
    differences = np.linalg.norm(rows[:, None] - rows, axis=2)
    np.testing.assert_allclose(gram.norms, np.linalg.norm(rows, axis=1), atol=1e-6 * largest)
    np.testing.assert_allclose(
        np.sqrt(gram.squared_distances), differences, atol=1e-6 * largest, rtol=1e-6
    )
    lengths = np.linalg.norm(rows, axis=1)
    expected = np.eye(len(rows))
    for i, j in np.argwhere(np.outer(lengths, lengths) > 0):
        if i != j:
            expected[i, j] = rows[i] @ rows[j] / lengths[i] / lengths[j]
    np.testing.assert_allclose(gram.cosines, expected, atol=1e-9)


@given(rows=vectors(), data=st.data())
def test_distances_to_a_combination(rows: Array, data: st.DataObject) -> None:
    coefficients = data.draw(arrays(np.float64, len(rows), elements=st.floats(-3, 3)))
    expected = np.linalg.norm(rows - coefficients @ rows, axis=1)
    size = 1e-6 * (1 + float(np.abs(rows).max())) * (1 + float(np.abs(coefficients).sum()))
    np.testing.assert_allclose(Gram.of(rows).distances_to(coefficients), expected, atol=size)


def test_a_common_offset_does_not_spoil_the_distance_to_the_mean() -> None:
    """Rounding is that of the entries of G, not of squares of a combination."""
    rng = np.random.default_rng(3)
    rows = rng.normal(size=(6, 4)) + 1e4
    found = Gram.of(rows).distances_to(np.full(6, 1 / 6))
    np.testing.assert_allclose(found, np.linalg.norm(rows - rows.mean(0), axis=1), rtol=1e-6)


def test_mixing_is_that_of_the_vectors() -> None:
    rng = np.random.default_rng(0)
    rows, public, mixing = rng.normal(size=(5, 3)), rng.normal(size=(2, 3)), rng.normal(size=(4, 5))
    found = Gram.of(rows, public).mixed(mixing)
    np.testing.assert_allclose(found.values, Gram.of(mixing @ rows, public).values, atol=1e-12)
    assert (found.clients, found.public) == (4, 2)
    with pytest.raises(ObservationError, match=r"\(m, 5\)"):
        Gram.of(rows).mixed(np.ones((2, 4)))


def test_equal_rows_are_at_distance_zero_exactly() -> None:
    rows = np.tile(np.random.default_rng(1).normal(size=7), (9, 1))
    assert not Gram.of(rows).squared_distances.any()


def test_a_matrix_that_is_off_by_rounding_of_fixed_point_is_taken() -> None:
    rng = np.random.default_rng(2)
    exact = Gram.of(rng.normal(size=(10, 4))).values
    rounded = np.round(exact * 2**10 + rng.normal(size=exact.shape)) / 2**10
    found = Gram(values=rounded, tolerance=1e-2)
    np.testing.assert_array_equal(found.values, found.values.T)
    assert (found.squared_distances >= 0).all()
    with pytest.raises(ObservationError, match="must hold in every entry"):
        Gram(values=rounded, tolerance=1e-9)


def test_values_are_copied_and_read_only() -> None:
    values = np.eye(3)
    gram = Gram(values=values)
    values[0, 0] = 7
    assert gram.values[0, 0] == 1
    with pytest.raises(ValueError, match="read-only"):
        gram.values[0, 0] = 7


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (np.array([[1.0, np.nan], [np.nan, 1.0]]), "finite"),
        (np.array([[np.inf]]), "finite"),
        (np.zeros((0, 0)), "and a row"),
        (np.ones((2, 3)), "square"),
        (np.ones(4), "square"),
        (np.array([[1.0, 0.5], [0.2, 1.0]]), "in every entry"),
        (np.array([[1.0, 2.0], [2.0, 1.0]]), "least eigenvalue"),
        (np.array([[1.0 + 0j]]), "real"),
    ],
)
def test_what_is_no_gram_matrix_is_refused(values: Array, message: str) -> None:
    Gram(values=np.array([[2.0, 1.0], [1.0, 2.0]]))
    with pytest.raises(ObservationError, match=message):
        Gram(values=values)


@pytest.mark.parametrize("public", [-1, 2, 3, True, 0.5])
def test_public_rows_are_fewer_than_all(public: int) -> None:
    assert Gram(values=np.eye(2), public=1).clients == 1
    with pytest.raises(ObservationError, match="public"):
        Gram(values=np.eye(2), public=public)


@pytest.mark.parametrize("tolerance", [-0.1, 1.0, np.nan])
def test_the_tolerance_is_checked(tolerance: float) -> None:
    Gram(values=np.eye(2), tolerance=0.5)
    with pytest.raises(ParameterError, match="tolerance"):
        Gram(values=np.eye(2), tolerance=tolerance)


def test_rows_of_different_maps_or_without_numbers_are_refused() -> None:
    rows = np.ones((2, 3))
    assert Gram.of(rows, np.ones(3)).public == 1
    with pytest.raises(ObservationError, match="one k"):
        Gram.of(rows, np.ones(4))
    with pytest.raises(ObservationError, match="finite"):
        Gram.of(rows * np.nan)
    with pytest.raises(ObservationError, match="finite numbers"):
        Gram.of(rows).distances_to(np.array([1.0, np.nan]))
