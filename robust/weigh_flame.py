"""FLAME: the majority cluster by angle, clipped to the median norm [Nguyen22].

HDBSCAN on cosine distances with a least cluster of floor(n/2) + 1 finds at most one cluster, that
of the majority; everybody else is left out. Those kept are clipped to the median of all norms:

    w_i = min(1, median / |u_i|) / (number of clients kept)

so the weights sum to at most 1, and a kept client that is not clipped has 1/kept. The third part of
FLAME, Gaussian noise on the aggregate, is not a weight: noise belongs to the mechanism that sums.

Differences. [Nguyen22] clusters the angles between local *models*, here between whatever the Gram
matrix is of; to have theirs, add the global model's row to every client's. Where HDBSCAN finds no
majority all weights are 0, and the round has no aggregate; [Nguyen22] leaves that case open.
Clustering breaks exact ties by position, unlike the other rules.

Needs scikit-learn, the extra `robust`.

[Nguyen22]  Nguyen, Rieger, Chen, Yalame, Möllering, Fereidooni, Marchal, Miettinen, Mirhoseini,
            Zeitouni, Koushanfar, Sadeghi, Schneider: FLAME: Taming Backdoors in Federated Learning,
            USENIX Security 2022.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import numpy.typing as npt

from robust.gram import Gram
from robust.observe import Array
from robust.weigh import Weigher, on_clients

__all__ = ["Flame", "majority_cluster"]


@dataclass(frozen=True, kw_only=True)
class Flame(Weigher):
    """Clustering and clipping of FLAME; weights sum to at most 1. It has no parameter."""

    name: ClassVar[str] = "flame"

    def weigh(self, gram: Gram) -> Array:
        """Weights as above. `ImportError` without scikit-learn."""
        kept = majority_cluster(gram)
        norms = gram.norms[: gram.clients]
        median = float(np.median(norms))
        clipped = median / np.maximum(norms, median) if median > 0 else (norms == 0).astype(float)
        return on_clients(gram, kept * clipped / max(int(kept.sum()), 1))


def majority_cluster(gram: Gram) -> npt.NDArray[np.bool_]:
    """(n,), who is in the cluster of more than n/2 clients; nobody where there is none."""
    n = gram.clients
    if n == 1:
        return np.ones(1, dtype=np.bool_)
    distances = np.maximum(1.0 - gram.cosines[:n, :n], 0.0)
    labels = _hdbscan(distances, n // 2 + 1)
    kept: npt.NDArray[np.bool_] = labels == 0
    return kept


def _hdbscan(distances: Array, least: int) -> npt.NDArray[np.int64]:
    try:
        from sklearn.cluster import HDBSCAN  # noqa: PLC0415  # `import robust` must not need it
    except ImportError as error:
        raise ImportError("Flame needs scikit-learn: pip install 'secagg[robust]'") from error
    clusters = HDBSCAN(
        min_cluster_size=least,
        min_samples=1,
        metric="precomputed",
        allow_single_cluster=True,
        copy=True,
    )
    return np.asarray(clusters.fit_predict(distances), dtype=np.int64)
