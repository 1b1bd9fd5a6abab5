"""`secagg.primitives.prg` against one-shot AES-CTR, and that against AES block by block."""

from __future__ import annotations

import random
from collections.abc import Callable
from itertools import pairwise

import numpy as np
import pytest
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from hypothesis import given, settings
from hypothesis import strategies as st

from secagg.primitives import prg

DTYPES = ["<u2", "<u4", "<u8"]
CHUNK = prg._CHUNK
BATCH = prg._BATCH


def keys(count: int, seed: int = 0) -> list[bytes]:
    rand = random.Random(seed)
    return [rand.randbytes(32) for _ in range(count)]


def reference(key: bytes, size: int) -> bytes:
    return Cipher(algorithms.AES(key[:16]), modes.CTR(key[16:])).encryptor().update(bytes(size))


def folded(start: np.ndarray, plus: list[bytes], minus: list[bytes]) -> np.ndarray:
    """What `add_streams` must leave, one whole stream after another."""
    total = start.copy()
    for key in plus:
        total += np.frombuffer(reference(key, total.nbytes), total.dtype)
    for key in minus:
        total -= np.frombuffer(reference(key, total.nbytes), total.dtype)
    return total


def ramp(size: int, dtype: str) -> np.ndarray:
    return np.arange(size, dtype=np.uint64).astype(dtype)


# -- one stream --------------------------------------------------------------------------------


@pytest.mark.parametrize("counter", [0, 1, (1 << 64) - 1, (1 << 128) - 1])
def test_the_stream_is_aes_of_a_counter_that_wraps(counter: int) -> None:
    key = bytes(range(16)) + counter.to_bytes(16, "big")
    block = Cipher(algorithms.AES(key[:16]), modes.ECB()).encryptor()
    blocks = [((counter + at) % (1 << 128)).to_bytes(16, "big") for at in range(4)]
    assert prg.stream(key, 60) == block.update(b"".join(blocks))[:60]


@pytest.mark.parametrize("size", [0, 1, 15, 16, 17, 1000, CHUNK + 1])
def test_a_shorter_stream_is_a_prefix(size: int) -> None:
    (key,) = keys(1)
    assert prg.stream(key, size) == reference(key, size)
    assert prg.stream(key, size + 7)[:size] == prg.stream(key, size)


def test_both_halves_of_the_key_matter() -> None:
    streams = {prg.stream(key, 64) for key in (bytes(32), b"\1" + bytes(31), bytes(31) + b"\1")}
    assert len(streams) == 3


@pytest.mark.parametrize("size", [0, 16, 31, 33, 64])
def test_a_key_has_32_bytes(size: int) -> None:
    uses: list[Callable[[bytes], object]] = [
        lambda key: prg.stream(key, 8),
        lambda key: prg.add_streams(ramp(8, "<u4"), [key]),
        lambda key: prg.add_streams(ramp(8, "<u4"), minus=[key]),
    ]
    for use in uses:
        use(bytes(32))
        with pytest.raises(ValueError, match=f"a stream key has 32 bytes, got {size}"):
            use(bytes(size))


# -- many streams on one accumulator -----------------------------------------------------------


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("chunks", [0, 1, 3])
@pytest.mark.parametrize("extra", [-1, 0, 1])
def test_sums_agree_with_whole_streams_around_the_chunk(
    dtype: str, chunks: int, extra: int
) -> None:
    size = chunks * (CHUNK // np.dtype(dtype).itemsize) + extra
    start = ramp(max(size, 0), dtype)
    plus, minus = keys(2), keys(1, seed=1)
    total = start.copy()
    prg.add_streams(total, plus, minus)
    assert total.dtype == start.dtype
    assert np.array_equal(total, folded(start, plus, minus))


@given(
    st.sampled_from(DTYPES),
    st.integers(0, 300),
    st.lists(st.binary(min_size=32, max_size=32), max_size=5),
    st.lists(st.binary(min_size=32, max_size=32), max_size=5),
)
@settings(deadline=None)
def test_sums_agree_with_whole_streams(
    dtype: str, size: int, plus: list[bytes], minus: list[bytes]
) -> None:
    total = ramp(size, dtype)
    prg.add_streams(total, plus, minus)
    assert np.array_equal(total, folded(ramp(size, dtype), plus, minus))


@pytest.mark.parametrize("dtype", DTYPES)
def test_plus_and_minus_cancel(dtype: str) -> None:
    start = ramp(CHUNK // 4 + 3, dtype)
    total = start.copy()
    prg.add_streams(total, keys(3))
    assert not np.array_equal(total, start)
    prg.add_streams(total, minus=keys(3)[::-1])
    assert np.array_equal(total, start)
    prg.add_streams(total, keys(5), keys(5))
    assert np.array_equal(total, start)


@pytest.mark.parametrize("count", [BATCH - 1, BATCH, BATCH + 1, 2 * BATCH + 1])
def test_no_key_is_lost_between_batches(count: int) -> None:
    start = ramp(40, "<u4")
    total = start.copy()
    plus, minus = keys(count), keys(count // 2, seed=1)
    prg.add_streams(total, plus, minus)
    assert np.array_equal(total, folded(start, plus, minus))


def test_streams_go_on_across_chunks_for_every_key_of_a_batch() -> None:
    """A cipher context that restarted at a chunk would repeat its mask."""
    step = CHUNK // 4
    total = np.zeros(3 * step, "<u4")
    prg.add_streams(total, keys(2))
    parts = np.split(total, 3)
    assert not any(np.array_equal(one, other) for one, other in pairwise(parts))


def test_the_same_key_twice_counts_twice() -> None:
    (key,) = keys(1)
    total = np.zeros(8, "<u8")
    prg.add_streams(total, [key, key])
    assert np.array_equal(total, 2 * np.frombuffer(reference(key, 64), "<u8"))


def test_no_key_changes_nothing() -> None:
    total = ramp(8, "<u4")
    prg.add_streams(total)
    assert np.array_equal(total, ramp(8, "<u4"))


@pytest.mark.parametrize("dtype", DTYPES)
def test_a_strided_accumulator_gets_the_same_words(dtype: str) -> None:
    size = CHUNK // np.dtype(dtype).itemsize + 5
    spread = np.zeros(2 * size, dtype)
    spread[::2] = ramp(size, dtype)
    prg.add_streams(spread[::2], keys(2), keys(1, seed=1))
    assert np.array_equal(spread[::2], folded(ramp(size, dtype), keys(2), keys(1, seed=1)))
    assert not spread[1::2].any(), "the words in between are not the accumulator's"


def test_a_big_endian_accumulator_gets_the_same_numbers() -> None:
    """Masks are numbers: both ends of a mask must add the same one on any machine."""
    for dtype in DTYPES:
        native, swapped = ramp(9, dtype), ramp(9, dtype.replace("<", ">"))
        prg.add_streams(native, keys(1))
        prg.add_streams(swapped, keys(1))
        assert native.tolist() == swapped.tolist()
