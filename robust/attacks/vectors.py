"""Rows of given length and direction."""

from __future__ import annotations

import numpy as np

from robust.observe import Array

__all__ = ["directions", "lengths", "stretched", "turned", "units"]


def lengths(rows: Array) -> Array:
    """Euclidean norms, (m, 1)."""
    norms: Array = np.linalg.norm(rows, axis=1, keepdims=True)
    return norms


def units(rows: Array) -> Array:
    """Rows of length 1, (m, d); a row of zeros stays one."""
    norms = lengths(rows)
    return np.divide(rows, norms, out=np.zeros_like(rows), where=norms > 0)


def stretched(rows: Array, norm: Array | float) -> Array:
    """The same directions with this length, (m, d); `norm` is one number or (m, 1)."""
    return units(rows) * norm


def directions(shape: tuple[int, int], rng: np.random.Generator) -> Array:
    """Independent directions, uniform on the sphere, (m, d)."""
    return units(rng.standard_normal(shape))


def turned(towards: Array, others: Array, cosine: Array | float) -> Array:
    """Unit rows at this cosine from `towards`, in the half-planes that `others` span with it.

    towards: (d,); where it is zero, the directions of `others` (m, d) are the answer.
    cosine: in [-1, 1].
    """
    (axis,) = units(towards[None])
    if not axis.any():
        return units(others)
    away = units(others - np.outer(others @ axis, axis))
    rows: Array = cosine * axis + np.sqrt(1 - np.square(cosine)) * away
    return rows
