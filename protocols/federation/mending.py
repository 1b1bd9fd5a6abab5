"""What a server can do about a suspected trigger without accusing anybody: unlearn it.

The pattern is planted in the server's own examples, and the model is trained to say of them what it
says without the pattern. Only where the pattern *commands*: where it takes more examples to its
class than patterns of as many features drawn at random do. So a suspect that is none costs little,
and an honest client whose data look like a trigger loses nothing but that.

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

import numpy as np

from protocols.federation.model import Network
from robust.attacks.attack import Examples
from robust.errors import ObservationError, require
from robust.features import between, whole_number
from robust.observe import Array
from robust.triggers import Suspect

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
        beyond the median of random patterns of its size, from which it is unlearned; in (0, 1).
    rests: what is aimed at, in (0, commands]; and the limit for suspects of a score of `sure`.
    sure: > 0, in nats.
    others: random patterns, >= 1.
    steps: of SGD between two looks at what still commands. looks: >= 1.
    batch: examples without a pattern in a step, and about as many with patterns; >= 1.
    rate: of learning, > 0; the usual one is for features of deviation 1, and ruins a model of large
        ones.

    Raises `ParameterError` for anything else.
    """

    reach: float = 3.0
    commands: float = 0.2
    rests: float = 0.05
    sure: float = 20.0
    others: int = 16
    steps: int = 10
    looks: int = 10
    batch: int = 64
    rate: float = 0.1

    def __post_init__(self) -> None:
        between("reach", self.reach, 0.0, np.inf)
        between("rate", self.rate, 0.0, np.inf)
        between("commands", self.commands, 0.0, 1.0)
        require(0 < self.rests <= self.commands, "0 < rests <= commands")
        between("sure", self.sure, 0.0, np.inf)
        for name in ("others", "steps", "looks", "batch"):
            whole_number(name, getattr(self, name), 1)

    def mended(
        self,
        network: Network,
        weights: Array,
        own: Array,
        root: Examples,
        suspects: Sequence[Suspect],
        rng: np.random.Generator,
    ) -> tuple[Array, tuple[Suspect, ...]]:
        """Weights (d,) after unlearning, and the suspects that commanded before; `weights`
        themselves where none did.

        Whoever commanded is unlearned until it rests, or `looks` times. Raises `ObservationError`
        for suspects of features or classes that the root set does not have, and for a root set or
        weights that are not finite or not the network's.
        """
        _check(network, weights, own, root, suspects)
        usual = np.maximum(
            self._usual(network, weights, root, suspects, rng),
            self._given(network, own, root, suspects),
        )
        found = self._given(network, weights, root, suspects) - usual
        sure = np.array([one.score for one in suspects]) >= self.sure
        commanded = found > np.where(sure, self.rests, self.commands)
        guilty = tuple(compress(suspects, commanded))
        usual, live = usual[commanded], np.ones(len(guilty), dtype=bool)
        teacher = network.probabilities(weights, root.inputs)
        for _ in range(self.looks if guilty else 0):
            for _ in range(self.steps):
                inputs, rows = self._planted(root, tuple(compress(guilty, live)), rng)
                weights = network.step(weights, inputs, teacher[rows], self.rate)
            live = self._given(network, weights, root, guilty) - usual > self.rests
            if not live.any():
                break
        return weights, guilty

    def _given(
        self, network: Network, weights: Array, root: Examples, suspects: Sequence[Suspect]
    ) -> Array:
        """(s,): the probability that each pattern gives its class, in the mean over examples of
        others; the larger one of the whole reach and half of it. 0 where there are no others.
        """
        found = np.zeros(len(suspects))
        for at, one in enumerate(suspects):
            inputs = root.inputs[root.labels != one.target]
            if len(inputs):
                marked = np.stack([inputs, inputs])
                for half, value in enumerate(self._values(root)):
                    marked[half][:, list(one.features)] = value * np.array(one.signs)
                found[at] = _mean(network, weights, marked)[:, one.target].max()
        return found

    def _usual(
        self,
        network: Network,
        weights: Array,
        root: Examples,
        suspects: Sequence[Suspect],
        rng: np.random.Generator,
    ) -> Array:
        """(s,): the same of random patterns with as many features, their median.

        Stricter than that: over all examples, those of the class too, and of two patterns each.
        """
        features = root.inputs.shape[1]
        medians = {}
        for size in sorted({len(one.features) for one in suspects}):
            marked = np.tile(root.inputs, (2 * self.others, 1, 1))
            for at, one in enumerate(marked):
                columns, signs = rng.permutation(features)[:size], rng.choice([-1.0, 1.0], size)
                one[:, columns] = self._values(root)[at % 2] * signs
            given = _mean(network, weights, marked).reshape(self.others, 2, -1)
            medians[size] = np.median(given.max(axis=1), axis=0)
        return np.array([medians[len(one.features)][one.target] for one in suspects])

    def _planted(
        self, root: Examples, live: Sequence[Suspect], rng: np.random.Generator
    ) -> tuple[Array, Array]:
        """Inputs of one step, and which of the root set's they are: plain ones, then marked ones of
        each suspect, all features of one example at the same size.
        """
        most, count = self._values(root)[0], -(-self.batch // len(live))
        rows = [rng.integers(len(root), size=self.batch)]
        inputs = [root.inputs[rows[0]]]
        for one in live:
            rows.append(rng.integers(len(root), size=count))
            marked = root.inputs[rows[-1]].copy()
            marked[:, list(one.features)] = rng.uniform(0, most, (count, 1)) * np.array(one.signs)
            inputs.append(marked)
        return np.concatenate(inputs), np.concatenate(rows)

    def _values(self, root: Examples) -> tuple[float, float]:
        most = self.reach * float(np.quantile(np.abs(root.inputs), _TYPICAL))
        return most, most / 2


def _check(
    network: Network, weights: Array, own: Array, root: Examples, suspects: Sequence[Suspect]
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


def _mean(network: Network, weights: Array, marked: Array) -> Array:
    """(p, classes), the mean of each of p sets of inputs (p, n, f)."""
    flat = network.probabilities(weights, marked.reshape(-1, marked.shape[-1]))
    return np.asarray(flat.reshape(*marked.shape[:2], -1).mean(axis=1))
