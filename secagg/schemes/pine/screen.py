"""What two aggregators open beside the sum: the public choice, and the linear map it leads to."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from secagg.checks import require, require_int
from secagg.errors import ParameterError
from secagg.primitives.field import Elements
from secagg.primitives.field64 import MODULUS, field64
from secagg.reference import Reference
from secagg.sketch import SketchMap, check_shape
from secagg.sketch_field import of_elements
from secagg.vdaf.norm import NormBound

__all__ = ["Angle", "Entries", "PineMap", "PineScreen"]


@dataclass(frozen=True, kw_only=True)
class Angle:
    """What every client proves of its update x, and nobody opens: <x, r> >= tau |x| |r|.

    reference: r. numerator, denominator: of tau squared. head: entries of a vector before x, 0 or
    1. `AngleBound` checks them together with the bound.
    """

    reference: Reference
    numerator: int
    denominator: int
    head: int = 0

    def __post_init__(self) -> None:
        if not isinstance(self.reference, Reference):
            raise ParameterError(f"reference is a Reference, got {type(self.reference).__name__}")
        for name in ("numerator", "denominator", "head"):
            require_int(name, getattr(self, name), 0, 1 << 16)


@dataclass(frozen=True, kw_only=True)
class Entries:
    """What every client proves of the last `count` entries of its vector: each is an integer in
    {0 … 2**bits - 1}, with bits = 1 thus 0 or 1.
    """

    count: int
    bits: int = 1

    def __post_init__(self) -> None:
        require_int("count", self.count, 1, (1 << 31) - 1)
        require_int("bits", self.bits, 1, 31)

    @property
    def most(self) -> int:
        """The largest entry."""
        return (1 << self.bits) - 1


@dataclass(frozen=True, kw_only=True)
class PineScreen:
    """What is opened of each client before the sum: linear functions of the proven shares.

    Attributes
    ----------
    norm: whether the exact squared norm of the vector is, which the proof states.
    reference: a public vector whose inner product with each update is opened exactly.
    rows, tables, buckets: of the sketch map, see `secagg.sketch`; no rows for no sketch.
    max_weight, unit: 0 for vectors without a weight. Otherwise the first residue is `unit` times a
        weight, is opened exactly, and must be that of an integer in [1, max_weight].
    group: 0 to open numbers of each client. Otherwise, of no client and instead of the sums over
        groups of at least so many.

    Raises `ParameterError` with the inequality that fails.
    """

    least_ratio: ClassVar[int] = 8
    """An update has at least so many coordinates for each number that is opened of it."""

    norm: bool = False
    reference: Reference | None = None
    rows: int = 0
    tables: int = 3
    buckets: int = 1 << 13
    max_weight: int = 0
    unit: int = 1
    group: int = 0

    def __post_init__(self) -> None:
        check_shape(rows=max(self.rows, 1), tables=self.tables, buckets=self.buckets)
        require_int("rows", self.rows, 0, 1 << 14)
        require_int("max_weight", self.max_weight, 0, 1 << 31)
        require_int("unit", self.unit, 1, 1 << 31)
        require_int("group", self.group, 0, 1 << 20)
        require(self.group != 1, "group = 0, or group >= 2", self.group)
        if type(self.norm) is not bool:
            raise ParameterError(f"norm is a bool, got {self.norm!r:.40}")
        if self.reference is not None and not isinstance(self.reference, Reference):
            raise ParameterError("reference is a Reference, or None")
        require(self.opened > self.head, "numbers opened >= 1", 0)
        if self.norm and self.group:
            raise ParameterError("a sum over a group has no norm that its members proved")

    @property
    def head(self) -> int:
        """Residues before the update: the weight, or none."""
        return 1 if self.max_weight else 0

    @property
    def opened(self) -> int:
        """Numbers of one client, or of its group, that become known."""
        return self.head + self.norm + (self.reference is not None) + self.rows

    @property
    def largest(self) -> int:
        """Clients in the largest sum of which numbers are opened: two groups share what is left
        over at worst.
        """
        return self.group + self.group // 2 if self.group else 1

    def check(self, limits: NormBound) -> None:
        """`ParameterError` unless each number opened has one signed reading in the field."""
        size = limits.dimension - self.head
        require(size >= 1, f"length > head = {self.head}", limits.dimension)
        numbers = self.least_ratio * (self.opened - self.head)
        require(numbers <= size, f"{self.least_ratio} * numbers opened <= d = {size}", numbers)
        weight = self.unit * self.max_weight
        require(weight <= limits.bound, "unit * max_weight <= bound", weight)
        if self.reference is not None:
            due = self.reference.vector.size
            require(due == size, f"d = {size}, of a reference,", due)
        most = 2 * self.largest * max(self._factors(size)) * limits.bound
        require(most < MODULUS, "2 * largest * max(|r|, tables * sqrt(d)) * bound < modulus", most)

    def _factors(self, size: int) -> list[int]:
        """By how much a weight, a product with the reference and a row may exceed the norm of a
        vector with an update of `size` coordinates: |<x, r>| <= |x| |r|, and |S x| <= tables |x|_1
        <= tables sqrt(d) |x|.
        """
        length = 0 if self.reference is None else math.ceil(self.reference.norm)
        return [1, length, self.tables * (math.isqrt(size - 1) + 1) if self.rows else 0]

    def possible(
        self, opened: NDArray[np.int64], sizes: NDArray[np.int64], limits: NormBound
    ) -> bool:
        """Whether sums over so many vectors (n,) within the bound can have these numbers
        (n, opened). No client can have them out of range: where they are, an aggregator lied.
        """
        one, length, row = (
            each * limits.bound for each in self._factors(limits.dimension - self.head)
        )
        most = [one] * self.head + [limits.bound**2] * self.norm
        most += [length] * (self.reference is not None) + [row] * self.rows
        if not bool((np.abs(opened) <= sizes[:, None] * np.array(most, np.int64)).all()):
            return False
        update = opened[:, self.head] - (opened[:, : self.head] ** 2).sum(axis=1)
        return not self.norm or bool((update >= 0).all())

    def within(self, opened: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Whether the weights in what was opened of clients (n, opened) are such as honest ones
        have. Norms need no look: each is proven.
        """
        if not self.head:
            return np.ones(len(opened), np.bool_)
        weights, rest = np.divmod(opened[:, 0], self.unit)
        found: NDArray[np.bool_] = (rest == 0) & (weights >= 1) & (weights <= self.max_weight)
        return found

    def columns(self, opened: NDArray[np.int64], sizes: NDArray[np.int64]) -> dict[str, Any]:
        """The weights, squared norms of updates, products and rows of what was opened (n, opened).

        A weight beyond what `sizes` (n,) clients can have, which only liars leave, is cut to that.
        """
        at = self.head + self.norm
        weights = None
        if self.head:
            weights = np.clip(opened[:, 0] // self.unit, sizes, sizes * self.max_weight)
        norms = None
        if self.norm:
            norms = opened[:, self.head] - (opened[:, 0] ** 2 if self.head else 0)
        return {
            "weights": weights,
            "norms": norms,
            "products": opened[:, at : self.opened - self.rows],
            "rows": opened[:, self.opened - self.rows :],
        }


@dataclass(frozen=True, kw_only=True)
class PineMap:
    """The linear map of a round, from a share of vector and claimed norm to one of `opened`.

    seed: 32 bytes that nobody could know before the reports of the batch were fixed.
    """

    screen: PineScreen
    limits: NormBound
    seed: bytes
    _field: Any = field(default_factory=field64, repr=False, compare=False)

    @cached_property
    def sketch(self) -> SketchMap:
        """The map of updates, weights not included."""
        return SketchMap(
            self.seed,
            length=self.limits.dimension - self.screen.head,
            width=64,
            rows=self.screen.rows,
            tables=self.screen.tables,
            buckets=self.screen.buckets,
        )

    def of(self, share: Elements) -> Elements:
        """(limits.claimed,) -> (opened,): one share, or the sum of those of a group."""
        screen, dimension = self.screen, self.limits.dimension
        update = np.ascontiguousarray(share[screen.head : dimension])
        parts = [share[: screen.head]]
        if screen.norm:
            parts.append(self.limits.norms(share)[:1])
        if screen.reference is not None:
            parts.append(self._product(update, screen.reference.vector))
        if screen.rows:
            parts.append(of_elements(self.sketch, self._field, update))
        return np.concatenate(parts)

    def _product(self, update: Elements, reference: NDArray[np.int64]) -> Elements:
        plus, minus = update[reference > 0][None], update[reference < 0][None]
        found: Elements = self._field.sub(self._field.total(plus), self._field.total(minus))
        return found
