"""A small federation: linear softmax on the digits of scikit-learn, label-skewed clients, SGD."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
import pytest
from sklearn.datasets import load_digits

from robust.observe import Array, Public, Sketches

CLASSES, PIXELS, BATCH = 10, 64, 16
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

    def train(self, weights: Array, data: tuple[Array, Array]) -> Array:
        (update,) = self.train_each(weights, [data])
        return update

    def train_each(
        self, weights: Array, parts: Sequence[tuple[Array, Array]], steps: int = 10
    ) -> Array:
        """An update of each part (n, d): all take a step at a time, of batches drawn in turn."""
        drawn = [self.rng.integers(0, len(labels), (steps, BATCH)) for _, labels in parts]
        inputs = np.array([part[0][rows] for part, rows in zip(parts, drawn, strict=True)])
        labels = np.array([part[1][rows] for part, rows in zip(parts, drawn, strict=True)])
        each, of_batch = np.arange(len(parts))[:, None], np.arange(BATCH)
        matrices = np.tile(weights.reshape(CLASSES, PIXELS + 1), (len(parts), 1, 1))
        for step in range(steps):
            batch = inputs[:, step]
            logits = batch @ matrices.transpose(0, 2, 1)
            chance = np.exp(logits - logits.max(axis=2, keepdims=True))
            chance /= chance.sum(axis=2, keepdims=True)
            chance[each, of_batch, labels[:, step]] -= 1.0
            matrices -= 0.3 * chance.transpose(0, 2, 1) @ batch / BATCH
        return matrices.reshape(len(parts), -1) - weights

    def rounds(self, count: int) -> Iterator[Sketches]:
        history = History(weights=np.zeros(SIZE))
        for number in range(count):
            updates = self.train_each(history.weights, self.parts)
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
        each = [(inputs[labels == one], labels[labels == one]) for one in range(CLASSES)]
        classes = self.train_each(history.weights, each, steps=3)
        public = Public(
            known=history.public() @ projection,
            root=self.train(history.weights, self.root) @ projection,
            classes=classes @ projection,
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
