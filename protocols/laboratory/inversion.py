"""Which images come out of a sum of updates? The trials, on digits. Needs torch.

Clients hold a few images each and train a network with one smooth hidden layer, whose gradients are
the easiest to invert: what a secure sum hides has to be hidden here.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import numpy as np
import torch
from torch import Tensor

from dp.audit.attack import Access, Trial, View
from dp.audit.invert_torch import local_updates
from protocols.federation.observe import gaussian
from protocols.laboratory.images import class_means
from robust.attacks.attack import Examples
from robust.observe import Array
from secagg.errors import ParameterError

__all__ = ["Invertible", "Perceptron", "image_trials"]


class Invertible(Protocol):
    """A model that clients train; see `dp.audit.invert_torch.Logits`."""

    @property
    def size(self) -> int:
        """d, the parameters."""

    def fresh(self, rng: np.random.Generator) -> Array:
        """Weights to start from, (d,)."""

    def __call__(self, weights: Tensor, inputs: Tensor) -> Tensor:
        """Weights (n, d), inputs (n, b, f) -> logits (n, b, c), twice differentiable."""


@dataclass(frozen=True, kw_only=True)
class Perceptron:
    """inputs -> hidden sigmoid units -> classes, for n models at once; see `Logits`.

    Raises `ParameterError` unless each number >= 1.
    """

    inputs: int = 64
    hidden: int = 64
    classes: int = 10

    def __post_init__(self) -> None:
        if min(self.inputs, self.hidden, self.classes) < 1:
            raise ParameterError("inputs >= 1, hidden >= 1 and classes >= 1 must hold")

    @property
    def size(self) -> int:
        """d, the parameters."""
        return (self.inputs + 1) * self.hidden + (self.hidden + 1) * self.classes

    def fresh(self, rng: np.random.Generator) -> Array:
        """Weights to start from, (d,), within 0.5 of zero: slopes are nowhere flat."""
        return rng.uniform(-0.5, 0.5, self.size)

    def __call__(self, weights: Tensor, inputs: Tensor) -> Tensor:
        ends = (self.inputs + 1) * self.hidden
        first = weights[:, :ends].reshape(-1, self.inputs + 1, self.hidden)
        second = weights[:, ends:].reshape(-1, self.hidden + 1, self.classes)
        hidden = torch.sigmoid(inputs @ first[:, 1:] + first[:, :1])
        logits: Tensor = hidden @ second[:, 1:] + second[:, :1]
        return logits


def image_trials(
    examples: Examples,
    model: Invertible,
    rng: np.random.Generator,
    *,
    clients: int,
    records: int = 1,
    steps: int = 1,
    rate: float = 0.1,
    noise: float = 0.0,
    sketch: int | None = None,
    count: int = 4,
) -> Sequence[Trial]:
    """Sums of the updates of `clients` clients with `records` images each.

    Half of the examples are the attacker's, whose mean of each class is what it expects. noise: the
    deviation in each coordinate of the sum, over the largest norm of the clients' updates. sketch:
    how many numbers of the sum are opened, by a random map, beside the sum itself.

    Raises `ParameterError` unless clients, records, steps, count >= 1, noise >= 0, and half of the
    examples are enough for all images of a trial.
    """
    order = rng.permutation(len(examples))
    own, others = order[: len(order) // 2], order[len(order) // 2 :]
    if min(clients, records, steps, count) < 1 or noise < 0 or clients * records > len(others):
        raise ParameterError(
            f"clients, records, steps, count >= 1, noise >= 0 and clients * records <= "
            f"{len(others)} must hold"
        )
    typical = class_means(examples.take(own))
    weights = model.fresh(rng)
    project = None if sketch is None else gaussian(sketch, model.size, rng)
    setting = _Setting(model, weights, typical, project, clients, steps, rate, noise)
    return [
        _trial(examples.take(rng.choice(others, clients * records, replace=False)), setting, rng)
        for _ in range(count)
    ]


class _Setting(NamedTuple):
    """What the trials of one experiment share."""

    model: Invertible
    weights: Array
    typical: Array
    project: Array | None
    clients: int
    steps: int
    rate: float
    noise: float


def _trial(chosen: Examples, setting: _Setting, rng: np.random.Generator) -> Trial:
    rows = _updates(chosen, setting)
    deviation = setting.noise * np.linalg.norm(rows, axis=1).max()
    total = rows.sum(axis=0)
    total = total + deviation * rng.standard_normal(total.shape)
    given = {
        Access.WEIGHTS: setting.weights,
        Access.SUM: total,
        Access.LABELS: chosen.labels.astype(np.float64),
        Access.TYPICAL: setting.typical,
        Access.NOISE: np.array(deviation),
    }
    if setting.project is not None:
        given[Access.PROJECTION] = setting.project
        given[Access.STATISTIC] = setting.project @ total
    return Trial(View(given, {"n": setting.clients}), chosen.inputs)


def _updates(chosen: Examples, setting: _Setting) -> Array:
    """(n, d), of clients that have as many of the images each."""
    inputs = torch.tensor(chosen.inputs.reshape(setting.clients, -1, chosen.inputs.shape[1]))
    labels = torch.tensor(chosen.labels.reshape(setting.clients, -1))
    weights = torch.tensor(setting.weights)
    found = local_updates(setting.model, weights, inputs, labels, setting.steps, setting.rate)
    rows: Array = found.detach().numpy()
    return rows
