"""The compiled loop and numpy's give the same bits."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from secagg.kernels import Folder, FoldNumpy, folder

COMPILED = "secagg.kernels.fold_numba"
FoldNumba = pytest.importorskip(COMPILED, reason="needs the extra fast").FoldNumba


@given(
    bits=st.sampled_from([16, 32, 64]),
    rows=st.integers(1, 4),
    width=st.integers(1, 40),
    count=st.integers(0, 200),
    seed=st.integers(0, 2**32),
)
def test_both_give_the_same_words(bits: int, rows: int, width: int, count: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    dtype = np.dtype(f"u{bits // 8}")
    part = rng.integers(0, 1 << bits, count, dtype=np.uint64, endpoint=False).astype(dtype)
    places = rng.integers(0, width, (rows, count))
    start = rng.integers(0, 1 << 16, (rows, width)).astype(dtype)
    tables = [start.copy() for _ in range(3)]
    for kernel, table in zip((folder(), FoldNumpy(), FoldNumba()), tables, strict=True):
        kernel.fold(table, places.astype(kernel.places), part)
    assert (tables[0] == tables[1]).all()
    assert (tables[1] == tables[2]).all()
    expected = start.astype(object)
    for row in range(rows):
        for place, value in zip(places[row].tolist(), part.tolist(), strict=True):
            expected[row, place] += value
    assert (tables[0] == (expected % (1 << bits)).astype(dtype)).all()


@pytest.mark.parametrize("kernel", [FoldNumpy(), FoldNumba()])
def test_a_place_outside_is_an_error_and_no_write(kernel: Folder) -> None:
    tables = np.zeros((1, 4), np.uint32)
    kernel.fold(tables, np.array([[3]], kernel.places), np.ones(1, np.uint32))
    assert tables.tolist() == [[0, 0, 0, 1]]
    with pytest.raises(IndexError):
        kernel.fold(tables, np.array([[4]], kernel.places), np.ones(1, np.uint32))
    assert tables.tolist() == [[0, 0, 0, 1]]
