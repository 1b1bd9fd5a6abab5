"""FLTrust: trust by the angle to the server's own update [Cao21].

    trust_i = max(0, cos(u_i, root)),   w_i = trust_i / (sum of trusts) * |root| / |u_i|

where `root` is the update that the server trains on its own small root set. Every update counts
with the length of the root's. The root set decides what is trusted: a server with unsuitable data
trusts the wrong clients, and an attacker that agrees with the root on its data passes.

[Cao21]  Cao, Fang, Liu, Gong: FLTrust: Byzantine-robust Federated Learning via Trust
         Bootstrapping, NDSS 2021.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from robust.errors import ObservationError
from robust.gram import Gram
from robust.observe import Array
from robust.weigh import Weigher, check_count, on_clients

__all__ = ["FLTrust"]


@dataclass(frozen=True, kw_only=True)
class FLTrust(Weigher):
    """Trust scores, times what brings each update to the length of the root's.

    The sum of the weights is not 1: the weight of a short update exceeds its trust, without bound.
    Who makes integers of them caps them first, see `robust.weigh.capped`. Where no client has a
    positive trust all weights are 0, and the round has no aggregate; [Cao21] leaves that case open.
    The root's own weight is 0.

    Attributes
    ----------
    root: which public row is the server's update.
    """

    name: ClassVar[str] = "fltrust"

    root: int = 0

    def __post_init__(self) -> None:
        check_count("root", self.root)

    def weigh(self, gram: Gram) -> Array:
        """Weights as above. `ObservationError` without the row of the root, or where it is 0."""
        if self.root >= gram.public:
            raise ObservationError(
                f"root < public rows must hold, got {self.root} of {gram.public}"
            )
        n, row = gram.clients, gram.clients + self.root
        length = float(gram.norms[row])
        if length == 0:
            raise ObservationError("the update of the root set must not be 0")
        trust = np.maximum(gram.cosines[row, :n], 0.0)  # 0 for an update of length 0
        total = float(trust.sum())
        if total == 0:
            return on_clients(gram, trust)
        lengths = np.where(gram.norms[:n] > 0, gram.norms[:n], 1.0)
        return on_clients(gram, trust / total * (length / lengths))
