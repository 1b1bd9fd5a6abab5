"""STAGE one field -> its verdict, without arrays: `surprise` and `calibration`, remembered.

Requests that come one by one cannot share the overhead of array operations. All surprises but that
of the value itself depend on its character classes only, and there are few places and few
neighborhoods of characters, so nearly everything is a look-up: each `dict` here computes what it
lacks. Verdicts are those of the arrays to the last bit: the same operations in the same order, and
the same logarithm.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache, reduce
from itertools import groupby
from math import floor, sqrt
from operator import add
from typing import NamedTuple

import numpy as np

from apiwatch.calibration import WEIGHTS, Calibration, spread_of
from apiwatch.event import Field, Place
from apiwatch.features import (
    CLOSED,
    END,
    START,
    char_codes,
    class_bytes,
    condensed,
    gram_codes,
    level_names,
)
from apiwatch.hashing import hash_text, mix_step
from apiwatch.surprise import KNOWN, LEAN, RARE
from apiwatch.table import LEVELS, Table

__all__ = ["LONGEST", "Quick", "Verdict"]

LONGEST = 1 << 11
"""Characters; of longer values arrays are faster."""

_REMEMBERED = 1 << 18  # probabilities, neighborhoods and classes of values
_REMEMBERED_CHARACTERS = 1 << 24
_SHORT = 96  # characters of a condensed value whose events are remembered
_TOTAL, _LENGTH, _SHAPE, _GRAM, _CHAR, _WHOLE, _AGAIN = range(1, 8)  # kinds of cells, as in table
_KINDS = [mix_step(kind) for kind in range(_AGAIN + 1)]
_CAPPED = (_LENGTH, _SHAPE)
_WEIGHTS: list[float] = WEIGHTS.tolist()
Verdict = tuple[float, int]
"""The score of a field, and which of `KINDS` has most part in it."""


class _Level:
    """What has been seen at one place, at one level; leans on the next."""

    def __init__(self, quick: Quick, depth: int, where: int, above: _Level | None) -> None:
        self.quick, self.above = quick, above
        self._counts, self._shift = quick.counts, quick.shift
        self._salted = mix_step(mix_step(depth) ^ where)
        self._whole, self._again = self.prefix(_WHOLE), self.prefix(_AGAIN)
        self._probabilities: dict[int, _Probabilities] = {}
        self.total = self.count(self.prefix(_TOTAL), 0)

    def prefix(self, kind: int) -> int:
        """The state of the hash of a cell of that kind, before the item."""
        return mix_step(_KINDS[kind] ^ self._salted)

    def count(self, prefix: int, item: int) -> int:
        return self._counts[mix_step(prefix ^ item) >> self._shift]

    def whole(self, item: int, *, closed: bool) -> int:
        """How often a value was seen here."""
        seen = self.count(self._whole, item)
        return min(seen, self.count(self._again, item)) if closed else seen

    def probabilities(self, kind: int) -> _Probabilities:
        found = self._probabilities.get(kind)
        if found is None:
            found = self._probabilities[kind] = _Probabilities(self, kind)
        return found


class _Probabilities(dict[int, float]):
    """Event of one kind -> that a field shows it, at a level that others lean on."""

    def __init__(self, level: _Level, kind: int) -> None:
        super().__init__()
        self._level, self._prefix = level, level.prefix(kind)
        self._above = level.above.probabilities(kind) if level.above else None

    def __missing__(self, item: int) -> float:
        level, above = self._level, self._above
        seen, total = level.count(self._prefix, item), level.total
        seen = seen if seen < total else total
        lean = 1.0 if above is None else LEAN
        found = (seen + lean * (0.5 if above is None else above[item])) / (total + lean)
        self[item] = found
        level.quick.remembered += 1
        return found


class _Bits(dict[int, float]):
    """Event of one kind -> its surprise at its own place. Of lengths and shapes, rare is not new:
    what has been seen here has few bits.
    """

    def __init__(self, level: _Level, kind: int) -> None:
        super().__init__()
        assert level.above is not None
        self._level, self._prefix, self._capped = level, level.prefix(kind), kind in _CAPPED
        self._above = level.above.probabilities(kind)

    def __missing__(self, item: int) -> float:
        level = self._level
        seen, total = level.count(self._prefix, item), level.total
        least = seen if seen < total else total
        found = -_log2((least + LEAN * self._above[item]) / (total + LEAN))
        if self._capped and seen > 0 and found > RARE:
            found = RARE
        self[item] = found
        level.quick.remembered += 1
        return found


class _Place:
    """One parameter of one endpoint: its level, and what surprise is usual."""

    def __init__(
        self, level: _Level, means: list[float], spreads: list[float], closed: bool
    ) -> None:
        self.level, self._closed = level, closed
        self._means, self._spreads = means, spreads

    def standardized(self, kind: int, bits: float) -> float:
        score = (bits - self._means[kind]) / self._spreads[kind]
        return score * _WEIGHTS[kind] if score > 0.0 else 0.0

    def novelty(self, seen: int, anywhere: float) -> float:
        """The score of a value itself. anywhere: what one that is new here is worth."""
        total = self.level.total
        if seen >= (1 if self._closed else KNOWN):
            bits = min(max(_log2((total + 2.0) / (seen + 1.0)), 0.0), RARE)
        else:
            bits = _log2((total + LEAN) / anywhere)
        return self.standardized(0, bits)


class _Atoms(_Place):
    """Structure: the value is all there is, and less surprising where it was seen elsewhere."""

    def verdict(self, item: int, value: str) -> Verdict:
        """Of a value and its hash."""
        del value
        level, closed = self.level, self._closed
        above = level.above
        assert above is not None
        seen = min(above.whole(item, closed=closed), above.total)
        anywhere = LEAN * ((seen + 0.5) / (above.total + 1.0))
        score = self.novelty(level.whole(item, closed=closed), anywhere)
        return sqrt(score * score), 0


class _Scores(dict[int, float]):
    """Length, or how often a value was seen -> its score."""

    def __init__(self, score: Callable[[int], float], quick: Quick) -> None:
        super().__init__()
        self._score, self._quick = score, quick

    def __missing__(self, number: int) -> float:
        found = self[number] = self._score(number)
        self._quick.remembered += 1
        return found


class _Text(NamedTuple):
    """Of what classes tell: the squares of their scores, the largest score and its kind."""

    squares: tuple[float, ...]
    best: float
    kind: int


class _Texts(_Place):
    """A place of text, whose events are those of a value's condensed classes, and its length."""

    def __init__(
        self, level: _Level, means: list[float], spreads: list[float], closed: bool
    ) -> None:
        super().__init__(level, means, spreads, closed)
        self._lengths, self._shapes = _Bits(level, _LENGTH), _Bits(level, _SHAPE)
        self._grams, self._chars = _Bits(level, _GRAM), _Bits(level, _CHAR)
        self._known: dict[bytes, _Text] = {}
        self._of_length = _Scores(self._length, level.quick)
        self._of_seen = _Scores(self._novelty, level.quick)

    def verdict(self, item: int, value: str) -> Verdict:
        """Of a value and its hash. All sums are from left to right and rounded at each step, as in
        the arrays; `sum` is more exact from Python 3.12 on.
        """
        classes = condensed(class_bytes(value))
        squares, best, kind = self._known.get(classes) or self._new(classes)
        length = self._of_length[len(value)]
        whole = self._of_seen[self.level.whole(item, closed=self._closed)]
        shape, grams, gram, chars, char = squares
        score = sqrt(whole * whole + length * length + shape + grams + gram + chars + char)
        if whole >= length and whole >= best:
            return score, 0
        return (score, 1) if length >= best else (score, kind)

    def _length(self, length: int) -> float:
        return self.standardized(1, self._lengths[floor(4 * _log2(length + 1.0))])

    def _novelty(self, seen: int) -> float:
        return self.novelty(seen, 1.0)

    def _new(self, classes: bytes) -> _Text:
        shape, gram, char = _events(classes)
        grams = [*map(self._grams.__getitem__, gram)]
        chars = [*map(self._chars.__getitem__, char)]
        of = self.standardized
        scores = [
            of(2, self._shapes[shape]),
            of(3, reduce(add, grams)),
            of(4, max(grams)),
            of(5, reduce(add, chars)),
            of(6, max(chars)),
        ]
        best = max(scores)
        squares = tuple([score * score for score in scores])
        made = self._known[classes] = _Text(squares, best, scores.index(best) + 2)
        self.level.quick.remember(classes)
        return made


