"""STAGE texts -> 2048 small integers and a constant, of which class sums are made.

What is hashed into them: single bytes and pairs, words, pairs of neighboring tokens with numbers
made one, and triples of what tokens are. A token is a run of letters, of digits or of spaces, or
any other byte. Bytes see spelling, words and pairs what is called, triples how it is written: a
kind of attack that few examples show is known by the last two where the words are new.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from apiwatch.hashing import U64, mix

__all__ = ["NORM", "SIZE", "encode"]

_BITS = 11
_WIDTH = 1 << _BITS
SIZE = _WIDTH + 1
"""Integers that a text becomes."""

NORM = 32
"""Of an encoded text, before rounding; also its constant."""

_BYTE, _PAIR, _WORD, _NEIGHBORS, _SHAPE = mix(np.arange(5, dtype=np.uint64))
_ONE_KIND, _TWO_KINDS = np.uint64(9), np.uint64(18)  # bits; a kind is below 2**9
_ODD = np.uint64(0x9E3779B97F4A7C15)  # so that the order of two words counts
_DIGIT, _SPACE, _LETTER = 256, 257, 258  # kinds of tokens; of all others, the byte
_Integers = NDArray[np.int64]


def _kind_table() -> NDArray[np.uint64]:
    kinds = np.arange(256, dtype=np.uint64)
    kinds[ord("0") : ord("9") + 1] = _DIGIT
    kinds[[9, 10, 11, 12, 13, 32]] = _SPACE
    kinds[ord("a") : ord("z") + 1] = kinds[ord("_")] = kinds[128:] = _LETTER
    return kinds


_KINDS = _kind_table()


def encode(texts: Sequence[str]) -> NDArray[np.float64]:
    """(n, 2049) integers in [0, 32], in float64 so that products of them are exact."""
    out = np.zeros((len(texts), SIZE))
    owner, code = _hashes(texts)
    bucket = (code >> np.uint64(64 - _BITS)).astype(np.int64)
    flat = np.bincount(owner * _WIDTH + bucket, minlength=len(texts) * _WIDTH)
    roots = np.sqrt(flat.reshape(len(texts), _WIDTH))
    norms = np.maximum(np.linalg.norm(roots, axis=1, keepdims=True), 1e-9)
    out[:, :_WIDTH] = np.rint(NORM * roots / norms)
    out[:, _WIDTH] = NORM
    return out


def _hashes(texts: Sequence[str]) -> tuple[_Integers, U64]:
    """Of everything that counts: whose it is, and its hash. Two ends belong to each text."""
    framed = [f"\x02{text.lower()}\x03".encode("utf-8", "surrogatepass") for text in texts]
    data = np.frombuffer(b"".join(framed), np.uint8)
    owner = np.repeat(np.arange(len(framed)), [len(part) for part in framed])
    starts, kinds, words = _tokens(data)
    of, letters = owner[starts], data.astype(np.uint64)
    named = (kinds == _LETTER) & (np.diff(starts, append=data.size) > 1)
    tokens = np.where((kinds == _DIGIT) | (kinds == _SPACE), kinds, words)
    pair, neighbors = owner[1:] == owner[:-1], of[1:] == of[:-1]
    triple = of[2:] == of[:-2]
    shapes = (kinds[:-2] << _TWO_KINDS) | (kinds[1:-1] << _ONE_KIND) | kinds[2:]
    found = (
        (_BYTE, owner, letters),
        (_PAIR, owner[1:][pair], ((letters[:-1] << _ONE_KIND) | letters[1:])[pair]),
        (_WORD, of[named], words[named]),
        (_NEIGHBORS, of[1:][neighbors], (tokens[:-1] * _ODD + tokens[1:])[neighbors]),
        (_SHAPE, of[2:][triple], shapes[triple]),
    )
    codes = np.concatenate([code ^ salt for salt, _, code in found])
    return np.concatenate([one for _, one, _ in found]), mix(codes)


def _tokens(data: NDArray[np.uint8]) -> tuple[_Integers, U64, U64]:
    """Where each token begins, its kind, and a hash of its bytes."""
    kinds = _KINDS[data]
    first = np.ones(data.size, bool)
    first[1:] = (kinds[1:] != kinds[:-1]) | (kinds[1:] < _DIGIT)
    starts = np.flatnonzero(first)
    inside = np.arange(data.size) - starts[np.cumsum(first) - 1]
    letters = mix((inside.astype(np.uint64) << _ONE_KIND) | data)
    words = np.add.reduceat(letters, starts) if starts.size else letters
    return starts, kinds[starts], words
