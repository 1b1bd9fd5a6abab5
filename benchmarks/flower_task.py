"""One training round, the same for both sides: a model, what each client makes of it, the mean.

It knows nothing of Flower, so that tables can be made without it.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["RIGHT", "Arrays", "Outcome", "Task"]

Arrays = Mapping[str, NDArray[Any]]

RIGHT = 1e-3
"""Largest deviation of a mean that counts as right: one step of float16 at 1.5."""

_SPREAD = 0.1
_CHANGE = 0.01


@dataclass(frozen=True, kw_only=True)
class Task:
    """`clients` nodes train a model of `dimension` coordinates from N(0, 0.1^2).

    Each changes each coordinate by N(0, 0.01^2). dtype: of all arrays. weights: least and largest
    number of examples. scalar: whether a 0-d array of value 1.5 is in the model. stored: value of
    coordinate 0 in the model, None for one like the others. jump: what client 1 adds to it.
    max_weight, clip: the terms that both sides are given, clip in the units of a coordinate.
    """

    clients: int
    dimension: int
    dtype: str = "float32"
    weights: tuple[int, int] = (500, 1000)
    max_weight: int = 1000
    clip: float = 8.0
    scalar: bool = False
    stored: float | None = None
    jump: float = 0.0

    @property
    def ids(self) -> range:
        """The clients."""
        return range(1, self.clients + 1)

    @cached_property
    def model(self) -> Arrays:
        """What the server sends out."""
        weights = _SPREAD * np.random.default_rng(0).standard_normal(self.dimension)
        if self.stored is not None:
            weights[0] = self.stored
        arrays = {"weights": weights.astype(self.dtype)}
        return arrays | ({"scale": np.array(1.5, self.dtype)} if self.scalar else {})

    @cached_property
    def trained(self) -> Mapping[int, Arrays]:
        """By client, what it sends back."""
        return {client: self._train(client) for client in self.ids}

    def weight(self, client: int) -> int:
        """The client's number of examples."""
        least, most = self.weights
        return int(np.random.default_rng((2, client)).integers(least, most + 1))

    def deviation(self, released: Arrays, contributors: Collection[int]) -> float:
        """The largest absolute difference from the weighted mean of these clients' arrays; NaN
        where one is in there.
        """
        total = sum(self.weight(client) for client in contributors)
        worst = np.float64(0.0)
        for name, array in released.items():
            mean = sum(
                self.weight(client) / total * self.trained[client][name].astype(np.float64)
                for client in contributors
            )
            worst = np.maximum(worst, np.abs(array - mean).max())  # which keeps a NaN
        return float(worst)

    def _train(self, client: int) -> Arrays:
        rng = np.random.default_rng((1, client))
        changed = {}
        for name, array in self.model.items():
            change = np.asarray(_CHANGE * rng.standard_normal(array.shape))
            if name == "weights" and self.stored is not None:
                change[0] = 0.0
            if name == "weights" and client == 1:
                change[0] += self.jump
            changed[name] = np.asarray(array + change, self.dtype)  # a scalar's sum is no array
        return changed


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """One round of one side.

    exchanges: their stages. CPU in seconds, bytes of Flower's records; of clients, the mean over
    those that stayed to the end. contributors: clients in the released mean. deviation: of that
    from the exact one; None where it is no number, or nothing was released. verdict: "right",
    "off", "nothing" or "time". remarks: why nothing was released, or what else is odd.
    """

    exchanges: Sequence[str]
    server_cpu: float
    client_cpu: float
    upload: float
    download: float
    contributors: int
    verdict: str
    deviation: float | None = None
    remarks: Sequence[str] = ()
