"""The two circuits of PINE [ROCT23], [PINE, §4]: a vector's norm is what is claimed, and bounded.

An encoded measurement is, in this order,

    vector d | bits of the squared norm v, and of bound**2 - v | for each wrap-around check, the
    bits of its shifted result, and whether it succeeded

and both circuits read, behind it, the results of the checks, which every party computes itself.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from secagg.errors import ParameterError
from secagg.primitives.field import Elements, Field
from secagg.primitives.ntt import next_power
from secagg.vdaf.circuit import Circuit, calls_for, from_bits
from secagg.vdaf.gadget import Products, Squares

__all__ = ["Checks", "NormBound", "NormEquality", "best_chunks", "most_bound"]

ALPHA = 8.7
"""A ternary combination of a vector exceeds this many norms with probability 2 exp(-8.7**2)."""
ROOM = 80
"""Least modulus / reach**2. A vector that wraps around has a norm of sqrt(modulus) or more, so its
combinations spread over sqrt(40) reaches or more, and at most half of them are within one.
"""


def most_bound(modulus: int) -> int:
    """The largest bound whose wrap-around checks are sound, of a modulus of at least 2**62."""
    reach = 1 << (math.isqrt(modulus // ROOM).bit_length() - 1)
    return math.floor((reach - 1) / ALPHA)


@dataclass(frozen=True, kw_only=True)
class NormBound:
    """What a vector must satisfy, and the sizes that follow.

    dimension: entries of a vector. bound: of its Euclidean norm, an integer. checks: wrap-around
    checks, of which `successes` must succeed. Raises `ParameterError`, with the inequality, for
    what the field cannot hold. That of `ROOM` is argued in docs/spec/pine.md, Security.
    """

    field: Field
    dimension: int
    bound: int
    checks: int = 100
    successes: int = 100

    def __post_init__(self) -> None:
        q = self.field.modulus
        for name in ("dimension", "bound", "checks", "successes"):
            if type(getattr(self, name)) is not int:
                raise ParameterError(f"{name} is an int, got {getattr(self, name)!r:.40}")
        if not 1 <= self.dimension < 1 << 31:
            raise ParameterError(f"1 <= dimension < 2**31 must hold, got {self.dimension}")
        if not 1 <= self.successes <= self.checks < 1 << 16:
            raise ParameterError(
                "1 <= successes <= checks < 2**16 must hold, got "
                f"{self.successes} and {self.checks}"
            )
        if not 1 <= self.bound < 1 << 31:
            raise ParameterError(f"1 <= bound < 2**31 must hold, got {self.bound}")
        if 3 * self.bound**2 + 2 >= q:
            raise ParameterError(f"3 bound**2 + 2 < {q} must hold, got bound = {self.bound}")
        if q < max(ROOM * self.reach**2, 2600 * self.reach, 2 * self.checks):
            raise ParameterError(
                f"modulus >= {ROOM} * {self.reach}**2, 2600 * {self.reach} and 2 * {self.checks} "
                f"must hold for sound wrap-around checks of bound {self.bound}, got {q}"
            )

    @cached_property
    def reach(self) -> int:
        """A check succeeds if its result is in [-reach + 1, reach]; a power of two."""
        return next_power(math.ceil(ALPHA * self.bound) + 1)

    @cached_property
    def norm_bits(self) -> int:
        """Bits of a squared norm within the bound."""
        return (self.bound**2).bit_length()

    @cached_property
    def result_bits(self) -> int:
        """Bits of a check's result, shifted to be no less than zero."""
        return (2 * self.reach - 1).bit_length()

    @property
    def further(self) -> int:
        """Bits of what is claimed beside the norm: nothing here."""
        return 0

    @property
    def claimed(self) -> int:
        """Length of vector, norm and what else is claimed, on which the checks' draws depend."""
        return self.dimension + 2 * self.norm_bits + self.further

    @property
    def bits(self) -> int:
        """Length of what must be bits."""
        return 2 * self.norm_bits + self.further + (self.result_bits + 1) * self.checks

    @property
    def length(self) -> int:
        """Length of an encoded measurement."""
        return self.dimension + self.bits

    def norms(self, meas: Elements) -> Elements:
        """(2,): shares of the squared norm as claimed, and of what it is short of the bound."""
        pair = meas[self.dimension : self.dimension + 2 * self.norm_bits].reshape(2, -1)
        return from_bits(self.field, pair)


