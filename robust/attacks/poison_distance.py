"""Poisoners that go as far from the mean of honest updates as distances between those allow.

[Shejwalkar21]  Shejwalkar, Houmansadr: Manipulating the Byzantine: Optimizing Model Poisoning
                Attacks and Defenses for Federated Learning, NDSS 2021.
"""

from __future__ import annotations

import enum
from abc import abstractmethod
from dataclasses import dataclass

import numpy as np

from robust.attacks.attack import Knowledge
from robust.attacks.poison_mean import Referenced
from robust.attacks.vectors import directions, units
from robust.errors import require
from robust.observe import Array

__all__ = ["Away", "DecorrelatedMinMax", "Distant", "MinMax", "MinSum"]


class Away(enum.Enum):
    """Which way from the mean [Shejwalkar21, §IV]."""

    MEAN = "against the mean"
    DEVIATION = "against the standard deviation of each coordinate"
    SIGN = "against the sign of the mean"

    def of(self, honest: Array) -> Array:
        """The direction, (d,) of length 1, or zeros where honest updates (b, d) give none."""
        row: Array = honest.mean(axis=0)
        if self is Away.DEVIATION:
            row = honest.std(axis=0)
        if self is Away.SIGN:
            row = np.sign(row)
        (way,) = -units(row[None])
        return np.asarray(way)


@dataclass(frozen=True, kw_only=True)
class Distant(Referenced):
    """mean + gamma * direction with the largest gamma that honest distances allow.

    gamma solves a quadratic equation: it is exact, and no search is made for it.

    Attributes
    ----------
    omniscient: both adversaries are in the paper; by default this one sees every honest update.
    away: the direction that all clients share; the paper finds DEVIATION the strongest.
    private: the weight in [0, 1) of a random direction of its own that each client mixes in, so
        that they are no clones of each other; 0 in the paper.

    Raises `ParameterError` unless 0 <= private < 1.
    """

    omniscient: bool = True
    away: Away = Away.DEVIATION
    private: float = 0.0

    def __post_init__(self) -> None:
        require(0 <= self.private < 1, "0 <= private < 1")

    def craft(self, knowledge: Knowledge, rng: np.random.Generator, /) -> Array:
        honest = self.reference(knowledge)
        common = np.sqrt(1 - self.private**2) * self.away.of(honest)
        ways = units(common + self.private * directions(knowledge.shape, rng))
        mean = honest.mean(axis=0)
        rows: Array = mean + self.reach(mean - honest, ways) * ways
        return rows

    @abstractmethod
    def reach(self, offsets: Array, ways: Array) -> Array:
        """gamma, (m, 1), for offsets mean - u_i (b, d) and directions (m, d), |row| = 1 or 0."""


@dataclass(frozen=True, kw_only=True)
class MinMax(Distant):
    """No farther from any honest update than two honest ones are from each other [Shejwalkar21]."""

    name = "min-max"

    def reach(self, offsets: Array, ways: Array) -> Array:
        squares = np.square(offsets).sum(axis=1)
        room = np.maximum(_distances(offsets).max() - squares, 0)
        along = ways @ offsets.T
        gamma: Array = (np.sqrt(np.square(along) + room) - along).min(axis=1, keepdims=True)
        return gamma


@dataclass(frozen=True, kw_only=True)
class DecorrelatedMinMax(MinMax):
    """Min-Max whose clients differ from each other. Ours: a search for clones finds none."""

    name = "min-max, decorrelated"
    private: float = 0.7


@dataclass(frozen=True, kw_only=True)
class MinSum(Distant):
    """Squared distances to honest updates sum to no more than those of some honest update do.

    [Shejwalkar21, Min-Sum].
    """

    name = "min-sum"

    def reach(self, offsets: Array, ways: Array) -> Array:
        # offsets sum to zero, so the linear term of the quadratic vanishes
        room = _distances(offsets).sum(axis=1).max() - np.square(offsets).sum()
        gamma = np.sqrt(max(room, 0.0) / len(offsets))
        return np.full((len(ways), 1), gamma)


def _distances(rows: Array) -> Array:
    """Squared distances between rows, (b, b), >= 0."""
    gram = rows @ rows.T
    squares = gram.diagonal()
    return np.maximum(squares[:, None] + squares - 2 * gram, 0)
