"""Geometry of updates from their inner products alone.

A Gram matrix G holds <u_i, u_j>. Norms, angles, distances, and the distance of every update to any
linear combination of updates follow from it, so a robust rule that looks at updates through these
needs no update, and no sketch either: only G, which two servers can compute on shares.

Rows and columns are the n clients, then r public vectors that everybody knows (the last aggregate,
an update from a root set). G may come from sketches, from fixed-point arithmetic on shares, or have
the energy of known noise taken off its diagonal: it need not be exactly symmetric or semidefinite,
only within `tolerance` of it. Squared distances below the rounding of their terms count as 0.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from robust.errors import ObservationError, require
from robust.observe import Array

__all__ = ["Gram"]

_MOST = 1e200
"""Of an entry: products of a few entries of weights and one of G stay finite."""

_TINY = float(np.finfo(np.float64).tiny)

_ROUNDING = 16 * float(np.finfo(np.float64).eps)
"""Of a squared distance, relative to the squared norms that it is computed from."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Gram:
    """A checked Gram matrix.

    Attributes
    ----------
    values: (n + r, n + r) float64, made symmetric, copied and read-only; n >= 1.
    public: r >= 0, how many of the last rows are public vectors.
    tolerance: relative to the largest diagonal entry, how far G may be from symmetric, and its
        least eigenvalue from 0; 0 <= tolerance < 1. Negative squares count as 0 everywhere.

    Raises `ParameterError` for a tolerance outside its range, `ObservationError` for everything
    that is wrong with a matrix. Checking takes its eigenvalues: about 0.1 s for 1000 clients.
    """

    values: Array
    public: int = 0
    tolerance: float = 1e-6

    def __post_init__(self) -> None:
        require(0 <= self.tolerance < 1, f"0 <= tolerance < 1, here {self.tolerance},")
        values = _square(self.values)
        whole = isinstance(self.public, int) and not isinstance(self.public, bool)
        if not whole or not 0 <= self.public < len(values):
            raise ObservationError(
                f"0 <= public < {len(values)} rows must hold for an integer, got {self.public!r}"
            )
        room = self.tolerance * float(values.diagonal().max(initial=0.0))
        if float(np.abs(values - values.T).max()) > room:
            raise ObservationError(f"|G - G^T| <= {room:g} must hold in every entry")
        values = (values + values.T) / 2
        # an exact Gram matrix of few vectors has least eigenvalues of rounding, on either side of 0
        rounding = len(values) * _ROUNDING * float(np.abs(values).max()) + _TINY
        if float(np.linalg.eigvalsh(values)[0]) < -room - rounding:
            raise ObservationError(f"the least eigenvalue of G must be at least {-room:g}")
        values.setflags(write=False)
        object.__setattr__(self, "values", values)

    @classmethod
    def of(cls, rows: Array, public: Array | None = None) -> Gram:
        """Of `rows` (n, k), one a client, and of `public` (r, k) or (k,), under the same map.

        Raises `ObservationError` for rows that are not finite, or of different lengths.
        """
        known = np.empty((0, *np.shape(rows)[1:])) if public is None else np.atleast_2d(public)
        parts = [np.asarray(part, dtype=np.float64) for part in (rows, known)]
        if any(part.ndim != 2 for part in parts) or parts[0].shape[1] != parts[1].shape[1]:
            raise ObservationError("rows (n, k) and public (r, k) must have one k")
        if not all(bool((np.abs(part) <= np.sqrt(_MOST)).all()) for part in parts):
            raise ObservationError(f"rows must be finite and at most {np.sqrt(_MOST):g}")
        together = np.concatenate(parts)
        return cls(values=together @ together.T, public=len(known))

    @property
    def clients(self) -> int:
        """Number n of clients."""
        return len(self.values) - self.public

    @cached_property
    def squared_norms(self) -> Array:
        """(n + r,)."""
        return _frozen(np.maximum(self.values.diagonal(), 0.0))

    @cached_property
    def norms(self) -> Array:
        """(n + r,)."""
        return _frozen(np.sqrt(self.squared_norms))

    @cached_property
    def squared_distances(self) -> Array:
        """(n + r, n + r), 0 on the diagonal."""
        squares = self.squared_norms
        sums = squares[:, None] + squares
        found = sums - 2 * self.values
        found[found <= _ROUNDING * sums] = 0.0
        np.fill_diagonal(found, 0.0)
        return _frozen(found)

    @cached_property
    def cosines(self) -> Array:
        """(n + r, n + r) in [-1, 1], 1 on the diagonal; 0 between a zero vector and any other."""
        # dividing in two steps: a product of norms could overflow or vanish where the ratio is tame
        safe = np.where(self.norms > 0, self.norms, 1.0)
        found = np.clip(self.values / safe[:, None] / safe, -1.0, 1.0)
        found[self.norms == 0] = 0.0
        found[:, self.norms == 0] = 0.0
        np.fill_diagonal(found, 1.0)
        return _frozen(found)

    def distances_to(self, coefficients: Array) -> Array:
        """(n + r,), |u_i - sum_j c_j u_j| for `coefficients` c (n + r,) of any sum.

        Computed from squared distances, with the origin as one more point of coefficient 1 - sum c:
        for a combination near the updates nothing as large as their norms cancels.
        """
        c = np.asarray(coefficients, dtype=np.float64)
        if c.shape != (len(self.values),) or not bool(np.isfinite(c).all()):
            raise ObservationError(f"coefficients must be {len(self.values)} finite numbers")
        rest = 1.0 - float(c.sum())
        if abs(rest) <= _ROUNDING * len(c):
            rest = 0.0
        to_points = self.squared_distances @ c + rest * self.squared_norms
        spread = float(c @ to_points + rest * (c @ self.squared_norms)) / 2
        return np.sqrt(np.maximum(to_points - spread, 0.0))

    def mixed(self, matrix: Array) -> Gram:
        """Of the vectors sum_j matrix_ij u_j, one a row of `matrix` (m, n), and the public ones."""
        m = np.asarray(matrix, dtype=np.float64)
        if m.ndim != 2 or m.shape[1] != self.clients or len(m) == 0:
            raise ObservationError(f"a mixing matrix must have shape (m, {self.clients}), m >= 1")
        full = np.zeros((len(m) + self.public, len(self.values)))
        full[: len(m), : self.clients] = m
        full[len(m) :, self.clients :] = np.eye(self.public)
        return self._derived(full @ self.values @ full.T)

    def _derived(self, values: Array) -> Gram:
        """Without the checks: what cancels in a mixture leaves rounding, of any sign."""
        found = object.__new__(Gram)
        object.__setattr__(found, "values", _frozen((values + values.T) / 2))
        object.__setattr__(found, "public", self.public)
        object.__setattr__(found, "tolerance", self.tolerance)
        return found


def _square(values: object) -> Array:
    found = np.asarray(values)
    if found.dtype.kind not in "fiu" or found.ndim != 2 or found.shape[0] != found.shape[1]:
        raise ObservationError(f"G must be a square real matrix, got {found.dtype} {found.shape}")
    if len(found) == 0 or not bool((np.abs(found) <= _MOST).all()):
        raise ObservationError(f"G must have finite entries, at most {_MOST:g}, and a row")
    return found.astype(np.float64)


def _frozen(array: Array) -> Array:
    array.setflags(write=False)
    return array
