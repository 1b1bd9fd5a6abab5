"""The reference stands on published test vectors, and on the standard library alone."""

from __future__ import annotations

import ast
import sys
from collections.abc import Callable
from itertools import combinations
from pathlib import Path

import pytest
from reference import aes, ed25519, hkdf, hpke, shamir, x25519
from reference.refused import Refused

HERE = Path(__file__).parent / "reference"
unhex = bytes.fromhex


def test_nothing_but_the_standard_library_is_imported() -> None:
    found = {name for path in HERE.glob("*.py") for name in imports(path)}
    assert found - {"reference"} <= sys.stdlib_module_names
    assert {"hashlib", "hmac", "reference"} <= found


def imports(path: Path) -> set[str]:
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name.split(".")[0] for alias in node.names}
        if isinstance(node, ast.ImportFrom):
            names.add(str(node.module).split(".")[0])
    return names


def flips(data: bytes, step: int = 1) -> list[bytes]:
    """`data` with one bit changed, once per `step` bytes."""
    return [data[:at] + bytes((data[at] ^ 1,)) + data[at + 1 :] for at in range(0, len(data), step)]


# -- X25519 [RFC 7748, §5.2] ---------------------------------------------------------


@pytest.mark.parametrize(
    ("scalar", "point", "result"),
    [
        (
            "a546e36bf0527c9d3b16154b82465edd62144c0ac1fc5a18506a2244ba449ac4",
            "e6db6867583030db3594c1a424b15f7c726624ec26b3353b10a903a6d0ab1c4c",
            "c3da55379de9c6908e94ea4df28d084f32eccf03491c71f754b4075577a28552",
        ),
        (
            "4b66e9d4d1b4673c5ad22691957d6af5c11b6421e0ea01d42ca4169e7918ba0d",
            "e5210f12786811d3f4b7959d0538ae2c31dbe7106fc03c3efc4cd549c715a493",
            "95cbde9476e8907d7aade45cb4b873f88b595a68799fa152e6f8f7647aac7957",
        ),
        (
            "0900000000000000000000000000000000000000000000000000000000000000",
            "0900000000000000000000000000000000000000000000000000000000000000",
            "422c8e7a6227d7bca1350b3e2bb7279f7897b87bb6854b783c60e80311ae3079",
        ),
    ],
)
def test_x25519(scalar: str, point: str, result: str) -> None:
    assert x25519.x25519(unhex(scalar), unhex(point)) == unhex(result)


def test_two_keys_agree_and_a_point_of_low_order_is_refused() -> None:
    alice, bob = bytes(range(32)), bytes(range(32, 64))
    secret = x25519.shared_secret(alice, x25519.public_key(bob))
    assert secret == x25519.shared_secret(bob, x25519.public_key(alice))
    with pytest.raises(Refused, match="all zero"):
        x25519.shared_secret(alice, bytes(32))


# -- Ed25519 [RFC 8032, §7.1] -----------------------------------------------------------------

SIGNED = [
    (
        "9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60",
        "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a",
        "",
        "e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e065224901555fb8821590a33bacc61e39701"
        "cf9b46bd25bf5f0595bbe24655141438e7a100b",
    ),
    (
        "4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb",
        "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c",
        "72",
        "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da085ac1e43e15996e458f3613d"
        "0f11d8c387b2eaeb4302aeeb00d291612bb0c00",
    ),
    (
        "c5aa8df43f9f837bedb7442f31dcb7b166d38535076f094b85ce3a2e0b4458f7",
        "fc51cd8e6218a1a38da47ed00230f0580816ed13ba3303ac5deb911548908025",
        "af82",
        "6291d657deec24024827e69c3abe01a30ce548a284743a445e3680d7db5ac3ac18ff9b538d16f290ae67f7609"
        "84dc6594a7c15e9716ed28dc027beceea1ec40a",
    ),
]


