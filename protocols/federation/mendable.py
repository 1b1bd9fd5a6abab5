"""What the server needs of a model to look for triggers in it and to unlearn them.

`protocols.federation.model.Network` is one in numpy, `model_torch.TorchModel` wraps a module of the
user's. What every one of them must satisfy is in `protocols.federation.testing`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from robust.observe import Array

__all__ = ["Mendable"]


class Mendable(Protocol):
    """A classifier whose first layer multiplies its inputs by a matrix and adds a bias.

    It has no state: weights are an argument, one flat vector (d,), float64 and finite, and no
    argument is changed. What it says of an input does not depend on the others beside it.
    """

    @property
    def inputs(self) -> int:
        """f, the features of one input; f >= 1."""
        ...

    @property
    def classes(self) -> int:
        """c, of labels 0 ... c - 1; c >= 1."""
        ...

    @property
    def size(self) -> int:
        """d, the numbers that a client's update has."""
        ...

    @property
    def layers(self) -> Mapping[str, slice]:
        """Where each array stands in the flat vector, by name, in its order; together all of it."""
        ...

    def probabilities(self, weights: Array, inputs: Array) -> Array:
        """(n, c), what the model gives each class, for inputs (n, f); rows sum to 1."""
        ...

    def step(self, weights: Array, inputs: Array, targets: Array, rate: float) -> Array:
        """Weights (d,) after one step of SGD on the mean cross entropy over inputs (n, f) whose
        classes have the probabilities `targets` (n, c); rate > 0.
        """
        ...

    def pulls(self, weights: Array, inputs: Array, rows: Array) -> Array:
        """(n, f + 1, c): how much rows (n, d), added to `weights`, make feature j speak for class
        t, to first order; the last is the bias, which is always 1.

        Inner products with directions of norm 1: in the weights of feature j, the mean over inputs
        (m, f) of the gradient of log P[t] in what the first layer gives; 0 where there is none.
        """
        ...