class Quick:
    """Verdicts of fields of up to `LONGEST` characters under one profile; not thread-safe.

    What it remembers is bounded: beyond 2**18 entries or 2**24 characters it starts anew.
    """

    def __init__(self, table: Table, calibration: Calibration) -> None:
        self._settings = table.settings
        means, variances = calibration.moments
        # (2**slots, 2, 7): what is usual of text and of structure, where less varies
        self._moments = [
            np.stack([means, np.sqrt(variances + spread_of(atom=atom))], axis=1)
            for atom in (False, True)
        ]
        self.counts = table.counts.data
        self.shift = 64 - table.settings.cells
        self._forget()

    def verdict(self, one: Field) -> Verdict:
        """Of one field."""
        if self.remembered > _REMEMBERED or self._characters > _REMEMBERED_CHARACTERS:
            self._forget()
        return self._place(one).verdict(hash_text(self._settings.salt, one.value), one.value)

    def seen_at(self, one: Field) -> int:
        """How many fields were learnt in its place."""
        return self._place(one).level.total

    def remember(self, text: str | bytes) -> None:
        """Count one more entry, and its characters."""
        self.remembered += 1
        self._characters += len(text)

    def _forget(self) -> None:
        self.remembered = self._characters = 0
        self._places: dict[tuple[Place, str, str], _Atoms | _Texts] = {}
        self._levels: dict[tuple[int, int], _Level] = {}

    def _place(self, one: Field) -> _Atoms | _Texts:
        key = one[:3]
        found = self._places.get(key)
        if found is None:
            found = self._places[key] = self._new_place(*key)
            self.remember(one.scope + one.name)
        return found

    def _new_place(self, place: Place, scope: str, name: str) -> _Atoms | _Texts:
        salt = self._settings.salt
        hashes = [hash_text(salt, text) for text in level_names(place, scope, name)]
        level: _Level | None = None
        for depth in reversed(range(LEVELS)):
            level = self._level(depth, hashes[depth], level)
        assert level is not None
        slot = mix_step(hashes[0]) >> (64 - self._settings.slots)
        means, spreads = self._moments[place.is_atom][slot].tolist()
        return (_Atoms if place.is_atom else _Texts)(level, means, spreads, place in CLOSED)

    def _level(self, depth: int, where: int, above: _Level | None) -> _Level:
        found = self._levels.get((depth, where))
        if found is None:
            found = self._levels[depth, where] = _Level(self, depth, where, above)
        return found


@lru_cache(maxsize=1 << 16)
def _log2(value: float) -> float:
    """That of the arrays: `math.log2` differs from it in the last bit of some numbers."""
    return float(np.log2(value))


def _events(classes: bytes) -> tuple[int, list[int], list[int]]:
    """The shape, the grams and the chars of condensed classes; remembered of what is short."""
    return (_events_of if len(classes) < _SHORT else _events_of.__wrapped__)(classes)


@lru_cache(maxsize=1 << 13)
def _events_of(classes: bytes) -> tuple[int, list[int], list[int]]:
    framed = START + classes + END + END
    runs = [run for run, _ in groupby(framed)]
    shape = sum(map(_run, runs, range(len(runs)))) & 0xFFFFFFFFFFFFFFFF
    return shape, gram_codes(framed), char_codes(classes)


@lru_cache(maxsize=1 << 16)
def _run(run: int, rank: int) -> int:
    return mix_step(mix_step(run) ^ rank)
