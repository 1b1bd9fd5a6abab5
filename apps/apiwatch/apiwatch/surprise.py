"""STAGE events -> how surprising each field is, in bits, seven ways.

    whole      the value itself has not been seen: log2 of how often it could have been, here and,
               of structure, anywhere
    length     its length
    shape      its shape
    grams      all neighborhoods together      gram   the strangest one
    chars      all characters together         char   the strangest one

Sums and not means: padding an attack with usual text does not make it less surprising. What is
usual for a parameter is learnt by calibration, where each field is left out of the counts that it
is judged by.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from apiwatch.features import Events
from apiwatch.table import LEVELS, Cells, Table

__all__ = ["KINDS", "KNOWN", "LEAN", "RARE", "char_bits", "gram_bits", "surprises"]

KINDS = ("whole", "length", "shape", "grams", "gram", "chars", "char")

LEAN = 2.0  # observations that the next level is worth
KNOWN = 2  # times that a value of an open set was seen before it counts as one of its usual ones
RARE = 3.0  # bits at most, of what has been seen at all: rare is not new
_Floats = NDArray[np.float64]
_Index = NDArray[np.int64]


def surprises(found: Events, cells: Cells, table: Table, *, held_out: bool) -> _Floats:
    """(f, 7) bits. held_out: the fields are part of the table, so one of each is left out."""
    counts, out = table.counts, int(held_out)
    text = (~found.atom).astype(np.float64)
    grams = gram_bits(found, cells, counts, out)
    chars = char_bits(found, cells, counts, out)
    columns = (
        _novelty(found, cells, counts, out),
        text * _seen_capped(cells.length, cells.total, counts, out),
        text * _seen_capped(cells.shape, cells.total, counts, out),
        np.bincount(found.owner_gram, grams, len(found)),
        _largest(grams, found.owner_gram, len(found)),
        np.bincount(found.owner_char, chars, len(found)),
        _largest(chars, found.owner_char, len(found)),
    )
    return np.stack(columns, axis=1)


def gram_bits(found: Events, cells: Cells, counts: _Index, out: int = 0) -> _Floats:
    """(g,) bits of each gram."""
    return _bits(cells.gram, cells.total[:, found.owner_gram], counts, out)


def char_bits(found: Events, cells: Cells, counts: _Index, out: int = 0) -> _Floats:
    """(c,) bits of each character class."""
    return _bits(cells.char, cells.total[:, found.owner_char], counts, out)


def _bits(event: _Index, total: _Index, counts: _Index, out: int) -> _Floats:
    """-log2 of the probability that a field shows the event; each level leans on the next."""
    probability: _Floats | float = 0.5
    for level in reversed(range(LEVELS)):
        lean = LEAN if level < LEVELS - 1 else 1.0
        n = np.maximum(counts[total[level]] - out, 0)
        seen = np.minimum(np.maximum(counts[event[level]] - out, 0), n)
        probability = (seen + lean * probability) / (n + lean)
    bits: _Floats = -np.log2(probability)
    return bits


def _seen_capped(event: _Index, total: _Index, counts: _Index, out: int) -> _Floats:
    bits = _bits(event, total, counts, out)
    capped: _Floats = np.where(counts[event[0]] > out, np.minimum(bits, RARE), bits)
    return capped


def _novelty(found: Events, cells: Cells, counts: _Index, out: int) -> _Floats:
    n = np.maximum(counts[cells.total[:2]] - out, 0)
    seen = counts[cells.whole]
    seen = np.maximum(np.where(found.closed, np.minimum(seen, counts[cells.again]), seen) - out, 0)
    least = np.where(found.closed, 1, KNOWN)
    rare = np.clip(np.log2((n[0] + 2.0) / (seen[0] + 1.0)), 0.0, RARE)
    anywhere = (np.minimum(seen[1], n[1]) + 0.5) / (n[1] + 1.0)
    new = np.log2((n[0] + LEAN) / np.where(found.atom, LEAN * anywhere, 1.0))
    bits: _Floats = np.where(seen[0] >= least, rare, new)
    return bits


def _largest(values: _Floats, owner: _Index, count: int) -> _Floats:
    out = np.zeros(count)
    np.maximum.at(out, owner, values)
    return out
