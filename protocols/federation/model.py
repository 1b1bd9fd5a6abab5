"""A network with one hidden layer whose clients all train at once, by products of stacked matrices.

Weights are one flat vector (d,), float64, in the order hidden matrix, hidden bias, output matrix,
output bias. Training is plain SGD on the cross entropy; each step of each client takes a batch
drawn with replacement from its examples, so that clients of any size can be stacked.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from robust.attacks.attack import Examples
from robust.attacks.trigger import Trigger
from robust.features import unit_rows
from robust.observe import Array
from secagg.errors import ParameterError

__all__ = ["Network", "Training", "draws"]


@dataclass(frozen=True, kw_only=True)
class Training:
    """What a client does in a round.

    Attributes
    ----------
    steps: of SGD, >= 1.
    batch: examples in a step, >= 1.
    rate: of learning, > 0.

    Raises `ParameterError` for anything else.
    """

    steps: int = 10
    batch: int = 32
    rate: float = 0.1

    def __post_init__(self) -> None:
        if not (self.steps >= 1 and self.batch >= 1 and 0 < self.rate < np.inf):
            raise ParameterError("steps >= 1, batch >= 1 and 0 < rate < inf must hold")


def draws(size: int, training: Training, rng: np.random.Generator) -> NDArray[np.int64]:
    """Batches of one client with `size` examples, (steps, batch) positions with replacement."""
    return rng.integers(size, size=(training.steps, training.batch))


@dataclass(frozen=True, kw_only=True)
class Network:
    """inputs -> hidden rectified units -> classes; each number >= 1, else `ParameterError`."""

    inputs: int
    hidden: int
    classes: int

    def __post_init__(self) -> None:
        if min(self.inputs, self.hidden, self.classes) < 1:
            raise ParameterError("inputs >= 1, hidden >= 1 and classes >= 1 must hold")

    @property
    def size(self) -> int:
        """d, the parameters."""
        return (self.inputs + 1) * self.hidden + (self.hidden + 1) * self.classes

    @property
    def layers(self) -> Mapping[str, slice]:
        """Where each array stands in the flat vector."""
        ends = np.cumsum([0, *(rows * columns for rows, columns in self._shapes)])
        names = ("hidden.weight", "hidden.bias", "output.weight", "output.bias")
        return {name: slice(int(ends[i]), int(ends[i + 1])) for i, name in enumerate(names)}

    def fresh(self, rng: np.random.Generator) -> Array:
        """Weights to start from, (d,): uniform within 1 / sqrt(inputs of the layer)."""
        reach = np.concatenate(
            [
                np.full((self.inputs + 1) * self.hidden, self.inputs**-0.5),
                np.full((self.hidden + 1) * self.classes, self.hidden**-0.5),
            ]
        )
        return rng.uniform(-reach, reach)

    def updates(
        self,
        weights: Array,
        cohort: Sequence[Examples],
        batches: Sequence[NDArray[np.int64]],
        rate: float,
    ) -> Array:
        """What each client's training changes, (n, d): its weights less `weights` (d,).

        batches: one (steps, batch) for each client, positions in its examples; see `draws`.
        """
        sizes = np.array([len(one) for one in cohort])
        inputs = np.concatenate([one.inputs for one in cohort])
        labels = np.concatenate([one.labels for one in cohort])
        starts = np.cumsum(sizes) - sizes
        trained = np.tile(weights, (len(cohort), 1))
        targets = np.eye(self.classes)[labels]
        for rows in np.stack(batches, axis=1) + starts[:, None]:
            self._step(trained, inputs[rows], targets[rows], rate)
        return trained - weights

    def step(self, weights: Array, inputs: Array, targets: Array, rate: float) -> Array:
        """Weights (d,) after one step of SGD on inputs (n, f) whose classes have the probabilities
        `targets` (n, classes).
        """
        after = weights[None].copy()
        self._step(after, inputs[None], targets[None], rate)
        return np.asarray(after[0])

    def trained(
        self,
        weights: Array,
        cohort: Sequence[Examples],
        training: Training,
        streams: Sequence[np.random.Generator],
    ) -> Array:
        """What `training` changes of each client, (n, d); each stream draws the batches of one."""
        pairs = zip(cohort, streams, strict=True)
        batches = [draws(len(one), training, stream) for one, stream in pairs]
        return self.updates(weights, cohort, batches, training.rate)

    def accuracy(self, weights: Array, examples: Examples) -> float:
        """The share of `examples` that the model labels rightly."""
        return float((self.labels(weights, examples.inputs) == examples.labels).mean())

    def attack_success(self, weights: Array, examples: Examples, trigger: Trigger) -> float:
        """The share of inputs of other classes that the trigger turns into its target.

        Raises `ParameterError` where all examples are of the target class.
        """
        others = examples.labels != trigger.target
        if not others.any():
            raise ParameterError("an example of another class than the target must be there")
        found = self.labels(weights, trigger.stamped(examples.inputs[others]))
        return float((found == trigger.target).mean())

    def labels(self, weights: Array, inputs: Array) -> NDArray[np.int64]:
        """What the model says of inputs (n, f), int64 (n,)."""
        found: NDArray[np.int64] = self._logits(weights, inputs).argmax(axis=1)
        return found

    def probabilities(self, weights: Array, inputs: Array) -> Array:
        """(n, classes), what the model gives each class, for inputs (n, f)."""
        return _softmax(self._logits(weights, inputs))

    def pulls(self, weights: Array, inputs: Array, rows: Array) -> Array:
        """(n, f + 1, classes): how much rows (n, d), added to `weights`, make feature j speak for
        class t, to first order; the last is the bias, which is always 1.

        Inner products with directions of norm 1: in the weights of feature j, the mean gradient of
        log P[t] in what the hidden units receive, over inputs (m, f).
        """
        first, first_bias, second, second_bias = self._unpacked(weights[None])
        hidden = np.maximum(inputs @ first[0] + first_bias[0], 0)
        probability = _softmax(hidden @ second[0] + second_bias[0])
        # the gradient of log P[t] is that of class t's logit less that of the mean logit
        active = (hidden > 0).astype(np.float64)
        own = second[0].T * active.mean(axis=0)
        shared = ((probability @ second[0].T) * active).mean(axis=0)
        directions = unit_rows(own - shared)
        layers = self._unpacked(rows)
        found = np.concatenate([layers[0], layers[1]], axis=1) @ directions.T
        return np.asarray(found)

    def losses(self, weights: Array, examples: Examples) -> Array:
        """The cross entropy of each example, (n,), >= 0."""
        logits = self._logits(weights, examples.inputs)
        above = logits - logits.max(axis=1, keepdims=True)
        own = np.take_along_axis(above, examples.labels[:, None], axis=1)[:, 0]
        found: Array = np.log(np.exp(above).sum(axis=1)) - own
        return found

    def _logits(self, weights: Array, inputs: Array) -> Array:
        """(n, classes), for inputs (n, f)."""
        first, first_bias, second, second_bias = self._unpacked(weights[None])
        hidden = np.maximum(inputs @ first[0] + first_bias[0], 0)
        found: Array = hidden @ second[0] + second_bias[0]
        return found

    @property
    def _shapes(self) -> tuple[tuple[int, int], ...]:
        return (
            (self.inputs, self.hidden),
            (1, self.hidden),
            (self.hidden, self.classes),
            (1, self.classes),
        )

    def _unpacked(self, rows: Array) -> list[Array]:
        """Views of rows (n, d) as (n, rows, columns) arrays."""
        where = self.layers.values()
        return [
            rows[:, part].reshape(len(rows), *shape)
            for part, shape in zip(where, self._shapes, strict=True)
        ]

    def _step(self, trained: Array, x: Array, y: Array, rate: float) -> None:
        """One step of SGD in place: weights (n, d), x (n, b, f), y (n, b, c) probabilities."""
        first, first_bias, second, second_bias = self._unpacked(trained)
        hidden = np.maximum(x @ first + first_bias, 0)
        error = _softmax(hidden @ second + second_bias)
        error -= y
        error *= rate / y.shape[1]
        behind = (error @ second.transpose(0, 2, 1)) * (hidden > 0)
        second -= hidden.transpose(0, 2, 1) @ error
        second_bias -= error.sum(axis=1, keepdims=True)
        first -= x.transpose(0, 2, 1) @ behind
        first_bias -= behind.sum(axis=1, keepdims=True)


def _softmax(logits: Array) -> Array:
    powers = np.exp(logits - logits.max(axis=-1, keepdims=True))
    shares: Array = powers / powers.sum(axis=-1, keepdims=True)
    return shares
