"""Robust aggregation as public weights, computed from inner products alone.

Many robust rules return a linear combination of the updates whose coefficients depend on nothing
but their inner products. Such a rule splits in two: whoever holds the Gram matrix computes the
coefficients, and a secure sum adds the updates, each multiplied by its public coefficient. Nobody
sees an update. `Weigher` is the first half.

What this reveals beyond the aggregate is the weights: who was left out, or how far somebody was
from the rest. What it does not give: coordinate-wise rules (median, trimmed mean, Bulyan) do not
depend on inner products alone and cannot be written so.

A secure sum is over integers: `as_integers` rounds weights to small multipliers, `scale` is what
the sum is divided by afterwards.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import numpy.typing as npt

from robust.errors import ObservationError, require
from robust.gram import Gram
from robust.observe import Array

__all__ = [
    "Mean",
    "Weigher",
    "as_integers",
    "capped",
    "check_corrupt",
    "check_count",
    "check_positive",
    "lowest",
    "on_clients",
    "scale",
]

_TIE = 1e-9
"""Scores so near the last one kept, relative to it, count as equal to it."""

_MOST_MULTIPLIER = 1 << 32
_LEAST_WEIGHT = 1e-200  # below it a weight counts as 0: its inverse could be infinite


class Weigher(ABC):
    """A rule that turns a Gram matrix into weights.

    Implementations are frozen dataclasses of their public parameters. A rule is a function: it
    keeps nothing between rounds. It treats clients alike (permuting them permutes the weights; ties
    are shared and not broken by position) and looks at angles and lengths only.
    """

    name: ClassVar[str]

    @abstractmethod
    def weigh(self, gram: Gram) -> Array:
        """(n + r,) float64 >= 0: the aggregate is sum_i w_i u_i over clients and public rows.

        Weights sum to 1 unless the class says otherwise; without public rows they are (n,). Public
        rows that a rule does not use have weight 0.

        Raises `ObservationError` where the matrix has too few clients or rows for the parameters.
        """


@dataclass(frozen=True, kw_only=True)
class Mean(Weigher):
    """The plain mean, robust against nothing: the base to compare and to compose with."""

    name: ClassVar[str] = "mean"

    def weigh(self, gram: Gram) -> Array:
        """All 1/n."""
        return on_clients(gram, np.full(gram.clients, 1.0 / gram.clients))


def lowest(scores: Array, count: int) -> Array:
    """Weights (..., n) that sum to 1, equal on the `count` lowest of `scores` (..., n).

    Those tied with the last one share what is left, so that no client gains by its position.
    """
    cut = np.sort(scores, axis=-1)[..., count - 1 : count]
    room = _TIE * np.abs(cut)
    below = scores < cut - room
    tied = ~below & (scores <= cut + room)
    left = count - below.sum(axis=-1, keepdims=True)
    weights: Array = (below + tied * (left / tied.sum(axis=-1, keepdims=True))) / count
    return weights


def on_clients(gram: Gram, weights: Array) -> Array:
    """`weights` (n,) with 0 for every public row: (n + r,)."""
    return np.concatenate([weights, np.zeros(gram.public)])


def check_corrupt(gram: Gram, corrupt: int, margin: int = 0) -> None:
    """Refuses a Gram matrix unless n > 2 corrupt + margin, or nobody is corrupt."""
    if corrupt and gram.clients <= 2 * corrupt + margin:
        raise ObservationError(
            f"n > 2 corrupt + {margin} must hold, got {gram.clients} clients and {corrupt} corrupt"
        )


def check_count(name: str, value: int, least: int = 0) -> None:
    """Refuses, with `ParameterError`, what is not an integer of at least `least`."""
    whole = isinstance(value, int) and not isinstance(value, bool)
    require(whole and value >= least, f"{name} >= {least}, an integer, here {value!r},")


def check_positive(name: str, value: float) -> None:
    """Refuses, with `ParameterError`, what is not a positive and finite number."""
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    require(number and 0 < value < float("inf"), f"0 < {name} < infinity, here {value!r},")


def scale(weights: Array, most: int) -> float:
    """What to divide a sum with multipliers `as_integers(weights, most)` by: most / max(weights).

    1.0 where all weights are 0.

    Raises as `as_integers`.
    """
    largest = float(_checked(weights, most).max())
    return most / largest if largest > 0 else 1.0


def as_integers(weights: Array, most: int) -> npt.NDArray[np.int64]:
    """Multipliers (n,) int64 in 0 ... `most`: weights times `scale(weights, most)`, rounded.

    With m the multipliers and s the scale, |m_i / s - w_i| <= max(w) / (2 most) for each client,
    so the aggregate is off by at most n max(w) / (2 most) times the largest norm. The error is 0
    for weights that are all equal or 0 (a selection), already with most = 1. A client's part of the
    sum has norm at most `most` times its clip: a ring needs log2(most) more bits than for a plain
    sum. A weight below max(w) / (2 most) becomes 0.

    Raises `ParameterError` unless 1 <= most <= 2**32, `ObservationError` for weights that are not a
    vector of finite numbers >= 0.
    """
    checked = _checked(weights, most)
    largest = float(checked.max())
    return np.rint(checked / largest * most if largest > 0 else checked).astype(np.int64)


def capped(weights: Array, most: int, least: int) -> Array:
    """(n,), `weights` with none above `most` times the `least`-th largest, or times the least one
    above 0 where fewer are.

    Of these, `as_integers` makes at least `least` multipliers above 0, if there are so many weights
    above 0. In proportion to the largest alone it need not: where a rule gives weight by the
    inverse of a length, as `FLTrust` does, one client with a tiny update would turn the multipliers
    of all others into 0.

    Raises `ParameterError` unless 1 <= least <= n, and as `as_integers`.
    """
    checked = _checked(weights, most)
    check_count("least", least, 1)
    require(least <= len(checked), f"least <= {len(checked)} clients, here {least},")
    above = np.sort(checked[checked > 0])[-least:]
    return np.minimum(checked, most * above[0]) if len(above) else checked


def _checked(weights: Array, most: int) -> Array:
    check_count("most", most, 1)
    require(most <= _MOST_MULTIPLIER, f"most <= 2**32, here {most},")
    found = np.asarray(weights, dtype=np.float64)
    if found.ndim != 1 or len(found) == 0:
        raise ObservationError(f"weights must have shape (n,), n >= 1, got {found.shape}")
    if not bool((np.isfinite(found) & (found >= 0)).all()):
        raise ObservationError("weights must be finite and >= 0")
    return np.where(found < _LEAST_WEIGHT, 0.0, found)
