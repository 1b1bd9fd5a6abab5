"""What a verified round opens beside the sum: the public choice, and the linear map it leads to."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol

import numpy as np
from numpy.typing import NDArray

from secagg.checks import require, require_int
from secagg.errors import ParameterError
from secagg.primitives import prg
from secagg.primitives.ring import Words, centered, reduce, word
from secagg.reference import Reference
from secagg.sketch import Folding, SketchMap, check_shape, most_norm, slack, spike_bound

__all__ = ["OpenedMap", "Reference", "Screen"]

_BATCH = 64  # vectors that are sketched at a time: each has tables of its own


@dataclass(frozen=True, kw_only=True)
class Screen:
    """What is opened of every client before the sum. EXPERIMENTAL: the construction is this
    library's own and has had no external review.

    Attributes
    ----------
    bound: the L2 norm that an honest update does not exceed, as an integer, in units of the ring.
    rows, tables, buckets: of the sketch map; more rows estimate more finely and reveal more.
    max_weight: 0 for vectors without a weight. Otherwise the first residue is a weight, is opened
        exactly, and must be in [1, max_weight]; with 1 it says nothing.
    noise: standard deviation, in units, of noise that the last `rows` residues of each client
        hold, and that is opened with the rows; 0.0 for vectors without.
    reference: a public vector whose inner product with each update is opened exactly. One, as two
        could differ in a single coordinate.
    group: 0 to open numbers of each client. Otherwise, of no client and instead of the sums over
        groups of at least so many, together with the sum over all; bounds are then of groups.

    Raises `ParameterError` with the inequality that fails. An update beyond the bounds passes with
    probability 2**-39 at most, which takes enough rows, tables and buckets.
    """

    least_bits: ClassVar[int] = 39
    """tables * log2(buckets): what spikes in one bucket of every table would pass with."""
    least_rows: ClassVar[int] = 64
    """Fewer rows than these let norms over `most_norm` pass, where they are of few coordinates."""
    least_ratio: ClassVar[int] = 8
    """An update has at least so many coordinates for each number that is opened of it."""

    bound: int
    rows: int = 64
    tables: int = 3
    buckets: int = 1 << 13
    max_weight: int = 0
    noise: float = 0.0
    reference: Reference | None = None
    group: int = 0

    def __post_init__(self) -> None:
        check_shape(rows=self.rows, tables=self.tables, buckets=self.buckets)
        require_int("bound", self.bound, 1, 1 << 62)
        require_int("max_weight", self.max_weight, 0, 1 << 52)
        if type(self.noise) not in (int, float) or not 0 <= self.noise <= 2.0**60:
            raise ParameterError(f"0 <= noise <= 2**60 must hold, got {self.noise!r:.40}")
        object.__setattr__(self, "noise", float(self.noise) + 0.0)
        if self.reference is not None and not isinstance(self.reference, Reference):
            raise ParameterError("reference is a Reference, or None")
        require_int("group", self.group, 0, 1 << 20)
        require(self.group != 1, "group = 0, or group >= 2", self.group)
        bits = self.tables * (self.buckets.bit_length() - 1)
        least = self.least_bits
        require(bits >= least, f"tables * log2(buckets) >= {least}", bits)
        require(self.rows >= self.least_rows, f"rows >= {self.least_rows}", self.rows)

    @property
    def head(self) -> int:
        """Residues before the update: the weight, or none."""
        return 1 if self.max_weight else 0

    @property
    def tail(self) -> int:
        """Residues after the update: noise for each row, or none."""
        return self.rows if self.noise else 0

    @property
    def opened(self) -> int:
        """Linear functionals of one client that become known."""
        return self.head + (self.reference is not None) + self.rows

    @property
    def largest(self) -> int:
        """Clients in the largest sum of which numbers are opened: two groups share what is left
        over at worst.
        """
        return self.group + self.group // 2 if self.group else 1

    @property
    def row_bound(self) -> int:
        """What no row of an honest client, or group, exceeds, but with probability 2**-54."""
        return self._row_bound(self.largest)

    def _row_bound(self, clients: int) -> int:
        spread = math.sqrt((clients * self.bound) ** 2 + 2 * clients * self.noise**2 / self.tables)
        return spike_bound(spread, self.rows, self.tables)

    @property
    def most_norm(self) -> int:
        """A norm that a client can exceed with probability 2**-40 at most, without being seen."""
        spread = math.sqrt(self.bound**2 + 2 * self.noise**2 / self.tables)
        return math.ceil(most_norm(self.rows) * spread)

    @property
    def root(self) -> int:
        """The root mean square that rows of one client may have: of honest ones, but with
        probability 2**-32. Rows of sums have at most the sum of these.
        """
        spread = math.sqrt(self.bound**2 + 2 * self.noise**2 / self.tables)
        return math.ceil((1 + slack(self.rows)) * math.sqrt(self.tables / 2) * spread)

    def together(self, clients: int, corrupt: int) -> int:
        """Of how many clients colluders may use up the bounds: they choose who takes the blame.
        Where groups are opened these are the bounds of all, and what honest members sent may hide
        as much again.
        """
        return 2 * clients if self.group else corrupt

    def check(self, clients: int, corrupt: int, length: int, width: int) -> None:
        """`ParameterError` unless vectors of this length, summed in this ring, can be screened."""
        size = length - self.head - self.tail
        require(size >= 1, f"length > head + tail = {self.head + self.tail}", length)
        room = 1 << (width - 3)
        require(self.row_bound < room, "row_bound < 2**(width - 3)", self.row_bound)
        total = clients * max(self.most_norm, self.max_weight)
        require(total < 1 << (width - 1), "clients * most_norm < 2**(width - 1)", total)
        shared = self.together(clients, corrupt) * self.root
        require(shared < room, "together * root < 2**(width - 3)", shared)
        numbers = self.least_ratio * (self.opened - self.head)
        require(numbers <= size, f"{self.least_ratio} * numbers opened <= d = {size}", numbers)
        if self.reference is not None:
            require(self.reference.vector.size == size, f"d = {size}, of a reference,", length)
            product = math.ceil(self.largest * self.most_norm * self.reference.norm)
            fits = product < 1 << (width - 1)
            require(fits, "largest * most_norm * |reference| < 2**(width - 1)", product)

    def within(
        self, opened: NDArray[np.int64], sizes: NDArray[np.int64] | None = None
    ) -> NDArray[np.bool_]:
        """Whether what was opened (n, opened) is what an honest client may send; or `sizes` (n,)
        honest clients, together.

        Weights are checked exactly, norms by their estimate: see `slack` and `most_norm`. A client
        of less than the largest weight may have that share of the bound.
        """
        sizes = np.ones(len(opened), np.int64) if sizes is None else sizes
        weights, (least, most) = opened[:, : self.head], (sizes, sizes * self.max_weight)
        weighs = ((weights >= least[:, None]) & (weights <= most[:, None])).all(axis=1)
        rows = opened[:, self.opened - self.rows :].astype(np.float64)
        share = weights[:, 0] / self.max_weight if self.max_weight else sizes.astype(np.float64)
        squares = self.tables / 2 * (share * self.bound) ** 2 + sizes * self.noise**2
        estimates = (rows**2).sum(axis=1) / self.rows
        found_sizes, place = np.unique(sizes, return_inverse=True)
        limits = np.array([self._row_bound(size) for size in found_sizes.tolist()])
        small = np.abs(rows).max(axis=1) <= limits[place]
        found: NDArray[np.bool_] = (
            weighs & small & (estimates <= (1 + slack(self.rows)) ** 2 * squares)
        )
        return found

    def signed(self, opened: Words, width: int) -> NDArray[np.int64]:
        """The integers (n, opened) that residues stand for."""
        return centered(opened.reshape(-1), width).reshape(opened.shape)


class _Source(Protocol):
    def take(self, count: int) -> Words: ...


class OpenedMap:
    """The linear map of a round: weight, inner products with references, sketch plus noise.

    seed: 32 bytes that nobody could know when the vectors were committed to.
    """

    def __init__(self, screen: Screen, seed: bytes, *, length: int, width: int) -> None:
        self._screen, self._width, self._dtype = screen, width, word(width)
        self.sketch = SketchMap(
            seed,
            length=length - screen.head - screen.tail,
            width=width,
            rows=screen.rows,
            tables=screen.tables,
            buckets=screen.buckets,
        )
        reference = screen.reference
        self._reference = None if reference is None else reference.vector.astype(self._dtype)

    def of_streams(self, keys: Sequence[bytes]) -> Words:
        """What is opened (n, opened) of the mask streams of these keys."""
        return self._of([_Stream(key, self._dtype) for key in keys])

    def of_words(self, vectors: Sequence[Words]) -> Words:
        """What is opened (n, opened) of vectors of residues (length,)."""
        return self._of([_Array(vector) for vector in vectors])

    def _of(self, sources: Sequence[_Source]) -> Words:
        pieces = [
            self._batch(sources[at : at + _BATCH]) for at in range(0, len(sources), _BATCH)
        ] or [np.zeros((0, self._screen.opened), self._dtype)]
        return reduce(np.concatenate(pieces), self._width)

    def _batch(self, sources: Sequence[_Source]) -> Words:
        head = np.stack([source.take(self._screen.head) for source in sources])
        products = np.zeros((len(sources), int(self._reference is not None)), self._dtype)
        folding = Folding(self.sketch, len(sources))
        for start, places in self.sketch.places():
            for at, source in enumerate(sources):
                part = source.take(places.shape[1])
                folding.add(at, part, places)
                if self._reference is not None:  # and a slice wraps without a warning
                    products[at, :1] += np.dot(part, self._reference[start : start + part.size])
        rows = folding.rows()
        if self._screen.tail:
            rows = rows + np.stack([source.take(self._screen.tail) for source in sources])
        return np.concatenate([head, products, rows], axis=1)


class _Stream:
    """The words of a mask stream, one after the other."""

    def __init__(self, key: bytes, dtype: np.dtype[Any]) -> None:
        self._source, self._dtype = prg.encryptor(key), dtype

    def take(self, count: int) -> Words:
        return np.frombuffer(self._source.update(bytes(count * self._dtype.itemsize)), self._dtype)


class _Array:
    def __init__(self, vector: Words) -> None:
        self._vector, self._at = vector, 0

    def take(self, count: int) -> Words:
        self._at += count
        return self._vector[self._at - count : self._at]
