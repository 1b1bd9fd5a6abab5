"""Sketches of vectors over a prime field, by the maps of `secagg.sketch`: linear, so of shares too.

Each element is folded as two halves of 32 bits, whose sums of up to 2**31 terms a 64-bit word
holds; the rest is arithmetic of the field. For a vector of small signed integers the result is that
of the map over the integers, as long as the integers are within half the modulus.
"""

from __future__ import annotations

import numpy as np

from secagg.kernels import folder
from secagg.primitives.field import Elements
from secagg.primitives.field64 import Field64
from secagg.sketch import SketchMap

__all__ = ["of_elements"]

_HALF = np.uint64(32)
_LOW = np.uint64((1 << 32) - 1)
_LIMB = 22  # bits: with 2**19 counters at most, products with ternary rows are exact in float64


def of_elements(sketch: SketchMap, field: Field64, vector: Elements) -> Elements:
    """The sketch (rows,) of elements (length,) of `field`; `sketch` is of width 64."""
    low, high = _folded(sketch, vector)
    tables = field.add(_within(field, low), field.scale(_within(field, high), 1 << 32))
    middle = tables.shape[-1] // 2
    signed = field.sub(tables[:, :middle], tables[:, middle:])
    return _combined(sketch, field, np.ascontiguousarray(signed).ravel())


def _folded(sketch: SketchMap, vector: Elements) -> Elements:
    """(2, tables, 2 * buckets): sums of the lower and of the upper halves."""
    tables = sketch.empty(2)
    for start, places in sketch.places():
        part = vector[start : start + places.shape[1]]
        folder().fold(tables[0], places, part & _LOW)
        folder().fold(tables[1], places, part >> _HALF)
    return tables


def _within(field: Field64, words: Elements) -> Elements:
    return words % np.uint64(field.modulus)


def _combined(sketch: SketchMap, field: Field64, counters: Elements) -> Elements:
    """The ternary rows (rows,) of counters (tables * buckets,)."""
    shifts = range(0, 64, _LIMB)
    mask = np.uint64((1 << _LIMB) - 1)
    limbs = np.stack([(counters >> np.uint64(shift)) & mask for shift in shifts])
    found = field.zeros(sketch.rows)
    sums = sketch.products(limbs.astype(np.float64)).astype(np.int64)
    for shift, row in zip(shifts, sums, strict=True):
        found = field.add(found, field.scale(field.embed(row), 1 << shift))
    return found
