"""Prime fields with many roots of unity, as arrays: what proofs over shares compute in.

`Field` is the interface and the arithmetic that needs no more than five operations; `BigField`
implements them on Python integers for any modulus, exact and slow. `field64` is the fast one.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from secagg.errors import DecodeError

__all__ = ["FIELD128", "BigField", "Elements", "Field"]

Elements = NDArray[Any]
"""Field elements in [0, modulus), of the field's own dtype and any shape."""


class Field(ABC):
    """Arithmetic modulo a prime, element by element over arrays that broadcast.

    modulus: the prime. size: bytes of an element on the wire, little-endian. generator: an element
    whose order is `order`, a power of two. Operands are canonical, and so are results.
    """

    modulus: int
    size: int
    generator: int
    order: int
    dtype: ClassVar[np.dtype[Any]]

    @abstractmethod
    def add(self, left: Elements, right: Elements) -> Elements:
        """The sum."""

    @abstractmethod
    def sub(self, left: Elements, right: Elements) -> Elements:
        """The difference."""

    @abstractmethod
    def mul(self, left: Elements, right: Elements) -> Elements:
        """The product."""

    @abstractmethod
    def total(self, rows: Elements) -> Elements:
        """(n, k) -> (n,): the sum of each row."""

    @abstractmethod
    def accept(self, stream: bytes) -> Elements:
        """The canonical elements among the consecutive `size`-byte words of `stream`, in order.

        Words are first cut to the bits of the modulus: uniform bytes give uniform elements.
        """

    @abstractmethod
    def encode(self, values: Elements) -> bytes:
        """`size` little-endian bytes for each of `values` (n,)."""

    @abstractmethod
    def decode(self, data: bytes | memoryview) -> Elements:
        """What `encode` wrote. `DecodeError` unless each element is whole and canonical."""

    def array(self, values: Sequence[int]) -> Elements:
        """Any integers, reduced."""
        return np.array([value % self.modulus for value in values], self.dtype)

    def embed(self, values: NDArray[np.int64]) -> Elements:
        """Signed integers (n,), reduced; `centered` inverts it."""
        return self.array(values.tolist())

    def centered(self, values: Elements) -> NDArray[np.int64]:
        """The integers nearest to zero that `values` (n,) stand for; they must fit 64 bits."""
        middle = self.modulus // 2
        signed = [int(value) for value in values]
        return np.array([v - self.modulus if v > middle else v for v in signed], np.int64)

    def zeros(self, *shape: int) -> Elements:
        """Zeros of this shape."""
        return np.zeros(shape, self.dtype)

    def scale(self, values: Elements, factor: int) -> Elements:
        """The product with one factor."""
        return self.mul(values, self.array([factor]))

    def inner(self, left: Elements, right: Elements) -> Elements:
        """(n, k), (n, k) -> (n,): the inner product of each pair of rows."""
        return self.total(self.mul(left, right))

    def dot(self, left: Elements, right: Elements) -> int:
        """The inner product of two vectors (n,), (n,)."""
        return int(self.inner(left[None], right[None])[0])

    def combine(self, weights: Elements, rows: Elements) -> Elements:
        """(n,), (n, k) -> (k,): the weighted sum of rows."""
        return self.total(self.mul(weights[:, None], rows).T)

    def powers(self, base: int, count: int) -> Elements:
        """(count,): base**0, base**1, …; by doubling, in log2(count) multiplications."""
        found = self.array([1])
        while found.size < count:
            step = pow(base, found.size, self.modulus)
            found = np.concatenate([found, self.scale(found, step)])
        return found[:count]

    def inverse(self, value: int) -> int:
        """1 / value; `ValueError` for zero."""
        return pow(value, -1, self.modulus)

    def root(self, size: int) -> int:
        """The primitive root of unity of this order, a power of two up to `order`."""
        if size < 1 or size & (size - 1) or size > self.order:
            raise ValueError(f"{size} is no power of two up to {self.order}")
        return pow(self.generator, self.order // size, self.modulus)

    def butterflies(self, values: Elements, roots: Elements) -> None:
        """The stages of a transform of (n, k) in bit-reversed order, in place, along axis 0.

        roots: (n/2,), the powers of the n-th root.
        """
        half, size = 1, len(values)
        while half < size:
            pairs = values.reshape(size // (2 * half), 2, half, -1)
            even, odd = pairs[:, 0], self.mul(pairs[:, 1], roots[:: size // (2 * half), None])
            pairs[:, 0], pairs[:, 1] = self.add(even, odd), self.sub(even, odd)
            half *= 2

    def ternary(self, values: Elements, draws: NDArray[np.uint8]) -> Elements:
        """(d,), (c, ceil(d/4)) -> (c,): inner products with rows of -1, 0 and 1.

        Each byte of a row draws four coefficients, from its lowest bits up: 00 is -1, 01 and 10
        are 0, 11 is 1, so that a coefficient is the sum of its two bits, less one.
        """
        return self.array([self._ternary_row(values, row) for row in draws])

    def _ternary_row(self, values: Elements, row: NDArray[np.uint8]) -> int:
        bits = np.unpackbits(row, bitorder="little").reshape(-1, 2)[: len(values)]
        chosen = [int(value) for value in values]
        signs = bits.sum(axis=1, dtype=np.int64) - 1
        return sum(sign * value for sign, value in zip(signs.tolist(), chosen, strict=True))


@dataclass(frozen=True)
class BigField(Field):
    """Any prime field, on arrays of Python integers."""

    modulus: int
    size: int
    generator: int
    order: int
    dtype: ClassVar[np.dtype[Any]] = np.dtype(object)

    def add(self, left: Elements, right: Elements) -> Elements:
        return (left + right) % self.modulus

    def sub(self, left: Elements, right: Elements) -> Elements:
        return (left - right) % self.modulus

    def mul(self, left: Elements, right: Elements) -> Elements:
        return (left * right) % self.modulus

    def total(self, rows: Elements) -> Elements:
        found: Elements = rows.sum(axis=1) % self.modulus
        return found

    def accept(self, stream: bytes) -> Elements:
        mask = (1 << self.modulus.bit_length()) - 1
        drawn = [word & mask for word in self._words(stream)]
        return np.array([word for word in drawn if word < self.modulus], self.dtype)

    def encode(self, values: Elements) -> bytes:
        return b"".join(int(value).to_bytes(self.size, "little") for value in values)

    def decode(self, data: bytes | memoryview) -> Elements:
        if len(data) % self.size:
            raise DecodeError(f"{len(data)} bytes are no whole number of field elements")
        words = self._words(bytes(data))
        if any(word >= self.modulus for word in words):
            raise DecodeError("a field element is not canonical")
        return np.array(words, self.dtype)

    def _words(self, stream: bytes) -> list[int]:
        starts = range(0, len(stream), self.size)
        return [int.from_bytes(stream[at : at + self.size], "little") for at in starts]


FIELD128 = BigField(
    modulus=(1 << 66) * 4611686018427387897 + 1,
    size=16,
    generator=pow(7, 4611686018427387897, (1 << 66) * 4611686018427387897 + 1),
    order=1 << 66,
)
"""The larger field of [VDAF, §6.1]."""
