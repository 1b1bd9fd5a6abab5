"""The suite on a model and data of one's own: `secagg audit PLAN.toml --model … --data …`.

Half of the records are the clients', and half the attacker's. Clients start from the weights that
the model comes with, and make steps of SGD on the cross entropy. Attacks that do not apply to the
model say so by name.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cached_property, partial

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from protocols.laboratory.exposure import Exposure, Row, Skipped
from protocols.laboratory.foreign import Brought, Foreign, brought, trained
from protocols.laboratory.membership import Pool
from protocols.laboratory.pictures import QUESTION, inverted_rows
from protocols.laboratory.statistics import Clients, Sides, clients_of
from robust.attacks.attack import Examples
from robust.observe import Array
from secagg.errors import ParameterError

__all__ = ["BroughtModel", "BroughtSubject", "subject_of"]

_RATE = 0.1
_STEPS, _BATCH = 3, 10
_COUNT, _IMITATED, _ALPHA = 200, 600, 0.3
_MOST_SINGLE = 400  # records on either side whose single steps are held
_LEAST_SIDE = 7  # pixels: the windows that images are compared by
_MOST_INVERTED = 5
_RANDOM = (
    *(torch.nn.Dropout, torch.nn.Dropout1d, torch.nn.Dropout2d, torch.nn.Dropout3d),
    *(torch.nn.BatchNorm1d, torch.nn.BatchNorm2d, torch.nn.BatchNorm3d),
)


def subject_of(model: str, data: str) -> BroughtSubject:
    """What `--model` and `--data` name. Raises `ParameterError` for what is not of the contract in
    `protocols.laboratory.foreign`.
    """
    return BroughtSubject(brought(model, data))


class BroughtModel:
    """A module whose weights are rows: see `protocols.laboratory.inversion.Invertible`."""

    def __init__(self, module: torch.nn.Module, shape: tuple[int, ...]) -> None:
        self._module, self._shape = module, shape
        weights = trained(module)
        self._parts = {name: each.shape for name, each in weights.items()}
        self.start: Array = (
            torch.nn.utils.parameters_to_vector(weights.values()).detach().numpy().copy()
        )

    @property
    def size(self) -> int:
        """d, the parameters that are trained."""
        return int(self.start.size)

    @property
    def is_deterministic(self) -> bool:
        """Whether a record's logits go by that record and the weights alone, in training too."""
        return not any(isinstance(each, _RANDOM) for each in self._module.modules())

    def fresh(self, _: np.random.Generator) -> Array:
        """The weights that the model comes with, (d,)."""
        return self.start

    def __call__(self, weights: Tensor, inputs: Tensor) -> Tensor:
        pairs = zip(weights, inputs, strict=True)
        return torch.stack([self._logits(row, records) for row, records in pairs])

    def updates(
        self, cohort: Sequence[Examples], batches: Sequence[NDArray[np.int64]], rate: float
    ) -> Array:
        """What each client's SGD changes, (n, d); batches (steps, batch) are positions."""
        return np.stack(
            [self._update(one, batch, rate) for one, batch in zip(cohort, batches, strict=True)]
        )

    def _update(self, data: Examples, batches: NDArray[np.int64], rate: float) -> Array:
        weights = torch.tensor(self.start)
        inputs, labels = torch.from_numpy(data.inputs), torch.from_numpy(data.labels)
        for rows in torch.from_numpy(batches):
            weights.requires_grad_(True)
            logits = self._logits(weights, inputs[rows])
            loss = torch.nn.functional.cross_entropy(logits, labels[rows])
            if not loss.requires_grad:
                raise ParameterError("--model: logits with a gradient must hold")
            (slope,) = torch.autograd.grad(loss, weights)
            weights = (weights - rate * slope).detach()
        found: Array = weights.numpy() - self.start
        if not bool(np.isfinite(found).all()):
            raise ParameterError("--model: training gives updates that are not finite")
        return found

    def _logits(self, weights: Tensor, inputs: Tensor) -> Tensor:
        named, at = {}, 0
        for name, shape in self._parts.items():
            named[name] = weights[at : at + shape.numel()].reshape(shape)
            at += shape.numel()
        shaped = inputs.reshape(-1, *self._shape)
        with Foreign("--model", f"training on {len(shaped)} records"):
            logits: Tensor = torch.func.functional_call(self._module, named, (shaped,))
        return logits


