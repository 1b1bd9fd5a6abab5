"""The test kit: what every noise and accountant must satisfy, and randomness that repeats itself.

A noise is tested by a class that inherits `NoiseConformance`, or `DivisibleNoiseConformance` if it
has shares, and gives examples. Laws are compared as proved enclosures, without statistics; the two
tests of samples, `test_a_sample_has_...`, would fail by bad luck in about one of 2**40 seeds.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import partial
from math import ceil, cosh, exp, fsum, inf, log, sqrt
from typing import Any

import numpy as np
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms
from cryptography.hazmat.primitives.hashes import SHA256, Hash

from dp.account import Accountant
from dp.errors import ParameterError, RandomnessError, UnknownEvent
from dp.events import Composed, Event, Gaussian, Release, Sampled
from dp.noise import DivisibleNoise, IntegerNoise
from dp.noise_discrete_gaussian import DiscreteGaussian
from dp.noise_skellam import Skellam
from dp.sample_interval import Interval
from dp.sample_law import Enclosure
from dp.sample_table import table
from dp.sensitivity import Sensitivity

__all__ = [
    "AccountantConformance",
    "DivisibleNoiseConformance",
    "NoiseConformance",
    "SeededRand",
    "both_sides",
    "chi_square",
    "convolve",
]

_BITS = 128
_MOMENT_BITS = 400  # far tails count where exp(t X) is large
_COUNT = 100_000
_FAILURE = 2.0**-40

WRONG_COUNTS: tuple[Any, ...] = (-1, True, np.bool_(True), 1.5, 2.0, None)
WRONG_PARAMETERS: tuple[Any, ...] = (
    *(0, -1, float("nan"), float("inf"), float("-inf"), True, np.bool_(True)),
    *("4", None, 1j, Fraction(1, (1 << 32) + 1), (1 << 60) + 1),
)


class SeededRand:
    """A `Rand` that repeats itself: never for production, where `os.urandom` is the source.

    `drawn` counts the bytes handed out.
    """

    def __init__(self, seed: object) -> None:
        digest = Hash(SHA256())
        digest.update(b"dp test-only randomness\0" + repr(seed).encode())
        self._stream = Cipher(algorithms.ChaCha20(digest.finalize(), bytes(16)), None).encryptor()
        self.drawn = 0

    def __call__(self, size: int) -> bytes:
        self.drawn += size
        return self._stream.update(bytes(size))

    def __repr__(self) -> str:
        return f"SeededRand(TEST ONLY, drawn={self.drawn})"


@dataclass(frozen=True)
class Broken:
    """Not a `Rand`: returns the same whatever it is asked for."""

    data: Any

    def __call__(self, _size: int) -> Any:
        return self.data


class NoiseConformance:
    """What every `IntegerNoise` promises."""

    @abstractmethod
    def noises(self) -> Sequence[IntegerNoise]:
        """Examples of small, middle and large variance."""

    def test_probabilities_sum_to_one(self) -> None:
        for noise in self.noises():
            law = noise.enclosure(_BITS)
            probabilities = both_sides(law)
            slack = ceil(law.tail(len(law.lower) - 1) * (1 << law.bits))
            assert sum(low for low, _ in probabilities) <= 1 << law.bits
            assert sum(high for _, high in probabilities) + slack >= 1 << law.bits
            assert max(high - low for low, high in probabilities) <= 2

    def test_the_law_is_symmetric_and_falls_off(self) -> None:
        for noise in self.noises():
            law = noise.enclosure(_BITS)
            assert law.probability(-1) == law.probability(1)
            lows = [low for low, _ in law.weights]
            assert lows == sorted(lows, reverse=True)

    def test_the_table_is_monotone_and_as_narrow_as_its_bits(self) -> None:
        for noise in self.noises():
            ours = table(noise)
            width = ours.upper - ours.lower
            assert (np.diff(ours.lower.astype(object)) >= 0).all()
            assert (np.diff(ours.upper.astype(object)) >= 0).all()
            assert (ours.lower[:-1] <= ours.upper[:-1]).all()
            assert (width[:-1] <= 2).all()
            assert int(ours.lower[-1]) == (1 << 63) - 1
            assert int(ours.upper[-1]) == 1 << 63

    def test_tails_are_bounds_that_fall(self) -> None:
        for noise in self.noises():
            tails = [noise.tail(bound) for bound in (0, 1, 10**9)]
            assert 1 > tails[0] > tails[1] > tails[2] > 0
            low, high = noise.enclosure(96).probability(0)
            assert 1 - Fraction(high, 1 << 96) <= tails[0]
            assert tails[0] <= 1 - Fraction(low, 1 << 96) + Fraction(4, 1 << 96)
            assert tails[2] <= Fraction(1, 1 << 80)

    def test_the_variance_is_that_of_the_law(self) -> None:
        for noise in self.noises():
            found = noise.enclosure(_BITS).second_moment()
            assert abs(found - noise.variance) <= Fraction(noise.sigma_squared, 1 << 60)

    def test_exponential_moments_are_bounded(self) -> None:
        """E exp(t X) <= exp(sigma_squared (cosh t - 1)), from which rings are sized."""
        for noise in self.noises():
            law, steep = noise.enclosure(_MOMENT_BITS), max(1.0, sqrt(noise.sigma_squared))
            for t in (0.01 / steep, 0.3 / steep, 1.0 / steep, 4.0 / steep):
                ends = range(1, min(len(law.lower), round(600 / t)))
                unit = 2.0**-_MOMENT_BITS
                terms = (law.probability(k)[0] * unit * 2 * cosh(t * k) for k in ends)
                moment = fsum(terms) + law.probability(0)[0] * unit
                assert moment <= exp(float(noise.sigma_squared) * (cosh(t) - 1)) * (1 + 1e-9)

    def test_a_sample_has_the_variance(self) -> None:
        for noise in self.noises():
            x = noise.sample(_COUNT, SeededRand(noise)).astype(np.float64)
            scale = float(noise.variance)
            # the fourth moment of these laws is at most 3 scale**2 + scale
            error = sqrt((2 + 1 / scale) / _COUNT)
            assert abs(np.mean(x**2) / scale - 1) < 8 * error
            assert abs(np.mean(x)) < 8 * sqrt(scale / _COUNT)

    def test_a_sample_has_the_law(self) -> None:
        for noise in self.noises():
            statistic, freedom = chi_square(noise, noise.sample(_COUNT, SeededRand(noise)))
            assert statistic < chi_square_bound(freedom, _FAILURE)

    def test_one_source_of_randomness_gives_one_sample(self) -> None:
        for noise in self.noises():
            first, second = SeededRand(1), SeededRand(1)
            x = noise.sample((3, 500), first)
            assert x.shape == (3, 500)
            assert x.dtype == np.int64
            assert first.drawn == 32
            assert (x == noise.sample((3, 500), second)).all()
            assert (x != noise.sample((3, 500), second)).any()

    def test_empty_shapes_and_bad_sizes(self) -> None:
        for noise in self.noises():
            assert noise.sample((), SeededRand(1)).shape == ()
            assert noise.sample((0, 4), SeededRand(1)).shape == (0, 4)
            for size in WRONG_COUNTS:
                refused(ParameterError, partial(noise.sample, size, SeededRand(1)))

    def test_what_is_too_large_for_a_table_can_be_priced_and_not_drawn(self) -> None:
        for kind in {type(noise) for noise in self.noises()}:
            large = kind((1 << 36) + 1)
            assert large.variance <= large.sigma_squared
            assert large.variance >= large.sigma_squared * (1 - Fraction(1, 1 << 60))
            refused(ParameterError, partial(large.sample, 1, SeededRand(1)))
            refused(ParameterError, large.enclosure)

    def test_a_short_read_is_refused(self) -> None:
        for noise in self.noises():
            for wrong in (b"", bytes(31), bytes(33), None):
                refused(RandomnessError, partial(noise.sample, 1, Broken(wrong)))

    def test_parameters_are_public_and_checked(self) -> None:
        for noise in self.noises():
            kind = type(noise)
            assert kind(noise.sigma_squared) == noise
            assert hash(kind(noise.sigma_squared)) == hash(noise)
            assert repr(noise.sigma_squared) in repr(noise)
            of_numpy: tuple[Any, ...] = (np.int64(4), np.float32(4))
            for value in (4.0, Fraction(4), *of_numpy):
                assert kind(value) == kind(4)
                assert type(kind(value).sigma_squared.numerator) is int
            for value in WRONG_PARAMETERS:
                refused(ParameterError, partial(kind, value))


class DivisibleNoiseConformance(NoiseConformance):
    """What every `DivisibleNoise` promises beyond that."""

    @abstractmethod
    def noises(self) -> Sequence[DivisibleNoise]:
        """Examples of small, middle and large variance."""

    def test_shares_sum_to_the_whole(self) -> None:
        """The exact law of the sum, enclosed, meets that of the whole in every point."""
        for noise in self.noises():
            for parts in (2, 3) if noise.sigma_squared <= 100 else ():
                bits = _BITS
                part = both_sides(noise.share(parts).enclosure(bits))
                total = part
                for _ in range(parts - 1):
                    total = convolve(total, part, bits)
                same_law(total, both_sides(noise.enclosure(bits)), slack=1 << 40)

    def test_shares_of_shares_and_their_variance(self) -> None:
        for noise in self.noises():
            assert noise.share(1) == noise
            assert noise.share(3).share(5) == noise.share(15)
            assert noise.share(7).variance * 7 == noise.variance
            for parts in (0, *WRONG_COUNTS):
                refused(ParameterError, partial(noise.share, parts))


class AccountantConformance:
    """What every `Accountant` promises, whatever its bounds are."""

    @abstractmethod
    def accountant(self) -> Accountant:
        """The accountant to test; it knows all events of `dp.events`."""

    def test_epsilon_and_delta_are_inverse(self) -> None:
        for event in EVENTS:
            epsilon = self.accountant().epsilon(event, 1e-5)
            assert 0 < epsilon < inf
            assert 0.5e-5 < self.accountant().delta(event, epsilon) <= 1.000002e-5

    def test_less_delta_costs_more_and_more_epsilon_less(self) -> None:
        for event in EVENTS:
            epsilons = [self.accountant().epsilon(event, d) for d in (0.5, 1e-2, 1e-5, 1e-9)]
            assert epsilons == sorted(epsilons)
            deltas = [self.accountant().delta(event, epsilon) for epsilon in (0.0, 0.5, 2.0, 8.0)]
            assert deltas == sorted(deltas, reverse=True)
            assert 0 <= deltas[-1] < deltas[0] <= 1

    def test_events_cost_together_what_they_are(self) -> None:
        epsilon = partial(self.accountant().epsilon, delta=1e-5)
        for event in _SINGLE:
            assert epsilon(Composed.of(event)) == epsilon(event)
            assert epsilon(event) < epsilon(Composed.of(event, event)) < 2 * epsilon(event)
        assert epsilon(Composed(())) == 0
        assert self.accountant().delta(Composed(()), 0.0) == 0

    def test_a_sample_of_all_is_no_sample(self) -> None:
        epsilon = partial(self.accountant().epsilon, delta=1e-5)
        for event in _SINGLE:
            assert epsilon(Sampled(1.0, event)) == epsilon(event) > epsilon(Sampled(0.5, event))

    def test_more_parts_and_smaller_norms_cost_less(self) -> None:
        epsilon = partial(self.accountant().epsilon, delta=1e-5)
        for noise in (Skellam(100), DiscreteGaussian(100)):
            few, many = Release(noise, 100, _SENSITIVITY), Release(noise, 200, _SENSITIVITY)
            replaced = Release(noise, 100, _SENSITIVITY.replaced())
            assert epsilon(many) < epsilon(few) < epsilon(replaced)

    def test_deltas_and_epsilons_that_are_none(self) -> None:
        accountant, event = self.accountant(), Gaussian(1.0)
        assert accountant.epsilon(event, 0.5) >= 0
        assert 0 < accountant.delta(event, 0) <= 1
        wrong: tuple[Any, ...] = (-1e-9, float("nan"), inf, True)
        for value in wrong:
            refused(ParameterError, partial(accountant.delta, event, value))
        for value in (*wrong, 0, 1, 2):
            refused(ParameterError, partial(accountant.epsilon, event, value))

    def test_what_is_unknown_is_refused(self) -> None:
        unknown = Release(_ForeignNoise(100), 1, _SENSITIVITY)
        known = EVENTS[1]
        for event in (_Foreign(), Composed.of(known, _Foreign()), unknown):
            refused(UnknownEvent, partial(self.accountant().epsilon, event, 1e-5))
            refused(UnknownEvent, partial(self.accountant().delta, event, 1.0))


class _Foreign(Event):
    def document(self) -> dict[str, object]:
        return {}


class _ForeignNoise(Skellam):
    """As a subclass it may have another law."""


_SENSITIVITY = Sensitivity(squared=Fraction(10_000), coordinates=1000, integral=True)
_SKELLAM = Release(Skellam(100), 100, _SENSITIVITY)
_NORMAL = Release(DiscreteGaussian(100), 100, _SENSITIVITY)
_SINGLE = (Gaussian(1.0), _SKELLAM, _NORMAL)
EVENTS: tuple[Event, ...] = (
    *_SINGLE,
    *(Sampled(0.1, event) for event in _SINGLE),
    Composed(((_SKELLAM, 3), (Sampled(0.1, _NORMAL), 5), (Gaussian(4.0), 2))),
)


def both_sides(law: Enclosure) -> list[Interval]:
    """Enclosures of P(X = -M) ... P(X = M)."""
    right = [law.probability(k) for k in range(len(law.lower))]
    return right[:0:-1] + right


def convolve(x: list[Interval], y: list[Interval], bits: int) -> list[Interval]:
    """The law of the sum of two independent variables, of which tails are cut off alike."""
    lows = _convolve([low for low, _ in x], [low for low, _ in y])
    highs = _convolve([high for _, high in x], [high for _, high in y])
    return [(low >> bits, -(-high >> bits)) for low, high in zip(lows, highs, strict=True)]


def _convolve(x: list[int], y: list[int]) -> list[int]:
    """Kronecker's substitution: one product of long integers."""
    width = 8 * ((max(x).bit_length() + max(y).bit_length() + len(x).bit_length()) // 8 + 1)
    size = width // 8
    packed = [
        int.from_bytes(b"".join(value.to_bytes(size, "little") for value in values), "little")
        for values in (x, y)
    ]
    count = len(x) + len(y) - 1
    data = (packed[0] * packed[1]).to_bytes(size * count, "little")
    return [int.from_bytes(data[at : at + size], "little") for at in range(0, len(data), size)]


def same_law(x: list[Interval], y: list[Interval], slack: int) -> None:
    """Enclosures around the middle meet up to `slack` units, and are no wider than that."""
    reach = min(len(x), len(y)) // 2
    middle_x, middle_y = len(x) // 2, len(y) // 2
    for at in range(-reach, reach + 1):
        (low, high), (least, most) = x[middle_x + at], y[middle_y + at]
        assert high - low <= slack
        assert low <= most + slack
        assert least <= high + slack


def chi_square(noise: IntegerNoise, sample: np.ndarray) -> tuple[float, int]:
    """The statistic and its degrees of freedom, over bins of at least about 30 expected each."""
    law = noise.enclosure()
    size = len(law.lower)
    half = np.array([law.probability(k)[0] / 2**law.bits for k in range(size)])
    expected = sample.size * np.concatenate([half[:0:-1], half])
    clipped = np.clip(sample, 1 - size, size - 1) + size - 1
    observed = np.bincount(clipped, minlength=expected.size)
    labels = (np.cumsum(expected) / max(30, sample.size / 1000)).astype(int)
    labels = np.minimum(labels, labels[-1] - 1) if labels[-1] > 1 else labels
    bins = np.bincount(labels, expected), np.bincount(labels, observed)
    used = bins[0] > 0
    statistic = float(np.sum((bins[1][used] - bins[0][used]) ** 2 / bins[0][used]))
    return statistic, int(used.sum()) - 1


def chi_square_bound(freedom: int, failure: float) -> float:
    """Above the quantile of chi-square at 1 - failure [LM00, Lemma 1]."""
    t = log(1 / failure)
    return freedom + 2 * sqrt(freedom * t) + 2 * t


def refused(kind: type[Exception], call: Callable[[], object]) -> None:
    """`call()` raises `kind`."""
    try:
        call()
    except kind:
        return
    raise AssertionError(f"nothing was raised where {kind.__name__} was due")
