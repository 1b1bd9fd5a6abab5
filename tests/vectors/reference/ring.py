"""Residues modulo 2**width: their packing, their mask streams and their check words."""

from __future__ import annotations

from collections.abc import Sequence

from reference.aes import counter_stream
from reference.hashing import digest
from reference.refused import require

__all__ = ["check_words", "pack", "packed_size", "stream", "stream_words", "unpack", "word_size"]


def word_size(width: int) -> int:
    """Bytes of the machine word that a stream spends on one residue: 2, 4 or 8."""
    return 2 if width <= 16 else 4 if width <= 32 else 8


def packed_size(length: int, width: int) -> int:
    """Bytes of `length` residues of `width` bits."""
    return -(-length * width // 8)


def pack(values: Sequence[int], width: int) -> bytes:
    """Residue i at the bits from i * width of one little-endian number, zero padded."""
    require(all(0 <= value < 2**width for value in values), "residues are below 2**width")
    number = sum(value << place * width for place, value in enumerate(values))
    return number.to_bytes(packed_size(len(values), width), "little")


def unpack(data: bytes, length: int, width: int) -> list[int]:
    """The inverse; another size and padding bits that are not zero are refused."""
    require(len(data) == packed_size(length, width), "a packed vector has exactly its bytes")
    number = int.from_bytes(data, "little")
    require(number >> length * width == 0, "padding bits are zero")
    return [number >> place * width & (1 << width) - 1 for place in range(length)]


def stream(key: bytes, size: int) -> bytes:
    """AES-128-CTR: the first half of `key` is the key, the second the first counter block."""
    require(len(key) == 32, "a stream key has 32 bytes")
    return counter_stream(key[:16], key[16:], size)


def stream_words(key: bytes, length: int, width: int) -> list[int]:
    """`length` whole little-endian words of the stream; only their low `width` bits matter."""
    size = word_size(width)
    data = stream(key, length * size)
    return [
        int.from_bytes(data[start : start + size], "little") for start in range(0, len(data), size)
    ]


def check_words(vector: Sequence[int], cohort: bytes, count: int, width: int) -> list[int]:
    """Inner products of `vector` with `count` public pseudorandom vectors, modulo 2**width."""
    rows = (digest("check", cohort, bytes((row,))) for row in range(count))
    return [
        sum(x * c for x, c in zip(vector, stream_words(key, len(vector), width), strict=True))
        % 2**width
        for key in rows
    ]
