"""What is kept is what was given, in memory or not."""

from __future__ import annotations

import gc
import resource

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from secagg.errors import ParameterError
from secagg.spool import Spool


@given(memory=st.integers(0, 40), items=st.lists(st.binary(min_size=1, max_size=20)))
def test_what_is_kept_is_what_was_given(memory: int, items: list[bytes]) -> None:
    spool = Spool(memory)
    kept = [spool.keep(item) for item in items]
    assert [one.tobytes() for one in kept] == items


def test_no_more_than_the_bound_stays_in_memory_and_the_rest_outlives_the_spool() -> None:
    spool = Spool(10)
    kept = [spool.keep(bytes([at]) * 4) for at in range(5)]
    assert [isinstance(one, np.memmap) for one in kept] == [False, False, True, True, True]
    del spool
    gc.collect()
    assert kept[4].tobytes() == bytes([4] * 4)


def test_many_strings_beyond_the_bound_are_few_open_files() -> None:
    """A file for each would end a round of more clients than a process may have files."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (128, hard))
    try:
        spool = Spool(0)
        kept = [spool.keep(at.to_bytes(4, "little")) for at in range(500)]
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert [int.from_bytes(one.tobytes(), "little") for one in kept] == list(range(500))


def test_what_does_not_fit_into_one_file_is_in_the_next(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("secagg.spool._SEGMENT", 8)
    items = [bytes([at]) * size for at, size in enumerate((5, 3, 1, 40, 16, 30, 200))]
    spool = Spool(0)
    kept = [spool.keep(item) for item in items]
    del spool
    gc.collect()
    assert [one.tobytes() for one in kept] == items


def test_what_is_kept_cannot_be_changed() -> None:
    for memory in (0, 10):
        kept = Spool(memory).keep(b"abc")
        with pytest.raises(ValueError, match="read-only"):
            kept[0] = 0


@pytest.mark.parametrize("memory", [-1, 1.0, True])
def test_the_bound_is_a_whole_number(memory: object) -> None:
    with pytest.raises(ParameterError, match="memory >= 0, an int"):
        Spool(memory)  # type: ignore[arg-type]
