"""`secagg.primitives.agreement` against RFC 7748, and HKDF written out in HMACs."""

from __future__ import annotations

import hashlib
import hmac
from itertools import product

import pytest
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from hypothesis import given, settings
from hypothesis import strategies as st

from secagg.errors import RemoteProtocolError
from secagg.primitives.agreement import KEY_SIZE, agree, check_public, derive, public_key
from secagg.primitives.digest import Label

# [RFC 7748, §6.1]
ALICE = bytes.fromhex("77076d0a7318a57d3c16c17251b26645df4c2f87ebc0992ab177fba51db92c2a")
ALICE_PUBLIC = bytes.fromhex("8520f0098930a754748b7ddcb43ef75a0dbf3a0d26381af4eba4a98eaa9b4e6a")
BOB = bytes.fromhex("5dab087e624a8a4b79e17f8b83800ee66f3bb1292618b6fd1c2f8b27ff88e0eb")
BOB_PUBLIC = bytes.fromhex("de9edb7d7b7dc1b4d35b61c2ece435373f8343c85b78674dadfc7e146f882b4f")
SHARED = bytes.fromhex("4a5d9d5ba4ce2de1728e3bf480350f25e07e21c947d19e3376f09b3c1e161742")

PRIME = 2**255 - 19
ORDER_EIGHT = [
    int.from_bytes(bytes.fromhex(text), "little")
    for text in (
        "e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800",
        "5f9c95bca3508c24b1d0b1559c83ef5b04445cc4581c8e86d8224eddd09f1157",
    )
]
# every 32-byte string that X25519 reads as a point of small order: the top bit is ignored, and
# coordinates from PRIME to 2**255 - 1 are taken modulo PRIME
LOW_ORDER = [
    (coordinate + shift).to_bytes(32, "little")
    for u, shift in product([0, 1, PRIME - 1, *ORDER_EIGHT], [0, 1 << 255])
    for coordinate in (u, u + PRIME)
    if coordinate < 1 << 255
]


def private(raw: bytes) -> X25519PrivateKey:
    return X25519PrivateKey.from_private_bytes(raw)


def hkdf(secret: bytes, info: bytes, size: int) -> bytes:
    """[RFC 5869] with SHA-256 and no salt."""
    key = hmac.digest(bytes(32), secret, hashlib.sha256)
    block, out = b"", b""
    for counter in range(1, -(-size // 32) + 1):
        block = hmac.digest(key, block + info + bytes((counter,)), hashlib.sha256)
        out += block
    return out[:size]


def test_the_vector_of_rfc_7748() -> None:
    assert public_key(ALICE) == ALICE_PUBLIC
    assert public_key(BOB) == BOB_PUBLIC
    assert agree(private(ALICE), BOB_PUBLIC) == SHARED
    assert agree(private(BOB), ALICE_PUBLIC) == SHARED


@given(st.binary(min_size=32, max_size=32), st.binary(min_size=32, max_size=32))
@settings(deadline=None)
def test_both_ends_agree(one: bytes, other: bytes) -> None:
    shared = agree(private(one), public_key(other))
    assert shared == agree(private(other), public_key(one))
    assert len(shared) == len(public_key(one)) == KEY_SIZE


def test_there_are_fourteen_encodings_of_low_order() -> None:
    assert len(set(LOW_ORDER)) == len(LOW_ORDER) == 14


@pytest.mark.parametrize("public", LOW_ORDER, ids=bytes.hex)
def test_points_of_low_order_are_refused(public: bytes) -> None:
    for raw in (ALICE, BOB):
        with pytest.raises(RemoteProtocolError, match="low order"):
            agree(private(raw), public)


@pytest.mark.parametrize("size", [0, 16, 31, 33, 64])
def test_a_public_key_of_another_length_is_the_peers_fault(size: int) -> None:
    agree(private(ALICE), BOB_PUBLIC)
    with pytest.raises(RemoteProtocolError):
        agree(private(ALICE), (BOB_PUBLIC * 2)[:size])


def test_the_refusal_shows_no_key() -> None:
    with pytest.raises(RemoteProtocolError) as refused:
        agree(private(ALICE), LOW_ORDER[0])
    assert ALICE.hex()[:8] not in str(refused.value)
    assert refused.value.__cause__ is None


# -- keys that peers announce ------------------------------------------------------------------


def test_canonical_keys_of_full_order_pass() -> None:
    for raw in (ALICE, BOB, bytes(32), b"\xff" * 32):
        check_public(public_key(raw))


@pytest.mark.parametrize("public", LOW_ORDER, ids=bytes.hex)
def test_no_announced_key_is_of_low_order(public: bytes) -> None:
    with pytest.raises(RemoteProtocolError, match=r"low order|not canonical"):
        check_public(public)


def test_a_second_text_for_one_key_is_refused() -> None:
    """The top bit is ignored on agreement; 2 and PRIME + 2 are one coordinate."""
    topped = ALICE_PUBLIC[:31] + bytes((ALICE_PUBLIC[31] | 0x80,))
    assert agree(private(BOB), topped) == SHARED
    small, shifted = (2).to_bytes(32, "little"), (PRIME + 2).to_bytes(32, "little")
    assert agree(private(BOB), small) == agree(private(BOB), shifted)
    check_public(small)
    check_public((PRIME - 2).to_bytes(32, "little"))
    for other in (topped, shifted):
        with pytest.raises(RemoteProtocolError, match="not canonical"):
            check_public(other)


@pytest.mark.parametrize("size", [0, 31, 33])
def test_an_announced_key_has_32_bytes(size: int) -> None:
    with pytest.raises(RemoteProtocolError):
        check_public((ALICE_PUBLIC + b"\0")[:size])


# -- derived keys ------------------------------------------------------------------------------


def test_the_oracle_passes_case_3_of_rfc_5869() -> None:
    expected = (
        "8da4e775a563c18f715f802a063c5a31b8a11f5c5ee1879ec3454e5f3c738d2d9d201395faa4b61a96c8"
    )
    assert hkdf(b"\x0b" * 22, b"", 42).hex() == expected


@given(
    st.binary(max_size=80),
    st.sampled_from(list(Label)),
    st.lists(st.binary(max_size=20), max_size=3),
    st.integers(1, 100),
)
@settings(deadline=None)
def test_derive_is_hkdf_of_the_label_and_parts(
    secret: bytes, label: Label, parts: list[bytes], size: int
) -> None:
    info = label.value + b"".join(parts)
    assert derive(secret, label, *parts, size=size) == hkdf(secret, info, size)
    assert derive(secret, label, *parts) == hkdf(secret, info, KEY_SIZE)


def test_every_input_of_derive_matters() -> None:
    keys = [
        derive(SHARED, Label.EDGE, b"ab"),
        derive(ALICE, Label.EDGE, b"ab"),
        derive(SHARED, Label.SEAL, b"ab"),
        derive(SHARED, Label.EDGE, b"ac"),
        derive(SHARED, Label.EDGE),
    ]
    assert len(set(keys)) == len(keys)
