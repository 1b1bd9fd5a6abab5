"""Large average submatrices: rows and columns of a table in which entries are larger than chance.

For a table of normal numbers of mean 0, the sum over g given rows and s given columns is beyond x
with probability Q(x / deviation of the sum). A block is scored by what is left of that after all
choices of g of n rows and s of f columns are paid for [Shabalin09, (2)]; theirs are independent:

    score = -log( C(n, g) C(f, s) Q(sum / deviation) )

[Shabalin09]  Shabalin, Weigman, Perou, Nobel: Finding Large Average Submatrices in High Dimensional
              Data, Annals of Applied Statistics 3, 2009.
[Sampford53]  Sampford: Some Inequalities on Mill's Ratio and Related Functions, Annals of
              Mathematical Statistics 24, 1953.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from robust.errors import ObservationError
from robust.features import whole_number
from robust.observe import Array

__all__ = ["Block", "Law", "densest"]

_STARTS = 64
"""Columns from which the search starts: those that score most by themselves."""

_PASSES = 8

_ROUNDING = 1e-12
"""Of the variances of its parts: a sum that has less has none."""

Rows = NDArray[np.int64]


@dataclass(frozen=True, kw_only=True, eq=False)
class Law:
    """How the entries of a table (n, f) vary together by chance: (i, j) and (k, l) have covariance

        sum over q of basis[j, q] basis[l, q] rows[q, i, k].

    Attributes
    ----------
    rows: (p, n, n), covariances. basis: (f, p).

    Raises `ObservationError` for other shapes, what is not finite, and unless every entry varies.
    """

    rows: Array
    basis: Array

    def __post_init__(self) -> None:
        p, n, other = self.rows.shape if self.rows.ndim == 3 else (0, 0, -1)
        if n != other or self.basis.ndim != 2 or self.basis.shape[1] != p:
            raise ObservationError("rows (p, n, n) and basis (f, p) must hold")
        if not bool(np.isfinite(self.rows).all() and np.isfinite(self.basis).all()):
            raise ObservationError("rows and basis must be finite")
        with np.errstate(invalid="ignore"):
            varied = bool((self.deviations > 0).all())  # a NaN is not
        if not varied:
            raise ObservationError("the deviation of every entry must be > 0")

    @cached_property
    def deviations(self) -> Array:
        """(n, f), of the entries."""
        found: Array = np.sqrt(self.basis**2 @ np.einsum("qii->qi", self.rows)).T
        return found

    @cached_property
    def _flat(self) -> Array:
        return self.rows.reshape(len(self.rows), -1)

    def of_sums(self, columns: Array) -> Array:
        """(m, n, n): the covariance of the rows' sums over each of m sets of columns (m, f)."""
        n = self.rows.shape[1]
        return np.asarray(((columns @ self.basis) ** 2 @ self._flat).reshape(-1, n, n))

    def across(self, rows: Array) -> Array:
        """(m, p): the variance, for each column of the basis, of sums over sets of rows (m, n)."""
        pairs = rows[:, :, None] * rows[:, None, :]
        return np.asarray(pairs.reshape(len(rows), -1) @ self._flat.T)


@dataclass(frozen=True, kw_only=True)
class Block:
    """Positions of some rows and columns, ascending, and their score; above 0 is beyond chance."""

    score: float
    rows: tuple[int, ...]
    columns: tuple[int, ...]


