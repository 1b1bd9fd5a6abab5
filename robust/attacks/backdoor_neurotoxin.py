"""A backdoor that stays where honest clients do not train.

[Zhang22]  Zhang, Panda, Song, Yang, Mahoney, Gonzalez, Ramchandran, Mittal: Neurotoxin: Durable
           Backdoors in Federated Learning, ICML 2022.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from robust.attacks.attack import Access, Knowledge
from robust.attacks.backdoor import NormMatched
from robust.attacks.vectors import stretched
from robust.errors import require
from robust.observe import Array

__all__ = ["Neurotoxin"]


@dataclass(frozen=True, kw_only=True)
class Neurotoxin(NormMatched):
    """Zero on the coordinates in which the last global update is largest [Zhang22].

    Here the trained update is projected once, where the paper projects each local step; and it is
    then given an honest norm. Round 0 protects nothing. Knows its own data and an honest norm.

    Attributes
    ----------
    protected: the share of coordinates that stay zero; floor(protected * d) of them.

    Raises `ParameterError` unless 0 < protected < 1.
    """

    name = "neurotoxin"
    protected: float = 0.1

    def __post_init__(self) -> None:
        super().__post_init__()
        require(0 < self.protected < 1, "0 < protected < 1")

    def craft(self, knowledge: Knowledge, _: np.random.Generator, /) -> Array:
        rows = knowledge[Access.POISONED].copy()
        rows[:, self.avoided(knowledge)] = 0
        return stretched(rows, knowledge[Access.NORM])

    def avoided(self, knowledge: Knowledge) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
        """Positions of the protected coordinates; none without history."""
        count = int(self.protected * knowledge.size) if len(knowledge.history) else 0
        return np.argsort(-np.abs(knowledge.last), kind="stable")[:count]