@pytest.mark.parametrize(("private", "public", "message", "signature"), SIGNED)
def test_ed25519(private: str, public: str, message: str, signature: str) -> None:
    assert ed25519.public_key(unhex(private)) == unhex(public)
    assert ed25519.sign(unhex(private), unhex(message)) == unhex(signature)
    ed25519.verify(unhex(public), unhex(message), unhex(signature))


def test_a_key_of_small_order_fits_many_messages() -> None:
    """Which is why rosters refuse it: with the neutral point as key, a signature fits them all."""
    neutral, signature = (1).to_bytes(32, "little"), (1).to_bytes(32, "little") + bytes(32)
    assert ed25519.is_small_order(neutral)
    ed25519.verify(neutral, b"one message", signature)
    ed25519.verify(neutral, b"another", signature)
    assert not ed25519.is_small_order(unhex(SIGNED[0][1]))


def test_ed25519_refuses_whatever_else() -> None:
    _, public, message, signature = map(unhex, SIGNED[2])
    ed25519.verify(public, message, signature)
    order = 2**252 + 27742317777372353535851937790883648493
    larger = int.from_bytes(signature[32:], "little") + order
    changed = [
        *((public, message, other) for other in flips(signature, 9)),
        *((public, other, signature) for other in flips(message)),
        (public, message, signature[:32] + larger.to_bytes(32, "little")),
        (public, message, signature[:-1]),
        (unhex(SIGNED[1][1]), message, signature),
        (b"\xff" * 32, message, signature),
    ]
    assert all(refuses(ed25519.verify, *case) for case in changed)


def refuses(step: Callable[..., object], *arguments: object) -> bool:
    try:
        step(*arguments)
    except Refused:
        return True
    return False


# -- AES and its modes ------------------------------------------------------------------------


def test_aes_block() -> None:
    """[FIPS 197, C.1]"""
    block = aes.encrypt_block(bytes(range(16)), unhex("00112233445566778899aabbccddeeff"))
    assert block == unhex("69c4e0d86a7b0430d8cdb78070b4c55a")


def test_counter_mode() -> None:
    """[SP 800-38A, F.5.1]"""
    plaintext = unhex(
        "6bc1bee22e409f96e93d7e117393172aae2d8a571e03ac9c9eb76fac45af8e51"
        "30c81c46a35ce411e5fbc1191a0a52eff69f2445df4f9b17ad2b417be66c3710"
    )
    ciphertext = unhex(
        "874d6191b620e3261bef6864990db6ce9806f66b7970fdff8617187bb9fffdff"
        "5ae4df3edbd5d35e5b4f09020db03eab1e031dda2fbe03d1792170a0f3009cee"
    )
    key, counter = unhex("2b7e151628aed2a6abf7158809cf4f3c"), bytes(range(0xF0, 0x100))
    stream = aes.counter_stream(key, counter, 64)
    assert bytes(a ^ b for a, b in zip(plaintext, stream, strict=True)) == ciphertext


def test_counter_wraps_at_128_bits() -> None:
    key, last = bytes(range(16)), b"\xff" * 16
    first_block = aes.encrypt_block(key, bytes(16))
    assert aes.counter_stream(key, last, 32) == aes.encrypt_block(key, last) + first_block


GCM_KEY = unhex("feffe9928665731c6d6a8f9467308308")
GCM_NONCE = unhex("cafebabefacedbaddecaf888")
GCM_ASSOCIATED = unhex("feedfacedeadbeeffeedfacedeadbeefabaddad2")
GCM_SEALED = unhex(
    "42831ec2217774244b7221b784d0d49ce3aa212f2c02a4e035c17e2329aca12e21d514b25466931c7d8f6a5aac"
    "84aa051ba30b396a0aac973d58e0915bc94fbc3221a5db94fae95ae7121a47"
)
GCM_PLAINTEXT = unhex(
    "d9313225f88406e5a55909c5aff5269a86a7a9531534f7da2e4c303d8a318a721c3c0c95956809532fcf0e2449"
    "a6b525b16aedf5aa0de657ba637b39"
)


