"""CKKS whose noise stays with the authority: sums are the integers, whatever the noise was."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

pytest.importorskip("tenseal")

from secagg import wire
from secagg.errors import ParameterError, RemoteProtocolError
from secagg.event import Discarded, PeerRejected
from secagg.frame import HEADER_SIZE, SIGNATURE_SIZE
from secagg.identity import AUTHORITY, SERVER
from secagg.primitives.ring import reduce, unpack, word
from secagg.schemes.ckks import EncryptedRounded, KeyAuthority, SlotScreen
from secagg.schemes.ckks.cipher_tenseal import TensealCipher
from secagg.schemes.ckks.messages import CONTRIBUTORS, Opened, Refused, Request, Upload
from secagg.schemes.ckks.reals import RealRing, RoundedLayout, rounded_layout
from secagg.schemes.ckks.residues import add, pack_residues, unpack_residues
from secagg.schemes.ckks.ring import MOST_BITS, KeyRing
from secagg.schemes.ckks.rounded.masks import add_masks
from secagg.testing.network import plain_sum
from secagg.testing.parties import Parties, make_round
from secagg.testing.rand import SeededRand

KEEPER = KeyAuthority.generate(SeededRand("keeper"))
CIPHER = TensealCipher()
SIZES: dict[str, Any] = {"clients": 5, "length": 9, "width": 24, "dropout": 0.4, "corrupt": 0.0}
SCHEME = KEEPER.scheme(**SIZES, approximate=True)
VECTORS = {party: np.arange(9, dtype=np.uint32) * party for party in range(1, 6)}
WHO = make_round(SCHEME, SeededRand("rounding"), authority=KEEPER)


def uploads(who: Parties = WHO) -> dict[int, Upload]:
    found = {}
    for party in who.clients:
        machine = who.machine(party, SeededRand(repr(("client", party))))
        machine.submit(VECTORS[party])
        ((_, frame),) = machine.to_send()
        body = frame[HEADER_SIZE:-SIGNATURE_SIZE]
        found[party] = wire.decode(Upload, body, who.scheme.limits)
    return found


UPLOADS = uploads()


def ask(sent: dict[int, Upload], *listed: int, shown: tuple[int, ...] | None = None) -> Any:
    """What the authority answers to this list, and the sum of the ciphertexts of `shown`."""
    keys, words = SCHEME.layout.ring.keys, SCHEME.layout.words
    total = np.zeros(words, "<u8")
    for party in listed if shown is None else shown:
        add(total, unpack_residues(sent[party].vector, words, keys), keys)
    rows = {party: (sent[party].sealed, sent[party].signature) for party in listed}
    request = Request(contributors=CONTRIBUTORS.table(rows), vector=pack_residues(total, keys))
    machine, server = WHO.machine(AUTHORITY, SeededRand("authority")), WHO.endpoint(SERVER)
    machine.receive(SERVER, server.seal(AUTHORITY, request))
    ((_, frame),) = machine.to_send()
    return server.open(server.authenticate(frame), frame).message


def test_two_runs_on_one_input_release_the_same_value() -> None:
    """Fresh ciphertexts have other noise, and the two decryptions differ before they are rounded"""
    one, again = ask(UPLOADS, 1, 2, 3), uploads()
    assert isinstance(one, Opened)
    due = plain_sum(SCHEME, VECTORS, frozenset((1, 2, 3)))
    assert unpack(one.total, 9, 24).tolist() == due.tolist()
    assert again[1].vector != UPLOADS[1].vector
    assert ask(again, 1, 2, 3) == one == ask(UPLOADS, 1, 2, 3)


def test_decryptions_of_one_vector_differ_and_round_to_one() -> None:
    shape, pair = SCHEME.layout, KEEPER._pairs[SCHEME.layout.ring.keys]
    assert isinstance(shape, RoundedLayout)
    reals = shape.reals(VECTORS[3])
    seen = [
        CIPHER.decrypt_reals(
            shape.ring, pair.secret, CIPHER.encrypt_reals(shape.ring, pair.public, reals)
        )
        for _ in range(2)
    ]
    assert not np.array_equal(*seen)
    for each in seen:
        found = shape.opened(each, 1)
        assert found is not None
        assert found.tolist() == VECTORS[3].tolist()


@pytest.mark.parametrize(("clients", "width"), [(2, 34), (16, 32), (100, 29), (5, 8), (1000, 20)])
def test_the_error_is_within_its_bound_at_the_largest_values(clients: int, width: int) -> None:
    """At the extremes of what the parameters allow, with far room: the bound is a worst case."""
    shape = rounded_layout(clients, 3000, width)
    pair = CIPHER.generate(shape.ring.keys)
    dtype, half = word(width), 1 << (width - 1)
    vector = np.full(3000, half - 1, dtype)
    vector[::2] = half  # stands for -2^(width - 1)
    residues = CIPHER.encrypt_reals(shape.ring, pair.public, shape.reals(vector))
    total = np.zeros_like(residues)
    for _ in range(min(clients, 100)):
        add(total, residues, shape.ring.keys)
    found = CIPHER.decrypt_reals(shape.ring, pair.secret, total)
    due = min(clients, 100) * shape.reals(vector)
    assert np.abs(found - due).max() < 0.125
    opened = shape.opened(found, min(clients, 100))
    assert opened is not None
    times = dtype.type(min(clients, 100))
    assert np.array_equal(opened, reduce(vector * times, width))


@settings(deadline=None, max_examples=30)
@given(st.integers(0, 2**32 - 1), st.floats(-0.25, 0.25))
def test_what_is_released_does_not_depend_on_noise_within_the_bound(
    seed: int, error: float
) -> None:
    shape = SCHEME.layout
    assert isinstance(shape, RoundedLayout)
    values = np.random.default_rng(seed).integers(0, 1 << 22, 9).astype(np.uint32)
    found = shape.opened(shape.reals(values) + error, 1)
    assert found is not None
    assert found.tolist() == values.tolist()


@pytest.mark.parametrize("at", [0, 2000, -1], ids=["coordinate", "padding", "zero"])
@pytest.mark.parametrize("error", [0.26, 0.5, -0.3, 1e9, 1e300, np.inf, np.nan])
def test_what_is_no_sum_is_withheld(at: int, error: float) -> None:
    """Beyond the bound, beyond what so many clients can sum to, or no number."""
    shape = SCHEME.layout
    assert isinstance(shape, RoundedLayout)
    reals = shape.reals(VECTORS[2])
    assert shape.opened(reals, 1) is not None
    reals[0, at] += error
    assert shape.opened(reals, 1) is None


def test_zeros_that_are_none_are_seen() -> None:
    shape = SCHEME.layout
    assert isinstance(shape, RoundedLayout)
    reals = shape.reals(VECTORS[2])
    reals[0, -shape.zeros] = 1
    assert shape.opened(reals, 1) is None
    reals[0, -shape.zeros] = 0
    assert shape.opened(reals, 1) is not None


@pytest.mark.parametrize("shown", [(1,), (1, 2), (1, 2, 3, 4), (1, 1, 1), ()])
def test_ciphertexts_of_others_than_the_list_are_not_opened(shown: tuple[int, ...]) -> None:
    """A single client's ciphertext under a full list: masks on ciphertexts do not cancel."""
    assert isinstance(ask(UPLOADS, 1, 2, 3), Opened)
    assert ask(UPLOADS, 1, 2, 3, shown=shown) == Refused(culprits=wire.ids(()))


