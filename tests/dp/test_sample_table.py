"""The lazy inversion: every word of a small prefix, ties included, against bounds on the law."""

from __future__ import annotations

from dataclasses import dataclass, field
from fractions import Fraction

import numpy as np
import pytest
from numpy.typing import NDArray

from dp import DiscreteGaussian, IntegerNoise, Skellam
from dp.sample import KeyStream
from dp.sample_law import enclose
from dp.sample_table import FIRST_LEVEL, Table, refine, table
from dp.testing import SeededRand

LAWS = [Skellam(9), DiscreteGaussian(9), Skellam(Fraction(1, 5)), DiscreteGaussian(400)]
every_law = pytest.mark.parametrize("law", LAWS, ids=repr)


@dataclass
class Scripted:
    """`Bits` that plays given words, and given bits for ties; notes how many were asked for."""

    script: NDArray[np.uint64]
    tie_bits: int = 0
    asked: list[int] = field(default_factory=list)

    def words(self, count: int) -> NDArray[np.uint64]:
        played, self.script = self.script[:count], self.script[count:]
        return played

    def bits(self, count: int) -> int:
        self.asked.append(count)
        # zeros from the third level on: all ones for ever would be U = 1
        return self.tie_bits & ((1 << count) - 1) if count <= FIRST_LEVEL else 0


def words_of(prefixes: NDArray[np.uint64], bits: int, sign: int) -> NDArray[np.uint64]:
    return (prefixes << np.uint64(64 - bits)) | np.uint64(sign)


@every_law
@pytest.mark.parametrize("bits", [1, 5, 12, 13])
@pytest.mark.parametrize("tie_bits", [0, -1, 0x5DEECE66D << 40])
def test_every_prefix_is_inverted_and_ties_go_on(
    law: IntegerNoise, bits: int, tie_bits: int
) -> None:
    """The answer equals that of 192-bit enclosures for the whole U: prefix, then tie bits."""
    small, law192 = Table(law, bits), enclose(law, 192)
    prefixes = np.arange(1 << bits, dtype=np.uint64)
    for sign in (0, 1):
        source = Scripted(words_of(prefixes, bits, sign), tie_bits)
        found = small.sample(prefixes.size, source)
        assert source.asked.count(FIRST_LEVEL - bits) == ties_of(law, bits)
        for prefix, value in enumerate(found):
            assert value <= 0 if sign else value >= 0
            magnitude = law192.locate(whole_prefix(small, prefix, bits, tie_bits))
            # None: all ones lie beyond every table; such a tie draws on until it is decided
            assert magnitude in (None, abs(value))


def whole_prefix(small: Table, prefix: int, bits: int, tie_bits: int) -> int:
    """192 bits of U: those of the first level, then those of the second."""
    first = tie_bits & ((1 << (FIRST_LEVEL - bits)) - 1)
    second = tie_bits & ((1 << 96) - 1)
    return (prefix << (FIRST_LEVEL - bits) | first) << 96 | second


def ties_of(law: IntegerNoise, bits: int) -> int:
    """How many prefixes hold a threshold, from bounds on the law alone."""
    fine = enclose(law, 192)
    return sum(
        fine.locate(prefix << (192 - bits)) != fine.locate(((prefix + 1) << (192 - bits)) - 1)
        or fine.locate(((prefix + 1) << (192 - bits)) - 1) is None
        for prefix in range(1 << bits)
    )


@every_law
def test_the_weight_of_decided_prefixes_is_below_the_law(law: IntegerNoise) -> None:
    """Theorem, first half, by counting: decided prefixes never give a value more than its due."""
    bits = 16
    small, fine = Table(law, bits), law.enclosure(96)
    least = np.searchsorted(small.upper, np.arange(1 << bits, dtype=np.uint64), "right")
    most = np.searchsorted(small.lower, np.arange(1 << bits, dtype=np.uint64), "right")
    decided = np.bincount(least[least == most], minlength=small.lower.size + 1)
    open_ = int(np.sum(least != most))
    for value, count in enumerate(decided[:-1]):
        high = fine.probability(value)[1] * (2 if value else 1)
        assert Fraction(int(count), 1 << bits) <= Fraction(high, 1 << 96)
    assert decided[-1] == 0
    assert 0 < open_ <= small.lower.size


@every_law
def test_a_tie_at_63_bits_is_refined(law: IntegerNoise) -> None:
    """A word equal to a threshold: low tie bits stay below it, high ones pass it."""
    ours = table(law)
    for at in (0, 1, 5):
        tie = ours.lower[at : at + 1]
        answers = []
        for tie_bits in (0, -1):
            source = Scripted(words_of(tie, 63, 0), tie_bits)
            answers.append(int(ours.sample(1, source)[0]))
            assert source.asked == [FIRST_LEVEL - 63]
        assert answers == [at, at + 1]


def test_a_tie_that_the_first_level_leaves_open_meets_the_second() -> None:
    law = Skellam(9)
    first, second = enclose(law, FIRST_LEVEL), enclose(law, 2 * FIRST_LEVEL)
    (open_,) = range(first.lower[3], first.upper[3])
    source = Scripted(np.empty(0, np.uint64), 0)
    source.bits = iter_bits([open_ & ((1 << 33) - 1), 0])  # type: ignore[method-assign]
    assert refine(law, open_ >> 33, 63, source) == second.locate(open_ << 96)


def iter_bits(values: list[int]) -> object:
    left = list(values)
    return lambda count: left.pop(0)


def test_the_last_prefix_reaches_beyond_the_table() -> None:
    ours = table(DiscreteGaussian(9))
    top = np.array([(1 << 63) - 1], np.uint64)
    assert ours.sample(1, Scripted(words_of(top, 63, 0), 0))[0] >= ours.lower.size - 1
    beyond = Scripted(words_of(top, 63, 1))
    beyond.bits = iter_bits([-1 % (1 << 33), 0])  # type: ignore[method-assign]
    assert ours.sample(1, beyond)[0] < -ours.lower.size


def test_small_and_large_prefixes_have_one_law() -> None:
    """With 6 bits nearly every sample is a tie."""
    law, count = DiscreteGaussian(9), 4000
    small = Table(law, 6).sample(count, KeyStream(SeededRand(1)))
    assert small.var() == pytest.approx(9, rel=8 * (2 / count) ** 0.5)
    assert abs(small.mean()) < 8 * 3 / count**0.5


@every_law
def test_the_guide_agrees_with_a_search(law: IntegerNoise) -> None:
    ours = table(law)
    words = KeyStream(SeededRand(law)).words(20_000)
    least = np.searchsorted(ours.upper, words >> np.uint64(1), "right")
    sign = np.where(words & np.uint64(1), -1, 1)
    assert (ours.sample(words.size, Scripted(words)) == sign * least).all()
    assert 0 < np.mean(ours.guide < 0) < 0.1


def test_chunks_do_not_show() -> None:
    """More than one chunk equals what the words of the stream say one by one."""
    count = (1 << 16) + 7
    ours = table(Skellam(9))
    found = ours.sample(count, KeyStream(SeededRand(1)))
    words = KeyStream(SeededRand(1)).words(count)
    assert (found == ours.sample(count, Scripted(words))).all()


def test_tables_are_built_once() -> None:
    assert table(Skellam(9)) is table(Skellam(9.0))
    assert table(Skellam(9)) is not table(DiscreteGaussian(9))
