"""Large average submatrices: rows and columns of a table in which entries are larger than chance.

For a table of independent standard normal numbers, the sum over g given rows and s given columns is
beyond x with probability Q(x / sqrt(g s)). A block is scored by what is left of that after all
choices of g of n rows and s of f columns are paid for [Shabalin09, (2)]:

    score = -log( C(n, g) C(f, s) Q(sum / sqrt(g s)) )

[Shabalin09]  Shabalin, Weigman, Perou, Nobel: Finding Large Average Submatrices in High Dimensional
              Data, Annals of Applied Statistics 3, 2009.
[Sampford53]  Sampford: Some Inequalities on Mill's Ratio and Related Functions, Annals of
              Mathematical Statistics 24, 1953.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from robust.errors import ObservationError
from robust.features import whole_number
from robust.observe import Array, Mask

__all__ = ["Block", "densest"]

_STARTS = 64
"""Columns from which the search starts: those that score most by themselves."""

_PASSES = 8


@dataclass(frozen=True, kw_only=True)
class Block:
    """Positions of some rows and columns, ascending, and their score; above 0 is beyond chance."""

    score: float
    rows: tuple[int, ...]
    columns: tuple[int, ...]


def densest(table: Array, *, rows: int, columns: int) -> Block:
    """The block of highest score that an alternating search finds, of at most so many of each.

    table: (n, f), finite. Deterministic; ties go to the first. A local maximum from each of up to
    64 starts, so not always the best there is.

    Raises `ObservationError` for an empty table or one that is not finite, `ParameterError` unless
    rows >= 1 and columns >= 1; more than n or f are n or f.
    """
    whole_number("rows", rows, 1)
    whole_number("columns", columns, 1)
    if table.ndim != 2 or not table.size or not bool(np.isfinite(table).all()):
        raise ObservationError("a table must be (n, f), n, f >= 1, and finite")
    n, f = table.shape
    of_rows, of_columns = _choices(n), _choices(f)
    rows, columns = min(rows, n), min(columns, f)
    # starts[i] is a set of rows: at first the best for one column
    scores, starts = _best(table.T, rows, of_rows, np.full(f, of_columns[0]))
    order = np.argsort(-scores, kind="stable")[:_STARTS]
    scores, starts = scores[order], starts[order]
    for _ in range(_PASSES):
        count = starts.sum(axis=1)
        sums = starts @ table / np.sqrt(count)[:, None]
        _, picked = _best(sums, columns, of_columns, of_rows[count - 1])
        count = picked.sum(axis=1)
        sums = picked @ table.T / np.sqrt(count)[:, None]
        found, starts = _best(sums, rows, of_rows, of_columns[count - 1])
        if bool((found <= scores).all()):
            break
        scores = found
    at = int(np.argmax(found))
    return Block(
        score=float(found[at]),
        rows=tuple(np.flatnonzero(starts[at]).tolist()),
        columns=tuple(np.flatnonzero(picked[at]).tolist()),
    )


def _best(sums: Array, most: int, choices: Array, paid: Array) -> tuple[Array, Mask]:
    """For each row of `sums` (m, p), those of its `most` largest entries with the best score.

    sums: of independent entries, over the root of how many. choices: (p,), logarithms of the ways
    to take so many. paid: (m,), the same of the other side.
    """
    order = np.argsort(-sums, axis=1, kind="stable")[:, :most]
    totals = np.cumsum(np.take_along_axis(sums, order, axis=1), axis=1)
    z = totals / np.sqrt(np.arange(1, most + 1))
    score = -_log_tail(z) - choices[:most] - paid[:, None]
    size = np.argmax(score, axis=1)
    mask = np.zeros(sums.shape, dtype=bool)
    np.put_along_axis(mask, order, np.arange(most) <= size[:, None], axis=1)
    return np.take_along_axis(score, size[:, None], axis=1)[:, 0], mask


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
