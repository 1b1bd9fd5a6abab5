"""STAGE one field -> its verdict, without arrays: `surprise` and `calibration`, remembered.

Requests that come one by one cannot share the overhead of array operations. All surprises but that
of the value itself depend on its character classes only, and there are few places and few
neighborhoods of characters, so nearly everything is a look-up. Verdicts are those of the arrays to
the last bit: the same operations in the same order, and the same logarithm.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import lru_cache, reduce
from itertools import groupby
from math import floor, sqrt
from operator import add

import numpy as np

from apiwatch.calibration import WEIGHTS, Calibration, spread_of
from apiwatch.event import Field, Place
from apiwatch.features import CLOSED, END, START, char_codes, class_text, level_names
from apiwatch.hashing import hash_text, mix_step
from apiwatch.surprise import KNOWN, LEAN, RARE
from apiwatch.table import LEVELS, Table

__all__ = ["LONGEST", "Quick", "Verdict"]

LONGEST = 1 << 11
"""Characters; of longer values arrays are faster."""

_REMEMBERED = 1 << 18  # probabilities, neighborhoods and classes of values
_REMEMBERED_CHARACTERS = 1 << 24
_SHORT = 256  # runs of a shape that is remembered
_TOTAL, _LENGTH, _SHAPE, _GRAM, _CHAR, _WHOLE, _AGAIN = range(1, 8)  # kinds of cells, as in table
_WEIGHTS: list[float] = WEIGHTS.tolist()
_NO_TEXT = (0.0,) * (len(_WEIGHTS) - 1)
Verdict = tuple[float, int]
"""The score of a field, and which of `KINDS` has most part in it."""


class _Level:
    """What has been seen at one place, at one level; leans on the next."""

    def __init__(self, quick: Quick, depth: int, where: int, above: _Level | None) -> None:
        salted = mix_step(mix_step(depth) ^ where)
        self.above = above
        self._quick = quick
        self._counts, self._shift = quick.counts, quick.shift
        self._prefix = [mix_step(mix_step(kind) ^ salted) for kind in range(_AGAIN + 1)]
        self._lean = LEAN if above else 1.0
        self._known: dict[int, float] = {}
        self.total = self.count(_TOTAL, 0)

    def count(self, kind: int, item: int) -> int:
        return self._counts[mix_step(self._prefix[kind] ^ item) >> self._shift]

    def whole(self, item: int, *, closed: bool) -> int:
        """How often a value was seen here."""
        seen = self.count(_WHOLE, item)
        return min(seen, self.count(_AGAIN, item)) if closed else seen

    def probability(self, kind: int, item: int) -> float:
        """That a field here shows the event."""
        key = item << 3 | kind
        found = self._known.get(key)
        if found is None:
            leant = self.above.probability(kind, item) if self.above else 0.5
            seen, total = self.count(kind, item), self.total
            found = ((seen if seen < total else total) + self._lean * leant) / (total + self._lean)
            self._known[key] = found
            self._quick.remembered += 1
        return found

    def bits(self, kind: int, item: int) -> float:
        return -_log2(self.probability(kind, item))

    def bits_capped(self, kind: int, item: int) -> float:
        """Rare is not new: what has been seen here has few bits."""
        bits = self.bits(kind, item)
        return min(bits, RARE) if self.count(kind, item) > 0 else bits


@dataclass(frozen=True, slots=True)
class _Text:
    """Of all kinds but the whole: the squares of their scores, the largest score and its kind."""

    squares: tuple[float, ...]
    best: float
    kind: int


@dataclass(slots=True)
class _Place:
    """One parameter of one endpoint: its levels, and what surprise is usual."""

    level: _Level
    means: list[float]
    spreads: list[float]
    closed: bool
    atom: bool
    texts: dict[str, _Text] = field(default_factory=dict)
    grams: dict[str, float] = field(default_factory=dict)
    chars: dict[int, float] = field(default_factory=dict)

    def standardized(self, kind: int, bits: float) -> float:
        return max((bits - self.means[kind]) / self.spreads[kind], 0.0) * _WEIGHTS[kind]

    def whole(self, item: int) -> float:
        """The score of the value itself."""
        seen, total = self.level.whole(item, closed=self.closed), self.level.total
        if seen >= (1 if self.closed else KNOWN):
            bits = min(max(_log2((total + 2.0) / (seen + 1.0)), 0.0), RARE)
        else:
            bits = _log2((total + LEAN) / (self._anywhere(item) if self.atom else 1.0))
        return self.standardized(0, bits)

    def text(self, classes: str) -> _Text:
        """All but the whole, from the classes of the characters."""
        bits = _NO_TEXT if self.atom else self._bits(classes)
        scores = [self.standardized(kind, one) for kind, one in enumerate(bits, 1)]
        best = max(scores)
        return _Text(tuple([one * one for one in scores]), best, scores.index(best) + 1)

    def _anywhere(self, item: int) -> float:
        """What structure that is new here is worth: less where it was seen at other places."""
        above = self.level.above
        assert above is not None
        seen = min(above.whole(item, closed=self.closed), above.total)
        return LEAN * ((seen + 0.5) / (above.total + 1.0))

    def _bits(self, classes: str) -> tuple[float, ...]:
        """In the order of the arrays: sums of the same numbers in another order differ."""
        framed = f"{START}{classes}{END}{END}"
        triples = sorted({framed[i : i + 3] for i in range(len(classes) + 1)})
        grams = [self._gram(part) for part in triples]
        chars = [self._char(code) for code in char_codes(classes)]
        return (
            self.level.bits_capped(_LENGTH, floor(4 * _log2(len(classes) + 1.0))),
            self.level.bits_capped(_SHAPE, _shape_of(framed)),
            _sum(grams),
            max(grams),
            _sum(chars),
            max(chars),
        )

    def _gram(self, text: str) -> float:
        found = self.grams.get(text)
        if found is None:
            code = ord(text[0]) << 12 | ord(text[1]) << 6 | ord(text[2])
            found = self.grams[text] = self.level.bits(_GRAM, code)
        return found

    def _char(self, code: int) -> float:
        found = self.chars.get(code)
        if found is None:
            found = self.chars[code] = self.level.bits(_CHAR, code)
        return found


class Quick:
    """Verdicts of fields of up to `LONGEST` characters under one profile; not thread-safe.

    What it remembers is bounded: beyond 2**18 entries or 2**24 characters it starts anew.
    """

    def __init__(self, table: Table, calibration: Calibration) -> None:
        self._settings = table.settings
        self._means, self._variances = calibration.moments
        self.counts = table.counts.data
        self.shift = 64 - table.settings.cells
        self._forget()

    def verdict(self, one: Field) -> Verdict:
        """Of one field."""
        key = (one.place, one.scope, one.name)
        place = self._places.get(key) or self._new_place(key)
        whole = place.whole(hash_text(self._settings.salt, one.value))
        classes = "" if place.atom else class_text(one.value)
        text = place.texts.get(classes)
        if text is None:
            text = self._new_text(place, classes)
        score = sqrt(_sum((whole * whole, *text.squares)))
        return (score, 0) if whole >= text.best else (score, text.kind)

    def seen_at(self, one: Field) -> int:
        """How many fields were learnt in its place."""
        key = (one.place, one.scope, one.name)
        return (self._places.get(key) or self._new_place(key)).level.total

    def _forget(self) -> None:
        self.remembered = self.characters = 0
        self._places: dict[tuple[Place, str, str], _Place] = {}
        self._levels: dict[tuple[int, int], _Level] = {}

    def _new_text(self, place: _Place, classes: str) -> _Text:
        if self.remembered > _REMEMBERED or self.characters > _REMEMBERED_CHARACTERS:
            self._forget()
        made = place.texts[classes] = place.text(classes)
        self.remembered += 1
        self.characters += len(classes)
        return made

    def _new_place(self, key: tuple[Place, str, str]) -> _Place:
        place, scope, name = key
        salt = self._settings.salt
        hashes = [hash_text(salt, text) for text in level_names(place, scope, name)]
        level: _Level | None = None
        for depth in reversed(range(LEVELS)):
            level = self._level(depth, hashes[depth], level)
        assert level is not None
        slot = mix_step(hashes[0]) >> (64 - self._settings.slots)
        least = spread_of(atom=place.is_atom)
        found = _Place(
            level=level,
            means=self._means[slot].tolist(),
            spreads=[sqrt(variance + least) for variance in self._variances[slot].tolist()],
            closed=place in CLOSED,
            atom=place.is_atom,
        )
        self._places[key] = found
        self.remembered += 1
        self.characters += len(scope) + len(name)
        return found

    def _level(self, depth: int, where: int, above: _Level | None) -> _Level:
        found = self._levels.get((depth, where))
        if found is None:
            found = self._levels[depth, where] = _Level(self, depth, where, above)
        return found


def _log2(value: float) -> float:
    """That of the arrays: `math.log2` differs from it in the last bit of some numbers."""
    return float(np.log2(value))


def _sum(values: Iterable[float]) -> float:
    """From left to right and rounded at each step, which `sum` does not do from Python 3.12 on."""
    return reduce(add, values)


def _shape_of(framed: str) -> int:
    """The hash of a frame's runs, as in `features`; remembered of what is short."""
    runs = "".join([run for run, _ in groupby(framed)])
    return (_shape if len(runs) < _SHORT else _shape.__wrapped__)(runs)


@lru_cache(maxsize=1 << 16)
def _shape(runs: str) -> int:
    return sum(map(_run, runs, range(len(runs)))) & 0xFFFFFFFFFFFFFFFF


@lru_cache(maxsize=1 << 16)
def _run(run: str, rank: int) -> int:
    return mix_step(mix_step(ord(run)) ^ rank)
