"""Texts that are nearly the same, by the trigrams that they share."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from sklearn.feature_extraction.text import CountVectorizer

__all__ = ["apart"]

_ALIKE = 0.8  # of the trigrams that either has
_BLOCK = 512
_Floats = NDArray[np.float32]


def apart(texts: Sequence[str]) -> list[int]:
    """Which texts to keep, ascending, so that no two have 0.8 of all their trigrams in common
    [Jaccard12]: each is kept that is like none kept before it.

    How often a trigram occurs is not looked at: what only repeats itself more often is the same.
    """
    if not texts:
        return []
    grams = CountVectorizer(analyzer="char", ngram_range=(3, 3), lowercase=False, binary=True)
    rows = grams.fit_transform([f"\x02\x02{text}\x03\x03" for text in texts]).astype(np.float32)
    sizes = np.asarray(rows.sum(axis=1), np.float32).ravel()
    kept: list[int] = []
    for low in range(0, len(texts), _BLOCK):
        new = np.arange(low, min(low + _BLOCK, len(texts)))
        if kept:
            shared = (rows[new] @ rows[kept].T).toarray()
            new = new[~_alike(shared, sizes[new], sizes[kept]).any(axis=1)]
        inside = _alike((rows[new] @ rows[new].T).toarray(), sizes[new], sizes[new])
        kept += [int(new[i]) for i in _first(inside)]
    return kept


def _alike(shared: _Floats, one: _Floats, two: _Floats) -> NDArray[np.bool_]:
    either = one[:, None] + two - shared
    alike: NDArray[np.bool_] = shared >= _ALIKE * either
    return alike


def _first(alike: NDArray[np.bool_]) -> list[int]:
    """Each that is like none of those taken before it."""
    taken: list[int] = []
    for number in range(len(alike)):
        if not alike[number, taken].any():
            taken.append(number)
    return taken