def test_masks_add_up_and_are_uniform_on_the_message_alone() -> None:
    keys = KeyRing(degree=4096, bits=33, count=2)
    residues = np.zeros(2 * keys.words, "<u8")
    add_masks(residues, keys, plus=[b"a" * 32, b"b" * 32])
    first, second = residues.reshape(2, 2, 2, -1).swapaxes(0, 1)
    assert not second.any()
    for at, prime in enumerate(keys.primes[:-1]):
        assert 0.48 < first[:, at].astype(float).mean() / prime < 0.52
        assert int(first[:, at].max()) < prime
    add_masks(residues, keys, minus=[b"b" * 32])
    assert residues.any()
    add_masks(residues, keys, minus=[b"a" * 32])
    assert not residues.any()


# -- parameters --------------------------------------------------------------------------------


@settings(deadline=None, max_examples=40)
@given(st.integers(2, 4000), st.integers(1, 9000), st.integers(2, 25))
@example(2730, 1, 25)
@example(2731, 1, 25)
def test_every_layout_is_secure_and_its_error_below_a_quarter(
    clients: int, length: int, width: int
) -> None:
    """Where floating point holds the sum by the inequality that is stated, and nowhere else."""
    if 256 * 12 * 64 * clients << (width - 1) > 1 << 53:
        with pytest.raises(ParameterError, match="take the exact mode"):
            rounded_layout(clients, length, width)
        return
    shape = rounded_layout(clients, length, width)
    ring, keys = shape.ring, shape.ring.keys
    assert sum(prime.bit_length() for prime in keys.primes) <= MOST_BITS[keys.degree]
    total = clients << (width - 1)
    noise = clients * keys.degree * (keys.noise + 1) / ring.scale
    floats = 2 * 16 * np.log2(keys.degree) * np.sqrt(keys.degree) * total / 2**53
    assert noise <= 1 / 8
    assert floats <= 1 / 8
    assert 4 * ring.scale * total <= keys.modulus
    assert shape.zeros * width >= 64
    assert shape.blocks * (shape.slots - shape.zeros) >= length


