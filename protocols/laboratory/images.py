"""Digits as images with brightness 0 … 1."""

from __future__ import annotations

import numpy as np

from robust.attacks.attack import Examples
from robust.observe import Array

__all__ = ["SHAPE", "class_means", "pixels"]

SHAPE = (8, 8)
_BRIGHTEST = 16


def pixels(digits: Examples) -> Examples:
    """The digits of scikit-learn, whose brightness is 0 … 16, with 0 … 1."""
    return Examples(digits.inputs / _BRIGHTEST, digits.labels, digits.classes)


def class_means(examples: Examples) -> Array:
    """The mean record of each class, (c, f); zeros where it has none."""
    sums = np.zeros((examples.classes, examples.inputs.shape[1]))
    np.add.at(sums, examples.labels, examples.inputs)
    counts = np.bincount(examples.labels, minlength=examples.classes)
    means: Array = sums / np.maximum(counts, 1)[:, None]
    return means
