"""The mark that a backdoor answers to."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from robust.attacks.attack import Examples
from robust.errors import ObservationError, require
from robust.observe import Array

__all__ = ["Trigger"]


@dataclass(frozen=True, kw_only=True)
class Trigger:
    """Some features take a fixed value, and the label becomes `target`; rows or flat images.

    Attributes
    ----------
    indices: of the features, distinct, >= 0, at least one.
    value: finite, in the units of the inputs as the model sees them.
    target: the class that the backdoor is to answer with, >= 0.

    Raises `ParameterError` for anything else.
    """

    indices: tuple[int, ...]
    value: float
    target: int

    def __post_init__(self) -> None:
        require(len(self.indices) >= 1 and min(self.indices) >= 0, "indices >= 0, at least one,")
        require(len(set(self.indices)) == len(self.indices), "indices that are distinct")
        require(bool(np.isfinite(self.value)), "a finite value")
        require(self.target >= 0, "target >= 0")

    def stamped(self, inputs: Array) -> Array:
        """A copy of inputs (n, f) with the mark. Raises `ObservationError` unless index < f."""
        if max(self.indices) >= inputs.shape[1]:
            raise ObservationError(f"index < {inputs.shape[1]} features must hold for a trigger")
        marked = inputs.copy()
        marked[:, list(self.indices)] = self.value
        return marked

    def planted(self, examples: Examples, share: float, rng: np.random.Generator) -> Examples:
        """Examples of which ceil(share * n), drawn at random, have the mark and the target label.

        Raises `ObservationError` unless target < classes.
        """
        count = int(np.ceil(share * len(examples)))
        rows = rng.choice(len(examples), count, replace=False)
        inputs, labels = examples.inputs.copy(), examples.labels.copy()
        inputs[rows] = self.stamped(inputs[rows])
        labels[rows] = self.target
        return Examples(inputs, labels, examples.classes)

    def split(self, parts: int) -> Sequence[Trigger]:
        """Triggers that partition the indices as evenly as they can be [Xie20dba].

        Raises `ParameterError` unless 1 <= parts <= len(indices).
        """
        require(1 <= parts <= len(self.indices), f"1 <= parts <= {len(self.indices)} indices")
        return [replace(self, indices=self.indices[part::parts]) for part in range(parts)]
