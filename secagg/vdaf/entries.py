"""A proof that every entry of a vector is in {0 … 2**bits - 1}: each of its bits is a bit.

Prio3's SumVec [VDAF, §7.4.3] proves that with two wires a bit, r b and b - 1, whose product is
weighed by r. Here the weights within a call are even powers of one r, so that one wire is enough:
r**2j b**2 is the square of r**j b, and r**2j b is linear. Half the wires are half the proof and
less than half of the time that transforms take.

Nothing wraps: in a field, b**2 = b has the solutions 0 and 1 and no others.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from secagg.checks import require, require_int
from secagg.errors import InputRefused
from secagg.primitives.field import Elements, Field
from secagg.primitives.ntt import next_power
from secagg.vdaf.circuit import Scaled, calls_for, from_bits
from secagg.vdaf.gadget import Squares

__all__ = ["Bits", "EntryBound"]


@dataclass(frozen=True, kw_only=True)
class EntryBound:
    """What every entry of a vector must satisfy, and the sizes that follow.

    count: entries. bits: of each, the lowest first in an encoded vector; 1 for 0 and 1. Raises
    `ParameterError` with the inequality.
    """

    field: Field
    count: int
    bits: int = 1

    def __post_init__(self) -> None:
        require_int("count", self.count, 1, (1 << 31) - 1)
        require_int("bits", self.bits, 1, 31)
        require(self.length < 1 << 31, "count * bits < 2**31", self.length)
        require(self.most < self.field.modulus, "2**bits - 1 < modulus", self.most)

    @property
    def most(self) -> int:
        """The largest entry."""
        return (1 << self.bits) - 1

    @property
    def length(self) -> int:
        """Elements of an encoded vector: each is a bit."""
        return self.count * self.bits

    @cached_property
    def chunk(self) -> int:
        """Bits in one call of the gadget: what makes a proof shortest."""
        sizes = (1 << at for at in range(1, self.length.bit_length() + 1))
        return min((-(-self.length // (size - 1)) for size in sizes), key=self._proof)

    def _proof(self, chunk: int) -> int:
        return chunk + 2 * next_power(1 + calls_for(self.length, chunk))

    def soundness(self, proofs: int) -> float:
        """Bits: a false vector passes so many proofs with probability 2**-that at most, each try.

        Of one proof: less than 2 chunk / q that its weights cancel the lie, and 2 (p - 1) / (q - p)
        that the query point does, p the length of a wire polynomial.
        """
        size = next_power(1 + calls_for(self.length, self.chunk))
        modulus = self.field.modulus
        once = 2 * self.chunk / modulus + 2 * (size - 1) / (modulus - size)
        return -proofs * math.log2(once)

    def encode(self, vector: NDArray[np.int64]) -> Elements:
        """(count,) -> (length,). Raises `InputRefused`, and shows no entry."""
        if vector.shape != (self.count,):
            raise InputRefused(f"entries have shape ({self.count},), got {vector.shape}")
        if np.any(vector < 0) or np.any(vector > self.most):
            raise InputRefused(f"0 <= entry <= {self.most} must hold for every entry")
        places = np.arange(self.bits, dtype=np.int64)
        bits = vector[:, None] >> places & 1
        return bits.ravel().astype(self.field.dtype)

    def weigh(self, meas: Elements) -> Elements:
        """(length,) -> (count,): entries, or shares of them; linear."""
        if self.bits == 1:
            return meas
        return from_bits(self.field, meas.reshape(self.count, self.bits))


class Bits(Scaled):
    """Every element is 0 or 1: the sum of s_c r**2j (b**2 - b) over calls c and places j is zero.

    The weights s and r are drawn after the elements were fixed. If one of these is no bit, its
    call's sum of r**2j (b**2 - b) is zero for 2 (chunk - 1) points r at most, and otherwise the sum
    of all calls is for one value of that call's s.

    Joint randomness: s of each call, and r.
    """

    def __init__(self, limits: EntryBound) -> None:
        self.field, self.gadget = limits.field, Squares(limits.chunk)
        self.length = limits.length
        self.calls = calls_for(limits.length, limits.chunk)
        self.joint = self.calls + 1

    def scales(self, joint: Elements) -> Elements:
        return self.field.powers(int(joint[-1]), self.gadget.arity)

    def check(self, meas: Elements, called: Elements, joint: Elements, shares: int) -> Elements:
        field, factors, point = self.field, joint[:-1], int(joint[-1])
        places = field.combine(factors, self.rows(meas))
        squares = field.powers(point * point % field.modulus, self.gadget.arity)
        return field.array([field.dot(factors, called) - field.dot(squares, places)])

    def rows(self, meas: Elements) -> Elements:
        """(calls, chunk): padded with zeros, which are bits."""
        padded = self.field.zeros(self.calls * self.gadget.arity)
        padded[: self.length] = meas
        return padded.reshape(self.calls, -1)
