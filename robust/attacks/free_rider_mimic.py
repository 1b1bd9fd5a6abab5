"""Free-riders that dress noise as an honest update: its norm, and its cosine with history.

[Zhu21]  Zhu et al.: Advanced Free-rider Attacks in Federated Learning, NeurIPS 2021 workshop on
         New Frontiers in Federated Learning.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from robust.attacks.attack import Access, Attack, Goal, Knowledge
from robust.attacks.vectors import directions, lengths, stretched, turned
from robust.errors import require
from robust.observe import Array

__all__ = ["Colluding", "CosineMatched", "Extrapolating", "Shaped"]


@dataclass(frozen=True, kw_only=True)
class Extrapolating(Attack):
    """The last global update and noise, mixed to the norm *and* cosine of an honest update.

    Ours. Norms and cosines with history cannot tell it. Knows both figures of honest updates.
    Round 0: noise of honest norm.
    """

    name = "extrapolating"
    goal = Goal.FREE_RIDE
    needs = frozenset({Access.NORM, Access.COSINE})

    def craft(self, knowledge: Knowledge, rng: np.random.Generator, /) -> Array:
        rows = turned(knowledge.last, self._noise(knowledge, rng), knowledge[Access.COSINE])
        return rows * knowledge[Access.NORM]

    def _noise(self, knowledge: Knowledge, rng: np.random.Generator) -> Array:
        """Directions of noise, (m, d)."""
        return directions(knowledge.shape, rng)


@dataclass(frozen=True, kw_only=True)
class Shaped(Extrapolating):
    """`Extrapolating` with noise proportional to |last global update|, coordinate by coordinate.

    Ours. Parameters that training does not move are not moved, so the noise lives in about the
    dimensions that honest updates live in. Round 0: noise without shape.
    """

    name = "shaped"

    def _noise(self, knowledge: Knowledge, rng: np.random.Generator) -> Array:
        noise = super()._noise(knowledge, rng)
        return noise * np.abs(knowledge.last) if knowledge.last.any() else noise


@dataclass(frozen=True, kw_only=True)
class Colluding(Extrapolating):
    """`Extrapolating` whose clients share a part of their noise, to look like each other's kin.

    Ours. The noise of two of them has cosine shared^2, as the innovations of clients with common
    data have.

    Raises `ParameterError` unless 0 <= shared <= 1.
    """

    name = "colluding"
    shared: float = 0.5

    def __post_init__(self) -> None:
        require(0 <= self.shared <= 1, "0 <= shared <= 1")

    def _noise(self, knowledge: Knowledge, rng: np.random.Generator) -> Array:
        (common,) = directions((1, knowledge.size), rng)
        return turned(common, super()._noise(knowledge, rng), self.shared)


@dataclass(frozen=True, kw_only=True)
class CosineMatched(Attack):
    """The last global update, scaled on as norms decay, and noise that explains its length [Zhu21].

    A mean of n independent updates is shorter than each of them; the noise makes up for that.
    With l_t the norm of the last of h global updates and lambda = ln(l_t / l_1) / (h - 1),
    an honest update is taken to have cosine E = constant^2 / (constant^2 + exp(2 lambda h)) with
    another, the scaled update to be U = (l_t / l_(t-1)) last, and the noise to have the norm
    |U| sqrt(n^2 / (n + (n^2 - n) E) - 1), on a random `share` of the parameters.

    Public state only. Fewer than two global updates: the last one, or zeros.

    Raises `ParameterError` unless constant > 0 and 0 < share <= 1.
    """

    name = "cosine matched"
    goal = Goal.FREE_RIDE
    constant: float = 0.5
    share: float = 0.7

    def __post_init__(self) -> None:
        require(0 < self.constant < np.inf, "0 < constant < inf")
        require(0 < self.share <= 1, "0 < share <= 1")

    def craft(self, knowledge: Knowledge, rng: np.random.Generator, /) -> Array:
        norms = lengths(knowledge.history)[:, 0]
        if len(norms) < 2 or not norms.all():
            return np.tile(knowledge.last, (knowledge.malicious, 1))
        scaled = knowledge.last * (norms[-1] / norms[-2])
        mask = rng.random(knowledge.shape) < self.share
        noise = rng.standard_normal(knowledge.shape) * mask
        length = float(np.linalg.norm(scaled)) * self._noise(norms, knowledge.clients)
        rows: Array = scaled + stretched(noise, length)
        return rows

    def _noise(self, norms: Array, clients: int) -> float:
        """The norm of the noise, as a multiple of that of the scaled update."""
        updates = len(norms)
        rate = np.log(norms[-1] / norms[0]) / (updates - 1)
        constant = self.constant**2
        cosine = constant / (constant + np.exp(2 * rate * updates))
        return float(np.sqrt(clients**2 / (clients + (clients**2 - clients) * cosine) - 1))
