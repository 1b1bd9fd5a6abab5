"""What requests add to a sum when each is bounded: integer vectors within an L2 norm, exactly.

counted    every cell that a request touches, once, all by the same weight
measured   its surprises by context, scaled together
limited    a whole vector, for a bound on sites
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

from apiwatch.calibration import CAPPED_BITS, slots_of
from apiwatch.event import Field, Request
from apiwatch.features import Events, events
from apiwatch.fields import fields
from apiwatch.settings import Settings, require
from apiwatch.surprise import KINDS, surprises
from apiwatch.table import Cells, Table, cells_of, touched

__all__ = ["counted", "limited", "measured", "sums_of"]

_BATCH = 256
_COLUMNS = 1 + 2 * len(KINDS)
_SAFE = 1 - 2.0**-40  # float64 on the way to integers must not exceed the norm
_Integers = NDArray[np.int64]
_Floats = NDArray[np.float64]


def sums_of(settings: Settings) -> int:
    """Coordinates of a calibration."""
    return _COLUMNS << settings.slots


def counted(
    requests: Sequence[Request], settings: Settings, clip: float | None, units: int
) -> _Integers:
    """(2**cells,) counters in units. clip: of each request's norm, or None for whole counts."""
    total = np.zeros(1 << settings.cells, np.int64)
    for owner, found, cells in _batches(requests, settings):
        pairs = np.unique((owner[(at := touched(found, cells)).owner] << settings.cells) | at.cell)
        request, cell = pairs >> settings.cells, pairs & ((1 << settings.cells) - 1)
        weight = np.full(int(owner.max()) + 1, units, np.int64)
        if clip is not None:
            weight = _weights(np.bincount(request, minlength=weight.size), clip * units, units)
        np.add.at(total, cell, weight[request])
    return total


def _weights(cells: _Integers, norm: float, units: int) -> _Integers:
    """The largest integers up to `units` whose squares times `cells` are at most norm squared."""
    limit = int(norm) ** 2
    weight = np.sqrt(limit // np.maximum(cells, 1)).astype(np.int64)
    weight -= weight * weight * cells > limit
    least: _Integers = np.minimum(weight, units)
    return least


def measured(
    requests: Sequence[Request], table: Table, clip: float | None, units: int
) -> _Integers:
    """(15 * 2**slots,) calibration in units, surprises left out of the table that judges them."""
    settings = table.settings
    total = np.zeros((1 << settings.slots, _COLUMNS), np.int64)
    for owner, found, cells in _batches(requests, settings):
        bits = surprises(found, cells, table, held_out=True)
        scaled = np.minimum(bits, CAPPED_BITS) / CAPPED_BITS * 4.0
        rows = np.concatenate([np.ones((len(found), 1)), scaled, scaled**2], axis=1)
        keys, at = np.unique(
            (owner << settings.slots) | slots_of(found, settings), return_inverse=True
        )
        each = np.zeros((keys.size, _COLUMNS))
        np.add.at(each, at, rows)
        slot = keys & ((1 << settings.slots) - 1)
        np.add.at(total, slot, _scaled(each, keys >> settings.slots, clip, units))
    return total.reshape(-1)


def _scaled(rows: _Floats, owner: _Integers, clip: float | None, units: int) -> _Integers:
    """Rows of each owner scaled down to the norm together, and rounded down."""
    if clip is None:
        return np.floor(rows * units).astype(np.int64)
    norms = np.sqrt(np.bincount(owner, (rows**2).sum(axis=1)))
    factor = np.minimum(1.0, clip / np.maximum(norms, 1e-9)) * units * _SAFE
    integers = np.floor(rows * factor[owner, None]).astype(np.int64)
    worst = int(np.bincount(owner, (integers**2).sum(axis=1)).max())
    require(worst <= (clip * units) ** 2, f"norm <= {clip * units}", worst**0.5)
    return integers


def limited(vector: _Integers, norm: float) -> _Integers:
    """The vector scaled down to the norm, rounded towards zero; one within it stays as it is."""
    require(0 < norm <= 1 << 26, "0 < norm <= 2**26", norm)
    squares, most = _squares(vector), Fraction(norm) ** 2
    if squares <= most:
        return vector.copy()
    within: _Integers = np.trunc(vector * (norm / math.sqrt(squares) * _SAFE)).astype(np.int64)
    require(_squares(within) <= most, f"norm <= {norm}", norm)
    return within


def _squares(vector: _Integers) -> int:
    """The sum of squares: exact below 2**53, where sums of float64 are, and otherwise rounded."""
    return int(np.square(vector.astype(np.float64)).sum())


def _batches(
    requests: Sequence[Request], settings: Settings
) -> Iterator[tuple[_Integers, Events, Cells]]:
    """The request of each field, its events and cells, some hundred requests at a time."""
    for start in range(0, len(requests), _BATCH):
        split = [fields(request)[1] for request in requests[start : start + _BATCH]]
        flat: list[Field] = [field for found in split for field in found]
        found = events(flat, settings.salt)
        owner = np.repeat(np.arange(len(split)), [len(part) for part in split])
        yield owner, found, cells_of(found, settings)
