"""Public random linear maps that are sound against torsion: a count-sketch, then ternary rows.

    x (d,) --C: hash tables with signs--> c (tables * buckets,)
    c --D: rows of {-1: 1/4, 0: 1/2, 1: 1/4}--> s (rows,), all modulo 2**width

Inner products of sketches estimate those of the vectors: for S = D C, E <S x, S y> is
rows * tables / 2 times <x, y>. Both layers are needed. In a ring of characteristic 2 a row of signs
alone sees nothing of two coordinates of 2**(width - 1), whose double is zero; a ternary row leaves
out either with probability 1/2. And buckets must be drawn for each coordinate by itself, or vectors
exist that cancel in every bucket. docs/spec/verified.md has the lemmas.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from secagg.errors import ParameterError
from secagg.kernels import folder
from secagg.primitives import prg
from secagg.primitives.digest import Label, digest
from secagg.primitives.ring import Words, check_width, reduce, word

__all__ = ["Folding", "SketchMap", "chance", "check_shape", "most_norm", "slack", "spike_bound"]

_CHUNK = 1 << 14  # coordinates: their bucket numbers stay in the second-level cache
_BATCH = 64  # limbs of vectors at a time, each with tables of its own
_LIMB = 16  # bits: products of limbs with ternary rows are exact in float64
_ROWS = 64  # ternary rows that are floating-point numbers at a time
_HONEST = 32  # an honest client is refused with probability 2**-32
_CHEATING = 40  # a norm over the soft bound passes with probability 2**-40
_SPIKE = 8.7  # standard deviations: 2**-54 for one row

Reals = NDArray[np.float64]


class SketchMap:
    """The map that a 32-byte seed draws, from vectors of `length` residues to `rows` residues."""

    def __init__(
        self,
        seed: bytes,
        *,
        length: int,
        width: int,
        rows: int,
        tables: int = 3,
        buckets: int = 1 << 13,
    ) -> None:
        check_shape(rows=rows, tables=tables, buckets=buckets)
        self.length, self.rows, self.tables = length, rows, tables
        self.width = check_width(width)
        self._seed, self._buckets = seed, buckets
        self._ternary = self._drawn_rows()

    @property
    def scale(self) -> float:
        """What a row of residues is divided by so that norms and inner products are estimated."""
        return math.sqrt(self.rows * self.tables / 2)

    def of_words(self, vectors: Words) -> Words:
        """The sketches (n, rows) of residues (n, length)."""
        found = Folding(self, len(vectors))
        for start, places in self.places():
            for at, vector in enumerate(vectors):
                found.add(at, vector[start : start + places.shape[1]], places)
        return found.rows()

    def of_reals(self, vectors: Reals) -> Reals:
        """The sketches (n, rows) of float64 (n, length), divided by `scale`."""
        tables = np.zeros((len(vectors), self.tables, 2 * self._buckets))
        for start, places in self.places():
            for at, vector in enumerate(vectors):
                part = vector[start : start + places.shape[1]]
                for table, place in enumerate(places):
                    tables[at, table] += np.bincount(place, part, 2 * self._buckets)
        signed = tables[..., : self._buckets] - tables[..., self._buckets :]
        rows: Reals = signed.reshape(len(vectors), -1) @ self._ternary.T.astype(np.float64)
        return rows / self.scale

    def transposed(self, rows: Reals) -> Reals:
        """Estimates (n, length) of the vectors whose sketches `of_reals` gave as `rows` (n, rows).

        The transpose of that map: each inner product with a vector of norm 1 is without bias, and
        off by about |vector| / sqrt(rows).
        """
        signed = (rows @ self._ternary.astype(np.float64) / self.scale).reshape(
            len(rows), self.tables, self._buckets
        )
        tables = np.concatenate([signed, -signed], axis=2)
        found = np.empty((len(rows), self.length))
        for start, places in self.places():
            pieces = (tables[:, at, place] for at, place in enumerate(places))
            found[:, start : start + places.shape[1]] = sum(pieces)
        return found

    def places(self) -> Iterator[tuple[int, NDArray[Any]]]:
        """Coordinates chunk by chunk: the first, and per table the place of each.

        Places beyond `buckets` are those of the coordinates that count negatively.
        """
        sources = [prg.encryptor(self._key(b"table", table)) for table in range(self.tables)]
        mask = np.uint16(2 * self._buckets - 1)
        for start in range(0, self.length, _CHUNK):
            count = min(_CHUNK, self.length - start)
            drawn = [np.frombuffer(source.update(bytes(2 * count)), "<u2") for source in sources]
            yield start, np.stack([(part & mask).astype(folder().places) for part in drawn])

    def combined(self, tables: Words) -> Words:
        """The ternary rows (n, rows) of tables (n, tables, 2 * buckets)."""
        signed = tables[..., : self._buckets] - tables[..., self._buckets :]
        flat = signed.reshape(len(tables), self.tables * self._buckets)
        shifts = range(0, 8 * flat.itemsize, _LIMB)
        low = flat.dtype.type((1 << _LIMB) - 1)
        # stacked: each ternary row becomes floating-point numbers once, not once a limb
        limbs = np.concatenate([(flat >> flat.dtype.type(shift)) & low for shift in shifts])
        found = self.products(limbs.astype(np.float64)).astype(np.int64).view(np.uint64)
        parts = np.split(found, len(shifts))
        out = sum(part << np.uint64(shift) for part, shift in zip(parts, shifts, strict=True))
        return reduce(np.asarray(out).astype(word(self.width)), self.width)

    def empty(self, count: int) -> Words:
        """Tables (count, tables, 2 * buckets) to add to."""
        return np.zeros((count, self.tables, 2 * self._buckets), word(self.width))

    def products(self, limbs: Reals) -> Reals:
        """(n, tables * buckets) -> (n, rows): the ternary rows, exact for integers whose sums are
        below 2**53.
        """
        parts = [
            limbs @ self._ternary[at : at + _ROWS].T.astype(np.float64)
            for at in range(0, self.rows, _ROWS)
        ]
        return np.concatenate(parts, axis=1)

    def _drawn_rows(self) -> NDArray[np.int8]:
        """The difference of two fair bits is ternary."""
        size = self.rows * self.tables * self._buckets
        drawn = np.frombuffer(prg.stream(self._key(b"rows", 0), -(-2 * size // 8)), np.uint8)
        bits = np.unpackbits(drawn, bitorder="little")[: 2 * size].astype(np.int8)
        return (bits[0::2] - bits[1::2]).reshape(self.rows, -1)

    def _key(self, purpose: bytes, number: int) -> bytes:
        return digest(Label.SKETCH_MAP, self._seed, purpose, number.to_bytes(1, "little"))


class Folding:
    """Sketches of `count` vectors of which the coordinates arrive in parts."""

    def __init__(self, sketch: SketchMap, count: int) -> None:
        self._sketch = sketch
        self._tables = sketch.empty(count)

    def add(self, at: int, part: Words, places: NDArray[Any]) -> None:
        """Add some coordinates of vector `at`, of which `places` came from `SketchMap.places`."""
        folder().fold(self._tables[at], places, part)

    def rows(self) -> Words:
        """The sketches (count, rows)."""
        batch = max(_BATCH * _LIMB // (8 * self._tables.itemsize), 1)
        pieces = [
            self._sketch.combined(self._tables[at : at + batch])
            for at in range(0, len(self._tables), batch)
        ]
        return np.concatenate(pieces) if pieces else self._sketch.combined(self._tables)


def check_shape(*, rows: int, tables: int, buckets: int) -> None:
    """`ParameterError` with the inequality that fails."""
    _require(type(rows) is int and 1 <= rows <= 1 << 14, "1 <= rows <= 2**14, an int,", rows)
    _require(type(tables) is int and 1 <= tables <= 16, "1 <= tables <= 16, an int,", tables)
    power = type(buckets) is int and 1 <= buckets <= 1 << 15 and not buckets & (buckets - 1)
    _require(power, "buckets = a power of 2, at most 2**15,", buckets)


def slack(rows: int) -> float:
    """T > 0 such that a norm of B is estimated over (1 + t) B with probability 2**-32 at most.

    Rows are sub-Gaussian with a proxy that equals their variance, given the tables: the tail is at
    most that of chi-square by its Chernoff bound, (a e^(1-a))^(rows/2) for a = (1 + t)^2.
    """
    return math.sqrt(_solved(rows, _HONEST, above=True)) - 1


def most_norm(rows: int) -> float:
    """B such that a norm of b B is estimated within (1 + slack) B with probability 2**-40 at most.

    For rows that are Gaussian; the vectors for which they are not are those of few, large
    coordinates, which `spike_bound` is for.
    """
    return (1 + slack(rows)) / math.sqrt(_solved(rows, _CHEATING, above=False))


def spike_bound(bound: float, rows: int, tables: int) -> int:
    """What one row of a sketch of a vector of norm `bound` does not exceed in absolute value, but
    with probability 2**-54.
    """
    return math.ceil(_SPIKE * math.sqrt(tables / 2) * (1 + slack(rows)) * bound)


def chance(rows: int, a: float) -> float:
    """Bits b: a mean of `rows` squares of unit Gaussians is beyond `a`, seen from 1, with
    probability 2**-b at most, by the Chernoff bound of chi-square.
    """
    return rows / 2 * (a - 1 - math.log(a)) / math.log(2)


def _solved(rows: int, bits: int, *, above: bool) -> float:
    """The ratio, above or below 1, at which `chance` is `bits`."""
    near, far = 1.0, (2.0 if above else 0.5)
    while chance(rows, far) < bits:
        far = far * 2 if above else far / 2
    for _ in range(100):
        middle = (near + far) / 2
        near, far = (near, middle) if chance(rows, middle) >= bits else (middle, far)
    return far


def _require(holds: bool, inequality: str, found: object) -> None:
    if not holds:
        raise ParameterError(f"{inequality} must hold, got {found!r:.40}")
