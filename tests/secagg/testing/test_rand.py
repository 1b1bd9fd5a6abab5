"""Reproducible randomness that says what it is."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from secagg.testing import SeededRand


def test_the_same_seed_gives_the_same_bytes_however_they_are_drawn() -> None:
    one, other = SeededRand(7), SeededRand(7)
    assert one(100) == b"".join(other(size) for size in (1, 0, 49, 50))
    assert one.drawn == other.drawn == 100


@pytest.mark.parametrize("other", [8, "7", b"seed", -7])
def test_another_seed_gives_other_bytes(other: int | str | bytes) -> None:
    assert SeededRand(7)(32) != SeededRand(other)(32)


def test_a_fork_depends_on_its_name_only() -> None:
    one, other = SeededRand(1), SeededRand(1)
    other(1000)
    assert one.fork("a", 1)(32) == other.fork("a", 1)(32)
    assert one.fork("a", 1)(32) != one.fork("a", 2)(32)
    assert one.fork("a")(32) != SeededRand(2).fork("a")(32)


@given(st.integers(1, 1 << 70), st.integers())
def test_below_is_below(bound: int, seed: int) -> None:
    assert 0 <= SeededRand(seed).below(bound) < bound


def test_chance_is_exact_at_both_ends_and_fair_between() -> None:
    rand = SeededRand(3)
    assert not any(rand.chance(0.0) for _ in range(100))
    assert all(rand.chance(1.0) for _ in range(100))
    hits = sum(rand.chance(0.25) for _ in range(4000))
    assert abs(hits - 1000) < 5 * np.sqrt(4000 * 0.25 * 0.75)


def test_shuffled_keeps_everything_and_moves_it() -> None:
    rand = SeededRand(4)
    items = list(range(50))
    shuffled = rand.shuffled(items)
    assert sorted(shuffled) == items
    assert shuffled != items
    assert items == list(range(50))
    assert {rand.choice("ab") for _ in range(50)} == {"a", "b"}


def test_its_repr_warns_and_tells_no_seed() -> None:
    text = repr(SeededRand("a secret seed"))
    assert "TEST ONLY" in text
    assert "secret" not in text
    assert "production" in (SeededRand.__doc__ or "")
