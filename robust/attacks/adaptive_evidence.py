"""A free-rider that knows that evidence of training is looked for."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from robust.attacks.attack import Access, Attack, Goal, Knowledge
from robust.attacks.vectors import directions, lengths, units
from robust.errors import require
from robust.observe import Array

__all__ = ["ShareEvidence"]


@dataclass(frozen=True, kw_only=True)
class ShareEvidence(Attack):
    """A few train; the others mix as much of those updates into noise as passes for training.

    Ours, against tests of the energy that an update shares with those of others: with cosine
    `share` to an honest update, a mix has share^2 of its energy, and two mixes have cosine share^2
    at most, which a search for clones does not see. Trainers send what they found.

    Knows what its trainers would honestly send (rows 0 ... trainers - 1 of CLEAN).

    Attributes
    ----------
    share: the cosine with the update of a trainer, in [0, 1].
    trainers: how many train, >= 1; mixers take turns with them. m <= trainers: all are honest.

    Raises `ParameterError` for anything else.
    """

    name = "share evidence"
    goal = Goal.FREE_RIDE
    needs = frozenset({Access.CLEAN})
    share: float = 0.6
    trainers: int = 1

    def __post_init__(self) -> None:
        require(0 <= self.share <= 1, "0 <= share <= 1")
        require(self.trainers >= 1, "trainers >= 1")

    def craft(self, knowledge: Knowledge, rng: np.random.Generator, /) -> Array:
        trainers = min(self.trainers, knowledge.malicious)
        trained = knowledge[Access.CLEAN][np.arange(knowledge.malicious) % trainers]
        along = units(trained)
        noise = directions(knowledge.shape, rng)
        noise = units(noise - (noise * along).sum(axis=1, keepdims=True) * along)
        mixed = self.share * along + np.sqrt(1 - self.share**2) * noise
        return np.vstack([trained[:trainers], (mixed * lengths(trained))[trainers:]])
