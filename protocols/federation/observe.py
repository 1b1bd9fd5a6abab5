"""Sketches of a round, made in the clear: for the development of detectors.

A real round opens the same numbers out of masked updates, up to its quantization. Rows estimate
inner products without bias: for a projection P, E[<P u, P v>] = <u, v>.

[Charikar02]  Charikar, Chen, Farach-Colton: Finding Frequent Items in Data Streams, ICALP 2002.
"""

from __future__ import annotations

import numpy as np

from protocols.federation.federation import RoundData
from robust.observe import Array, Public, Sketches
from secagg.errors import ParameterError

__all__ = ["count_sketch", "gaussian", "known", "sketched"]


def gaussian(rows: int, size: int, rng: np.random.Generator) -> Array:
    """(k, d), entries N(0, 1/k). Raises `ParameterError` unless k >= 1 and d >= 1."""
    _require(rows, size)
    return rng.normal(0, rows**-0.5, (rows, size))


def count_sketch(rows: int, size: int, rng: np.random.Generator) -> Array:
    """(k, d) with one entry +-1 in each column [Charikar02]; as exact, and d additions to apply.

    Raises `ParameterError` unless k >= 1 and d >= 1.
    """
    _require(rows, size)
    matrix = np.zeros((rows, size))
    matrix[rng.integers(rows, size=size), np.arange(size)] = rng.choice([-1.0, 1.0], size)
    return matrix


def known(data: RoundData, window: int = 6) -> list[Array]:
    """What a client without data could send: the last `window` global updates, the weights that
    clients started from, and the perturbation of an audit.

    Raises `ParameterError` unless window >= 0.
    """
    if window < 0:
        raise ParameterError(f"window >= 0 must hold, got {window}")
    last = data.history[max(len(data.history) - window, 0) :]
    audit = [] if data.perturbation is None else [data.perturbation]
    return [*last, data.weights, *audit]


def sketched(data: RoundData, projection: Array, *, window: int = 6) -> Sketches:
    """What a server sees of this round through a projection (k, d).

    Public vectors are those that are `known`. Raises `ParameterError` unless window >= 0.
    """
    public = Public(
        known=np.array(known(data, window)) @ projection.T,
        root=projection @ data.root,
        classes=data.classes @ projection.T,
    )
    return Sketches(
        number=data.number,
        clients=data.clients,
        rows=data.updates @ projection.T,
        public=public,
    )


def _require(rows: int, size: int) -> None:
    if rows < 1 or size < 1:
        raise ParameterError(f"k >= 1 and d >= 1 must hold, got {rows}, {size}")
