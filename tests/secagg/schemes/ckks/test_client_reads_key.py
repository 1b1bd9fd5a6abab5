"""What docs/threat-model.md does not claim: a client that sees sums can have them show the key."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("tenseal")

from secagg import wire
from secagg.event import Finished
from secagg.frame import HEADER_SIZE, SIGNATURE_SIZE
from secagg.identity import AUTHORITY, SERVER
from secagg.schemes.ckks import EncryptedExact, KeyAuthority
from secagg.schemes.ckks.messages import Upload
from secagg.schemes.ckks.params import tenseal_cipher
from secagg.schemes.ckks.residues import Residues, moduli, pack_residues, unpack_residues
from secagg.schemes.ckks.ring import PlainRing
from secagg.testing.parties import Parties, make_round
from secagg.testing.rand import SeededRand

WIDTH, ZEROS = 32, 2


def scheme_of(keeper: KeyAuthority) -> EncryptedExact:
    scheme = keeper.scheme(clients=5, length=4096 - ZEROS, width=WIDTH, corrupt=0.0, dropout=0.4)
    assert isinstance(scheme, EncryptedExact)
    assert (scheme.layout.lanes, scheme.layout.blocks) == (1, 1)
    return scheme


def last_points(ring: PlainRing) -> list[int]:
    """Where plaintext polynomials are evaluated for the last slots [SEAL, batchencoder.cpp]."""
    plain, order = ring.plain, 2 * ring.keys.degree
    roots = (pow(base, (plain - 1) // order, plain) for base in range(2, plain))
    root = next(each for each in roots if pow(each, order // 2, plain) == plain - 1)
    least = min(pow(root, power, plain) for power in range(1, order, 2))
    places = range(order // 4 - ZEROS, order // 4)
    return [pow(least, -pow(3, place, order), plain) for place in places]


def of_the_key(ring: PlainRing) -> Residues:
    """A ciphertext of a(X) s(X), made without s: a is zero at the slots that must be zero."""
    first, second = last_points(ring)
    factor = [first * second % ring.plain, -(first + second) % ring.plain, 1]
    modulus = ring.keys.modulus
    scaled = [(modulus * each + ring.plain // 2) // ring.plain for each in factor]
    found = np.zeros(ring.keys.words, "<u8")
    rows = found.reshape(2, ring.keys.count, ring.keys.degree)
    for row, prime in zip(rows[1], ring.keys.primes[:-1], strict=True):
        row[: len(scaled)] = [each % prime for each in scaled]
    return found


def sent(who: Parties, party: int) -> Upload:
    """The upload of an update that is zero."""
    machine = who.machine(party, SeededRand(party))
    machine.submit(np.zeros(who.scheme.length, np.uint32))
    ((_, frame),) = machine.to_send()
    return wire.decode(Upload, frame[HEADER_SIZE:-SIGNATURE_SIZE], who.scheme.limits)


def opened(keeper: KeyAuthority, *, lying: bool) -> np.ndarray | None:
    """The sum of five updates that are zero; with `lying` the last client adds `of_the_key`.

    None where it is withheld: one key in 500 has a slot that no sum has.
    """
    scheme = scheme_of(keeper)
    who = make_round(scheme, SeededRand("key"), authority=keeper)
    uploads = {party: sent(who, party) for party in who.clients}
    if lying:
        keys, last = scheme.layout.ring.keys, uploads[5]
        residues = unpack_residues(last.vector, scheme.layout.words, keys)
        residues = (residues + of_the_key(scheme.layout.ring)) % moduli(keys)
        packed = pack_residues(residues, keys)
        uploads[5] = Upload(sealed=last.sealed, signature=last.signature, vector=packed)
    server, third = who.machine(SERVER, SeededRand("s")), who.machine(AUTHORITY, SeededRand("a"))
    for party, upload in uploads.items():
        server.receive(party, who.endpoint(party).seal(SERVER, upload))
    ((_, request),) = server.to_send()
    third.receive(SERVER, request)
    ((_, reply),) = third.to_send()
    server.receive(AUTHORITY, reply)
    event = server.next_event()
    return event.aggregate.total if isinstance(event, Finished) and event.aggregate else None


def test_a_client_that_lies_has_the_sum_show_the_secret_key() -> None:
    """All others follow the protocol. Of each slot of a(X) s(X) the sum has the low bits."""
    keepers = [KeyAuthority.generate(SeededRand(name)) for name in ("one", "two", "three")]
    keeper, found = next(
        (each, total) for each in keepers if (total := opened(each, lying=True)) is not None
    )
    ring = scheme_of(keeper).layout.ring
    secret = keeper._pairs[ring.keys].secret
    key = tenseal_cipher().decrypt(ring, secret, of_the_key(ring))[0]
    assert not key[-ZEROS:].any()
    offset, plain = np.uint64(5 << WIDTH - 1), np.uint64(ring.plain)  # of five zeros
    due = ((key + offset) % plain - offset).astype(np.uint32)
    assert np.array_equal(found, due[:-ZEROS])
    assert np.count_nonzero(found) > 0.99 * found.size


def test_the_same_clients_without_the_lie_sum_to_zero() -> None:
    total = opened(KeyAuthority.generate(SeededRand("one")), lying=False)
    assert total is not None
    assert not total.any()
