"""What several detectors share: angles, distances, projections, one-sided scales.

Everything here is permutation equivariant: relabeling the rows relabels the result. A zero row has
cosine 0 with every other, and with itself.

Linear algebra is of (n, k) arrays, n clients and k numbers: no function needs an (n, n, k) one.
"""

from __future__ import annotations

from statistics import NormalDist

import numpy as np

from robust.errors import ParameterError, require
from robust.observe import Array, Index

__all__ = [
    "between",
    "cosine_matrix",
    "krum_scores",
    "leave_one_out_cosines",
    "nearest_clients",
    "nearest_cosines",
    "one_sided",
    "orthonormal",
    "proportion",
    "residuals",
    "squared_distances",
    "standardized",
    "unit_rows",
    "vary",
    "whole_number",
]

LOWER_PART = 0.35
"""The share of clients, from the least suspicious, that sets a scale: what is left for attackers
is more than half, of which a third can be theirs before the lower part feels it much."""

_RANK_TOLERANCE = 1e-9
_RESIDUAL_TOLERANCE = 1e-6
"""A residual this much smaller than its row is rounding (of 32-bit updates too), not signal."""

_MOST_DEVIATIONS = 1e6


def between(name: str, value: float, low: float, high: float) -> None:
    """Raises `ParameterError` unless low < value < high."""
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if not number or not low < value < high:
        raise ParameterError(f"{low:g} < {name} < {high:g} must hold, got {value!r}")


def proportion(name: str, value: float, most: float) -> None:
    """Raises `ParameterError` unless 0 <= value < most."""
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if not number or not 0.0 <= value < most:
        raise ParameterError(f"0 <= {name} < {most:g} must hold, got {value!r}")


def whole_number(name: str, value: int, least: int) -> None:
    """Raises `ParameterError` unless `value` is an int >= least."""
    whole = isinstance(value, int) and not isinstance(value, bool) and value >= least
    require(whole, f"{name} >= {least} for an integer {name}, got {value!r},")


def unit_rows(rows: Array) -> Array:
    """(n, k) -> (n, k), each row divided by its norm; zero rows stay zero."""
    norms = np.linalg.norm(rows, axis=1, keepdims=True)
    unit = np.zeros_like(rows)
    np.divide(rows, norms, out=unit, where=norms > 0)
    return unit


def cosine_matrix(rows: Array) -> Array:
    """(n, k) -> (n, n) cosines within [-1, 1]; 0 for a zero row, on the diagonal too."""
    unit = unit_rows(rows)
    return np.clip(unit @ unit.T, -1.0, 1.0)


def orthonormal(vectors: Array) -> Array:
    """(h, k) -> (r, k), an orthonormal basis of the span of the rows, r its numerical rank.

    Rows are brought to length 1 first, so that a small update counts beside large weights; singular
    values below 1e-9 of the largest count as zero.
    """
    _, values, basis = np.linalg.svd(unit_rows(vectors), full_matrices=False)
    kept = values > _RANK_TOLERANCE * max(values, default=1.0)
    found: Array = basis[kept]
    return found


def residuals(rows: Array, basis: Array) -> Array:
    """What is left of `rows` (n, k) off the span of an orthonormal `basis` (r, k).

    A residual below 1e-6 of its row is set to zero: it is rounding, and its direction would be
    read as noise of the client's own.
    """
    rest = rows - (rows @ basis.T) @ basis
    rest -= (rest @ basis.T) @ basis  # once more: the first pass leaves rounding of large rows
    norms, before = np.linalg.norm(rest, axis=1), np.linalg.norm(rows, axis=1)
    kept: Array = np.where((norms > _RESIDUAL_TOLERANCE * before)[:, None], rest, 0.0)
    return kept


def leave_one_out_cosines(rows: Array) -> Array:
    """(n, k) -> (n,), cosine of each row with the sum of the others."""
    others = rows.sum(axis=0) - rows
    found: Array = np.clip((unit_rows(rows) * unit_rows(others)).sum(axis=1), -1.0, 1.0)
    return found


def nearest_cosines(cosines: Array, count: int = 1) -> Array:
    """(n, n) cosines -> (n,), mean of the `count` largest with *others*; needs n >= 2."""
    apart = cosines - 4.0 * np.eye(len(cosines))  # the diagonal falls below every cosine
    count = min(count, len(cosines) - 1)
    found: Array = np.partition(apart, -count, axis=1)[:, -count:].mean(axis=1)
    return found


def nearest_clients(cosines: Array) -> Index:
    """(n, n) cosines -> (n,), position of the other row with the largest; needs n >= 2."""
    found: Index = np.argmax(cosines - 4.0 * np.eye(len(cosines)), axis=1)
    return found


def squared_distances(gram: Array) -> Array:
    """(n, n) dot products -> (n, n) squared distances, >= 0 and 0 on the diagonal."""
    own = gram.diagonal()
    found = np.maximum(own[:, None] + own[None, :] - 2.0 * gram, 0.0)
    np.fill_diagonal(found, 0.0)
    return np.asarray(found, dtype=np.float64)


def vary(gram: Array) -> bool:
    """Whether rows with these dot products (n, n) differ, and most of them are not zero."""
    own = gram.diagonal()
    apart = float(squared_distances(gram).max())
    return float(np.median(own)) > 0.0 and apart > 1e-12 * float(own.max())


def krum_scores(gram: Array, corrupt: float) -> Array:
    """(n, n) dot products -> (n,), sum of squared distances to the n - f - 2 nearest others.

    f = floor(corrupt n) attackers are allowed for; at least one neighbor counts [Blanchard17].

    [Blanchard17]  Blanchard, El Mhamdi, Guerraoui, Stainer: Machine Learning with Adversaries:
                   Byzantine Tolerant Gradient Descent, NeurIPS 2017.
    """
    n = len(gram)
    nearest = max(n - int(corrupt * n) - 2, 1)
    found: Array = np.sort(squared_distances(gram), axis=1)[:, 1 : nearest + 1].sum(axis=1)
    return found


def one_sided(values: Array, part: float = 0.5) -> tuple[float, float]:
    """Center and scale of `values` (n,), from the lower `part` of them alone.

    Two quantiles, at part and part/2, of a normal law determine its mean and deviation. With
    part = 1/2 the center is the median. What lies above the quantile at `part` may be moved upwards
    at will: a minority on the upper side inflates neither. The scale is 0 where both coincide.
    """
    between("part", part, 0.0, 1.0)
    normal = NormalDist()
    high, low = normal.inv_cdf(part), normal.inv_cdf(part / 2)
    at_high, at_low = np.quantile(values, (part, part / 2))
    scale = float(at_high - at_low) / (high - low)
    return float(at_high) - scale * high, scale


def standardized(values: Array, part: float = 0.5) -> Array:
    """(values - center) / scale of `one_sided`, within +-1e6.

    Where the scale vanishes (ties), 1e-9 of the largest value stands for it.
    """
    center, scale = one_sided(values, part)
    floor = 1e-9 * max(float(np.abs(values).max()), 1e-200)
    deviations = (values - center) / max(scale, floor)
    return np.clip(deviations, -_MOST_DEVIATIONS, _MOST_DEVIATIONS)
