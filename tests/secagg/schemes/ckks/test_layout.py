"""Rings and layouts: secure, wide enough, exact; and residues that are checked before use."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from secagg.errors import DecodeError, ParameterError
from secagg.primitives.ring import reduce, word
from secagg.schemes.ckks.layout import Layout, layout
from secagg.schemes.ckks.residues import add, pack_residues, unpack_key, unpack_residues
from secagg.schemes.ckks.ring import MOST_BITS, KeyRing, PlainRing, next_prime
from secagg.testing.rand import SeededRand

SIZES = st.tuples(st.integers(2, 5000), st.integers(1, 9000), st.integers(2, 64))
KEYS = KeyRing(degree=4096, bits=30, count=2)


def drawn(shape: Layout, seed: object) -> np.ndarray:
    dtype = word(shape.width)
    rand = SeededRand(repr(seed))
    return reduce(np.frombuffer(rand(shape.length * dtype.itemsize), dtype).copy(), shape.width)


@settings(deadline=None, max_examples=60)
@given(SIZES)
def test_every_layout_is_secure_and_holds_the_sum(sizes: tuple[int, int, int]) -> None:
    clients, length, width = sizes
    shape = layout(clients, length, width)
    keys, largest = shape.ring.keys, (1 << shape.limb_bits) - 1
    total = sum(prime.bit_length() for prime in keys.primes)
    assert total <= MOST_BITS[keys.degree]
    assert len(set(keys.primes)) == len(keys.primes)
    assert clients * largest < 1 << shape.lane_bits
    assert (1 << shape.lanes * shape.lane_bits) <= shape.ring.plain
    assert 4 * shape.ring.plain * clients * keys.noise <= keys.modulus
    assert shape.zeros * width >= 64
    assert shape.blocks * (shape.room - shape.zeros) >= length


@settings(deadline=None, max_examples=25)
@given(SIZES, st.integers(2, 4))
def test_plaintexts_sum_as_vectors_do(sizes: tuple[int, int, int], summands: int) -> None:
    clients, length, width = sizes
    shape = layout(max(clients, summands), length, width)
    vectors = [drawn(shape, (sizes, at)) for at in range(summands)]
    slots = [shape.slots(shape.padded_vector(vector)) for vector in vectors]
    assert all(int(each.max()) < shape.ring.plain for each in slots)
    total = np.zeros_like(slots[0])
    for each in slots:
        total += each
    expected = np.zeros(length, word(width))
    for vector in vectors:
        expected += vector
    found = shape.opened(total, summands)
    assert found is not None
    assert found.dtype == word(width)
    assert found.tolist() == reduce(expected, width).tolist()


def test_as_many_clients_as_are_allowed_do_not_wrap() -> None:
    shape = layout(1000, 3, 32)
    for most in ((1 << 31) - 1, 1 << 31, (1 << 32) - 1):
        vector = np.full(3, most, np.uint32)
        total = shape.slots(shape.padded_vector(vector)) * np.uint64(1000)
        found = shape.opened(total, 1000)
        assert found is not None
        assert found.tolist() == [(1000 * most) % (1 << 32)] * 3


@pytest.mark.parametrize("width", [7, 20, 32, 64])
def test_what_is_not_zero_at_the_end_of_a_block_is_seen(width: int) -> None:
    shape = layout(5, 5000, width)
    padded = shape.padded_vector(drawn(shape, "zeros"))
    assert shape.vector(padded) is not None
    for at in (shape.room - 1, shape.room - shape.zeros, shape.padded - 1):
        changed = padded.copy()
        changed[at] ^= changed.dtype.type(1)
        assert shape.vector(changed) is None


def test_exact_sums_cost_at_most_twenty_bytes_a_parameter() -> None:
    """Up to 48 bits for a hundred clients; the target of the scheme."""
    for clients, width in ((20, 32), (100, 32), (100, 40), (100, 48), (1000, 40)):
        assert layout(clients, 10**6, width).size <= 20 * 10**6


def test_more_clients_than_any_ring_holds_are_refused() -> None:
    assert layout(1_000_000, 1, 64).limbs == 2
    with pytest.raises(ParameterError, match="must hold, got"):
        layout(1 << 40, 1, 64)


def test_rings_below_128_bits_of_security_are_refused() -> None:
    assert KeyRing(degree=4096, bits=42, count=2).primes
    with pytest.raises(ParameterError, match="for 128 bits of security"):
        KeyRing(degree=4096, bits=43, count=2)
    with pytest.raises(ParameterError, match="degree in"):
        KeyRing(degree=2048, bits=30, count=1)
    assert len(KeyRing(degree=16384, bits=18, count=1).primes) == 2
    with pytest.raises(ParameterError, match="3 primes p % 32768 == 1 of 18 bits must exist"):
        KeyRing(degree=16384, bits=18, count=3)
    with pytest.raises(ParameterError, match="17 < bits"):
        KeyRing(degree=4096, bits=61, count=1)


def test_plaintext_primes_that_noise_could_pass_are_refused() -> None:
    plain = next_prime(1 << 40, 8192)
    keys = KeyRing(degree=4096, bits=30, count=2)
    assert PlainRing(keys=keys, plain=plain, summands=100).plain == plain
    with pytest.raises(ParameterError, match="<= q must hold"):
        PlainRing(keys=keys, plain=plain, summands=1000)
    with pytest.raises(ParameterError, match="must be a prime"):
        PlainRing(keys=keys, plain=plain + 2, summands=2)


def test_a_plaintext_prime_is_none_of_the_ciphertexts() -> None:
    keys = KeyRing(degree=16384, bits=49, count=3)
    special = keys.primes[-1]
    assert special == next_prime(2, 2 * keys.degree)  # the least there is, and the special one
    assert PlainRing(keys=keys, plain=keys.least_plain, summands=1).plain > special
    with pytest.raises(ParameterError, match="must not be a prime of the ciphertexts"):
        PlainRing(keys=keys, plain=special, summands=1)


def test_the_primes_are_primes_of_the_right_form() -> None:
    for prime in (*KEYS.primes, next_prime(1 << 40, 8192)):
        assert prime % 8192 == 1
        assert all(prime % divisor for divisor in range(3, 2000, 2))
    assert next_prime(8193, 8192) == 40961
    with pytest.raises(ParameterError, match="must be a prime"):
        PlainRing(keys=KEYS, plain=8193, summands=1)  # 3 * 2731


@settings(deadline=None, max_examples=20)
@given(st.binary(min_size=16, max_size=16), st.binary(min_size=16, max_size=16))
def test_residues_add_modulo_their_primes(one: bytes, other: bytes) -> None:
    moduli = np.tile(np.repeat(np.array(KEYS.primes[:-1], "<u8"), KEYS.degree), 2)
    a, b = (
        np.frombuffer(SeededRand(seed)(8 * KEYS.words), "<u8") % moduli for seed in (one, other)
    )
    total = a.copy()
    add(total, b, KEYS)
    assert np.array_equal(total, (a + b) % moduli)
    assert np.array_equal(unpack_residues(pack_residues(a, KEYS), KEYS.words, KEYS), a)


def test_residues_of_another_size_or_beyond_their_prime_are_refused() -> None:
    residues = np.zeros(KEYS.words, "<u8")
    residues[-1] = KEYS.primes[1] - 1
    data = pack_residues(residues, KEYS)
    assert np.array_equal(unpack_residues(data, KEYS.words, KEYS), residues)
    for wrong in (data[:-1], data + b"\0", b"", data * 2):
        with pytest.raises(DecodeError, match="packed vector"):
            unpack_residues(wrong, KEYS.words, KEYS)
    for at, prime in ((0, KEYS.primes[0]), (-1, KEYS.primes[1])):
        beyond = np.zeros(KEYS.words, "<u8")
        beyond[at] = prime
        with pytest.raises(DecodeError, match="not below its prime"):
            unpack_residues(pack_residues(beyond, KEYS), KEYS.words, KEYS)


def test_a_public_key_of_another_ring_is_refused() -> None:
    data = bytes(KEYS.key_words * KEYS.bits // 8)
    assert unpack_key(data, KEYS).size == KEYS.key_words
    with pytest.raises(DecodeError, match="packed vector"):
        unpack_key(data, KeyRing(degree=8192, bits=30, count=2))
