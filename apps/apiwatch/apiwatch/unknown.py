"""Attacks of no known class: how far from all examples, and which of them belong together."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from apiwatch.classes import ClassModel
from apiwatch.settings import require

__all__ = ["clusters", "novelty"]

_NEIGHBORS = 5
_Floats = NDArray[np.float64]


def novelty(model: ClassModel, texts: Sequence[str], known: _Floats) -> _Floats:
    """(n,) in [0, 2]: the mean cosine distance to the five nearest of `known`.

    known: (m, 2049) embeddings of attacks that this site has examples of; they never leave it.
    """
    require(len(known) >= _NEIGHBORS, f"known examples >= {_NEIGHBORS}", len(known))
    nearest = np.sort(model.embed(texts) @ known.T, axis=1)[:, -_NEIGHBORS:]
    distance: _Floats = 1.0 - nearest.mean(axis=1)
    return distance


def clusters(model: ClassModel, texts: Sequence[str], *, least: int = 5) -> NDArray[np.int64]:
    """(n,) the cluster of each text, largest first, or -1 for those in none.

    least: texts that make a cluster, 2 or more [Campello13].
    """
    require(least >= 2, "least >= 2", least)
    if len(texts) < least:
        return np.full(len(texts), -1)
    distance = np.clip(1.0 - (embedded := model.embed(texts)) @ embedded.T, 0.0, 2.0)
    found = _found(distance, least, alone=False)
    if found.max() < 0:  # no two kinds to tell apart, but there may be one
        found = _found(distance, least, alone=True)
    sizes = np.bincount(found[found >= 0], minlength=int(found.max()) + 1)
    rank = np.empty_like(sizes)
    rank[np.argsort(-sizes, kind="stable")] = np.arange(sizes.size)
    return np.where(found >= 0, rank[np.maximum(found, 0)] if sizes.size else -1, -1)


def _found(distance: _Floats, least: int, *, alone: bool) -> NDArray[np.int64]:
    from sklearn.cluster import HDBSCAN  # noqa: PLC0415 -- half of the time that commands start in

    density = HDBSCAN(
        min_cluster_size=least, metric="precomputed", allow_single_cluster=alone, copy=True
    )
    labels: NDArray[np.int64] = density.fit_predict(distance).astype(np.int64)
    return labels
