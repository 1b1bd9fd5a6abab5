"""What is opened of each client: a sketch of its vector, made of combinations of whole blocks.

    S[k, l] = sum over blocks b and slots j of  e[k, b] * d[k, l, j] * x[b, j]

with public e and d in {-1: 1/4, 0: 1/2, 1: 1/4}. The sums over b are sums of ciphertexts, which
need no key; those over j are taken of plaintexts. So nothing is ever multiplied or rotated.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from secagg.checks import require_int
from secagg.errors import ParameterError
from secagg.primitives import prg
from secagg.primitives.digest import Label, digest
from secagg.schemes.ckks.layout import Layout, Slots
from secagg.schemes.ckks.screened.modular import Residues, product

__all__ = ["SlotMap", "SlotScreen"]

Reals = NDArray[np.float64]
Signs = NDArray[np.int8]

_REACH = 2
"""An estimate of the norm may exceed the bound by this factor."""


@dataclass(frozen=True, kw_only=True)
class SlotScreen:
    """What is opened of every client before the sum. EXPERIMENTAL: the construction is this
    library's own and has had no external review.

    Attributes
    ----------
    bound: the L2 norm that an honest update does not exceed, as an integer, in units of the ring.
    rows: numbers of the sketch, a multiple of `draws`; more estimate more finely and reveal more.
    max_weight: the first residue is a weight, is opened exactly, and must be in [1, max_weight];
        with 1 it says nothing.

    Raises `ParameterError` with the inequality that fails.
    """

    draws: ClassVar[int] = 64
    """Combinations of blocks. A coordinate far beyond the bound stays unseen by each of them with
    probability 3/4 at most."""
    least_ratio: ClassVar[int] = 8
    """An update has at least so many coordinates for each number that is opened of it."""
    most_norm: ClassVar[int] = 5
    """Times the bound: a norm that passes with probability 2**-40 at most, where 64 rows or more
    are close to Gaussian."""

    bound: int
    rows: int = 64
    max_weight: int = 1

    def __post_init__(self) -> None:
        require_int("bound", self.bound, 1, 1 << 56)
        require_int("max_weight", self.max_weight, 1, 1 << 52)
        require_int("rows", self.rows, 1, 1 << 12)
        if self.rows % self.draws:
            raise ParameterError(f"rows % {self.draws} == 0 must hold, got {self.rows}")

    @property
    def opened(self) -> int:
        """Linear functionals of one client that become known: its weight, and the sketch."""
        return 1 + self.rows

    @property
    def lines(self) -> int:
        """Rows that are made of one combination of blocks."""
        return self.rows // self.draws

    @property
    def row_bound(self) -> int:
        """What no row of an accepted client exceeds in absolute value."""
        return math.isqrt(_REACH**2 * self.rows) * self.bound + self.bound

    @property
    def plain_bits(self) -> int:
        """Bits that plaintexts must have so that no row of what may be accepted is taken for
        another one, modulo the plaintext prime: four times `row_bound`, and a sign.
        """
        return (8 * max(self.row_bound, self.max_weight)).bit_length()

    def check(self, clients: int, length: int, width: int) -> None:
        """`ParameterError` unless vectors of this length, summed in this ring, can be screened."""
        size = length - 1
        if self.least_ratio * self.rows > size:
            raise ParameterError(
                f"{self.least_ratio} * rows <= d = {size} must hold, got {self.rows}"
            )
        total = clients * max(self.most_norm * self.bound, self.max_weight)
        if total >= 1 << width - 1:
            raise ParameterError(
                f"clients * {self.most_norm} * bound < 2**(width - 1) must hold, got {total} and "
                f"width = {width}"
            )

    def within(
        self, weights: NDArray[np.int64], rows: NDArray[np.int64], scale: float
    ) -> NDArray[np.bool_]:
        """Whether the client may be accepted (n,): its weight exactly, its norm by the estimate.

        A client of less than the largest weight may have that share of the bound.
        """
        weighs = (weights >= 1) & (weights <= self.max_weight)
        estimates = (rows.astype(np.float64) ** 2).sum(axis=1) / scale**2
        share = weights / self.max_weight * self.bound
        found: NDArray[np.bool_] = weighs & (estimates <= (_REACH * share) ** 2)
        return found


class SlotMap:
    """The map that a seed draws, from vectors in the slots of `layout` to what is opened of them.

    seed: 32 bytes that no client knew when it sent its vector.
    """

    def __init__(self, screen: SlotScreen, seed: bytes, layout: Layout) -> None:
        self._screen, self._layout = screen, layout
        degree, draws, lines = layout.ring.keys.degree, screen.draws, screen.lines
        drawn = _ternary(_key(seed, b"blocks"), draws * layout.blocks)
        # a block alone is in every row: leaving it out would make half of them empty
        alone = np.ones_like(drawn) if layout.blocks == 1 else drawn
        first = np.zeros((1, layout.blocks), np.int8)
        first[0, 0] = 1  # and what the weight is read from
        self._blocks = np.concatenate([alone.reshape(draws, -1), first])
        self._slots = _ternary(_key(seed, b"slots"), draws * lines * degree)
        self._slots = self._slots.reshape(draws, lines, degree)

    @property
    def rows(self) -> int:
        """Numbers of a sketch."""
        return self._screen.rows

    @property
    def sketch(self) -> SlotMap:
        """This map: what is opened beside a sketch is no map's affair."""
        return self

    @property
    def scale(self) -> float:
        """What rows are divided by so that norms and inner products are estimated."""
        return math.sqrt(self.rows * (0.5 if self._layout.blocks == 1 else 0.25))

    @cached_property
    def totals(self) -> NDArray[np.int64]:
        """(draws + 1,): the sums of each combination's coefficients."""
        found: NDArray[np.int64] = self._blocks.sum(axis=1, dtype=np.int64)
        return found

    def combined(self, blocks: Residues, moduli: Residues | np.uint64) -> Residues:
        """(blocks, w) residues -> (draws + 1, w): the combinations, and the first block."""
        return product(self._blocks, blocks, moduli)

    def opened(self, slots: Slots) -> Residues:
        """Combinations (draws + 1, degree) -> (opened,): the weight, and the rows."""
        plain = np.uint64(self._layout.ring.plain)
        rows = product(self._slots, slots[:-1, :, None], plain).reshape(-1)
        return np.concatenate([slots[-1, :1], rows])

    def first(self) -> NDArray[np.int64]:
        """(rows,): the coefficient of the weight, which is not part of the sketch."""
        found = self._blocks[:-1, :1].astype(np.int64) * self._slots[:, :, 0]
        flat: NDArray[np.int64] = found.reshape(-1)
        return flat

    def of_reals(self, vectors: Reals) -> Reals:
        """The sketches (n, rows) of updates (n, d), without a weight, divided by `scale`."""
        return np.stack([self._of_real(vector) for vector in vectors]) / self.scale

    def _of_real(self, vector: Reals) -> Reals:
        shape = self._layout
        blocks = np.zeros((shape.blocks, shape.room - shape.zeros))
        blocks.reshape(-1)[1 : 1 + vector.size] = vector
        combined = self._blocks[:-1].astype(np.float64) @ blocks
        slots = self._slots[:, :, : blocks.shape[1]].astype(np.float64)
        found: Reals = (slots @ combined[:, :, None]).reshape(-1)
        return found


def _key(seed: bytes, purpose: bytes) -> bytes:
    return digest(Label.SKETCH_MAP, seed, purpose)


def _ternary(key: bytes, count: int) -> Signs:
    """The difference of two fair bits is ternary."""
    drawn = np.frombuffer(prg.stream(key, -(-2 * count // 8)), np.uint8)
    bits = np.unpackbits(drawn, bitorder="little")[: 2 * count].astype(np.int8)
    return bits[0::2] - bits[1::2]
