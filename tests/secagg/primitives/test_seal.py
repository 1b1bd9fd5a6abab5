"""`secagg.primitives.seal`: what is sealed opens for one key and one `info`, and only unchanged."""

from __future__ import annotations

import pytest
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from hypothesis import given, settings
from hypothesis import strategies as st

from secagg.errors import DecodeError, RemoteProtocolError
from secagg.primitives.agreement import public_key
from secagg.primitives.seal import OVERHEAD, open_sealed, seal

RAW = bytes(range(32))
PUBLIC = public_key(RAW)
PRIVATE = X25519PrivateKey.from_private_bytes(RAW)
REFUSED = "a sealed message does not open"


@given(st.binary(max_size=200), st.binary(max_size=200))
@settings(deadline=None)
def test_what_is_sealed_opens(plaintext: bytes, info: bytes) -> None:
    sealed = seal(plaintext, PUBLIC, info)
    assert len(sealed) == len(plaintext) + OVERHEAD
    assert open_sealed(sealed, PRIVATE, info) == plaintext


def test_two_seals_of_one_message_differ() -> None:
    assert seal(b"same", PUBLIC, b"") != seal(b"same", PUBLIC, b"")


def test_every_changed_bit_is_refused() -> None:
    sealed = seal(b"two shares", PUBLIC, b"info")
    assert open_sealed(sealed, PRIVATE, b"info") == b"two shares"
    for bit in range(8 * len(sealed)):
        changed = bytearray(sealed)
        changed[bit // 8] ^= 1 << bit % 8
        with pytest.raises(DecodeError, match=REFUSED):
            open_sealed(bytes(changed), PRIVATE, b"info")


@pytest.mark.parametrize("info", [b"", b"inf", b"info\0", b"Info"])
def test_another_info_is_refused(info: bytes) -> None:
    sealed = seal(b"x", PUBLIC, b"info")
    with pytest.raises(DecodeError, match=REFUSED):
        open_sealed(sealed, PRIVATE, info)


def test_another_key_is_refused() -> None:
    sealed = seal(b"x", PUBLIC, b"info")
    with pytest.raises(DecodeError, match=REFUSED):
        open_sealed(sealed, X25519PrivateKey.from_private_bytes(bytes(32)), b"info")


@pytest.mark.parametrize("size", [0, 1, 16, 31, 32, 33, OVERHEAD - 1, OVERHEAD, OVERHEAD + 1])
def test_shortened_or_invented_bytes_are_refused(size: int) -> None:
    sealed = seal(b"four", PUBLIC, b"info")
    for forged in (sealed[:size], bytes(size), b"\xff" * size):
        with pytest.raises(DecodeError, match=REFUSED):
            open_sealed(forged, PRIVATE, b"info")


def test_an_extended_message_is_refused() -> None:
    with pytest.raises(DecodeError, match=REFUSED):
        open_sealed(seal(b"x", PUBLIC, b"") + b"\0", PRIVATE, b"")


def test_an_encapsulated_key_of_low_order_is_refused() -> None:
    sealed = seal(b"x", PUBLIC, b"")
    for low in (bytes(32), b"\1" + bytes(31)):
        with pytest.raises(DecodeError, match=REFUSED):
            open_sealed(low + sealed[32:], PRIVATE, b"")


@pytest.mark.parametrize("recipient", [bytes(32), b"\1" + bytes(31)], ids=["zero", "one"])
def test_a_recipient_key_of_low_order_is_the_peers_fault(recipient: bytes) -> None:
    """It comes out of a peer's advert: an error of no kind would escape a client's machine."""
    with pytest.raises(RemoteProtocolError):
        seal(b"x", recipient, b"")
