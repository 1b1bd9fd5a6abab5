"""A backdoor that knows that updates are compared with what labels explain."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from robust.attacks.attack import Access, Knowledge
from robust.attacks.backdoor import NormMatched
from robust.attacks.vectors import stretched
from robust.errors import require
from robust.observe import Array

__all__ = ["ClassMimic"]


@dataclass(frozen=True, kw_only=True)
class ClassMimic(NormMatched):
    """The change that a backdoor makes, moved into the span of the class updates. Ours.

    A test that takes an update for honest as far as per-class updates explain it sees the residual
    alone. The change (backdoored - clean) is split there: what is inside is kept, what is outside
    is kept to the share `residual`; the sum with the clean update gets an honest norm.

    Knows its own data, an honest norm, and the server's class updates exactly: the worst case, as a
    client has only its own examples to guess them from. Trains twice.

    Raises `ParameterError` unless 0 <= residual <= 1.
    """

    name = "class mimic"
    needs = frozenset({Access.POISONED, Access.CLEAN, Access.CLASSES, Access.NORM})
    residual: float = 0.3

    def __post_init__(self) -> None:
        super().__post_init__()
        require(0 <= self.residual <= 1, "0 <= residual <= 1")

    def craft(self, knowledge: Knowledge, _: np.random.Generator, /) -> Array:
        clean, classes = knowledge[Access.CLEAN], knowledge[Access.CLASSES]
        change = knowledge[Access.POISONED] - clean
        inside = np.linalg.lstsq(classes.T, change.T)[0].T @ classes
        row = clean + inside + self.residual * (change - inside)
        return stretched(row, knowledge[Access.NORM])
