"""`secagg_plus.transcript`: every input reaches every output, and check words are linear."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from hypothesis import given, settings
from hypothesis import strategies as st

from secagg.primitives import prg
from secagg.primitives.digest import Label, digest
from secagg.primitives.ring import reduce, word
from secagg.schemes.secagg_plus import transcript
from secagg.schemes.secagg_plus.messages import ADVERTS, MEMBERS

A, B = bytes(32), b"\1" + bytes(31)


def adverts(changed: int | None = None) -> Any:
    """Three columns, of which one byte differs at `changed`."""
    cells = bytearray(128)
    if changed is not None:
        cells[changed] ^= 1
    row = bytes(cells)
    return ADVERTS.table({2: (row[:32], row[32:64], row[64:])})


DISTINCT: list[tuple[str, list[Callable[[], bytes]]]] = [
    (
        "cohort",
        [
            lambda: transcript.cohort_transcript(A, adverts()),
            lambda: transcript.cohort_transcript(B, adverts()),
            lambda: transcript.cohort_transcript(A, adverts(0)),
            lambda: transcript.cohort_transcript(A, adverts(32)),
            lambda: transcript.cohort_transcript(A, adverts(64)),
            lambda: transcript.cohort_transcript(A, ADVERTS.table({1: (A, A, bytes(64))})),
            lambda: transcript.cohort_transcript(A, ADVERTS.table({})),
        ],
    ),
    (
        "members",
        [
            lambda: transcript.members_transcript(A, MEMBERS.table({1: (A,)})),
            lambda: transcript.members_transcript(B, MEMBERS.table({1: (A,)})),
            lambda: transcript.members_transcript(A, MEMBERS.table({1: (B,)})),
            lambda: transcript.members_transcript(A, MEMBERS.table({2: (A,)})),
            lambda: transcript.members_transcript(A, MEMBERS.table({1: (A,), 2: (A,)})),
        ],
    ),
    (
        "survivors",
        [
            lambda: transcript.survivors_transcript(A, [1, 2]),
            lambda: transcript.survivors_transcript(B, [1, 2]),
            lambda: transcript.survivors_transcript(A, [1]),
            lambda: transcript.survivors_transcript(A, [1, 3]),
            lambda: transcript.survivors_transcript(A, [1, 2, 3]),
            lambda: transcript.survivors_transcript(A, [1, 1 << 24]),
        ],
    ),
    ("graph", [lambda: transcript.graph_seed(A), lambda: transcript.graph_seed(B)]),
    (
        "commitment",
        [
            lambda: transcript.commitment(A, 1, A),
            lambda: transcript.commitment(B, 1, A),
            lambda: transcript.commitment(A, 2, A),
            lambda: transcript.commitment(A, 256, A),
            lambda: transcript.commitment(A, 1, B),
        ],
    ),
    (
        "share tag",
        [
            lambda: transcript.share_tag(A, 1, 2, transcript.SELF, A),
            lambda: transcript.share_tag(B, 1, 2, transcript.SELF, A),
            lambda: transcript.share_tag(A, 2, 1, transcript.SELF, A),
            lambda: transcript.share_tag(A, 1, 3, transcript.SELF, A),
            lambda: transcript.share_tag(A, 1, 2, transcript.KEY, A),
            lambda: transcript.share_tag(A, 1, 2, transcript.SELF, B),
        ],
    ),
    (
        "edge tag",
        [
            lambda: transcript.edge_tag(A, A, 1, 2),
            lambda: transcript.edge_tag(B, A, 1, 2),
            lambda: transcript.edge_tag(A, B, 1, 2),
            lambda: transcript.edge_tag(A, A, 1, 3),
            lambda: transcript.edge_tag(A, A, 2, 3),
            lambda: transcript.edge_tag(A, A, 1, 1 << 24),
        ],
    ),
    (
        "seal info",
        [
            lambda: transcript.seal_info(A, A, 1, 2),
            lambda: transcript.seal_info(B, A, 1, 2),
            lambda: transcript.seal_info(A, B, 1, 2),
            lambda: transcript.seal_info(A, A, 2, 1),
            lambda: transcript.seal_info(A, A, 1, 3),
        ],
    ),
    (
        "mask key",
        [
            lambda: transcript.mask_key(A, A, 1, 2),
            lambda: transcript.mask_key(B, A, 1, 2),
            lambda: transcript.mask_key(A, B, 1, 2),
            lambda: transcript.mask_key(A, A, 1, 3),
        ],
    ),
    (
        "self mask key",
        [
            lambda: transcript.self_mask_key(A, A, 1),
            lambda: transcript.self_mask_key(B, A, 1),
            lambda: transcript.self_mask_key(A, B, 1),
            lambda: transcript.self_mask_key(A, A, 2),
        ],
    ),
]


@pytest.mark.parametrize(("name", "makes"), DISTINCT, ids=[name for name, _ in DISTINCT])
def test_every_input_changes_the_output(name: str, makes: list[Callable[[], bytes]]) -> None:
    first = [make() for make in makes]
    assert len(set(first)) == len(makes)
    assert first == [make() for make in makes], "and nothing else does"


def test_no_value_for_one_purpose_serves_another() -> None:
    values = [
        transcript.members_transcript(A, MEMBERS.table({})),
        transcript.survivors_transcript(A, []),
        transcript.cohort_transcript(A, ADVERTS.table({})),
        transcript.graph_seed(A),
        transcript.mask_key(A, A, 1, 2),
        transcript.seal_info(A, A, 1, 2)[-32:],
        transcript.self_mask_key(A, A, 1),
        transcript.edge_tag(A, A, 1, 2).ljust(32, b"\0"),
    ]
    assert len(set(values)) == len(values)
    assert not transcript.mask_key(A, A, 1, 2).startswith(transcript.edge_tag(A, A, 1, 2))


@given(st.integers(1, 2**32 - 2), st.integers(1, 2**32 - 2))
@settings(deadline=None, max_examples=25)
def test_both_ends_of_an_edge_compute_alike(one: int, other: int) -> None:
    assert transcript.edge_tag(A, B, one, other) == transcript.edge_tag(A, B, other, one)
    assert transcript.mask_key(A, B, one, other) == transcript.mask_key(A, B, other, one)
    back = transcript.seal_info(A, B, other, one)
    assert (transcript.seal_info(A, B, one, other) == back) == (one == other)


def test_a_survivor_set_is_a_set() -> None:
    """However the two sides keep it, they sign one text."""
    forms = ([3, 1, 2], (1, 2, 3), {2, 3, 1}, {3: b"x", 2: b"y", 1: b"z"})
    assert len({transcript.survivors_transcript(A, form) for form in forms}) == 1


def test_sizes() -> None:
    assert len(transcript.edge_tag(A, A, 1, 2)) == 16
    assert len(transcript.share_tag(A, 1, 2, transcript.KEY, A)) == 16
    for value in (transcript.mask_key(A, A, 1, 2), transcript.commitment(A, 1, A)):
        assert len(value) == 32


# -- check words -------------------------------------------------------------------------------


def residues(length: int, width: int, seed: int) -> np.ndarray:
    raw = np.random.default_rng(seed).integers(0, 1 << 64, length, np.uint64)
    return reduce(raw.astype(word(width)), width)


def by_hand(vector: np.ndarray, cohort: bytes, count: int) -> list[int]:
    """Inner products in Python integers, with the coefficients of one whole stream each."""
    products = []
    for row in range(count):
        key = digest(Label.CHECK, cohort, bytes((row,)))
        stream = Cipher(algorithms.AES(key[:16]), modes.CTR(key[16:])).encryptor()
        coefficients = np.frombuffer(stream.update(bytes(vector.nbytes)), vector.dtype)
        total = sum(a * b for a, b in zip(vector.tolist(), coefficients.tolist(), strict=True))
        products.append(total % (1 << 8 * vector.itemsize))
    return products


@pytest.mark.parametrize("width", [2, 16, 20, 32, 40, 64])
@pytest.mark.parametrize("length", [1, 2, 17, 1000])
def test_check_words_are_inner_products_with_pseudorandom_vectors(width: int, length: int) -> None:
    vector = residues(length, width, seed=length)
    for count in (1, 4):
        words = transcript.check_words(vector, A, count)
        assert words.dtype == vector.dtype
        assert words.tolist() == by_hand(vector, A, count)


@pytest.mark.parametrize("width", [16, 32, 64])
@pytest.mark.parametrize("extra", [-1, 0, 1])
def test_check_words_go_on_across_chunks(width: int, extra: int) -> None:
    vector = residues((1 << 17) * 8 // width + extra, width, seed=1)
    assert transcript.check_words(vector, A, 2).tolist() == by_hand(vector, A, 2)


def test_check_words_read_strided_vectors() -> None:
    vector = residues(100_000, 20, seed=2)
    spread = np.repeat(vector, 2)[::2]
    assert np.array_equal(
        transcript.check_words(spread, A, 4), transcript.check_words(vector, A, 4)
    )


@given(st.integers(2, 64), st.integers(1, 60), st.integers(2, 5), st.integers(0, 1 << 20))
@settings(deadline=None)
def test_the_check_words_of_a_sum_are_the_sum_of_the_check_words(
    width: int, length: int, parties: int, seed: int
) -> None:
    """Also across the reduction modulo 2**width, which the release does and a client does not."""
    count = -(-64 // width)
    vectors = [residues(length, width, seed + party) for party in range(parties)]
    total, checks = np.zeros(length, word(width)), np.zeros(count, word(width))
    for vector in vectors:
        total += vector
        checks += transcript.check_words(vector, A, count)
    of_the_sum = transcript.check_words(reduce(total, width), A, count)
    assert reduce(of_the_sum, width).tolist() == reduce(checks, width).tolist()


@pytest.mark.parametrize("width", [2, 16, 20, 32, 64])
def test_a_mask_that_is_left_is_noticed(width: int) -> None:
    count = -(-64 // width)
    rand = random.Random(width)
    for _ in range(20):
        total = np.concatenate([residues(50, width, 1), np.zeros(count, word(width))])
        total[50:] = transcript.check_words(total[:50], A, count)
        prg.add_streams(total, [rand.randbytes(32)])
        reduce(total, width)
        expected = reduce(transcript.check_words(total[:50], A, count), width)
        assert not np.array_equal(expected, total[50:])


def test_check_words_depend_on_the_cohort_and_differ_from_each_other() -> None:
    vector = residues(50, 64, seed=3)
    first, other = transcript.check_words(vector, A, 3), transcript.check_words(vector, B, 3)
    assert len({*first.tolist(), *other.tolist()}) == 6
    assert transcript.check_words(vector, A, 1).tolist() == first[:1].tolist()


def test_no_warning_where_products_wrap() -> None:
    """Warnings are errors in this suite: wrapping is meant, and silent."""
    vector = np.full(3, (1 << 64) - 1, "<u8")
    assert transcript.check_words(vector, A, 1).tolist() == by_hand(vector, A, 1)