def densest(table: Array, law: Law, *, rows: int, columns: int) -> Block:
    """The block of highest score that an alternating search finds, of at most so many of each.

    table: (n, f), finite. law: of its entries, of mean 0, by chance. Deterministic; ties go to the
    first. A local maximum from each of up to 64 starts, so not always the best there is.

    Raises `ObservationError` for an empty table, one that is not finite, or of another shape than
    the law's; `ParameterError` unless rows >= 1 and columns >= 1; more than n or f are n or f.
    """
    whole_number("rows", rows, 1)
    whole_number("columns", columns, 1)
    if table.ndim != 2 or not table.size or not bool(np.isfinite(table).all()):
        raise ObservationError("a table must be (n, f), n, f >= 1, and finite")
    if table.shape != law.deviations.shape:
        raise ObservationError("a table must have the shape of its law")
    n, f = table.shape
    of_rows, of_columns = _choices(n), _choices(f)
    rows, columns = min(rows, n), min(columns, f)
    singles = np.argsort(-(table / law.deviations).max(axis=0), kind="stable")[:_STARTS]
    picked = np.eye(f)[singles]  # m sets of columns, at first of one each
    scores, best = np.full(len(picked), -np.inf), (-np.inf, picked[0], picked[0])
    for _ in range(_PASSES):
        sums, covariances = picked @ table.T, law.of_sums(picked)
        order = _largest(sums, np.einsum("mii->mi", covariances), rows)
        at = np.arange(len(order))[:, None, None]
        covariances = covariances[at, order[:, :, None], order[:, None, :]]
        paid = of_columns[picked.sum(axis=1).astype(np.int64) - 1]
        found, chosen = _best(sums, order, covariances, of_rows, paid)
        if bool((found <= scores).all()):
            break
        top = int(np.argmax(found))
        if found[top] > best[0]:
            best = float(found[top]), chosen[top], picked[top]
        scores = found
        sums, across = chosen @ table, law.across(chosen)
        order = _largest(sums, across @ (law.basis**2).T, columns)
        basis = law.basis[order]
        covariances = (basis * across[:, None, :]) @ basis.transpose(0, 2, 1)
        paid = of_rows[chosen.sum(axis=1).astype(np.int64) - 1]
        _, picked = _best(sums, order, covariances, of_columns, paid)
    return Block(
        score=best[0],
        rows=tuple(np.flatnonzero(best[1]).tolist()),
        columns=tuple(np.flatnonzero(best[2]).tolist()),
    )


def _largest(sums: Array, variances: Array, most: int) -> Rows:
    """(m, most): positions of the largest of `sums` (m, p), over their deviations."""
    z = sums / np.sqrt(np.maximum(variances, np.finfo(np.float64).tiny))
    return np.argsort(-z, axis=1, kind="stable")[:, :most]


def _best(
    sums: Array, order: Rows, covariances: Array, choices: Array, paid: Array
) -> tuple[Array, Array]:
    """For each row of `sums` (m, p), the score of the best first part of `order` (m, most), and
    which (m, p) are in it, as 0 and 1.

    covariances: (m, most, most), in that order. choices: (p,), logarithms of the ways to take so
    many. paid: (m,), the same of the other side.
    """
    most = order.shape[1]
    totals = np.cumsum(np.take_along_axis(sums, order, axis=1), axis=1)
    variances = np.einsum("mii->mi", covariances.cumsum(axis=1).cumsum(axis=2))
    # of a sum whose parts cancel nothing but rounding is left, which is no evidence
    parts = np.einsum("mii->mi", np.abs(covariances)).cumsum(axis=1)
    sound = variances > _ROUNDING * parts
    z = np.where(sound, totals / np.sqrt(np.where(sound, variances, 1.0)), 0.0)
    score = -_log_tail(z) - choices[:most] - paid[:, None]
    size = np.argmax(score, axis=1)
    chosen = np.zeros(sums.shape)
    np.put_along_axis(chosen, order, (np.arange(most) <= size[:, None]).astype(np.float64), axis=1)
    return np.take_along_axis(score, size[:, None], axis=1)[:, 0], chosen


def _choices(total: int) -> Array:
    """(total,): the logarithms of C(total, 1), C(total, 2), ..."""
    log_factorial = np.concatenate([[0.0], np.cumsum(np.log(np.arange(1, total + 1)))])
    sizes = np.arange(1, total + 1)
    found: Array = log_factorial[total] - log_factorial[sizes] - log_factorial[total - sizes]
    return found


def _log_tail(z: Array) -> Array:
    """An upper bound on log Q(z), within 0.1 of it for z >= 0 [Sampford53]; log(1/2) below."""
    z = np.maximum(z, 0.0)
    mills = 4.0 / (3.0 * z + np.sqrt(z**2 + 8.0))
    found: Array = np.log(mills) - z**2 / 2.0 - 0.5 * math.log(2.0 * math.pi)
    return np.minimum(found, math.log(0.5))