def test_gcm() -> None:
    """[McGrew and Viega: The Galois/Counter Mode of Operation, test case 4]"""
    assert aes.gcm_open(GCM_KEY, GCM_NONCE, GCM_SEALED, GCM_ASSOCIATED) == GCM_PLAINTEXT


def test_gcm_refuses_whatever_else() -> None:
    changed = [(sealed, GCM_ASSOCIATED) for sealed in flips(GCM_SEALED, 5)]
    changed.append((GCM_SEALED, b""))
    assert all(refuses(aes.gcm_open, GCM_KEY, GCM_NONCE, *case) for case in changed)


# -- HKDF [RFC 5869, A.1 and A.3] and HPKE [RFC 9180, A.1.1] -----------------------------------


def test_hkdf() -> None:
    key = hkdf.extract(bytes(range(13)), b"\x0b" * 22)
    assert hkdf.expand(key, bytes(range(0xF0, 0xFA)), 42) == unhex(
        "3cb25f25faacd57a90434f64d0362f2a2d2d0a90cf1a5a4c5db02d56ecc4c5bf34007208d5b887185865"
    )
    assert hkdf.hkdf(b"\x0b" * 22, b"", 42) == unhex(
        "8da4e775a563c18f715f802a063c5a31b8a11f5c5ee1879ec3454e5f3c738d2d9d201395faa4b61a96c8"
    )


HPKE_PRIVATE = unhex("4612c550263fc8ad58375df3f557aac531d26850903e55a9f23f21d8534e8ac8")
HPKE_SEALED = unhex(
    "37fda3567bdbd628e88668c3c8d7e97d1d1253b6d4ea6d44c150f741f1bf4431f938558b5d72f1a23810b4be2a"
    "b4f84331acc02fc97babc53a52ae8218a355a96d8770ac83d07bea87e13c512a"
)
HPKE_INFO = b"Ode on a Grecian Urn"


def test_hpke() -> None:
    opened = hpke.open_base(HPKE_PRIVATE, HPKE_SEALED, HPKE_INFO, b"Count-0")
    assert opened == b"Beauty is truth, truth beauty"


def test_hpke_refuses_whatever_else() -> None:
    changed = [(sealed, HPKE_INFO) for sealed in flips(HPKE_SEALED, 13)]
    changed.append((HPKE_SEALED, HPKE_INFO + b"s"))
    assert all(refuses(hpke.open_base, HPKE_PRIVATE, *case, b"Count-0") for case in changed)


# -- GF(2^16) ---------------------------------------------------------------------------------

ELEMENTS = (1, 2, 3, 0x8000, 0x100B, 0xFFFF, 0x1234)


def test_field() -> None:
    """x * x^15 is what the polynomial leaves of x^16; inverses, and the distributive law."""
    assert shamir.multiply(2, 0x8000) == 0x100B
    assert all(shamir.multiply(a, shamir.inverse(a)) == 1 for a in ELEMENTS)
    for a, b, c in combinations(ELEMENTS, 3):
        product = shamir.multiply(a, b) ^ shamir.multiply(a, c)
        assert shamir.multiply(a, b ^ c) == product


def test_x_generates_the_group() -> None:
    """Its order divides 65,535 = 3 * 5 * 17 * 257, and none of the largest proper divisors."""
    orders = [65_535 // prime for prime in (3, 5, 17, 257)]
    assert power(2, 65_535) == 1
    assert all(power(2, order) != 1 for order in orders)


def power(a: int, exponent: int) -> int:
    result = 1
    for bit in bin(exponent)[2:]:
        result = shamir.multiply(result, result)
        result = shamir.multiply(result, a) if bit == "1" else result
    return result


def test_any_threshold_of_shares_gives_the_secret_and_fewer_do_not() -> None:
    secret, coefficients = b"two shares", bytes(range(1, 41))
    dealt = {p: shamir.shares([secret], coefficients, 5, p)[0] for p in range(1, 8)}
    for chosen in combinations(dealt.items(), 5):
        assert shamir.reconstruct(dict(chosen)) == secret
    for too_few in combinations(dealt.items(), 4):
        assert shamir.reconstruct(dict(too_few)) != secret
