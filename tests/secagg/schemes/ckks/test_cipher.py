"""TenSEAL behind its port: the parameters it was asked for, exact plaintexts, or `CipherFailed`."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("tenseal")

import tenseal
from tenseal.sealapi import util

from secagg.errors import CipherFailed
from secagg.schemes.ckks import cipher_tenseal
from secagg.schemes.ckks.cipher_tenseal import TensealCipher
from secagg.schemes.ckks.layout import layout
from secagg.schemes.ckks.residues import add
from secagg.schemes.ckks.ring import MOST_BITS, KeyRing, PlainRing, next_prime
from secagg.testing.rand import SeededRand

CIPHER = TensealCipher()
RINGS = [
    KeyRing(degree=4096, bits=51, count=1),
    KeyRing(degree=4096, bits=60, count=1),
    KeyRing(degree=4096, bits=38, count=2),
    KeyRing(degree=8192, bits=43, count=2),
    KeyRing(degree=16384, bits=49, count=3),
]
every_ring = pytest.mark.parametrize("keys", RINGS, ids=str)


def plain_ring(keys: KeyRing, summands: int) -> PlainRing:
    """With the largest plaintext prime of its size that the bound allows."""
    most = keys.modulus // (4 * summands * keys.noise)
    bits = min(most.bit_length() - 2, 59)
    return PlainRing(keys=keys, plain=next_prime(1 << bits, 2 * keys.degree), summands=summands)


@pytest.mark.parametrize("degree", MOST_BITS)
def test_the_bound_on_primes_is_that_of_the_standard_against_quantum_computers(
    degree: int,
) -> None:
    """The library's own copies of the two tables; in making contexts it enforces the laxer one."""
    assert MOST_BITS[degree] == util.seal_he_std_parms_128_tq(degree)
    assert MOST_BITS[degree] < util.seal_he_std_parms_128_tc(degree)


@every_ring
def test_the_library_has_the_parameters_that_were_computed(keys: KeyRing) -> None:
    ring = plain_ring(keys, 2)
    sizes = [*[keys.bits] * keys.count, 17]
    made = tenseal.context(tenseal.SCHEME_TYPE.BFV, keys.degree, ring.plain, sizes, n_threads=1)
    native = made.seal_context().data
    for key, words in ((True, native.key_parms_id()), (False, native.first_parms_id())):
        assert b"".join(word.to_bytes(8, "little") for word in words) == ring.identifier(key=key)


@every_ring
def test_sums_of_as_many_as_are_allowed_are_exact(keys: KeyRing) -> None:
    """At the largest plaintext prime that the bound allows, with the largest plaintexts."""
    summands = 20
    ring = plain_ring(keys, summands)
    pair = CIPHER.generate(keys)
    drawn = np.frombuffer(SeededRand(repr(keys))(8 * keys.degree), "<u8") % ring.plain
    drawn[:2] = (0, ring.plain - 1)
    total = np.zeros(keys.words, "<u8")
    for _ in range(summands):
        add(total, CIPHER.encrypt(ring, pair.public, drawn[None]), keys)
    found = CIPHER.decrypt(ring, pair.secret, total)
    expected = [summands * int(value) % ring.plain for value in drawn]
    assert found[0].tolist() == expected


def test_two_keys_are_different_and_decrypt_only_their_own() -> None:
    shape = layout(4, 5, 20)
    one, other = CIPHER.generate(shape.ring.keys), CIPHER.generate(shape.ring.keys)
    assert one.public != other.public
    slots = shape.slots(shape.padded_vector(np.arange(5, dtype=np.uint32)))
    residues = CIPHER.encrypt(shape.ring, one.public, slots)
    assert np.array_equal(CIPHER.decrypt(shape.ring, one.secret, residues), slots)
    assert not np.array_equal(CIPHER.decrypt(shape.ring, other.secret, residues), slots)
    for pair in (one, other):
        assert "public" not in repr(pair)


def test_another_version_of_the_library_is_not_guessed_at(monkeypatch: pytest.MonkeyPatch) -> None:
    shape = layout(4, 5, 20)
    pair = CIPHER.generate(shape.ring.keys)
    slots = shape.slots(shape.padded_vector(np.arange(5, dtype=np.uint32)))
    assert CIPHER.encrypt(shape.ring, pair.public, slots).size == shape.words
    monkeypatch.setattr(cipher_tenseal, "_MAGIC", bytes.fromhex("5ea1100500"))
    with pytest.raises(CipherFailed):
        CIPHER.encrypt(shape.ring, pair.public, slots)


def test_a_key_of_another_ring_is_refused() -> None:
    shape, wider = layout(4, 5, 20), layout(4, 5, 40)
    pair = CIPHER.generate(wider.ring.keys)
    residues = np.zeros(shape.words, "<u8")
    with pytest.raises(CipherFailed, match="refused its own parameters"):
        CIPHER.decrypt(shape.ring, pair.secret, residues)
