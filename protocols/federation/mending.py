"""What a server can do about a suspected trigger without accusing anybody: unlearn it.

The pattern is planted in the server's own examples, and the model is trained to say of them what it
said without the pattern. Only where the pattern *commands*: where it takes more examples to its
class than patterns of as many features drawn at random do. So a suspect that is none costs little,
and an honest client whose data look like a trigger loses nothing but that.

What is trained on varies about the root examples as these do about the means of their classes: the
model's own answers are the labels, so there are as many examples as one likes.

A backdoor that comes back with every update is unlearned after every sum; the model that clients
get, and that is released, is the mended one. Experimental: what it costs and what it misses is in
docs/explanation/detection.md.

After [Wang19, §VI-C], who unlearn a trigger that was found by inversion; here it is read from
updates.

[Wang19]  Wang, Yao, Shan, Li, Viswanath, Zheng, Zhao: Neural Cleanse: Identifying and Mitigating
          Backdoor Attacks in Neural Networks, IEEE S&P 2019.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import compress
from typing import NamedTuple

import numpy as np

from protocols.federation.mendable import Mendable
from robust.attacks.attack import Examples
from robust.errors import ObservationError, require
from robust.features import between, whole_number
from robust.observe import Array
from robust.triggers import Suspect, within_classes

__all__ = ["Mending"]

_TYPICAL = 0.99
"""Share of the root set's entries that count as usual in size."""


