"""Attacks of no known class: how far from all examples, which belong together, which to name."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from apiwatch.classes import ClassModel
from apiwatch.hashing import mix
from apiwatch.settings import require

__all__ = ["clusters", "covering", "novelty"]

_NEIGHBORS = 5
_APART = 0.83  # of the mean distance of texts that have nothing to do with each other
_NOISE = 64
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

    Two clusters are one as long as the mean distance of their texts is below 0.83 of that of
    noise [Sokal58], which is 0.98 after thousands of examples and less after few, as all that is
    unfamiliar is alike then. What fewer than `least` texts are near to stays alone: one name for
    unlike texts would do harm. least: texts that make a cluster, 2 or more.
    """
    require(least >= 2, "least >= 2", least)
    if len(texts) < least:
        return np.full(len(texts), -1)
    noise = _distances(model, _noise())[np.triu_indices(_NOISE, 1)]
    found = _joined(_distances(model, texts), _APART * float(noise.mean()))
    sizes = np.bincount(found)
    rank = np.empty_like(sizes)
    rank[np.argsort(-sizes, kind="stable")] = np.arange(sizes.size)
    return np.where(sizes[found] >= least, rank[found], -1)


def _distances(model: ClassModel, texts: Sequence[str]) -> _Floats:
    embedded = model.embed(texts)
    distances: _Floats = np.clip(1.0 - embedded @ embedded.T, 0.0, 2.0)
    return distances


def _noise() -> list[str]:
    """64 texts of 8 to 31 printable characters, always the same."""
    codes = mix(np.arange(_NOISE * 32, dtype=np.uint64)).reshape(_NOISE, 32)
    letters = (33 + codes % np.uint64(94)).astype(np.uint8)
    lengths = (8 + codes[:, 0] % np.uint64(24)).tolist()
    return [bytes(row[:n]).decode("ascii") for row, n in zip(letters, lengths, strict=True)]


def _joined(distance: _Floats, apart: float) -> NDArray[np.int64]:
    from sklearn.cluster import AgglomerativeClustering  # noqa: PLC0415 -- slow to import

    tree = AgglomerativeClustering(
        n_clusters=None, metric="precomputed", linkage="average", distance_threshold=apart
    )
    labels: NDArray[np.int64] = tree.fit_predict(distance).astype(np.int64)
    return labels


def covering(model: ClassModel, texts: Sequence[str]) -> Iterator[int]:
    """Numbers of all texts, each time the one that tells most of those before which it comes.

    Every text is covered as well as the most similar one of those that were given; the next is the
    one that adds most to the sum of it, which is within 1 - 1/e of the best choice of as many
    [Nemhauser78]. Who names only the first few has seen the most different kinds.
    """
    if not len(texts):
        return
    similar = np.maximum((embedded := model.embed(texts)) @ embedded.T, 0.0)
    covered, left = np.zeros(len(texts)), np.ones(len(texts), bool)
    while left.any():
        gain = np.maximum(similar - covered, 0.0).sum(axis=1)
        best = int(np.where(left, gain, -1.0).argmax())
        yield best
        left[best] = False
        covered = np.maximum(covered, similar[best])
