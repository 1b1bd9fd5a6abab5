"""The digits, split unevenly among clients."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from sklearn.datasets import load_digits

from secagg.errors import ParameterError
from secagg.identity import PartyId

__all__ = ["LABELS", "PIXELS", "Digits", "Examples", "split_digits"]

PIXELS, LABELS = 64, 10
_TEST = 360
_LEAST = 5


@dataclass(frozen=True)
class Examples:
    """Images, float32 (n, 64) in [0, 1], and their labels, int64 (n,)."""

    images: NDArray[np.float32]
    labels: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.labels)

    def take(self, rows: NDArray[np.int64]) -> Examples:
        """The examples at these positions."""
        return Examples(self.images[rows], self.labels[rows])


@dataclass(frozen=True)
class Digits:
    """What each client has, and what nobody trains on."""

    clients: Mapping[PartyId, Examples]
    test: Examples


def split_digits(clients: int, alpha: float, rng: np.random.Generator) -> Digits:
    """360 digits to test with, and 1437 among clients 1 … `clients`, unevenly by label.

    Each label goes to clients by a Dirichlet(alpha) draw; then the poorest get examples of the
    richest until everybody has 5. Raises `ParameterError` where there are not enough for that.
    """
    images, labels = load_digits(return_X_y=True)
    everything = Examples((images / 16).astype(np.float32), labels.astype(np.int64))
    order = rng.permutation(len(everything))
    train = everything.take(order[_TEST:])
    if clients * _LEAST > len(train):
        raise ParameterError(
            f"{_LEAST} * clients <= {len(train)} digits must hold, got {clients} clients"
        )
    owner = _owners(train.labels, clients, alpha, rng)
    _share_out(owner, clients)
    parts = {i + 1: train.take(np.flatnonzero(owner == i)) for i in range(clients)}
    return Digits(parts, everything.take(order[:_TEST]))


def _owners(
    labels: NDArray[np.int64], clients: int, alpha: float, rng: np.random.Generator
) -> NDArray[np.int64]:
    """Who gets each example, int64 (n,)."""
    owner = np.empty(len(labels), np.int64)
    for label in range(LABELS):
        rows = np.flatnonzero(labels == label)
        shares = rng.dirichlet(np.full(clients, alpha))
        owner[rows] = rng.choice(clients, size=len(rows), p=shares)
    return owner


def _share_out(owner: NDArray[np.int64], clients: int) -> None:
    """Move examples in place until nobody has fewer than 5."""
    while (sizes := np.bincount(owner, minlength=clients)).min() < _LEAST:
        owner[np.flatnonzero(owner == sizes.argmax())[0]] = sizes.argmin()
