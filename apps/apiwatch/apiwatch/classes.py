"""C names: a closed-form ridge classifier on hashed characters, learnt from sums of integers.

A value becomes 2048 small integers, hashes of its bytes, words and tokens, and one constant. Sites
sum the products of these with each other and with the class; the solution of the normal equations
follows from the sums, so what sites learn together is what their pooled examples give
[Golub13, §5.3], and a class that is new is one more sum. Everything up to that solution is exact.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from hashlib import sha256
from itertools import islice
from typing import Self

import numpy as np
from numpy.typing import NDArray

from apiwatch.class_noise import EXACT, Noise
from apiwatch.encode import NORM, SIZE, encode
from apiwatch.errors import ParameterError, ProfileMismatch
from apiwatch.hashing import mix
from apiwatch.secure import Members, Summed, secure_sum

__all__ = [
    "BENIGN",
    "MOST_LEVERAGE",
    "MOST_WEIGHT",
    "ClassModel",
    "ClassSums",
    "class_weights",
    "largest_entry",
    "learn_together",
]

BENIGN = "benign"
_BATCH = 2048
MOST_WEIGHT = 64
_RIDGE = 1e-3  # of the mean eigenvalue
_WHITE = 1e-2  # the same where directions are compared: those that no example has are noise
_ABOVE = 1.282  # standard deviations that 9 of 10 are below
MOST_LEVERAGE = 0.95
_PROBES = 16
_LEAST_USUAL = 0.2  # the estimate is rough where examples are few
MOST_EXAMPLES = 1 << 20
_Floats = NDArray[np.float64]
_Integers = NDArray[np.int64]


def class_weights(counts: Mapping[str, int]) -> dict[str, int]:
    """How much one example of each class counts, 4 … 64: a rare class more, by the fourth root."""
    most = max(counts.values(), default=1)
    return {
        label: min(MOST_WEIGHT, round(4 * (most / max(count, 1)) ** 0.25))
        for label, count in counts.items()
    }


def largest_entry(counts: Mapping[str, int], weights: Mapping[str, int]) -> int:
    """What no entry of the sums of so many examples exceeds."""
    return NORM**2 * sum(weights[label] * count for label, count in counts.items())


@dataclass(frozen=True, eq=False)
class ClassSums:
    """All that is learnt of some classes.

    labels: names, ascending. products: (2049, 2049) int64, symmetric. moments: (c, 2049) int64.
    counts: (c,) int64, examples. All but the counts are weighted. noise: in them.
    """

    labels: tuple[str, ...]
    products: _Integers
    moments: _Integers
    counts: _Integers
    noise: Noise = EXACT

    def __post_init__(self) -> None:
        if list(self.labels) != sorted(set(self.labels)):
            raise ParameterError("labels must be distinct and ascend")
        c = len(self.labels)
        shapes = (self.products.shape, self.moments.shape, self.counts.shape)
        if shapes != ((SIZE, SIZE), (c, SIZE), (c,)):
            raise ParameterError(f"shapes ({SIZE}, {SIZE}), ({c}, {SIZE}), ({c},) must hold")

    @classmethod
    def empty(cls, labels: Iterable[str]) -> Self:
        names = tuple(sorted(set(labels)))
        c = len(names)
        products, moments = np.zeros((SIZE, SIZE), np.int64), np.zeros((c, SIZE), np.int64)
        return cls(names, products, moments, np.zeros(c, np.int64))

    @classmethod
    def learn(
        cls, examples: Iterable[tuple[str, str]], labels: Iterable[str], weights: Mapping[str, int]
    ) -> Self:
        """From pairs of text and label. weights: per label, 1 … 64; all sites must use the same.

        Raises `ParameterError` for another label or weight, or more than 2**20 examples.
        """
        sums = cls.empty(labels)
        if not all(1 <= weights.get(label, 0) <= MOST_WEIGHT for label in sums.labels):
            raise ParameterError(f"1 <= weight <= {MOST_WEIGHT} must hold for every label")
        index = {label: i for i, label in enumerate(sums.labels)}
        remaining = iter(examples)
        products = np.zeros((SIZE, SIZE))
        while part := list(islice(remaining, _BATCH)):
            unknown = {label for _, label in part} - index.keys()
            if unknown:
                raise ParameterError(f"labels in {sums.labels} must hold, got {sorted(unknown)}")
            of = np.array([index[label] for _, label in part])
            weight = np.array([weights[label] for label in sums.labels], np.float64)[of]
            encoded = encode([text for text, _ in part])
            products += (encoded * weight[:, None]).T @ encoded
            np.add.at(sums.moments, of, (encoded * weight[:, None]).astype(np.int64))
            np.add.at(sums.counts, of, 1)
        if sums.counts.sum() > MOST_EXAMPLES:
            raise ParameterError(f"examples <= {MOST_EXAMPLES} must hold")
        return cls(sums.labels, products.astype(np.int64), sums.moments, sums.counts)

    def __add__(self, other: ClassSums) -> ClassSums:
        """The sums of both; a label that one of them lacks is added to it with nothing in it."""
        labels = tuple(sorted({*self.labels, *other.labels}))
        one, two = self._with(labels), other._with(labels)
        return ClassSums(
            labels,
            one.products + two.products,
            one.moments + two.moments,
            one.counts + two.counts,
            self.noise + other.noise,
        )

    def __sub__(self, other: ClassSums) -> ClassSums:
        """Without what `other` added, exactly. Raises `ProfileMismatch` if it is not in it, and
        where noise leaves that open.
        """
        if self.noise != EXACT or other.noise != EXACT:
            raise ProfileMismatch("of class sums with noise nothing can be taken away")
        mine = other._with(self.labels) if set(other.labels) <= set(self.labels) else None
        if mine is None or np.any(mine.vector > self.vector):
            raise ProfileMismatch("class sums that are not part of these cannot be taken away")
        return ClassSums(
            self.labels,
            self.products - mine.products,
            self.moments - mine.moments,
            self.counts - mine.counts,
        )

    @property
    def vector(self) -> _Integers:
        """What goes into a secure sum: half of the symmetric products, moments, counts."""
        half = self.products[np.triu_indices(SIZE)]
        return np.concatenate([half, self.moments.reshape(-1), self.counts])

    @classmethod
    def from_vector(cls, vector: _Integers, labels: tuple[str, ...], noise: Noise = EXACT) -> Self:
        """The inverse of `vector`, which does not say what noise is in it."""
        half, c = SIZE * (SIZE + 1) // 2, len(labels)
        upper = np.zeros((SIZE, SIZE), np.int64)
        upper[np.triu_indices(SIZE)] = vector[:half]
        products = upper + np.triu(upper, 1).T
        moments = vector[half : half + c * SIZE].reshape(c, SIZE)
        return cls(labels, products, moments, vector[half + c * SIZE :], noise)

    @property
    def digest(self) -> str:
        """SHA-256 over labels, all sums, and their noise where there is some."""
        state = sha256("\0".join(self.labels).encode())
        state.update(self.vector.astype("<i8").tobytes())
        if self.noise != EXACT:
            state.update(repr(self.noise).encode())
        return state.hexdigest()

    def _with(self, labels: tuple[str, ...]) -> ClassSums:
        where = [labels.index(label) for label in self.labels]
        moments = np.zeros((len(labels), SIZE), np.int64)
        counts = np.zeros(len(labels), np.int64)
        moments[where], counts[where] = self.moments, self.counts
        return ClassSums(labels, self.products, moments, counts, self.noise)


class ClassModel:
    """What follows from class sums: names for values, and directions in which kinds differ."""

    def __init__(self, sums: ClassSums) -> None:
        if BENIGN not in sums.labels or len(sums.labels) < 2:
            raise ParameterError(f"'{BENIGN}' and one more label must be in the sums")
        self.sums = sums

    @property
    def attacks(self) -> tuple[str, ...]:
        """The labels but the benign one, ascending."""
        return tuple(label for label in self.sums.labels if label != BENIGN)

    def responses(self, texts: Sequence[str]) -> _Floats:
        """(n, c): near 1 for the class of a value, near 0 for the others."""
        answers: _Floats = encode(texts) @ self._solved[0].T
        return answers

    def parts(self, texts: Sequence[str]) -> _Floats:
        """(n, c): responses, divided by those that fresh examples of each class usually get."""
        parts: _Floats = self.responses(texts) / self._solved[1]
        return parts

    def attacked(self, texts: Sequence[str]) -> _Floats:
        """(n, a): the responses of `attacks`."""
        return self.responses(texts)[:, self._attack]

    @property
    def usual(self) -> _Floats:
        """(a,) the response that fresh examples of an attack get on average.

        The fewer examples a class has, the more of its response to them is theirs alone, and the
        less is left for others: to compare classes, responses must be divided by this.
        """
        return self._solved[1][self._attack]

    def unseen(
        self, texts: Sequence[str], labels: Sequence[str], weights: Mapping[str, int]
    ) -> _Floats:
        """(n, a): what `attacked` would be of examples that are in the sums, were they not.

        Without its own part, an example of leverage h and class y gets (r - h y) / (1 - h), exactly
        [Hastie09, eq. 7.52].
        """
        encoded, c = encode(texts), len(self.sums.labels)
        both = _solve(self.regular, np.concatenate([self.sums.moments, encoded]).T).T
        weight = np.array([weights[label] for label in labels])
        leverage = np.minimum(weight * (encoded * both[c:]).sum(axis=1), MOST_LEVERAGE)[:, None]
        own = np.array([[label == attack for attack in self.attacks] for label in labels])
        seen = encoded @ both[self._attack].T
        answers: _Floats = (seen - leverage * own) / (1.0 - leverage)
        return answers

    @property
    def floors(self) -> _Floats:
        """(a,) what 9 of 10 examples of all classes respond less than, as a normal law has it."""
        solution = self._solved[0]
        mean = solution @ self._center
        square = ((solution @ self.sums.products) * solution).sum(axis=1) / self._weight
        floors: _Floats = mean + _ABOVE * np.sqrt(np.maximum(square - mean**2, 0.0))
        return floors[self._attack]

    def embed(self, texts: Sequence[str]) -> _Floats:
        """(n, 2049) unit vectors, whitened by the pooled covariance: cosines tell kinds apart."""
        white: _Floats = _solve(self._root, (encode(texts) - self._center).T).T
        unit: _Floats = white / np.maximum(np.linalg.norm(white, axis=1, keepdims=True), 1e-9)
        return unit

    @cached_property
    def _attack(self) -> list[int]:
        return [i for i, label in enumerate(self.sums.labels) if label != BENIGN]

    @cached_property
    def _weights(self) -> _Floats:
        """(c,) of all examples of a class; every example has the same constant."""
        return np.maximum(self.sums.moments[:, -1] / NORM, 1e-9)

    @property
    def _weight(self) -> float:
        """Of all examples. It and the center are read off the products, so that the covariance is
        positive semi-definite as they are, with noise and without.
        """
        return max(float(self.sums.products[-1, -1]) / NORM**2, 1e-9)

    @cached_property
    def _center(self) -> _Floats:
        center: _Floats = self.sums.products[-1] / (NORM * self._weight)
        return center

    @property
    def regular(self) -> _Floats:
        """(2049, 2049) the products, regular: whose inverse and the moments are the solution."""
        products = self.sums.products.astype(np.float64)
        return _regular(products, _RIDGE, self.sums.noise.ridge)

    @cached_property
    def _solved(self) -> tuple[_Floats, _Floats]:
        """(c, 2049) the solution, and (c,) the usual responses.

        Without its own part in the solution, an example that gets r would get (r - h) / (1 - h),
        where h is its leverage [Hastie09, eq. 7.52].
        """
        moments = self.sums.moments.astype(np.float64)
        ridge = self.regular
        both = _solve(ridge, np.concatenate([moments, _probes()]).T).T
        solution = both[: len(moments)]
        trace = float((both[len(moments) :] * _probes()).sum()) / _PROBES
        # what noise in the moments gets from itself is no response
        squares = (solution * moments).sum(axis=1) - self.sums.noise.moments**2 * trace
        own = squares / self._weights
        leverage = self._leverage(own, (ridge[0, 0] - self.sums.products[0, 0]) * trace)
        return solution, np.maximum((own - leverage) / (1.0 - leverage), _LEAST_USUAL)

    def _leverage(self, own: _Floats, lost: float) -> _Floats:
        """(c,) the mean over a class. It needs how examples of the class spread; how those of all
        classes do stands for it, in the size of the class's own.

        own: (c,) mean responses. lost: by how much the trace of the regular inverse with the
        products is below 2049.
        """
        moments, counts = self.sums.moments, np.maximum(self.sums.counts, 1)
        squares = (moments.astype(np.float64) ** 2).sum(axis=1) / self._weights
        trace = float(np.trace(self.sums.products))
        spread = (SIZE - lost - own.sum()) / max(trace - squares.sum(), 1e-9)
        size = trace / self._weight - squares / self._weights
        leverage: _Floats = (self._weights * size * spread + own) / counts
        return np.minimum(leverage, MOST_LEVERAGE)

    @cached_property
    def _root(self) -> _Floats:
        products = self.sums.products / self._weight
        covariance = products - np.outer(self._center, self._center)
        regular = _regular(covariance, _WHITE, self.sums.noise.ridge / self._weight)
        return np.asarray(np.linalg.cholesky(regular), np.float64)


def _probes() -> _Floats:
    """(16, 2049) signs, always the same: the mean of z'Bz over them is close to the trace of B
    [Hutchinson89].
    """
    codes = np.arange(_PROBES * SIZE, dtype=np.uint64)
    signs: _Floats = 1.0 - 2.0 * (mix(codes) >> np.uint64(63)).astype(np.float64)
    return signs.reshape(_PROBES, SIZE)


def _regular(matrix: _Floats, part: float, least: float) -> _Floats:
    """The matrix and, on its diagonal, `part` of its mean eigenvalue, and `least` at least."""
    ridge = max(part * max(np.trace(matrix) / SIZE, 1e-3), least)
    regular: _Floats = matrix + ridge * np.eye(SIZE)
    return regular


def _solve(matrix: _Floats, right: _Floats) -> _Floats:
    solution: _Floats = np.asarray(np.linalg.solve(matrix, right), np.float64)
    return solution


def learn_together(
    sites: Mapping[int, Sequence[tuple[str, str]]],
    labels: Iterable[str],
    members: Members,
    *,
    model: bytes,
    drops: Mapping[int, str] | None = None,
) -> tuple[ClassSums, list[Summed]]:
    """Class sums over sites by two secure sums: how many examples of each class, then the rest.

    drops: sites and the phase of the second sum in which they fall silent.
    """
    names = tuple(sorted(set(labels)))
    counts = {
        site: np.array([sum(label == name for _, label in pairs) for name in names])
        for site, pairs in sites.items()
    }
    first = secure_sum(counts, members, bound=MOST_EXAMPLES, model=model)
    weights = class_weights(dict(zip(names, first.total.tolist(), strict=True)))
    learnt = {
        site: ClassSums.learn(sites[site], names, weights).vector for site in sorted(first.included)
    }
    most = max(MOST_WEIGHT * NORM**2 * MOST_EXAMPLES, 1)
    second = secure_sum(learnt, members.only(first.included), bound=most, model=model, drops=drops)
    return ClassSums.from_vector(second.total, names), [first, second]
