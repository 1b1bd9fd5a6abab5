"""FoolsGold: clients that resemble each other too much lose weight [Fung20].

Sybils that share an objective send updates at small angles. With cs_ij the cosine of clients i and
j and v_i = max_j cs_ij,

    pardon     cs_ij <- cs_ij v_i / v_j  where v_j > v_i
    weight     a_i = 1 - max_j cs_ij, divided by the largest of them
    contrast   a_i <- confidence (ln(a_i / (1 - a_i)) + 1/2), clipped to [0, 1]

It needs no bound on the number of sybils, and nothing else: honest clients with like data are
punished too, and a lone attacker, unlike everybody, gets the full weight. Do not use it alone.

What it cannot do here. [Fung20] takes cosines of the *sums of all past updates* of each client. The
Gram matrix of sums has terms <u_i of round s, u_j of round t>, which sketches give only if both
rounds use one map. This library draws a fresh map every round, after the updates are committed, for
who knows the map hides in its null space. So sums over rounds are out of reach, and what is
offered is the rule on the Gram matrix of one round, or on the sum over rounds of the Gram matrices
of the same clients: that is the Gram matrix of each client's updates *laid end to end*, compares
round with round, and is fine with a fresh map each time. A sybil whose updates agree with the
others' only in sum escapes both. `History` is for those who keep one map and accept that attackers
learn it.

[Fung20]  Fung, Yoon, Beschastnikh: The Limitations of Federated Learning in Sybil Settings, RAID
          2020.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from types import MappingProxyType
from typing import ClassVar, Self

import numpy as np

from robust.errors import ObservationError
from robust.gram import Gram
from robust.observe import Array
from robust.weigh import Weigher, check_positive, on_clients

__all__ = ["FoolsGold", "History"]


@dataclass(frozen=True, kw_only=True)
class FoolsGold(Weigher):
    """The learning rates of FoolsGold, over n: at most 1/n each, so they sum to at most 1.

    Where all clients are alike all weights are 0. Negative cosines count as 0: they are no sign of
    a shared objective, and a pardon is then a factor in [0, 1].

    Attributes
    ----------
    confidence: > 0, kappa of [Fung20].
    """

    name: ClassVar[str] = "foolsgold"

    confidence: float = 1.0

    def __post_init__(self) -> None:
        check_positive("confidence", self.confidence)

    def weigh(self, gram: Gram) -> Array:
        """Weights as above, for the Gram matrix of one round, of `History`, or a sum of them."""
        n = gram.clients
        cosines = np.maximum(gram.cosines[:n, :n], 0.0)
        np.fill_diagonal(cosines, 0.0)
        distinct = 1.0 - _pardoned(cosines).max(axis=1)
        largest = float(distinct.max())
        if largest <= 0:
            return on_clients(gram, np.zeros(n))
        with np.errstate(divide="ignore"):  # the logit of 0 and of 1 is infinite, and then clipped
            share = np.clip(distinct / largest, 0.0, 1.0)
            contrast = self.confidence * (np.log(share) - np.log1p(-share) + 0.5)
        return on_clients(gram, np.clip(contrast, 0.0, 1.0) / n)


@dataclass(frozen=True, kw_only=True, eq=False)
class History:
    """Sums of each client's rows under ONE map that never changes; see above for what that costs.

    Attributes
    ----------
    size: k >= 1, the numbers in a row.
    sums: client -> (k,), read-only.
    """

    size: int
    sums: Mapping[int, Array] = field(default_factory=dict)

    def __post_init__(self) -> None:
        object.__setattr__(self, "sums", MappingProxyType(dict(self.sums)))

    def after(self, clients: Sequence[int], rows: Array) -> Self:
        """The history with `rows` (n, k) of `clients`, strictly ascending, added.

        Raises `ObservationError` for rows that are not finite or of another shape.
        """
        found = np.asarray(rows, dtype=np.float64)
        if not all(a < b for a, b in pairwise(clients)):
            raise ObservationError("clients must be strictly ascending")
        if found.shape != (len(clients), self.size) or not bool(np.isfinite(found).all()):
            raise ObservationError(f"rows must be finite, of shape ({len(clients)}, {self.size})")
        sums = dict(self.sums)
        for client, row in zip(clients, found, strict=True):
            sums[client] = sums.get(client, 0.0) + row
        return type(self)(size=self.size, sums=sums)

    def gram(self, clients: Sequence[int]) -> Gram:
        """Of the sums of `clients`. `ObservationError` for one who has none."""
        missing = [client for client in clients if client not in self.sums]
        if missing or not clients:
            raise ObservationError(f"a history must exist for each client, none for {missing[:5]}")
        return Gram.of(np.stack([self.sums[client] for client in clients]))


def _pardoned(cosines: Array) -> Array:
    most = cosines.max(axis=1)
    ratio = most[:, None] / np.where(most > 0, most, 1.0)
    pardoned: Array = cosines * np.minimum(ratio, 1.0)
    return pardoned
