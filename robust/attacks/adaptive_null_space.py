"""A backdoor that knows the projection before it sends: what a late draw prevents."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from robust.attacks.attack import Access, Knowledge
from robust.attacks.backdoor import Backdoor
from robust.errors import require
from robust.observe import Array

__all__ = ["NullSpace"]


@dataclass(frozen=True, kw_only=True)
class NullSpace(Backdoor):
    """clean + boost * the part of (backdoored - clean) that the projection maps to zero.

    Ours. Its sketch is that of the clean update exactly, whatever is done with the sketch: no
    detector on sketches can find it, and only d - k dimensions are left to it. It stands for every
    deployment in which the projection is fixed, public or drawn before updates are committed.

    Knows its own data and the projection (k, d). With k >= d independent rows it is honest.
    Trains twice. Raises `ParameterError` unless boost > 0.
    """

    name = "null space"
    needs = frozenset({Access.POISONED, Access.CLEAN, Access.PROJECTION})
    boost: float = 1.0

    def __post_init__(self) -> None:
        super().__post_init__()
        require(0 < self.boost < np.inf, "0 < boost < inf")

    def craft(self, knowledge: Knowledge, _: np.random.Generator, /) -> Array:
        clean, projection = knowledge[Access.CLEAN], knowledge[Access.PROJECTION]
        change = knowledge[Access.POISONED] - clean
        seen = np.linalg.lstsq(projection, projection @ change.T)[0].T
        return clean + self.boost * (change - seen)
