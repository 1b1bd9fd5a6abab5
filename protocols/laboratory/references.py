"""Public vectors that updates are compared with, as plans have them: of -1, 0 and 1.

What a cosine tells is up to the reference, and that is whoever made the plan: the signs of the
server's own update are one choice, those of whatever tells labels apart another.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from protocols.laboratory.statistics import Clients
from robust.attacks.vectors import units
from robust.observe import Array

__all__ = ["own", "signs", "telling"]


def signs(direction: Array) -> Array:
    """The reference (1, d) that is nearest to a direction (d,)."""
    found: Array = np.sign(direction)[None]
    return found


def own(held: Clients) -> Array:
    """The signs of the server's own update, (1, d)."""
    return signs(held.root)


def telling(held: Clients) -> Array:
    """The reference (1, d) that says most of labels, on clients that the server makes up: among the
    signs of the axes along which updates of single classes differ.
    """
    apart = held.classes - held.classes.mean(axis=0)
    axes: Array = np.sign(np.linalg.svd(apart, full_matrices=False)[2][: len(apart) - 1])
    cosines = units(held.imitated) @ units(axes).T
    most = int(np.argmax(_separation(cosines, held.answers)))
    return axes[most : most + 1]


def _separation(numbers: Array, answers: NDArray[np.int64]) -> Array:
    """The share of the variance of each number (s, k) that is between answers (s,), (k,)."""
    each, many = np.unique(answers, return_counts=True)
    means = np.stack([numbers[answers == one].mean(axis=0) for one in each])
    between = (many / many.sum()) @ (means - numbers.mean(axis=0)) ** 2
    share: Array = between / np.maximum(numbers.var(axis=0), 1e-300)
    return share
