"""Masks from short seeds fall, and others do not.

Those of a peer: tests/protocols/adapters/flower/test_mask_seeds.py.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from functools import cache
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dp.audit.attack import Access, Attack, Trial, View
from dp.audit.measure import measure
from dp.audit.member_correlation import Correlation
from dp.audit.mersenne import first_words
from dp.audit.testing import AttackConformance
from dp.audit.update_seeded import SeedSearch, ascii_fold, plain_seeds, twister_mask
from dp.errors import ParameterError

WIDTH, LIMIT, BITS, SIZE = 32, 1 << 22, 12, 40


def update(rng: np.random.Generator) -> Any:
    return rng.integers(0, LIMIT, SIZE)


def masked(vector: Any, mask: Any) -> View:
    return View({Access.MASKED: ((vector + mask) % 2**WIDTH).astype(np.float64)})


@cache
def trials(bits: int = BITS) -> Sequence[Trial]:
    rng = np.random.default_rng(1)
    found = []
    for _ in range(8):
        vector, number = update(rng), rng.integers(2**bits, size=1).astype(np.uint32)
        mask = twister_mask(int(ascii_fold(number)[0]), SIZE, WIDTH)
        found.append(Trial(masked(vector, mask), vector - LIMIT / 2))
    return found


class TestSearch(AttackConformance):
    def attacks(self) -> Sequence[Attack]:
        return [
            SeedSearch(width=WIDTH, limit=LIMIT, bits=BITS, seeds=ascii_fold),
            SeedSearch(width=WIDTH, limit=LIMIT, bits=BITS + 1, seeds=ascii_fold),
        ]

    def exposed(self, attack: Attack) -> Sequence[Trial]:
        return trials()


@given(seeds=st.lists(st.integers(0, 2**32 - 1), min_size=1, max_size=5), count=st.integers(1, 200))
def test_first_words_are_those_of_numpy(seeds: list[int], count: int) -> None:
    found = first_words(np.array(seeds, np.uint32), count)
    for seed, words in zip(seeds, found.T, strict=True):
        expected = np.random.RandomState(seed).randint(0, 2**32, count, dtype=np.uint64)
        np.testing.assert_array_equal(words, expected)


@pytest.mark.parametrize("count", [0, 201])
def test_no_words_and_too_many_are_refused(count: int) -> None:
    with pytest.raises(ParameterError, match="1 <= count <= 200"):
        first_words(np.zeros(1, np.uint32), count)


@pytest.mark.slow
def test_twenty_two_bits_fall_from_the_first_to_the_last_seed() -> None:
    rng = np.random.default_rng(4)
    vector = update(rng)
    attack = SeedSearch(width=WIDTH, limit=LIMIT, bits=22)
    found = attack.run(masked(vector, twister_mask(2**22 - 1, SIZE, WIDTH)), rng)
    np.testing.assert_array_equal(found + LIMIT / 2, vector)


def test_a_seed_that_is_not_searched_hides_the_update() -> None:
    attack = SeedSearch(width=WIDTH, limit=LIMIT, bits=BITS)
    rng = np.random.default_rng(5)
    beyond = masked(update(rng), twister_mask(2**BITS, SIZE, WIDTH))
    np.testing.assert_array_equal(attack.run(beyond, rng), np.zeros(SIZE))


def test_a_mask_of_the_system_hides_the_update() -> None:
    rng = np.random.default_rng(6)
    attack = SeedSearch(width=WIDTH, limit=LIMIT, bits=BITS)
    found = []
    for _ in range(8):
        vector = update(rng)
        mask = np.frombuffer(os.urandom(4 * SIZE), np.uint32).astype(np.int64)
        found.append(Trial(masked(vector, mask), vector - LIMIT / 2))
    assert not measure(attack, found, rng)[0].leaks


def test_folded_text_has_two_to_the_28_seeds() -> None:
    numbers = np.array([0, 127, 128, 2**28 - 1], np.uint32)
    assert ascii_fold(numbers).tolist() == [0, 127, 256, 0x7F7F7F7F]
    every = ascii_fold(np.arange(2**16, dtype=np.uint32))
    assert len(np.unique(every)) == 2**16
    np.testing.assert_array_equal(plain_seeds(numbers), numbers)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"bits": 0}, "1 <= bits <= 32"),
        ({"bits": 33}, "1 <= bits <= 32"),
        ({"width": 33}, "1 <= width <= 32"),
        ({"limit": 1}, "2 <= limit"),
        ({"limit": 2**30 + 1}, "2 <= limit"),
    ],
)
def test_parameters_are_checked(options: dict[str, int], says: str) -> None:
    with pytest.raises(ParameterError, match=says):
        SeedSearch(**{"width": WIDTH, "limit": LIMIT, "bits": BITS, **options})


def test_noise_from_a_short_seed_is_found_in_the_sum_and_taken_off() -> None:
    """Somebody who can expand each seed asks of each whether its noise is in: no shadow needed."""
    rng = np.random.default_rng(7)
    size, clients, deviation = 2048, 20, 79.0

    def noise(seed: int) -> Any:
        return np.rint(np.random.RandomState(seed).normal(0, deviation, size))

    seeds = rng.permutation(2**9)
    used, others = seeds[:clients], seeds[clients:]
    updates = rng.normal(0, 1, size)
    total = updates + sum(noise(int(seed)) for seed in used)
    found = [
        Trial(View({Access.TARGET: noise(int(seed)), Access.SUM: total}), np.array(inside))
        for inside, some in ((1, used), (0, others))
        for seed in some
    ]
    figure = measure(Correlation(), found, rng)[0]
    assert figure.found.value == 1.0
    scores = [float(Correlation().run(each.view, rng)) for each in found]
    best = np.argsort(scores)[-clients:]
    bare = total - sum(found[at].view[Access.TARGET] for at in best)
    np.testing.assert_allclose(bare, updates)
