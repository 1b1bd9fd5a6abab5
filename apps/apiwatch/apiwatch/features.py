"""STAGE fields -> events, as arrays: what the profile counts and a score looks up.

A field is present or not with each of its events, so one field adds at most one to any of them:

    whole    the field's value, as it is
    length   the bucket of its length
    shape    its character classes with runs made one: `a0@a.a` for an address
    gram     three neighboring character classes, once each however often they occur
    char     one character class, and how often it occurs

Letters are one class, digits another, each other ASCII character its own. How often counts, up to
3, for the last only: an address has one `@`, but any number of letters. Ends count as characters.
All but the first exist for text only; of an atom the whole is all there is.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from apiwatch.event import Field, Place
from apiwatch.hashing import U64, hash_text, mix

__all__ = [
    "CLASS_NAMES",
    "CLOSED",
    "END",
    "START",
    "Events",
    "char_codes",
    "class_bytes",
    "classes_of",
    "condensed",
    "events",
    "gram_codes",
    "level_names",
    "shape_text",
]

_BITS = 6
_START, _END, _WIDE, _CONTROL = 1, 2, 3, 4
_LETTER, _DIGIT = 5, 6
_SLICE = 1 << 20  # characters at a time: memory does not grow with what one value makes of it

CLOSED = (Place.METHOD, Place.PATH, Place.NAMES, Place.NAME)
"""Structure: its values are a closed set, so one that was seen once is known."""

_KIND = {Place.FORM: Place.QUERY, Place.JSON: Place.QUERY, Place.XML: Place.QUERY}
"""Places whose texts are alike where nothing is known of a parameter."""


def _class_table() -> NDArray[np.uint8]:
    """Class of each ASCII character; 128 stands for all others."""
    table = np.zeros(129, np.uint8)
    table[:32] = table[127] = _CONTROL
    table[128] = _WIDE
    following = _DIGIT + 1
    for code in range(32, 127):
        char = chr(code)
        if char.isalpha():
            table[code] = _LETTER
        elif char.isdigit():
            table[code] = _DIGIT
        else:
            table[code] = following
            following += 1
    return table


_CLASSES = _class_table()
_COUNTED = np.arange(1 << _BITS) > _DIGIT  # only signs, not what words are made of
_MOST_OFTEN = 3
CLASS_NAMES = {_WIDE: "é", _CONTROL: "\x01", _LETTER: "a", _DIGIT: "0"} | {
    int(_CLASSES[code]): chr(code) for code in range(32, 127) if not chr(code).isalnum()
}
"""How each class is shown."""


@dataclass(frozen=True)
class Events:
    """What f fields show: g grams and c chars among them.

    levels: (3, f) uint64, hashes of where a field stands: in this place of this endpoint; the same
    wherever it stands; any text of that kind. whole, length, shape: (f,) uint64. atom: (f,) bool.
    closed: (f,) bool, whether the values are a closed set. owner_gram: (g,)
    int64, the field of each gram, ascending; gram: (g,) uint64, distinct in each field. owner_char,
    char: the same, (c,).
    """

    levels: U64
    whole: U64
    length: U64
    shape: U64
    atom: NDArray[np.bool_]
    closed: NDArray[np.bool_]
    owner_gram: NDArray[np.int64]
    gram: U64
    owner_char: NDArray[np.int64]
    char: U64

    def __len__(self) -> int:
        return self.whole.size


def classes_of(text: str) -> NDArray[np.uint8]:
    """(len(text),) classes of the characters."""
    classes = np.empty(len(text), np.uint8)
    for low in range(0, len(text), _SLICE):
        part = text[low : low + _SLICE].encode("utf-32-le", "surrogatepass")
        classes[low : low + _SLICE] = _CLASSES[np.minimum(np.frombuffer(part, "<u4"), 128)]
    return classes


START, END = bytes((_START,)), bytes((_END,))
_FOLLOWING = bytes(range(0x80, 0xC0))  # bytes of a character in UTF-8 after its first
_CLASS_BYTES = bytes(_CLASSES[np.minimum(np.arange(256), 128)])
_LETTERS, _DIGITS = (re.compile(re.escape(bytes((one,))) + b"{4,}") for one in (_LETTER, _DIGIT))


def class_bytes(text: str) -> bytes:
    """`classes_of` as bytes: the first byte of each character tells its class."""
    return text.encode("utf-8", "surrogatepass").translate(_CLASS_BYTES, _FOLLOWING)


def condensed(classes: bytes) -> bytes:
    """With runs of letters and of digits cut to three: grams, chars and the shape stay the same."""
    return _DIGITS.sub(bytes((_DIGIT,)) * 3, _LETTERS.sub(bytes((_LETTER,)) * 3, classes))


def gram_codes(framed: bytes) -> list[int]:
    """The grams of one value by its classes, after `START` and before two `END`, in the order of
    `Events.gram`.
    """
    triples = zip(framed, framed[1:], framed[2:], strict=False)
    return sorted({one << 2 * _BITS | two << _BITS | three for one, two, three in triples})


def char_codes(classes: bytes) -> list[int]:
    """The chars of one value by its classes, in the order of `Events.char`."""
    return [
        (min(classes.count(one), _MOST_OFTEN) if one > _DIGIT else 1) << _BITS | one
        for one in sorted({*classes, _END})
    ]


def shape_text(text: str) -> str:
    """Its shape, for people."""
    classes = classes_of(text)
    kept = np.flatnonzero(np.diff(classes, prepend=np.uint8(0)))
    return "".join(CLASS_NAMES[int(c)] for c in classes[kept])


def events(fields: Sequence[Field], salt: bytes) -> Events:
    """The events of the fields, in their order."""
    atoms = np.array([field.place.is_atom for field in fields], bool)
    lengths = np.array([0 if f.place.is_atom else len(f.value) for f in fields], np.int64)
    text = np.flatnonzero(~atoms)
    classes, starts = _framed([f.value for f in fields if not f.place.is_atom])
    owner, gram = _grams(classes, starts)
    owner_char, char = _chars(classes, starts)
    shape = np.zeros(len(fields), np.uint64)
    shape[text] = _shapes(classes, starts)
    return Events(
        levels=_levels(fields, salt),
        whole=_hashes(salt, (f.value for f in fields)),
        length=np.floor(4 * np.log2(lengths + 1.0)).astype(np.uint64),
        shape=shape,
        atom=atoms,
        closed=np.array([f.place in CLOSED for f in fields], bool),
        owner_gram=text[owner],
        gram=gram,
        owner_char=text[owner_char],
        char=char,
    )


def level_names(place: Place, scope: str, name: str) -> tuple[str, str, str]:
    """What is hashed of where a field stands, from its own place to any text of that kind."""
    kind = _KIND.get(place, place)
    return f"{place:d}\0{scope}\0{name}", f"{place:d}\0{name}", f"{kind:d}"


def _levels(fields: Sequence[Field], salt: bytes) -> U64:
    names = [level_names(field.place, field.scope, field.name) for field in fields]
    return np.stack([_hashes(salt, (of[level] for of in names)) for level in range(3)])


def _hashes(salt: bytes, texts: Iterable[str]) -> U64:
    return np.fromiter((hash_text(salt, text) for text in texts), np.uint64)


def _framed(values: Sequence[str]) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """All characters in one array, each value after one start and before two ends, and where each
    value's frame begins.
    """
    sizes = np.array([len(value) + 3 for value in values], np.int64)
    starts = np.cumsum(sizes) - sizes
    framed = np.full(int(sizes.sum()), _END, np.uint8)
    framed[starts] = _START
    inside = np.ones(framed.size, bool)
    inside[starts] = inside[starts + sizes - 1] = inside[starts + sizes - 2] = False
    framed[inside] = classes_of("".join(values))
    return framed, starts


def _grams(classes: NDArray[np.uint8], starts: NDArray[np.int64]) -> tuple[NDArray[np.int64], U64]:
    found = [np.empty(0, np.int64)]
    for low in range(0, max(classes.size - 2, 0), _SLICE):
        wide = classes[low : low + _SLICE + 2].astype(np.int64)
        codes = (wide[:-2] << 2 * _BITS) | (wide[1:-1] << _BITS) | wide[2:]
        frame = np.searchsorted(starts, low) - 1 + np.cumsum(wide[:-2] == _START)
        within = (wide[1:-1] != _START) & (wide[2:] != _START)
        found.append(np.unique((frame[within] << 3 * _BITS) | codes[within]))
    pairs = np.concatenate(found)
    return _distinct(pairs >> 3 * _BITS, pairs & ((1 << 3 * _BITS) - 1), 3 * _BITS)


def _chars(classes: NDArray[np.uint8], starts: NDArray[np.int64]) -> tuple[NDArray[np.int64], U64]:
    """Each class in a frame with how often it occurs, up to 3; of words only that there is one."""
    counts = np.zeros(starts.size << _BITS, np.int64)
    for low in range(0, classes.size, _SLICE):
        part = classes[low : low + _SLICE].astype(np.int64)
        frame = np.searchsorted(starts, low) - 1 + np.cumsum(part == _START)
        first = int(frame[0])
        often = np.bincount(((frame - first) << _BITS) | part)
        counts[first << _BITS : (first << _BITS) + often.size] += often
    counts.reshape(-1, 1 << _BITS)[:, _START] = 0
    pairs = np.flatnonzero(counts)
    code = pairs & ((1 << _BITS) - 1)
    often = np.where(_COUNTED[code], np.minimum(counts[pairs], _MOST_OFTEN), 1)
    return pairs >> _BITS, ((often << _BITS) | code).astype(np.uint64)


def _distinct(
    owner: NDArray[np.int64], code: NDArray[np.int64], bits: int
) -> tuple[NDArray[np.int64], U64]:
    pairs = np.unique((owner << bits) | code)
    return pairs >> bits, (pairs & ((1 << bits) - 1)).astype(np.uint64)


def _shapes(classes: NDArray[np.uint8], starts: NDArray[np.int64]) -> U64:
    """A hash of the runs of each frame: a sum over runs, each mixed with its rank in the frame."""
    hashes, ranks = np.zeros(starts.size, np.uint64), np.zeros(starts.size, np.int64)
    before = 0
    for low in range(0, classes.size, _SLICE):
        part = classes[low : low + _SLICE]
        first = np.diff(part, prepend=np.uint8(before)) != 0
        begun = starts[np.searchsorted(starts, low) : np.searchsorted(starts, low + part.size)]
        first[begun - low] = True
        at, before = np.flatnonzero(first), int(part[-1])
        frame = np.searchsorted(starts, at + low, side="right") - 1
        frames, index, counts = np.unique(frame, return_index=True, return_counts=True)
        rank = np.arange(at.size) + np.repeat(ranks[frames] - index, counts)
        runs = mix(part[at].astype(np.uint64), rank.astype(np.uint64))
        if at.size:
            hashes[frames] += np.add.reduceat(runs, index)
        ranks[frames] += counts
    return hashes
