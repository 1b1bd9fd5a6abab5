"""Backdoors that keep most of an honest update."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from robust.attacks.attack import Access, Knowledge
from robust.attacks.backdoor import Backdoor
from robust.attacks.vectors import lengths, units
from robust.errors import require
from robust.observe import Array

__all__ = ["Blend", "DecorrelatedBlend"]


@dataclass(frozen=True, kw_only=True)
class Blend(Backdoor):
    """clean + weight * (backdoored - clean), each client with its own two updates. Ours.

    What the backdoor changes is scaled down, until it drowns in how honest clients differ. Trains
    twice. Raises `ParameterError` unless 0 < weight <= 1.
    """

    name = "blend"
    needs = frozenset({Access.POISONED, Access.CLEAN})
    weight: float = 0.5

    def __post_init__(self) -> None:
        super().__post_init__()
        require(0 < self.weight <= 1, "0 < weight <= 1")

    def craft(self, knowledge: Knowledge, rng: np.random.Generator, /) -> Array:
        clean = knowledge[Access.CLEAN]
        return clean + self.weight * self._change(knowledge[Access.POISONED] - clean, rng)

    def _change(self, change: Array, _: np.random.Generator) -> Array:
        """What the weight applies to, (m, d), given what the backdoor changes."""
        return change


@dataclass(frozen=True, kw_only=True)
class DecorrelatedBlend(Blend):
    """`Blend` with noise at right angles to the change, so that the changes are unlike. Ours.

    Along its own change each client sends what `Blend` does; two of them are less alike by a factor
    1 + noise^2, since each adds `noise` times the length of its change in a direction of its own.

    Raises `ParameterError` unless noise >= 0.
    """

    name = "blend, decorrelated"
    noise: float = 1.0

    def __post_init__(self) -> None:
        super().__post_init__()
        require(0 <= self.noise < np.inf, "0 <= noise < inf")

    def _change(self, change: Array, rng: np.random.Generator) -> Array:
        along = units(change)
        noise = rng.standard_normal(change.shape)
        noise -= (noise * along).sum(axis=1, keepdims=True) * along
        return change + self.noise * lengths(change) * units(noise)