class BroughtSubject:
    """See `protocols.laboratory.suite.Subject`. The module stays as in evaluation: what is random
    in training, or goes by a batch, is not.
    """

    def __init__(self, given: Brought) -> None:
        self._given = given
        self.model = BroughtModel(given.model.eval(), given.inputs.shape[1:])

    @cached_property
    def _examples(self) -> Examples:
        flat = self._given.inputs.reshape(len(self._given.inputs), -1)
        return Examples(flat, self._given.labels, self._given.classes)

    def users(self, rng: np.random.Generator, *, count: int) -> Pool:
        sides = (
            [half.take(rng.choice(len(half), _BATCH, replace=False)) for _ in range(count)]
            for half in self._halves(rng)
        )
        whole = [np.arange(_BATCH)[None]] * count
        clients, imitated = (self.model.updates(side, whole, _RATE) for side in sides)
        return Pool(clients=clients, imitated=imitated)

    def records(self, rng: np.random.Generator, *, batch: int) -> Pool:
        found = []
        for half in self._halves(rng):
            single = [half.take(np.array([at])) for at in range(min(len(half), _MOST_SINGLE))]
            whole = [np.zeros((1, 1), dtype=np.int64)] * len(single)
            found.append(self.model.updates(single, whole, _RATE) / batch)
        return Pool(clients=found[0], imitated=found[1])

    def clients(self, rng: np.random.Generator, *, records: int) -> Clients:
        def trained(cohort: Sequence[Examples]) -> Array:
            drawn = [rng.integers(len(one), size=(_STEPS, _BATCH)) for one in cohort]
            return self.model.updates(cohort, drawn, _RATE)

        theirs, own = self._halves(rng)
        sides = Sides(theirs, own, own)
        return clients_of(
            sides, trained, rng, count=_COUNT, imitated=_IMITATED, records=records, alpha=_ALPHA
        )

    def pictures(
        self, exposure: Exposure, rng: np.random.Generator, *, quick: bool
    ) -> Iterator[Row | Skipped]:
        skipped = partial(Skipped, question=QUESTION)
        why = "it comes with a model of its own: `secagg audit leakage` without --model runs it"
        yield skipped(attack="imprinted layer", why=why)
        shape, inputs = self._given.inputs.shape[1:], self._given.inputs
        plain = shape[1:] if len(shape) == 3 and shape[0] == 1 else shape
        if len(plain) != 2 or min(plain) < _LEAST_SIDE or inputs.min() < 0 or inputs.max() > 1:
            sides = f"{_LEAST_SIDE} pixels a side"
            why = f"records are not gray images of 0 … 1 with {sides} at least, but {shape}"
            yield skipped(attack="inversion", why=why)
        elif not self.model.is_deterministic:
            why = "it replays training, and this model has dropout or normalizes by batches"
            yield skipped(attack="inversion", why=why)
        else:
            most = 1 if quick else _MOST_INVERTED
            at = (int(plain[0]), int(plain[1]))
            yield from inverted_rows(self._examples, self.model, exposure, rng, most=most, shape=at)

    def _halves(self, rng: np.random.Generator) -> tuple[Examples, Examples]:
        """The clients' records and the attacker's, with some of each class on either side."""
        order = rng.permutation(len(self._examples))
        order = order[np.argsort(self._examples.labels[order], kind="stable")]
        return self._examples.take(order[0::2]), self._examples.take(order[1::2])
