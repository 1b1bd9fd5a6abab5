"""Rules that look along the direction in which updates vary most: DnC and CAF.

The centered updates' top singular vector need not be known: the projections on it are, up to a
factor, the top eigenvector of the centered Gram matrix.

DnC [Shejwalkar21] scores client i by <u_i - mean, v>^2 for the top singular vector v, drops the
`drop` * f highest scores, and takes the mean of the rest. The paper repeats that on random subsets
of coordinates and keeps who survives all; a Gram matrix has no coordinates, so here is one
iteration on all of them. Attackers in several directions hide behind the strongest of them.

CAF [Allouah25] repeats: take the weighted mean and the top direction v of the weighted covariance,
and multiply the weight of client i by 1 - t_i / max t with t_i = <u_i - mean, v>^2, until a total
of n - 2f is left or less. Of all the means it has met it returns the one whose covariance had the
least top eigenvalue. It needs no bound on the covariance of honest updates. The maximum is over
clients whose weight is not yet 0, so every step removes one; over all of them, as in ByzFL, a
far client of weight 0 keeps every other factor near 1, and the loop all but stops.

[Shejwalkar21]  Shejwalkar, Houmansadr: Manipulating the Byzantine: Optimizing Model Poisoning
                Attacks and Defenses for Federated Learning, NDSS 2021.
[Allouah25]     Allouah, Guerraoui, Stephan: Towards Trustworthy Federated Learning with Untrusted
                Participants, ICML 2025.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from robust.errors import ObservationError, require
from robust.gram import Gram
from robust.observe import Array
from robust.weigh import Weigher, check_corrupt, check_count, lowest, on_clients

__all__ = ["CovarianceFilter", "DivideAndConquer", "spectral_scores"]

_SAME = 1e-9
"""Eigenvalues so near the top one, relative to it, share its space; any basis of it is as good."""


@dataclass(frozen=True, kw_only=True)
class DivideAndConquer(Weigher):
    """DnC in one iteration: the mean without the highest scores.

    Attributes
    ----------
    corrupt: f >= 0.
    drop: ceil(drop * f) clients are left out, 0 < drop; fewer than n must be.
    """

    name: ClassVar[str] = "divide_and_conquer"

    corrupt: int
    drop: float = 1.0

    def __post_init__(self) -> None:
        check_count("corrupt", self.corrupt)
        require(0 < self.drop <= 2, f"0 < drop <= 2, here {self.drop},")

    def weigh(self, gram: Gram) -> Array:
        """Equal on those kept."""
        check_corrupt(gram, self.corrupt)
        keep = gram.clients - math.ceil(self.drop * self.corrupt)
        if keep < 1:
            raise ObservationError(f"drop * corrupt < n must hold, got n = {gram.clients}")
        return on_clients(gram, lowest(spectral_scores(gram), keep))


@dataclass(frozen=True, kw_only=True)
class CovarianceFilter(Weigher):
    """CAF: down-weights along the top direction until the covariance is least.

    Attributes
    ----------
    corrupt: f >= 0; n > 2f must hold. Takes up to n eigendecompositions of (n, n).
    """

    name: ClassVar[str] = "covariance_filter"

    corrupt: int

    def __post_init__(self) -> None:
        check_count("corrupt", self.corrupt)

    def weigh(self, gram: Gram) -> Array:
        """Weights of the mean with the least top eigenvalue."""
        check_corrupt(gram, self.corrupt)
        n = gram.clients
        kept = np.ones(n)
        best, least = kept, math.inf
        while float(kept.sum()) > n - 2 * self.corrupt or least == math.inf:
            top, scores = _along_top(gram.values[:n, :n], kept)
            if top < least:
                best, least = kept, top
            # among those still kept: a far client with weight 0 would stall everything else
            largest = float(scores[kept > 0].max())
            if largest <= 0:
                break
            kept = kept * np.maximum(1.0 - scores / largest, 0.0)  # one more weight becomes 0
            if float(kept.sum()) <= 0:
                break
        return on_clients(gram, best / best.sum())


def spectral_scores(gram: Gram) -> Array:
    """(n,), <u_i - mean, v>^2 for the direction v in which the clients vary most.

    Where several directions vary equally, the sum over them: it does not depend on a basis.
    """
    n = gram.clients
    return _along_top(gram.values[:n, :n], np.ones(n))[1]


def _along_top(values: Array, kept: Array) -> tuple[float, Array]:
    """The top eigenvalue of the covariance with weights `kept`, and (n,) squared projections.

    With K the centered Gram matrix, s = kept / total and S = diag(sqrt s), eigenvectors q of S K S
    stand for directions v = sum_j sqrt(s_j) q_j (u_j - mean) / sqrt(top), so
    <u_i - mean, v> = (K S q)_i / sqrt(top).
    """
    share = kept / kept.sum()
    across = values @ share
    centered = values - across[:, None] - across + share @ across
    root = np.sqrt(share)
    eigenvalues, vectors = np.linalg.eigh(root[:, None] * centered * root)
    top = float(eigenvalues[-1])
    if top <= _SAME**2 * float(np.abs(values.diagonal()).max()):  # nothing but rounding is left
        return max(top, 0.0), np.zeros(len(values))
    space = vectors[:, eigenvalues >= top * (1 - _SAME)]
    projections = centered @ (root[:, None] * space)
    return top, (projections**2).sum(axis=1) / top
