"""A small federation: linear softmax on the digits of scikit-learn, label-skewed clients, SGD."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import numpy as np
import pytest
from sklearn.datasets import load_digits

from robust.observe import Array, Public, Sketches

CLASSES, PIXELS = 10, 64
SIZE = CLASSES * (PIXELS + 1)


@dataclass
class History:
    """What everybody knows before a round."""

    weights: Array
    updates: list[Array] = field(default_factory=list)

    @property
    def last(self) -> Array:
        return self.updates[-1] if self.updates else np.zeros(SIZE)

    def public(self) -> Array:
        return np.array([self.weights, *self.updates[-6:]])


Attack = Callable[[History, Array, np.random.Generator], Array]
"""(history, honest updates (n, d), rng) -> updates of the attackers (a, d)."""


@dataclass
class Federation:
    """`rounds` yields sketches; the first `attackers` clients attack from round 2 on."""

    clients: int = 40
    concentration: float = 0.3
    attackers: int = 0
    attack: Attack | None = None
    numbers: int = 256
    seed: int = 0
    noise: float = 0.0
    exact: list[Array] = field(default_factory=list)
    projections: list[Array] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.rng = np.random.default_rng(self.seed)
        images, labels = load_digits(return_X_y=True)
        order = self.rng.permutation(len(labels))
        inputs = np.hstack([images / 16.0, np.ones((len(labels), 1))])[order]
        self.root = (inputs[:100], labels[order][:100])
        self.parts = self._split(inputs[100:], labels[order][100:])

    def _split(self, inputs: Array, labels: Array) -> list[tuple[Array, Array]]:
        owner = np.empty(len(labels), dtype=int)
        for label in range(CLASSES):
            share = self.rng.dirichlet(np.full(self.clients, self.concentration))
            of_label = np.flatnonzero(labels == label)
            owner[of_label] = self.rng.choice(self.clients, size=len(of_label), p=share)
        parts = [np.flatnonzero(owner == client) for client in range(self.clients)]
        spare = [self.rng.choice(len(labels), 12) for _ in parts]
        chosen = [own if len(own) >= 12 else extra for own, extra in zip(parts, spare, strict=True)]
        return [(inputs[rows], labels[rows]) for rows in chosen]

    def train(self, weights: Array, data: tuple[Array, Array], steps: int = 10) -> Array:
        matrix = weights.reshape(CLASSES, PIXELS + 1).copy()
        inputs, labels = data
        for _ in range(steps):
            batch = self.rng.choice(len(labels), 16)
            logits = inputs[batch] @ matrix.T
            chance = np.exp(logits - logits.max(axis=1, keepdims=True))
            chance /= chance.sum(axis=1, keepdims=True)
            chance[np.arange(16), labels[batch]] -= 1.0
            matrix -= 0.3 * chance.T @ inputs[batch] / 16
        return matrix.ravel() - weights

    def rounds(self, count: int) -> Iterator[Sketches]:
        history = History(weights=np.zeros(SIZE))
        for number in range(count):
            updates = np.array([self.train(history.weights, part) for part in self.parts])
            if self.attack is not None and number >= 2:
                honest = updates[self.attackers :]
                updates[: self.attackers] = self.attack(history, honest, self.rng)
            projection = self.rng.standard_normal((SIZE, self.numbers)) / np.sqrt(self.numbers)
            self.exact.append(updates)
            self.projections.append(projection)
            yield self._sketched(number, updates, history, projection)
            step = updates[self.attackers :].mean(axis=0)  # the model of an aggregator that works
            history.updates.append(step)
            history.weights = history.weights + step

    def _sketched(
        self, number: int, updates: Array, history: History, projection: Array
    ) -> Sketches:
        inputs, labels = self.root
        classes = [
            self.train(history.weights, (inputs[labels == one], labels[labels == one]), 3)
            for one in range(CLASSES)
        ]
        public = Public(
            known=history.public() @ projection,
            root=self.train(history.weights, self.root) @ projection,
            classes=np.array(classes) @ projection,
        )
        rows = updates @ projection
        rows += self.noise * self.rng.standard_normal(rows.shape)
        return Sketches(
            number=number,
            clients=tuple(range(self.clients)),
            rows=rows,
            public=public,
            noise=self.noise,
        )


def replay(history: History, honest: Array, rng: np.random.Generator, attackers: int = 8) -> Array:
    """The last global update and 1 % of noise of each client's own."""
    noise = rng.standard_normal((attackers, SIZE)) / np.sqrt(SIZE)
    return history.last + 0.01 * np.linalg.norm(history.last) * noise


@pytest.fixture(scope="session")
def federation() -> type[Federation]:
    return Federation


@pytest.fixture(scope="session")
def replayed() -> Callable[[int], Attack]:
    return lambda attackers: lambda history, honest, rng: replay(history, honest, rng, attackers)
