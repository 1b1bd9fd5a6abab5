"""The discrete Gaussian by rejection, one sample at a time [CKS20, Algorithms 1 to 3].

Slow, exact, and without a table: what the tables are tested against. Uniform integers consume
`rand` in little-endian words of 32 bits as the VDAF implementation libprio-rs does, whose
vectors it reproduces.
"""

from __future__ import annotations

from fractions import Fraction

from dp.sample import Rand, draw

__all__ = ["bernoulli_exp", "discrete_gaussian", "discrete_laplace"]

_ONE = Fraction(1)


def discrete_gaussian(sigma: Fraction, rand: Rand) -> int:
    """One sample of the discrete Gaussian of parameter sigma > 0 [CKS20, Algorithm 3]."""
    scale = sigma.__floor__() + 1
    variance = sigma * sigma
    while True:
        y = discrete_laplace(scale, rand)
        if bernoulli_exp((abs(y) - variance / scale) ** 2 / (2 * variance), rand):
            return y


def discrete_laplace(scale: int, rand: Rand) -> int:
    """One sample with P(X = k) proportional to exp(-|k| / scale) [CKS20, Algorithm 2]."""
    while True:
        negative = _bernoulli(Fraction(1, 2), rand)
        magnitude = _geometric(scale, rand)
        if magnitude or not negative:
            return -magnitude if negative else magnitude


def bernoulli_exp(exponent: Fraction, rand: Rand) -> bool:
    """True with probability exp(-exponent), exponent >= 0 [CKS20, Algorithm 1]."""
    whole = exponent.__floor__()
    if not all(_bernoulli_exp_small(_ONE, rand) for _ in range(whole)):
        return False
    return _bernoulli_exp_small(exponent - whole, rand)


def _bernoulli_exp_small(exponent: Fraction, rand: Rand) -> bool:
    k = 1
    while _bernoulli(exponent / k, rand):
        k += 1
    return k % 2 == 1


def _geometric(scale: int, rand: Rand) -> int:
    """P(k) proportional to exp(-k / scale), k >= 0: the remainder by rejection, then the rest."""
    while True:
        remainder = _below(scale, rand)
        if _bernoulli_exp_small(Fraction(remainder, scale), rand):
            break
    quotient = 0
    while _bernoulli_exp_small(_ONE, rand):
        quotient += 1
    return remainder + scale * quotient


def _bernoulli(probability: Fraction, rand: Rand) -> bool:
    return _below(probability.denominator, rand) < probability.numerator


def _below(bound: int, rand: Rand) -> int:
    """Uniform on [0, bound): the top bits of 32-bit words, rejected while too large."""
    bits = bound.bit_length()
    size = 4 * ((bits + 31) // 32)
    while True:
        value = _shortened(int.from_bytes(draw(size, rand), "little"), bits)
        if value < bound:
            return value


def _shortened(value: int, bits: int) -> int:
    """The last word gives its upper bits, the others all of theirs."""
    whole, rest = divmod(bits, 32)
    if not rest:
        return value
    last = value >> (32 * whole)
    return (last >> (32 - rest)) << (32 * whole) | value & ((1 << (32 * whole)) - 1)
