"""A backdoor whose trigger no client has as a whole.

[Xie20dba]  Xie, Huang, Chen, Li: DBA: Distributed Backdoor Attacks against Federated Learning,
            ICLR 2020.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from robust.attacks.attack import Examples
from robust.attacks.backdoor import NormMatched

__all__ = ["Distributed"]


@dataclass(frozen=True, kw_only=True)
class Distributed(NormMatched):
    """Each client trains on a part of the trigger; the whole of it commands the model [Xie20dba].

    Client i takes part i mod min(parts, m) of a partition of the indices. Updates get the norm of
    an honest one, where the paper scales them up once or not at all. Knows its own data and that
    norm.

    Attributes
    ----------
    parts: of the trigger, at most its indices; the paper has 4.

    Raises `ParameterError` unless 1 <= parts <= len(trigger.indices).
    """

    name = "distributed"
    parts: int = 4

    def __post_init__(self) -> None:
        super().__post_init__()
        self.trigger.split(self.parts)

    def poison(self, cohort: Sequence[Examples], rng: np.random.Generator, /) -> Sequence[Examples]:
        triggers = self.trigger.split(min(self.parts, len(cohort)))
        return [
            triggers[member % len(triggers)].planted(one, self.share, rng)
            for member, one in enumerate(cohort)
        ]
