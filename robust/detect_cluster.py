"""Cluster: who is not in the majority cluster of directions, as in FLAME [Nguyen22].

Experimental. Needs scikit-learn, of the extra `robust`, which is imported at the first use.

[Nguyen22]  Nguyen et al.: FLAME: Taming Backdoors in Federated Learning, USENIX Security 2022.
[Campello13]  Campello, Moulavi, Sander: Density-Based Clustering Based on Hierarchical Density
              Estimates, PAKDD 2013.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from robust.detect import Abstained, Detector, Reason, Scores
from robust.features import cosine_matrix
from robust.observe import Array, Sketches

__all__ = ["Cluster"]


@dataclass(frozen=True, kw_only=True)
class Cluster(Detector[Sketches]):
    """HDBSCAN [Campello13] on cosine distances, with a cluster of more than half of the clients.

    suspicion: 1 outside of it and 0 inside, plus (1 - mean cosine with its members)/2, which
    orders clients that are on one side. Figures, (n,): `outside`, 1 or 0; `cosine`, that mean.

    Abstains: TOO_FEW_CLIENTS below 4, NO_VARIATION where all rows are zero or there is no cluster.

    Raises `ImportError`, which names the extra, where scikit-learn is not installed.
    """

    name: ClassVar[str] = "cluster"
    sees: ClassVar[type[Sketches]] = Sketches

    def score(self, seen: Sketches) -> Scores | Abstained:
        """Who is outside, and how far."""
        n = len(seen.clients)
        if n < 4:
            return self.abstain(Reason.TOO_FEW_CLIENTS)
        if not seen.rows.any():
            return self.abstain(Reason.NO_VARIATION)
        cosines = cosine_matrix(seen.rows)
        labels = _labels(1.0 - cosines)
        inside = labels >= 0  # more than half in each: there is one cluster at most
        if not inside.any():
            return self.abstain(Reason.NO_VARIATION)
        cosine = cosines[:, inside].mean(axis=1)
        outside = np.where(inside, 0.0, 1.0)
        return Scores(
            detector=self.name,
            clients=seen.clients,
            suspicion=outside + (1.0 - cosine) / 2.0,
            figures={"outside": outside, "cosine": cosine},
        )


def _labels(distances: Array) -> Array:
    """(n, n) distances -> (n,), label of a cluster, negative outside."""
    try:
        from sklearn.cluster import HDBSCAN  # noqa: PLC0415 -- an extra
    except ImportError as missing:
        raise ImportError("robust.detect_cluster needs: pip install 'secagg[robust]'") from missing
    distances = np.maximum(distances, 0.0)
    np.fill_diagonal(distances, 0.0)
    clustering = HDBSCAN(
        metric="precomputed",
        min_cluster_size=len(distances) // 2 + 1,
        min_samples=1,
        allow_single_cluster=True,
        copy=True,
    )
    return np.asarray(clustering.fit(distances).labels_, dtype=np.float64)
