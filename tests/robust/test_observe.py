"""Observations and features: what is refused, and laws of what several detectors share."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from robust.errors import ObservationError, ParameterError, RobustError
from robust.features import (
    cosine_matrix,
    krum_scores,
    leave_one_out_cosines,
    nearest_clients,
    nearest_cosines,
    one_sided,
    orthonormal,
    residuals,
    squared_distances,
    standardized,
)
from robust.observe import GroupSketches, Norms, Public, Sketches


def test_rows_are_copied_and_read_only() -> None:
    rows = np.ones((2, 3), dtype=np.float32)
    seen = Sketches(number=0, clients=(3, 8), rows=rows, public=Public.nothing(3))
    rows[:] = 7.0
    assert seen.rows.dtype == np.float64
    assert (seen.rows == 1.0).all()
    assert seen.gram == pytest.approx(np.full((2, 2), 3.0))
    assert seen.as_norms().norms == pytest.approx(np.sqrt([3.0, 3.0]))
    assert seen.only(np.array([False, True])).clients == (8,)
    for array in (seen.rows, seen.gram, seen.norms, seen.public.known):
        with pytest.raises(ValueError, match="read-only"):
            array[:] = 0.0


GOOD: dict[str, Any] = {
    "number": 3,
    "clients": (1, 5),
    "rows": np.ones((2, 4)),
    "public": Public.nothing(4),
    "noise": 0.0,
}


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("number", -1),
        ("number", True),
        ("number", 1.0),
        ("clients", (5, 1)),
        ("clients", (1, 1)),
        ("clients", (-1, 1)),
        ("clients", ()),
        ("clients", (1, 2.0)),
        ("clients", (1, 1 << 53)),
        ("rows", np.ones((3, 4))),
        ("rows", np.ones((2, 5))),
        ("rows", np.ones(8)),
        ("rows", np.full((2, 4), np.nan)),
        ("rows", np.full((2, 4), np.inf)),
        ("rows", np.full((2, 4), 1e101)),
        ("rows", np.ones((2, 4), dtype=complex)),
        ("rows", np.array([["a"] * 4] * 2)),
        ("noise", -1.0),
        ("noise", float("nan")),
        ("noise", "1"),
    ],
)
def test_what_is_malformed_is_refused(name: str, value: object) -> None:
    Sketches(**GOOD)
    with pytest.raises(ObservationError) as refused:
        Sketches(**{**GOOD, name: value})
    assert isinstance(refused.value, RobustError)


def test_norms_and_public_vectors_are_checked() -> None:
    Norms(number=0, clients=(1,), norms=np.ones(1), bound=2.0)
    for norms, bound in ((np.array([-1.0]), None), (np.ones(2), None), (np.ones(1), 0.0)):
        with pytest.raises(ObservationError):
            Norms(number=0, clients=(1,), norms=norms, bound=bound)
    known = np.empty((0, 4))
    Public(known=known, root=np.ones(4), classes=np.ones((2, 4)))
    for wrong in ({"root": np.ones(3)}, {"classes": np.ones((2, 3))}, {"classes": known}):
        with pytest.raises(ObservationError):
            Public(known=known, **wrong)


@pytest.mark.parametrize(
    "groups", [((1,), (5,)), ((1, 5), (5, 7)), ((5, 1), (7,)), ((1, 5, 7), ()), ((1, 5, 7),)]
)
def test_groups_are_disjoint_and_cover(groups: tuple[tuple[int, ...], ...]) -> None:
    fine = {"number": 0, "clients": (1, 5, 7), "rows": np.ones((2, 4)), "public": Public.nothing(4)}
    GroupSketches(groups=((1, 7), (5,)), **fine)  # type: ignore[arg-type]
    with pytest.raises(ObservationError):
        GroupSketches(groups=groups, **fine)  # type: ignore[arg-type]


def test_entries_too_small_to_square_are_zero() -> None:
    rows = np.array([[1e-71, -1e-69], [1e70, -1e70]])
    seen = Sketches(number=0, clients=(0, 1), rows=rows, public=Public.nothing(2))
    assert seen.rows.tolist() == [[0.0, -1e-69], [1e70, -1e70]]


# -- features ----------------------------------------------------------------------------------


@given(st.integers(0, 2**32 - 1))
def test_residuals_are_orthogonal_to_what_is_public(seed: int) -> None:
    rng = np.random.default_rng(seed)
    public = rng.standard_normal((5, 20)) * 10.0 ** rng.integers(-6, 6, (5, 1))
    public[4] = public[0] + public[1]
    rows = rng.standard_normal((7, 20))
    rows[0] = public[2] * 3.0
    basis = orthonormal(public)
    rest = residuals(rows, basis)
    assert basis.shape == (4, 20)
    assert np.abs(rest @ basis.T).max() < 1e-12
    assert (rest[0] == 0).all()
    assert np.allclose(rows - rest, (rows @ basis.T) @ basis)


def test_nothing_public_leaves_rows_as_they_are() -> None:
    rows = np.arange(6.0).reshape(2, 3)
    assert (residuals(rows, orthonormal(np.empty((0, 3)))) == rows).all()
    assert orthonormal(np.zeros((2, 3))).shape == (0, 3)


@given(st.integers(0, 2**32 - 1))
def test_features_follow_a_permutation(seed: int) -> None:
    rng = np.random.default_rng(seed)
    rows, order = rng.standard_normal((8, 12)), rng.permutation(8)
    other = rows[order]
    gram, mixed = rows @ rows.T, other @ other.T
    cosines, turned = cosine_matrix(rows), cosine_matrix(other)
    assert np.allclose(cosines[np.ix_(order, order)], turned)
    assert np.allclose(leave_one_out_cosines(rows)[order], leave_one_out_cosines(other))
    assert np.allclose(krum_scores(gram, 0.2)[order], krum_scores(mixed, 0.2))
    assert np.allclose(nearest_cosines(cosines, 3)[order], nearest_cosines(turned, 3))
    assert (nearest_clients(cosines)[order] == order[nearest_clients(turned)]).all()
    assert np.allclose(standardized(rows[:, 0])[order], standardized(other[:, 0]))


def test_distances_and_cosines_are_what_they_say() -> None:
    rows = np.array([[3.0, 4.0], [0.0, 0.0], [6.0, 8.0], [-4.0, 3.0]])
    assert squared_distances(rows @ rows.T)[0] == pytest.approx([0.0, 25.0, 25.0, 50.0])
    assert cosine_matrix(rows)[0] == pytest.approx([1.0, 0.0, 1.0, 0.0])
    assert krum_scores(rows @ rows.T, 0.0) == pytest.approx([50.0, 50.0, 125.0, 75.0])


def test_a_minority_above_moves_neither_center_nor_scale_much() -> None:
    values = np.random.default_rng(0).standard_normal(2000)
    center, scale = one_sided(values)
    assert center == pytest.approx(np.median(values))
    assert scale == pytest.approx(1.0, abs=0.1)
    values[:600] = 1e6
    center, scale = one_sided(values, 0.35)
    assert abs(center) < 0.6
    assert scale < 1.5
    values[:600] = 1e12
    assert one_sided(values, 0.35) == (center, scale)


def test_ties_are_no_division_by_zero() -> None:
    assert (standardized(np.ones(5)) == 0).all()
    assert (standardized(np.zeros(5)) == 0).all()
    assert standardized(np.array([0.0, 0.0, 0.0, 0.0, 1.0]))[-1] == 1e6


def test_a_part_of_nothing_is_refused() -> None:
    for part in (0.0, 1.0, float("nan")):
        with pytest.raises(ParameterError, match="0 < part < 1"):
            one_sided(np.ones(3), part)
