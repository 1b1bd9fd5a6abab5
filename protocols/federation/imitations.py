"""Imitated honest clients: what the server makes up, from its root set, to compare clients with.

Each has a label mix and a number of examples of its own, drawn once; its examples are drawn from
the root set with replacement. Trained as clients are, from the same weights, they show how much
honest clients can have in common by chance and by label mix (`robust.rule_coalition`).

Real clients are judged by what a root set knows of their classes, and no root set is quite like
their data: whoever has a class shares what the root set misses of it. Made-up clients of the same
examples miss nothing, and would show too little. So the root set is split in halves. With r
examples of a class in the root set, what it misses has a variance of 1/r for real clients. Clients
made of the whole root set miss as much of what one half knows, 2/r - 1/r, as half of a sample
differs from the sample; clients of one half miss more of what the other knows, 2/r + 2/r.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from protocols.federation.model import Network, Training
from robust.attacks.attack import Examples
from robust.observe import Array, Imitated
from secagg.errors import ParameterError

__all__ = ["Imitations", "by_class", "halves", "of_class", "resampled"]

_EXAMPLES = 15, 60
"""Of an imitated client; as few as the poorest clients have."""

_EXPONENTS = -1.0, 0.0
"""Of ten: label mixes are Dirichlet draws whose parameter is uniform on a logarithmic scale."""

_CLASS_STEPS = 3
"""Of SGD on the examples of one class: a direction, before the class saturates."""

_SPLIT = 1 << 32
"""Of the streams of splits and classes. NumPy takes it for two words, 0 and 1: so split s has the
stream of the first client's batches in round s - 1 of the first population, and draws other things
from it. Nor are streams apart from those of a `Federation` of the same seed."""


class Imitations:
    """Three populations of imitated clients for each split of a root set, the same in all rounds.

    Two are of the halves, one is of the whole, drawn anew for each split.

    Parameters
    ----------
    network, training: those of the clients.
    root: what the server has of its own; two examples of every class at least.
    splits: b >= 2.
    seed: everything follows from it.

    Raises `ParameterError` unless b >= 2 and each half has every class.
    """

    def __init__(
        self,
        *,
        network: Network,
        training: Training,
        root: Examples,
        splits: int = 3,
        seed: int = 0,
    ) -> None:
        if splits < 2:
            raise ParameterError(f"splits >= 2 must hold, got {splits}")
        if np.bincount(root.labels, minlength=root.classes).min() < 2:
            raise ParameterError("two examples of every class must be in the root set")
        self._network, self._training, self._seed = network, training, seed
        self._sets = [(*halves(root, self._rng(_SPLIT, split)), root) for split in range(splits)]
        self._cohort: dict[tuple[int, int], Examples] = {}

    def updates(self, weights: Array, number: int, clients: Sequence[int]) -> Imitated:
        """What they send in round `number`, in the places of `clients`, and what classes do."""
        parts = list(enumerate(part for split in self._sets for part in split))
        rows = np.array([self._sent(weights, number, *part, clients) for part in parts])
        known = [part for part in parts if part[0] % 3 < 2]
        classes = np.array([self._of_classes(weights, number, *part) for part in known])
        return Imitated(
            rows=rows.reshape(-1, 3, *rows.shape[1:]),
            classes=classes.reshape(-1, 2, *classes.shape[1:]),
        )

    def _sent(
        self, weights: Array, number: int, which: int, part: Examples, clients: Sequence[int]
    ) -> Array:
        """(n, d), of population `which`, whose examples are of `part`."""
        cohort = [self._owned(which, part, client) for client in clients]
        streams = [self._rng(which, client, 1 + number) for client in clients]
        return self._network.trained(weights, cohort, self._training, streams)

    def _owned(self, which: int, part: Examples, client: int) -> Examples:
        if (which, client) not in self._cohort:
            self._cohort[which, client] = resampled(part, self._rng(which, client))
        return self._cohort[which, client]

    def _of_classes(self, weights: Array, number: int, which: int, half: Examples) -> Array:
        """(c, d), what each class of `half` does."""
        cohort = by_class(half)
        streams = [self._rng(_SPLIT, which, label, 1 + number) for label in range(len(cohort))]
        return self._network.trained(weights, cohort, of_class(self._training), streams)

    def _rng(self, *path: int) -> np.random.Generator:
        return np.random.default_rng([self._seed, *path])


def halves(root: Examples, rng: np.random.Generator) -> tuple[Examples, Examples]:
    """A random half of each class, and the other; the second has the odd example."""
    order = rng.permutation(len(root))
    chosen = [order[root.labels[order] == label] for label in range(root.classes)]
    first = np.concatenate([rows[: len(rows) // 2] for rows in chosen])
    return root.take(np.sort(first)), root.take(np.setdiff1d(order, first))


def by_class(examples: Examples) -> list[Examples]:
    """The examples of class 0, 1, ..."""
    return [
        examples.take(np.flatnonzero(examples.labels == label)) for label in range(examples.classes)
    ]


def of_class(training: Training) -> Training:
    """How the direction of one class is found: as clients train, and shorter."""
    return replace(training, steps=_CLASS_STEPS)


def resampled(root: Examples, rng: np.random.Generator) -> Examples:
    """The data of one imitated client: a random label mix, examples with replacement."""
    shares = rng.dirichlet(np.full(root.classes, 10.0 ** rng.uniform(*_EXPONENTS)))
    labels = rng.choice(root.classes, rng.integers(*_EXAMPLES), p=shares)
    order = np.argsort(root.labels, kind="stable")
    counts = np.bincount(root.labels, minlength=root.classes)
    starts = np.cumsum(counts) - counts
    return root.take(order[starts[labels] + rng.integers(counts[labels])])
