"""Imitated honest clients: what the server makes up, from its root set, to compare clients with.

Each has a label mix and a number of examples of its own, drawn once; its examples are drawn from
the root set with replacement. Trained as clients are, from the same weights, they show how much
honest clients can have in common by chance and by label mix (`robust.rule_coalition`).

Few root examples serve many imitated clients, who therefore have more in common than real ones:
compared with them, real clients look better than they are, not worse.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from protocols.federation.model import Network, Training, draws
from robust.attacks.attack import Examples
from robust.observe import Array
from secagg.errors import ParameterError

__all__ = ["Imitations", "resampled"]

_EXAMPLES = 15, 60
"""Of an imitated client; as few as the poorest clients have."""

_EXPONENTS = -1.0, 0.0
"""Of ten: label mixes are Dirichlet draws whose parameter is uniform on a logarithmic scale."""


class Imitations:
    """Populations of imitated clients, one for each real client, the same in every round.

    Parameters
    ----------
    network, training: those of the clients.
    root: what the server has of its own; some examples of every class.
    populations: b >= 1.
    seed: everything follows from it.

    Raises `ParameterError` unless b >= 1 and the root set has every class.
    """

    def __init__(
        self,
        *,
        network: Network,
        training: Training,
        root: Examples,
        populations: int = 5,
        seed: int = 0,
    ) -> None:
        if populations < 1:
            raise ParameterError(f"populations >= 1 must hold, got {populations}")
        if len(np.unique(root.labels)) < root.classes:
            raise ParameterError("an example of every class must be in the root set")
        self._network, self._training, self._root = network, training, root
        self._populations, self._seed = populations, seed

    def updates(self, weights: Array, number: int, clients: Sequence[int]) -> Array:
        """(b, n, d): what they send in round `number`, in the places of `clients`."""
        found = [self._sent(weights, number, one, clients) for one in range(self._populations)]
        return np.array(found)

    def _sent(self, weights: Array, number: int, which: int, clients: Sequence[int]) -> Array:
        cohort = [resampled(self._root, self._rng(which, client)) for client in clients]
        batches = [
            draws(len(one), self._training, self._rng(which, client, 1 + number))
            for one, client in zip(cohort, clients, strict=True)
        ]
        return self._network.updates(weights, cohort, batches, self._training.rate)

    def _rng(self, *path: int) -> np.random.Generator:
        return np.random.default_rng([self._seed, *path])


def resampled(root: Examples, rng: np.random.Generator) -> Examples:
    """The data of one imitated client: a random label mix, examples with replacement."""
    shares = rng.dirichlet(np.full(root.classes, 10.0 ** rng.uniform(*_EXPONENTS)))
    labels = rng.choice(root.classes, rng.integers(*_EXAMPLES), p=shares)
    order = np.argsort(root.labels, kind="stable")
    counts = np.bincount(root.labels, minlength=root.classes)
    starts = np.cumsum(counts) - counts
    return root.take(order[starts[labels] + rng.integers(counts[labels])])
