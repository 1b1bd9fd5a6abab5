"""Krum and Multi-Krum: who has the nearest neighbors [Blanchard17].

The score of client i is the sum of its squared distances to the n - f - margin nearest others,
f = `corrupt`. Krum takes the lowest score, Multi-Krum the mean over the `keep` lowest.

Variants. [Blanchard17] counts n - f - 2 others and demands n > 2f + 2: margin 2, the default. Later
work, ByzFL [Gonzalez25] among it, counts n - f - 1 others and demands n > 2f: margin 1.
[Blanchard17] gives a tie to the smallest identifier; here those tied share the weight, and their
mean is as near to the honest updates as either. With n = f + margin + 1 a tie is the rule: the two
nearest clients have the same score. [Blanchard17] leaves open how many Multi-Krum keeps; the
default is n - f, as in ByzFL.

Known weakness: a client that replays a public update lies near the mean and scores better than
honest ones; Krum on label-skewed data selects few of the labels.

[Blanchard17]  Blanchard, El Mhamdi, Guerraoui, Stainer: Machine Learning with Adversaries:
               Byzantine Tolerant Gradient Descent, NeurIPS 2017.
[Gonzalez25]   González, Guerraoui, Pinot, Rizk, Stephan, Taïani: ByzFL: Research Framework for
               Robust Federated Learning, arXiv 2505.24802.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from robust.errors import ObservationError, require
from robust.gram import Gram
from robust.observe import Array
from robust.weigh import Weigher, check_corrupt, check_count, lowest, on_clients

__all__ = ["Krum", "MultiKrum", "krum_scores"]


@dataclass(frozen=True, kw_only=True)
class Krum(Weigher):
    """The one client with the lowest score; weight 1.

    Attributes
    ----------
    corrupt: f >= 0, the clients that may send anything.
    margin: 1 or 2, see above.
    """

    name: ClassVar[str] = "krum"

    corrupt: int
    margin: int = 2

    def __post_init__(self) -> None:
        check_count("corrupt", self.corrupt)
        require(self.margin in {1, 2}, f"1 <= margin <= 2, here {self.margin},")

    def weigh(self, gram: Gram) -> Array:
        """1 on the client with the lowest score, shared by those tied."""
        return on_clients(gram, lowest(krum_scores(gram, self.corrupt, self.margin), 1))


@dataclass(frozen=True, kw_only=True)
class MultiKrum(Weigher):
    """The mean of the clients with the lowest scores.

    Attributes
    ----------
    corrupt, margin: as of `Krum`.
    keep: how many clients, >= 1; n - f if None.
    """

    name: ClassVar[str] = "multi_krum"

    corrupt: int
    keep: int | None = None
    margin: int = 2

    def __post_init__(self) -> None:
        Krum(corrupt=self.corrupt, margin=self.margin)
        if self.keep is not None:
            check_count("keep", self.keep, 1)

    def weigh(self, gram: Gram) -> Array:
        """1/keep on each of the `keep` lowest scores. `ObservationError` where keep > n - f."""
        scores = krum_scores(gram, self.corrupt, self.margin)
        honest = gram.clients - self.corrupt
        keep = honest if self.keep is None else self.keep
        if keep > honest:
            raise ObservationError(f"keep <= n - corrupt must hold, got {keep} > {honest}")
        return on_clients(gram, lowest(scores, keep))


def krum_scores(gram: Gram, corrupt: int, margin: int = 2) -> Array:
    """(n,), the sum of squared distances to the max(n - f - margin, 0) nearest other clients.

    Raises `ObservationError` unless n > 2f + 2 (margin 2), n > 2f (margin 1), or f = 0.
    """
    check_corrupt(gram, corrupt, 2 if margin == 2 else 0)
    n = gram.clients
    near = np.sort(gram.squared_distances[:n, :n], axis=1)  # the first is the client itself
    scores: Array = near[:, 1 : 1 + max(n - corrupt - margin, 0)].sum(axis=1)
    return scores
