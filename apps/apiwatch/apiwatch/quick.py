"""STAGE one field -> its verdict, without arrays: `surprise` and `calibration`, remembered.

Requests that come one by one cannot share the overhead of array operations. All surprises but that
of the value itself depend on its character classes only, and there are few places and few
neighborhoods of characters, so nearly everything is a look-up. Verdicts equal those of the
arrays up to the last bits of a logarithm; a test compares them.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import lru_cache
from itertools import groupby
from math import floor, log2, sqrt

from apiwatch.calibration import Calibration, spread_of
from apiwatch.event import Field, Place
from apiwatch.features import CLOSED, END, START, class_text, level_names
from apiwatch.hashing import hash_text, mix_step
from apiwatch.surprise import KNOWN, LEAN, RARE
from apiwatch.table import LEVELS, Table

__all__ = ["LONGEST", "Quick", "Verdict"]

LONGEST = 1 << 11
"""Characters; of longer values arrays are faster."""

_REMEMBERED = 1 << 18  # probabilities and classes of values
_REMEMBERED_CHARACTERS = 1 << 24
_TOTAL, _LENGTH, _SHAPE, _GRAM, _CHAR, _WHOLE, _AGAIN = range(1, 8)  # kinds of cells, as in table
Verdict = tuple[float, int]
"""The largest score of a field, and which of `KINDS` it is."""


class _Level:
    """What has been seen at one place, at one level; leans on the next."""

    def __init__(self, quick: Quick, depth: int, where: int, above: _Level | None) -> None:
        salted = mix_step(mix_step(depth) ^ where)
        self._quick, self._above = quick, above
        self._counts, self._shift = quick.counts, quick.shift
        self._prefix = [mix_step(mix_step(kind) ^ salted) for kind in range(_AGAIN + 1)]
        self._lean = LEAN if above else 1.0
        self._known: dict[int, float] = {}
        self.total = self.count(_TOTAL, 0)

    def count(self, kind: int, item: int) -> int:
        return self._counts[mix_step(self._prefix[kind] ^ item) >> self._shift]

    def probability(self, kind: int, item: int) -> float:
        """That a field here shows the event."""
        key = item << 3 | kind
        found = self._known.get(key)
        if found is None:
            leant = self._above.probability(kind, item) if self._above else 0.5
            seen, total = self.count(kind, item), self.total
            found = ((seen if seen < total else total) + self._lean * leant) / (total + self._lean)
            self._known[key] = found
            self._quick.remembered += 1
        return found

    def bits(self, kind: int, item: int) -> float:
        return -log2(self.probability(kind, item))

    def bits_capped(self, kind: int, item: int) -> float:
        """Rare is not new: what has been seen here has few bits."""
        bits = self.bits(kind, item)
        return min(bits, RARE) if self.count(kind, item) > 0 else bits


@dataclass(slots=True)
class _Place:
    """One parameter of one endpoint: its levels, and what surprise is usual."""

    level: _Level
    means: list[float]
    spreads: list[float]
    least: int
    closed: bool
    texts: dict[str, Verdict] = field(default_factory=dict)
    grams: dict[str, float] = field(default_factory=dict)

    def standardized(self, kind: int, bits: float) -> float:
        return (bits - self.means[kind]) / self.spreads[kind]

    def whole(self, item: int) -> float:
        """The score of the value itself."""
        level = self.level
        seen = level.count(_WHOLE, item)
        if self.closed:
            seen = min(seen, level.count(_AGAIN, item))
        bits = log2(level.total + 2.0)
        if seen >= self.least:
            bits = min(max(log2((level.total + 2.0) / (seen + 1.0)), 0.0), RARE)
        return self.standardized(0, bits)

    def gram(self, text: str) -> float:
        found = self.grams.get(text)
        if found is None:
            code = ord(text[0]) << 12 | ord(text[1]) << 6 | ord(text[2])
            found = self.grams[text] = self.level.bits(_GRAM, code)
        return found

    def text(self, classes: str) -> Verdict:
        """The largest score of all but the whole, from the classes of its characters."""
        framed = f"{START}{classes}{END}{END}"
        grams = [self.gram(part) for part in {framed[i : i + 3] for i in range(len(classes) + 1)}]
        chars = [self.level.bits(_CHAR, ord(char)) for char in {*classes, END}]
        bits = (
            self.level.bits_capped(_LENGTH, floor(4 * log2(len(classes) + 1.0))),
            self.level.bits_capped(_SHAPE, _shape("".join([run for run, _ in groupby(framed)]))),
            sum(grams),
            max(grams),
            sum(chars),
            max(chars),
        )
        scores = [self.standardized(kind, one) for kind, one in enumerate(bits, 1)]
        best = max(scores)
        return best, scores.index(best) + 1


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
        if one.place.is_atom:
            return self._atom(place, whole)
        classes = class_text(one.value)
        best = place.texts.get(classes)
        if best is None:
            if self.remembered > _REMEMBERED or self.characters > _REMEMBERED_CHARACTERS:
                self._forget()
            best = place.texts[classes] = place.text(classes)
            self.characters += len(classes)
        return (whole, 0) if whole >= best[0] else best

    def seen_at(self, one: Field) -> int:
        """How many fields were learnt in its place."""
        key = (one.place, one.scope, one.name)
        return (self._places.get(key) or self._new_place(key)).level.total

    @staticmethod
    def _atom(place: _Place, whole: float) -> Verdict:
        """An atom shows no text: the surprise of each other kind is none."""
        scores = [whole, *(place.standardized(kind, 0.0) for kind in range(1, len(place.means)))]
        best = max(scores)
        return best, scores.index(best)

    def _forget(self) -> None:
        self.remembered = self.characters = 0
        self._places: dict[tuple[Place, str, str], _Place] = {}
        self._levels: dict[tuple[int, int], _Level] = {}

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
            least=1 if place in CLOSED else KNOWN,
            closed=place in CLOSED,
        )
        self._places[key] = found
        self.remembered += 1
        return found

    def _level(self, depth: int, where: int, above: _Level | None) -> _Level:
        found = self._levels.get((depth, where))
        if found is None:
            found = self._levels[depth, where] = _Level(self, depth, where, above)
        return found


@lru_cache(maxsize=1 << 16)
def _shape(runs: str) -> int:
    """The hash of a frame's runs, as in `features`."""
    return sum(map(_run, runs, range(len(runs)))) & 0xFFFFFFFFFFFFFFFF


@lru_cache(maxsize=1 << 16)
def _run(run: str, rank: int) -> int:
    return mix_step(mix_step(ord(run)) ^ rank)
