"""The traffic profile: counters of hashed events. A sum, so sites add theirs and take them away.

Every field counts at three levels: in this place of this endpoint, in places of that name, and in
texts of that kind. A probability at one level leans on that of the next where there is little
evidence.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from typing import Self

import numpy as np
from numpy.typing import NDArray

from apiwatch.errors import ParameterError, ProfileMismatch
from apiwatch.event import Field, Request
from apiwatch.features import Events, events
from apiwatch.fields import fields
from apiwatch.hashing import U64, mix
from apiwatch.settings import Settings

__all__ = ["LEVELS", "Cells", "Table", "Touched", "cells_of", "gather", "in_batches", "touched"]

LEVELS = 3
_BATCH = 1 << 13
_MOST = (1 << 32) - 1
_Index = NDArray[np.int64]


@dataclass(frozen=True)
class Cells:
    """Where the events of f fields are counted: (3, f), (3, g) or (3, c); the last two (2, f), for
    a value says little where only the kind of text is known.

    again: a second cell of the whole, for structure: each value of it that is new counts, and one
    cell that is taken by chance must not hide it.
    """

    total: _Index
    length: _Index
    shape: _Index
    gram: _Index
    char: _Index
    whole: _Index
    again: _Index


def cells_of(found: Events, settings: Settings) -> Cells:
    """The cells, in [0, 2**settings.cells)."""
    shift = np.uint64(64 - settings.cells)
    kinds = iter(np.arange(1, 8, dtype=np.uint64))

    def cell(where: U64, item: U64) -> _Index:
        kind = np.broadcast_to(next(kinds), where.shape)
        return (mix(kind, where, np.broadcast_to(item, where.shape)) >> shift).astype(np.int64)

    salted = np.arange(LEVELS, dtype=np.uint64)[:, None]
    levels = mix(np.broadcast_to(salted, found.levels.shape), found.levels)
    return Cells(
        total=cell(levels, np.zeros(len(found), np.uint64)),
        length=cell(levels, found.length),
        shape=cell(levels, found.shape),
        gram=cell(levels[:, found.owner_gram], found.gram),
        char=cell(levels[:, found.owner_char], found.char),
        whole=cell(levels[:2], found.whole),
        again=cell(levels[:2], found.whole),
    )


def gather(requests: Iterable[Request]) -> Counter[Field]:
    """How often each distinct field occurs. What follows works on distinct fields only."""
    counts: Counter[Field] = Counter()
    for request in requests:
        counts.update(fields(request)[1])
    return counts


def in_batches(
    counts: Mapping[Field, int], settings: Settings
) -> Iterator[tuple[Events, Cells, NDArray[np.int64]]]:
    """Events, cells and weights of some fields at a time: memory does not grow with the log."""
    remaining = iter(counts.items())
    while part := list(islice(remaining, _BATCH)):
        found = events([field for field, _ in part], settings.salt)
        yield found, cells_of(found, settings), np.array([n for _, n in part], np.int64)


@dataclass(frozen=True, eq=False)
class Table:
    """Counters under some settings: (2**cells,) int64, none negative."""

    settings: Settings
    counts: NDArray[np.int64]

    def __post_init__(self) -> None:
        size = 1 << self.settings.cells
        if self.counts.shape != (size,) or self.counts.dtype != np.int64:
            raise ParameterError(f"counts.shape == ({size},) of int64 must hold")
        if self.counts.min() < 0 or self.counts.max() > _MOST:
            raise ParameterError("0 <= counts < 2**32 must hold")

    @classmethod
    def empty(cls, settings: Settings) -> Self:
        return cls(settings, np.zeros(1 << settings.cells, np.int64))

    @classmethod
    def learn(cls, counts: Mapping[Field, int], settings: Settings) -> Self:
        """The table of what `gather` found."""
        total = np.zeros(1 << settings.cells, np.int64)
        for found, cells, weight in in_batches(counts, settings):
            at = touched(found, cells)
            np.add.at(total, at.cell, weight[at.owner])
        return cls(settings, total)

    def __add__(self, other: Table) -> Table:
        self._check(other)
        return Table(self.settings, self.counts + other.counts)

    def __sub__(self, other: Table) -> Table:
        """Without what `other` added, exactly. Raises `ProfileMismatch` if it is not in it."""
        self._check(other)
        if np.any(other.counts > self.counts):
            raise ProfileMismatch("a table that is not part of this one cannot be taken away")
        return Table(self.settings, self.counts - other.counts)

    def decayed(self, halvings: float) -> Table:
        """Every count times 2**-halvings, rounded down: what was seen once is forgotten first."""
        if not 0 <= halvings <= 64:
            raise ParameterError(f"0 <= halvings <= 64 must hold, got {halvings!r}")
        return Table(self.settings, np.floor(self.counts * 2.0**-halvings).astype(np.int64))

    def supported(self, total: Table, sites: NDArray[np.int64]) -> Table:
        """What this site relies on: its own counts, and those of others where enough sites agree.

        total: the sum over all sites, this one included. sites: (2**cells,) how many of them set
        each cell. A cell that fewer than `settings.support` sites set holds this site's counts.
        """
        self._check(total)
        if np.any(self.counts > total.counts):
            raise ProfileMismatch("this site's table is not part of the total")
        enough = sites >= self.settings.support
        return Table(self.settings, np.where(enough, total.counts, self.counts))

    @property
    def bits(self) -> NDArray[np.int64]:
        """Which cells are set: (2**cells,) of 0 and 1, summed for `supported`."""
        return (self.counts > 0).astype(np.int64)

    def _check(self, other: Table) -> None:
        if other.settings != self.settings:
            raise ProfileMismatch("two tables under different settings do not add up")


@dataclass(frozen=True)
class Touched:
    """All cells that fields count in, (e,), and the field of each, (e,)."""

    owner: _Index
    cell: _Index


def touched(found: Events, cells: Cells) -> Touched:
    """Everything that the fields add one to."""
    field = np.arange(len(found))
    text, closed, atom = field[~found.atom], field[found.closed], field[found.atom]
    parts = [
        (owner, cell[level][owner] if local else cell[level])
        for level in range(LEVELS)
        for owner, cell, local in (
            (field, cells.total, True),
            (text, cells.length, True),
            (text, cells.shape, True),
            (found.owner_gram, cells.gram, False),
            (found.owner_char, cells.char, False),
        )
    ]
    parts += [(field, cells.whole[0]), (closed, cells.again[0][closed])]
    parts += [(atom, cells.whole[1][atom]), (atom, cells.again[1][atom])]
    owners, counted = zip(*parts, strict=True)
    return Touched(np.concatenate(owners), np.concatenate(counted))
