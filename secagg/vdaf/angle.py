"""A proof that a vector points near a public one: <x, r> >= tau |x| |r|, with nothing opened.

With tau**2 = n / m, rational, that is a >= 0 and e >= 0 for the integers

    a = <x, r>,    e = m a**2 - n |r|**2 |x|**2

of which the client claims the bits. Over the field, a is linear in the vector, |x|**2 is the norm
claimed less the square of a head that is no part of x, and two squares take one gadget call. As
the norm is proven, both are known to be within +-reach before, so that bits in the field are bits
of the integers: nothing wraps.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from secagg.errors import InputRefused, ParameterError
from secagg.primitives.field import Elements
from secagg.reference import Reference
from secagg.vdaf.circuit import from_bits, to_bits
from secagg.vdaf.norm import Checks, NormBound

__all__ = ["AngleBound", "AngleChecks"]


@dataclass(frozen=True, kw_only=True)
class AngleBound(NormBound):
    """What a vector must satisfy beside the bound of its norm.

    reference: r, of the dimension less `head`. numerator, denominator: n and m, of the square of
    the least cosine. head: 0 or 1, entries before x. Raises `ParameterError` with the inequality.
    """

    reference: Reference
    numerator: int
    denominator: int
    head: int = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 1 <= self.numerator <= self.denominator < 1 << 16:
            raise ParameterError(
                "1 <= numerator <= denominator < 2**16 must hold, got "
                f"{self.numerator} and {self.denominator}"
            )
        size = self.reference.vector.size
        if self.head not in (0, 1) or size + self.head != self.dimension:
            raise ParameterError(
                f"dimension = head + length of the reference must hold, got {self.dimension}, "
                f"{self.head} and {size}"
            )
        most = self.denominator * self.weight * self.bound**2
        if 3 * most + 2 >= self.field.modulus:
            raise ParameterError(
                f"3 denominator |r|**2 bound**2 + 2 < {self.field.modulus} must hold, got "
                f"{self.denominator} * {self.weight} * {self.bound}**2"
            )

    @cached_property
    def weight(self) -> int:
        """|r|**2: how many entries are not zero."""
        return int(np.count_nonzero(self.reference.vector))

    @cached_property
    def product_bits(self) -> int:
        """Bits of a, whose square is at most |r|**2 bound**2."""
        return -(-(self.weight * self.bound**2).bit_length() // 2)

    @cached_property
    def excess_bits(self) -> int:
        """Bits of e, at most denominator |r|**2 bound**2."""
        return (self.denominator * self.weight * self.bound**2).bit_length()

    @property
    def further(self) -> int:
        return self.product_bits + self.excess_bits

    def product(self, meas: Elements) -> Elements:
        """(1,): a share of <x, r>."""
        update, entries = meas[self.head : self.dimension], self.reference.vector
        plus, minus = update[entries > 0][None], update[entries < 0][None]
        found: Elements = self.field.sub(self.field.total(plus), self.field.total(minus))
        return found

    def stated(self, meas: Elements) -> tuple[Elements, Elements]:
        """(1,), (1,): shares of a and e as claimed."""
        bits = meas[self.claimed - self.further : self.claimed]
        parts = np.split(bits, [self.product_bits])
        return from_bits(self.field, parts[0][None]), from_bits(self.field, parts[1][None])

    def bits_of(self, head: int, product: int, norm: int) -> Elements:
        """(further,): the bits of a and e; norm is of the whole vector, `head` included.

        Raises `InputRefused` where the angle is too wide.
        """
        excess = self.denominator * product**2 - self.numerator * self.weight * (norm - head**2)
        if product < 0 or excess < 0:
            raise InputRefused(
                f"cosine**2 >= {self.numerator} / {self.denominator} with the reference must hold, "
                "and the cosine not be negative"
            )
        bits = (product, self.product_bits), (excess, self.excess_bits)
        return np.concatenate([to_bits(self.field, value, size) for value, size in bits])


class AngleChecks(Checks):
    """`Checks`, and one more call, for the squares of a and of the head."""

    def __init__(self, limits: AngleBound, chunk: int) -> None:
        if chunk < 2:
            raise ParameterError(f"chunk >= 2 must hold, got {chunk}")
        super().__init__(limits, chunk)
        self._angle = limits
        self.calls += 1

    def wires(self, meas: Elements, joint: Elements, shares: int) -> Elements:
        field, angle = self.field, self._angle
        found = np.concatenate([angle.product(meas), meas[: angle.head]])
        factors = field.array([angle.denominator, angle.numerator * angle.weight])
        scaled = field.mul(found, factors[: found.size])
        squares = self._chunks(1, scaled, found)
        return np.concatenate([super().wires(meas, joint, shares), squares])

    def check(self, meas: Elements, called: Elements, joint: Elements, shares: int) -> Elements:
        field, angle = self.field, self._angle
        rest = super().check(meas, called[:-1], joint, shares)
        product, excess = angle.stated(meas)
        norm = field.scale(angle.norms(meas)[:1], angle.numerator * angle.weight)
        same = field.sub(angle.product(meas), product)
        right = field.sub(field.sub(called[-1:], norm), excess)
        for power, term in ((4, same), (5, right)):
            rest = field.add(rest, field.scale(term, pow(int(joint[2]), power, field.modulus)))
        return rest