class NormEquality(Circuit):
    """The squared norm of the vector is the claimed one. No joint randomness."""

    def __init__(self, limits: NormBound, chunk: int) -> None:
        self.field, self.gadget = limits.field, Squares(chunk)
        self.calls = calls_for(limits.dimension, chunk)
        self.length = limits.length + limits.checks
        self._limits = limits

    def wires(self, meas: Elements, joint: Elements, shares: int) -> Elements:
        padded = self.field.zeros(self.calls * self.gadget.arity)
        padded[: self._limits.dimension] = meas[: self._limits.dimension]
        return padded.reshape(self.calls, -1)

    def check(self, meas: Elements, called: Elements, joint: Elements, shares: int) -> Elements:
        claimed = self._limits.norms(meas)[:1]
        return self.field.sub(claimed, self.field.total(called[None]))


class Checks(Circuit):
    """Everything else: bits are bits, the norm is in range, enough checks were reported rightly.

    Joint randomness: one point for the bits, one for the checks, one to join the four results.
    """

    def __init__(self, limits: NormBound, chunk: int) -> None:
        self.field, self.gadget = limits.field, Products(chunk)
        self._calls = calls_for(limits.bits, chunk), calls_for(limits.checks, chunk)
        self.calls, self.joint = sum(self._calls), 3
        self.length = limits.length + limits.checks
        self._limits = limits

    def wires(self, meas: Elements, joint: Elements, shares: int) -> Elements:
        part = self.field.inverse(shares)
        bits, reported, succeeded = self._parts(meas)
        weighed = self._weighed(bits, joint[0])
        off = self.field.sub(bits, self.field.array([part]))
        wrong = self._weighed(self._wrong(meas, reported, part), joint[1])
        pairs = self._calls[0], weighed, off
        return np.concatenate(
            [self._chunks(*pairs), self._chunks(self._calls[1], wrong, succeeded)]
        )

    def check(self, meas: Elements, called: Elements, joint: Elements, shares: int) -> Elements:
        field, limits, part = self.field, self._limits, self.field.inverse(shares)
        is_bits, is_right = (
            int(field.total(each[None])[0]) for each in np.split(called, [self._calls[0]])
        )
        in_range = int(field.total(limits.norms(meas)[None])[0]) - limits.bound**2 * part
        _, _, succeeded = self._parts(meas)
        counted = int(field.total(succeeded[None])[0]) - limits.successes * part
        terms = is_bits, in_range, is_right, counted
        return field.array([sum(t * int(joint[2]) ** at for at, t in enumerate(terms))])

    def _parts(self, meas: Elements) -> tuple[Elements, Elements, Elements]:
        """All bits; the checks' results as reported (checks,); their successes (checks,)."""
        limits = self._limits
        rows = meas[limits.claimed : limits.length].reshape(limits.checks, -1)
        bits = meas[limits.dimension : limits.length]
        return bits, from_bits(self.field, rows[:, :-1]), rows[:, -1]

    def _wrong(self, meas: Elements, reported: Elements, part: int) -> Elements:
        """(checks,): by how much the reported results differ from those computed."""
        shift = self.field.array([(self._limits.reach - 1) * part])
        computed = meas[self._limits.length :]
        return self.field.sub(computed, self.field.sub(reported, shift))

    def _weighed(self, values: Elements, point: int) -> Elements:
        return self.field.mul(values, self.field.powers(int(point), len(values)))

    def _chunks(self, calls: int, left: Elements, right: Elements) -> Elements:
        """(calls, 2 chunk): pairs, padded with zeros."""
        padded = self.field.zeros(calls * self.gadget.arity // 2, 2)
        padded[: len(left), 0], padded[: len(right), 1] = left, right
        return padded.reshape(calls, -1)


def best_chunks(limits: NormBound) -> tuple[int, int]:
    """`chunk` and `norm_chunk` of the shortest proofs, the smaller where two are equal.

    The first is any number, the second a power of two.
    """

    def proof(arity: int, calls: int) -> int:
        return arity + 2 * next_power(1 + calls)

    def checks(chunk: int) -> int:
        calls = calls_for(limits.bits, chunk) + calls_for(limits.checks, chunk)
        return proof(2 * chunk, calls + (limits.further > 0))

    powers = [1 << at for at in range(limits.dimension.bit_length() + 1)]
    equality = min(powers, key=lambda chunk: proof(chunk, calls_for(limits.dimension, chunk)))
    least = 2 if limits.further else 1
    return min(range(least, limits.bits + 1), key=checks), equality
