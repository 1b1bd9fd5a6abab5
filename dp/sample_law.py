"""Enclosures of the law of |X|, for a symmetric log-concave law on the integers.

A law is given by the ratios r_k = P(X = k + 1) / P(X = k), k >= 0, alone. Log-concavity means that
they do not increase, which bounds the tail by a geometric series; the normalizing constant is
never needed in closed form. Symbols and proofs: docs/spec/sampling.md.
"""

from __future__ import annotations

from abc import abstractmethod
from bisect import bisect_right
from dataclasses import dataclass
from fractions import Fraction
from itertools import accumulate
from math import isqrt
from typing import Protocol

from dp.sample_interval import Interval, ceil_div, times

__all__ = ["Enclosure", "Law", "enclose", "reach"]


class Law(Protocol):
    """A hashable symmetric log-concave law on the integers."""

    def __hash__(self) -> int: ...

    @property
    def sigma_squared(self) -> Fraction:
        """About the variance. It only chooses how long a table is, and no proof relies on it."""
        ...

    @abstractmethod
    def ratios(self, count: int, bits: int) -> list[Interval]:
        """Enclosures at `bits` of r_0 ... r_{count - 1}, each with an upper end below 1."""
        ...


@dataclass(frozen=True, repr=False)
class Enclosure:
    """For m = 0 ... M: lower[m] <= P(|X| <= m) * 2**bits <= upper[m], both non-decreasing.

    upper[M] = 2**bits, so that the last pair encloses P(|X| <= m) for every m >= M as well.
    `weights` and `total` are those of w_k = P(X = k) / P(X = 0) at `work` bits, k = 0 ... M + 1,
    and of the sum of w over all integers.
    """

    bits: int
    lower: list[int]
    upper: list[int]
    work: int
    weights: list[Interval]
    total: Interval

    def locate(self, prefix: int) -> int | None:
        """The m with P(|X| < m) <= U < P(|X| <= m), from the first `bits` bits of U.

        None where the enclosures do not decide it. U lies in [prefix, prefix + 1) / 2**bits:
        below P(|X| <= m) for certain if prefix < lower[m], not below if prefix >= upper[m].
        """
        least, most = bisect_right(self.upper, prefix), bisect_right(self.lower, prefix)
        return least if least == most else None

    def probability(self, value: int) -> Interval:
        """An enclosure of P(X = value) at `bits`; |value| must be at most M + 1."""
        low, high = self.weights[abs(value)]
        return (low << self.bits) // self.total[1], ceil_div(high << self.bits, self.total[0])

    def tail(self, bound: int) -> Fraction:
        """An upper bound on P(|X| > bound), for bound >= 0."""
        at = min(bound, len(self.lower) - 1)
        return 1 - Fraction(self.lower[at], 1 << self.bits)

    def second_moment(self) -> Fraction:
        """A lower bound on E[X**2]: the part within the table."""
        found = sum(2 * k * k * low for k, (low, _) in enumerate(self.weights))
        return Fraction(found, self.total[1])


def reach(variance: Fraction, bits: int) -> int:
    """An m beyond which there is a mass of about 2**-bits, by Bernstein's bound.

    A heuristic: a shorter table is as exact, but leaves more to the tie branch.
    """
    return isqrt(7 * bits * variance.__ceil__() // 5) + bits


def enclose(law: Law, bits: int) -> Enclosure:
    """The law of |X| to about 2**-bits, both in the width of the enclosures and in the tail."""
    last = reach(law.sigma_squared, bits)
    # errors of ratios add up once in the weights and once more in their sums
    work = bits + 2 * last.bit_length() + 16
    ratios = law.ratios(last + 2, work)
    weights = [(1 << work, 1 << work)]
    for ratio in ratios[:-1]:
        weights.append(times(weights[-1], ratio, work))
    total = _total(weights, ratios[-1], work)
    lower, upper = _cumulative(weights[: last + 1], total, bits)
    return Enclosure(bits, lower, upper, work, weights, total)


def _total(weights: list[Interval], ratio: Interval, work: int) -> Interval:
    """The sum of w over all integers. `ratio` is the last one: r <= ratio beyond the weights."""
    low = 2 * sum(low for low, _ in weights) - weights[0][0]
    high = 2 * sum(high for _, high in weights) - weights[0][1]
    return low, high + 2 * ceil_div(weights[-1][1] * ratio[1], (1 << work) - ratio[1])


def _cumulative(weights: list[Interval], total: Interval, bits: int) -> tuple[list[int], list[int]]:
    both = [weights[0], *((2 * low, 2 * high) for low, high in weights[1:])]
    lows = accumulate(low for low, _ in both)
    highs = accumulate(high for _, high in both)
    lower = [(low << bits) // total[1] for low in lows]
    upper = [min(ceil_div(high << bits, total[0]), 1 << bits) for high in highs]
    upper[-1] = 1 << bits
    return lower, upper
