"""Nearest-neighbor mixing before another rule [Allouah23].

Every update is replaced by the mean of the n - f updates nearest to it, itself among them; a base
rule then weighs the mixtures. A mixture is linear in the updates, so the weights of both compose:
M transposed, times the weights of the base for the Gram matrix of the mixtures. Mixing shrinks the
spread of honest updates on differing data, on which base rules otherwise break.

[Allouah23]  Allouah, Farhadkhani, Guerraoui, Gupta, Pinot, Stephan: Fixing by Mixing: A Recipe for
             Optimal Byzantine ML under Heterogeneity, AISTATS 2023.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from robust.errors import require
from robust.gram import Gram
from robust.observe import Array
from robust.weigh import Weigher, check_corrupt, check_count, lowest

__all__ = ["NearestNeighborMixing", "mixing_matrix"]


@dataclass(frozen=True, kw_only=True)
class NearestNeighborMixing(Weigher):
    """NNM, then `base`; weights sum to what those of `base` sum to.

    Attributes
    ----------
    corrupt: f >= 0; n > 2f must hold. With f = 0 every mixture is the mean.
    base: the rule for the mixtures; it gets the public rows unmixed.
    """

    name: ClassVar[str] = "nearest_neighbor_mixing"

    corrupt: int
    base: Weigher

    def __post_init__(self) -> None:
        check_count("corrupt", self.corrupt)
        require(isinstance(self.base, Weigher), "base: a Weigher")

    def weigh(self, gram: Gram) -> Array:
        """The weights of `base`, pulled back through the mixing."""
        mixing = mixing_matrix(gram, self.corrupt)
        found = self.base.weigh(gram.mixed(mixing))
        n = gram.clients
        return np.concatenate([mixing.T @ found[:n], found[n:]])


def mixing_matrix(gram: Gram, corrupt: int) -> Array:
    """(n, n), row i equal on the n - f nearest to client i; those tied for the last place share it.

    Raises `ObservationError` unless n > 2f, or f = 0.
    """
    check_corrupt(gram, corrupt)
    n = gram.clients
    return lowest(gram.squared_distances[:n, :n], n - corrupt)