@dataclass(frozen=True, kw_only=True)
class Mending:
    """How suspected triggers are unlearned.

    Attributes
    ----------
    reach: largest value of a planted feature, in sizes that 99 % of all entries of the root set do
        not exceed; > 0.
    commands: probability that a pattern gives its class, in the mean over examples of others,
        beyond what random patterns of its size and the server's own model give, from which a
        suspect without evidence is unlearned; in (0, 1).
    halves: nats of a suspect's score that halve this; > 0.
    rests: what is aimed at, and asked of everybody; in (0, commands].
    others: random patterns, >= 1.
    steps: of SGD between two looks at what still commands. looks: >= 1.
    batch: examples without a pattern in a step, and about as many with patterns; >= 1.
    rate: of learning, > 0, for features of a deviation of about 1.
    keeps: share of its accuracy on the root examples that a model must keep, in (0, 1): steps after
        which it does not are undone, and the rate is halved.

    Raises `ParameterError` for anything else.
    """

    reach: float = 3.0
    commands: float = 0.5
    halves: float = 10.0
    rests: float = 0.05
    others: int = 16
    steps: int = 10
    looks: int = 10
    batch: int = 64
    rate: float = 0.1
    keeps: float = 0.8

    def __post_init__(self) -> None:
        between("reach", self.reach, 0.0, np.inf)
        between("rate", self.rate, 0.0, np.inf)
        between("commands", self.commands, 0.0, 1.0)
        between("keeps", self.keeps, 0.0, 1.0)
        real = isinstance(self.rests, int | float)
        require(real and 0 < self.rests <= self.commands, "0 < rests <= commands")
        between("halves", self.halves, 0.0, np.inf)
        for name in ("others", "steps", "looks", "batch"):
            whole_number(name, getattr(self, name), 1)

    def mended(
        self,
        network: Mendable,
        weights: Array,
        own: Array,
        root: Examples,
        suspects: Sequence[Suspect],
        rng: np.random.Generator,
    ) -> tuple[Array, tuple[Suspect, ...]]:
        """Weights (d,) after unlearning, and the suspects that commanded before; `weights`
        themselves where none did.

        Whoever commanded is unlearned until it rests, or `looks` times: not all of them need rest.
        Raises `ObservationError` for suspects of features or classes that the root set does not
        have, for a root set or weights that are not finite or not the network's, for models that
        say nothing finite of a pattern, as `largest`, and where a model is to be unlearned and no
        class of the root set has two examples.
        """
        _check(network, weights, own, root, suspects)
        said = _Said(network, root, self.largest(root))
        with np.errstate(over="ignore", invalid="ignore"):
            usual = np.maximum(
                said.usual(weights, suspects, self.others, rng), said.given(own, suspects)
            )
            found = said.given(weights, suspects) - usual
        if not bool(np.isfinite(found).all()):
            raise ObservationError("what models say of examples with patterns must be finite")
        scores = np.array([one.score for one in suspects])
        commanded = found > np.maximum(self.commands * 0.5 ** (scores / self.halves), self.rests)
        guilty = tuple(compress(suspects, commanded))
        if guilty:
            weights = self._unlearned(said, weights, guilty, usual[commanded], rng)
        return weights, guilty

    def largest(self, root: Examples) -> float:
        """Value of a planted feature. Raises `ObservationError` where it is 0, and no pattern."""
        most = self.reach * float(np.quantile(np.abs(root.inputs), _TYPICAL))
        if most <= 0:
            raise ObservationError("1 % of the root set's entries, or more, must not be 0")
        return most

    def _unlearned(
        self,
        said: _Said,
        teacher: Array,
        guilty: Sequence[Suspect],
        usual: Array,
        rng: np.random.Generator,
    ) -> Array:
        """Weights that say with patterns what `teacher` (d,) says without. usual: (s,)."""
        weights, rate, live = teacher, self.rate, np.ones(len(guilty), dtype=bool)
        least = self.keeps * said.accuracy(teacher)
        variety = _root_of(within_classes(said.root.inputs, said.root.labels))
        for _ in range(self.looks):
            after = weights
            with np.errstate(over="ignore", invalid="ignore"):
                for _ in range(self.steps):
                    plain, marked = self._drawn(said, variety, tuple(compress(guilty, live)), rng)
                    targets = said.model.probabilities(teacher, plain)
                    after = said.model.step(after, marked, targets, rate)
                if said.accuracy(after) < least:
                    rate /= 2
                    continue
            weights = after
            live = said.given(weights, guilty) - usual > self.rests
            if not live.any():
                break
        return weights

    def _drawn(
        self, said: _Said, variety: Array, live: Sequence[Suspect], rng: np.random.Generator
    ) -> tuple[Array, Array]:
        """Inputs of one step without patterns, and with them, (b, f) each: first some that stay
        plain, then some of each suspect, all features of one example at the same size.
        """
        root, count = said.root, -(-self.batch // len(live))
        rows = rng.integers(len(root), size=self.batch + count * len(live))
        plain = root.inputs[rows] + rng.standard_normal((len(rows), len(variety))) @ variety
        marked = plain.copy()
        for at, one in enumerate(live):
            mine = slice(self.batch + at * count, self.batch + (at + 1) * count)
            sizes = rng.uniform(0, said.most, (count, 1))
            marked[mine, list(one.features)] = sizes * np.array(one.signs)
        return plain, marked


class _Said(NamedTuple):
    """What a model says of the root examples, with patterns on them. most: value of a planted
    feature.
    """

    model: Mendable
    root: Examples
    most: float

    def accuracy(self, weights: Array) -> float:
        """Without a pattern; -1, less than any, where the model says nothing finite."""
        found = self.model.probabilities(weights, self.root.inputs)
        right = found.argmax(axis=1) == self.root.labels
        return float(right.mean()) if np.isfinite(found).all() else -1.0

    def given(self, weights: Array, suspects: Sequence[Suspect]) -> Array:
        """(s,): the probability that each pattern gives its class, in the mean over examples of
        others; 0 where there are none.
        """
        answers = [self._answers(weights, one.features, np.array(one.signs)) for one in suspects]
        return np.array([row[one.target] for row, one in zip(answers, suspects, strict=True)])

    def usual(
        self, weights: Array, suspects: Sequence[Suspect], others: int, rng: np.random.Generator
    ) -> Array:
        """(s,): the same of so many random patterns with as many features, their median."""
        features = self.root.inputs.shape[1]
        medians = {}
        for size in sorted({len(one.features) for one in suspects}):
            drawn = [
                (rng.permutation(features)[:size].tolist(), rng.choice([-1.0, 1.0], size))
                for _ in range(others)
            ]
            medians[size] = np.median([self._answers(weights, *one) for one in drawn], axis=0)
        return np.array([medians[len(one.features)][one.target] for one in suspects])

    def _answers(self, weights: Array, features: Sequence[int], signs: Array) -> Array:
        """(c,): what a pattern gives each class, in the mean over examples of the others; of the
        whole value or half of it, whichever gives more.
        """
        root = self.root
        marked = np.stack([root.inputs, root.inputs])
        for half, value in enumerate((self.most, self.most / 2)):
            marked[half][:, list(features)] = value * signs
        given = self.model.probabilities(weights, marked.reshape(-1, marked.shape[-1]))
        others = root.labels[:, None] != np.arange(root.classes)
        sums = (given.reshape(2, *others.shape) * others).sum(axis=1)
        return np.asarray((sums / np.maximum(others.sum(axis=0), 1)).max(axis=0))


def _root_of(covariance: Array) -> Array:
    """(f, f): R with R' R = covariance."""
    values, basis = np.linalg.eigh(covariance)
    return np.asarray(np.sqrt(np.maximum(values, 0.0))[:, None] * basis.T)


def _check(
    network: Mendable, weights: Array, own: Array, root: Examples, suspects: Sequence[Suspect]
) -> None:
    features = root.inputs.shape[1]
    if (network.inputs, network.classes) != (features, root.classes):
        raise ObservationError("the root set must have the features and classes of the network")
    if not bool(np.isfinite(root.inputs).all()):
        raise ObservationError("inputs of the root set must be finite")
    for name, row in (("weights", weights), ("own", own)):
        if row.shape != (network.size,) or not bool(np.isfinite(row).all()):
            raise ObservationError(f"{name} must be finite and ({network.size},)")
    if any(one.features[-1] >= features or one.target >= root.classes for one in suspects):
        raise ObservationError("suspects must have features and classes of the root set")