def test_rings_state_their_inequality() -> None:
    keys = KeyRing(degree=4096, bits=33, count=2)
    fields: dict[str, Any] = {"keys": keys, "scale_bits": 29, "summands": 5, "largest": 1 << 31}
    assert RealRing(**fields).scale == 2.0**29
    for changes, says in (
        ({"scale_bits": 28}, "8 \\* summands \\* degree"),
        ({"summands": 0}, "8 \\* summands \\* degree"),
        ({"scale_bits": 40}, "<= q must hold"),
        ({"keys": KeyRing(degree=4096, bits=42, count=2), "largest": 1 << 35}, "<= 2\\*\\*53 must"),
    ):
        with pytest.raises(ParameterError, match=says):
            RealRing(**{**fields, **changes})


@pytest.mark.parametrize(("clients", "width"), [(100, 32), (5, 40), (2, 64)])
def test_sums_that_floating_point_does_not_hold_are_refused_when_the_plan_is_made(
    clients: int, width: int
) -> None:
    assert isinstance(
        KEEPER.scheme(clients=5, length=9, width=32, approximate=True), EncryptedRounded
    )
    with pytest.raises(ParameterError, match="take the exact mode"):
        KEEPER.scheme(clients=clients, length=9, width=width, approximate=True)


def test_a_screen_is_for_the_exact_mode() -> None:
    with pytest.raises(ParameterError, match="approximate must be False"):
        KEEPER.scheme(**SIZES, approximate=True, screen=SlotScreen(bound=9))


def test_modes_are_different_contexts() -> None:
    exact = KEEPER.scheme(**SIZES)
    assert exact.encoded() != SCHEME.encoded()
    assert exact.code != SCHEME.code


@pytest.mark.parametrize("included", [(), (1,), (1, 2)], ids=repr)
def test_fewer_than_the_least_are_refused(included: tuple[int, ...]) -> None:
    with pytest.raises(RemoteProtocolError, match="at least 3 are needed"):
        ask(UPLOADS, *included)


@pytest.mark.parametrize("how", ["short", "long", "empty", "beyond"])
def test_uploads_of_another_size_or_beyond_their_prime_are_not_summed(how: str) -> None:
    good = UPLOADS[2].vector
    vector = {
        "short": good[:-1], "long": good + b"\0", "empty": b"", "beyond": b"\xff" * len(good),
    }[how]  # fmt: skip
    server = WHO.machine(SERVER, SeededRand("server"))
    sent = Upload(sealed=UPLOADS[2].sealed, signature=UPLOADS[2].signature, vector=vector)
    server.receive(2, WHO.endpoint(2).seal(SERVER, sent))
    event = server.next_event()
    if how == "long":  # more than any frame of the round may have is not even parsed
        assert isinstance(event, Discarded)
        assert "are possible" in event.reason
    else:
        assert isinstance(event, PeerRejected)
        assert event.peer == 2
    fine = WHO.machine(SERVER, SeededRand("server"))
    fine.receive(2, WHO.endpoint(2).seal(SERVER, UPLOADS[2]))
    assert fine.next_event() is None
