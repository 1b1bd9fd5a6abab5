"""Learning names with differential privacy: class sums that hide each labeled example.

    NamePrivacy(epsilon=3.0)      what is promised, and the norm that an example is scaled down to
    PrivateClasses.learn()        class sums, then how known attacks respond to them

An example adds products, moments and a count to one sum, and later one response to another. Of the
products only those are summed that do not follow from the moments, and those of an entry with
itself by two thirds: then the norm of the products is at most the squared norm of the example, over
the root of two, whatever the example is. Names are public and given beforehand.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import cache
from hashlib import sha256
from itertools import islice

import numpy as np
from dp import Release, Sensitivity
from numpy.typing import NDArray
from secagg import Rand

from apiwatch.class_noise import Noise
from apiwatch.class_responses import Responses
from apiwatch.classes import BENIGN, MOST_EXAMPLES, ClassModel, ClassSums
from apiwatch.encode import NORM, SIZE, encode
from apiwatch.errors import ParameterError
from apiwatch.ledger import Ledger
from apiwatch.name_table import MOST_NAMES, check_name
from apiwatch.naming import counted, level_of
from apiwatch.noisy import NoisySums, honest_parts, releases_within
from apiwatch.secure import Summed
from apiwatch.settings import require

__all__ = ["NamePrivacy", "PrivateClasses", "added", "within"]

_WIDTH = SIZE - 1  # without the constant
_PRODUCTS = _WIDTH * (_WIDTH + 1) // 2  # of different entries, and of one
_UNITS = 2  # integers to 1 of an encoded text
_ACROSS, _ALONG = 3, 2  # by which products of different entries, and of one, are multiplied
_COUNT = 16  # what a count adds beside moments of norm 64 in these units
_BELOW = 0.99  # of the norm: rounding may add to it
_BATCH = 2048
_STEPS = 32  # of a response: the fewer, the less noise is below a level
_SHARES = (0.25, 0.72, 0.03)  # of the budget: products, moments, responses
_ROOM = 1 << 35  # on both sides of zero; 2**20 examples of norm 32 take a quarter at most
_VISIBLE = 4.0  # deviations of noise that the number of responses must exceed
_CLEAR = 0.25  # of the squared norm of noise, that of a class must be
_WEIGHT = 4  # of every example, the least of `class_weights`: examples added later weigh as ever
_Floats = NDArray[np.float64]
_Integers = NDArray[np.int64]
_Examples = Sequence[tuple[str, str]]


@dataclass(frozen=True, kw_only=True)
class NamePrivacy:
    """What is promised of both sums together, and how.

    epsilon, delta: by the accountant of `dp`, of neighbors one of which has one labeled example
    more. norm: of an encoded text, which is about 32, in the sums. corrupt, dropout: fractions of
    the cohort whose noise is not counted on.

    Raises `ParameterError` unless 0 < epsilon <= 100, 0 < delta < 1 and 8 <= norm <= 64.
    """

    epsilon: float
    delta: float = 1e-5
    norm: int = NORM
    corrupt: float = 0.1
    dropout: float = 0.1

    def __post_init__(self) -> None:
        require(0 < self.epsilon <= 100, "0 < epsilon <= 100", self.epsilon)
        require(0 < self.delta < 1, "0 < delta < 1", self.delta)
        require(type(self.norm) is int, "type(norm) is int", self.norm)
        require(8 <= self.norm <= 64, "8 <= norm <= 64", self.norm)

    def releases(self, labels: int, sites: int) -> tuple[Release, Release, Release]:
        """What is charged: for products, moments with counts, and responses.

        Raises `ParameterError` where no noise is enough.
        """
        squared = Fraction(_UNITS * self.norm) ** 2
        bounds = (
            # of a vector x: 9 (|x|**4 - sum x**4) / 2 across, 4 sum x**4 along, 9/2 |x|**4 at most
            _bound(squared**2 * _ACROSS**2 / 2, _PRODUCTS),
            _bound(squared + _COUNT**2, labels * SIZE),
            _bound(Fraction(1), _STEPS),
        )
        charged = list(zip(bounds, _SHARES, strict=True))
        parts = honest_parts(sites, self.corrupt, self.dropout)
        products, moments, responses = releases_within(self.epsilon, self.delta, charged, parts)
        return products, moments, responses


def _bound(squared: Fraction, coordinates: int) -> Sensitivity:
    return Sensitivity(squared=squared, coordinates=coordinates, integral=True)


def within(texts: Sequence[str], norm: int) -> _Integers:
    """(n, 2048) encoded texts in halves, each scaled down to the norm; one within it as it is."""
    plain = encode(texts)[:, :_WIDTH] * _UNITS
    most = (_UNITS * norm) ** 2
    squares = (plain**2).sum(axis=1, keepdims=True)
    scaled = plain * np.minimum(1.0, _BELOW * _UNITS * norm / np.sqrt(np.maximum(squares, 1.0)))
    rounded = np.rint(scaled)
    over = (rounded**2).sum(axis=1, keepdims=True) > most
    found = np.where(squares <= most, plain, np.where(over, np.floor(scaled), rounded))
    integers = found.astype(np.int64)
    worst = int((integers**2).sum(axis=1).max(initial=0))
    require(worst <= most, f"squared norm <= {most}", worst)
    return integers


def added(examples: Iterable[tuple[str, str]], labels: Sequence[str], norm: int) -> _Integers:
    """What examples add to the first sum: half of the products, then moments and counts by label.

    Raises `ParameterError` for another label, or more than 2**20 examples.
    """
    index = {label: i for i, label in enumerate(labels)}
    products = np.zeros((_WIDTH, _WIDTH))
    moments = np.zeros((len(labels), SIZE), np.int64)
    count = 0
    remaining = iter(examples)
    while part := list(islice(remaining, _BATCH)):
        if unknown := {label for _, label in part} - index.keys():
            raise ParameterError(f"labels in {tuple(labels)} must hold, got {sorted(unknown)}")
        count += len(part)
        require(count <= MOST_EXAMPLES, f"examples <= {MOST_EXAMPLES}", count)
        of = np.array([index[label] for _, label in part])
        rows = within([text for text, _ in part], norm)
        exact = rows.astype(np.float64)
        products += exact.T @ exact
        ones = np.full((len(part), 1), _COUNT)
        np.add.at(moments, of, np.concatenate([rows, ones], axis=1))
    half = products[_half()].astype(np.int64) * _factors()
    return np.concatenate([half, moments.reshape(-1)])


@cache
def _half() -> tuple[_Integers, _Integers]:
    """Where the half that is summed has its entries in the matrix."""
    rows, columns = np.triu_indices(_WIDTH)
    return rows, columns


def _factors() -> _Integers:
    """(2098176,) by which its entries are multiplied."""
    rows, columns = _half()
    return np.where(rows == columns, _ALONG, _ACROSS)


class PrivateClasses:
    """All sites in one process, as `learn_together`, and no exact sum is ever opened.

    sites: per id, 1 or more, pairs of text and label. names: those that may be learnt; benign
    examples are always. After `learn`: `sums`, or None where no attack or nothing benign is above
    the noise; `drowned`, the names that are not; `level`, or None where it cannot be told.

    Raises `ParameterError` for a name that is none, for an example of another name, and for more
    than 2**20 examples of a site.
    """

    def __init__(
        self,
        sites: Mapping[int, _Examples],
        names: Iterable[str],
        privacy: NamePrivacy,
        rand: Rand = os.urandom,
    ) -> None:
        self.labels = tuple(sorted({*names, BENIGN}))
        require(len(self.labels) >= 2, "names but 'benign' >= 1", len(self.labels) - 1)
        require(len(self.labels) <= MOST_NAMES, f"names <= {MOST_NAMES}", len(self.labels))
        for label in self.labels:
            check_name(label)
        others = {label for pairs in sites.values() for _, label in pairs} - set(self.labels)
        require(not others, f"labels among the names given, {self.labels},", sorted(others))
        most = max(map(len, sites.values()), default=0)  # refused before anything is released
        require(most <= MOST_EXAMPLES, f"examples of a site <= {MOST_EXAMPLES}", most)
        self.privacy = privacy
        self.releases = privacy.releases(len(self.labels), len(sites))
        self.sums: ClassSums | None = None
        self.drowned: tuple[str, ...] = ()
        self.level: float | None = None
        self._sites = dict(sites)
        self._noisy = NoisySums(
            list(sites),
            model=sha256(f"apiwatch names 1 {self.labels} {privacy}".encode()).digest(),
            corrupt=privacy.corrupt,
            dropout=privacy.dropout,
            rand=rand,
        )

    @property
    def rounds(self) -> list[Summed]:
        """The sums, as they came about."""
        return self._noisy.rounds

    @property
    def ledger(self) -> Ledger:
        """What was released."""
        return self._noisy.ledger

    def learn(self, drops: Mapping[int, str] | None = None) -> None:
        """Both sums. drops: sites and the phase of each sum in which they fall silent."""
        vectors = {
            site: added(pairs, self.labels, self.privacy.norm)
            for site, pairs in self._sites.items()
        }
        total = self._noisy.add("class sums", vectors, self.releases[:2], room=_ROOM, drops=drops)
        self._take(total)
        if self.sums is not None:
            self._measure(ClassModel(self.sums), drops)

    def _take(self, total: _Integers) -> None:
        """The class sums that follow from a noisy sum."""
        self.sums, self.level = None, None
        products, moments = (self._noisy.deviation(release) for release in self.releases[:2])
        noise = Noise(
            products=_WEIGHT * products / (_ACROSS * _UNITS**2),
            moments=_WEIGHT * moments / _UNITS,
        )
        half, rest = total[:_PRODUCTS], total[_PRODUCTS:].reshape(-1, SIZE)
        seen = _above(rest[:, :_WIDTH], moments)
        self.drowned = tuple(np.array(self.labels)[~seen].tolist())
        labels = tuple(label for label in self.labels if label not in self.drowned)
        if BENIGN not in labels or len(labels) < 2:
            return
        counts = rest[:, _WIDTH] / _COUNT
        scaled = np.column_stack([rest[:, :_WIDTH] / _UNITS, counts * NORM]) * _WEIGHT
        found = np.maximum(np.rint(counts[seen]), 1).astype(np.int64)
        whole = _positive(_products(half, scaled))
        self.sums = ClassSums(labels, whole, np.rint(scaled[seen]).astype(np.int64), found, noise)

    def _measure(self, model: ClassModel, drops: Mapping[int, str] | None) -> None:
        """The level of the unknown, by the noisy number of examples with each response.

        All sites are asked, so that the noise of as many is in it. Of those that are in the class
        sums, an example's own part is taken out of its response.
        """
        responses, answers = self.releases[2], Responses(model, _WEIGHT)
        included = self.rounds[-1].included
        vectors = {
            site: _steps(model, answers, pairs, fresh=site not in included)
            for site, pairs in self._sites.items()
        }
        total = self._noisy.add(
            "responses to names", vectors, (responses,), room=_ROOM, drops=drops
        )
        if total.sum() > _VISIBLE * self._noisy.deviation(responses) * _STEPS**0.5:
            self.level = level_of(total)


def _above(moments: _Integers, deviation: float) -> NDArray[np.bool_]:
    """(c,) which classes have moments half as long as the noise in them, or longer.

    Noise alone is eight deviations of its squared norm away from that.
    """
    squares = (moments.astype(np.float64) ** 2).sum(axis=1)
    above: NDArray[np.bool_] = squares > (1.0 + _CLEAR) * deviation**2 * _WIDTH
    return above


def _products(half: _Integers, moments: _Floats) -> _Floats:
    """(2049, 2049) from the half that was summed; those with the constant follow from moments."""
    products = np.zeros((SIZE, SIZE))
    products[_half()] = half * (_WEIGHT / (_UNITS**2 * _factors()))
    products[:_WIDTH, _WIDTH] = NORM * moments[:, :_WIDTH].sum(axis=0)
    products[_WIDTH, _WIDTH] = max(NORM * moments[:, _WIDTH].sum(), _WEIGHT * NORM**2)
    symmetric: _Floats = products + np.triu(products, 1).T
    return symmetric


def _positive(products: _Floats) -> _Integers:
    """The nearest symmetric matrix without negative eigenvalues [Higham88], in integers."""
    values, vectors = np.linalg.eigh(products)
    nearest = (vectors * np.maximum(values, 0.0)) @ vectors.T
    rounded: _Integers = np.rint((nearest + nearest.T) / 2.0).astype(np.int64)
    return rounded


def _steps(model: ClassModel, responses: Responses, pairs: _Examples, *, fresh: bool) -> _Integers:
    """(32,) how many examples of attacks that the model knows have which response.

    fresh: they are not in its sums.
    """
    known = [(text, label) for text, label in pairs if label in model.attacks]
    found = np.zeros(_STEPS, np.int64)
    texts, labels = [text for text, _ in known], [label for _, label in known]
    for strongest in responses.strongest(texts, labels, fresh=fresh):
        found += counted(strongest, _STEPS)
    return found
