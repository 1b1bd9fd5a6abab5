"""AES-128 [FIPS 197], byte by byte; its counter mode [SP 800-38A] and GCM [SP 800-38D]."""

from __future__ import annotations

from functools import cache

from reference.refused import require

__all__ = ["BLOCK", "counter_stream", "encrypt_block", "gcm_open"]

BLOCK = 16
_ROUNDS = 10


def encrypt_block(key: bytes, block: bytes) -> bytes:
    """AES-128 of one block of 16 bytes."""
    require(len(key) == 16 and len(block) == BLOCK, "AES-128 takes a key and a block of 16 bytes")
    keys = _round_keys(key)
    state = _xor(block, keys[0])
    for number in range(1, _ROUNDS):
        state = _xor(_mix_columns(_shift_rows(_substitute(state))), keys[number])
    return _xor(_shift_rows(_substitute(state)), keys[_ROUNDS])


@cache  # a verifier meets the same streams many times
def counter_stream(key: bytes, first: bytes, size: int) -> bytes:
    """`size` bytes of keystream. The counter block is one big-endian number modulo 2**128."""
    counter = int.from_bytes(first, "big")
    blocks = (
        encrypt_block(key, ((counter + step) % 2**128).to_bytes(BLOCK, "big"))
        for step in range(-(-size // BLOCK))
    )
    return b"".join(blocks)[:size]


def gcm_open(key: bytes, nonce: bytes, sealed: bytes, associated: bytes = b"") -> bytes:
    """The plaintext of AES-128-GCM under a nonce of 12 bytes, or `Refused` for a wrong tag."""
    require(len(nonce) == 12 and len(sealed) >= BLOCK, "GCM: 12 bytes of nonce, 16 of tag at least")
    ciphertext, tag = sealed[:-BLOCK], sealed[-BLOCK:]
    start = nonce + (1).to_bytes(4, "big")
    mask = encrypt_block(key, start)
    require(tag == _xor(mask, _ghash(key, associated, ciphertext)), "the tag of GCM is right")
    # 32 bits of counter never wrap into the nonce: no message here has 2**32 blocks
    first = nonce + (2).to_bytes(4, "big")
    return _xor(ciphertext, counter_stream(key, first, len(ciphertext)))


def _ghash(key: bytes, associated: bytes, ciphertext: bytes) -> bytes:
    subkey = int.from_bytes(encrypt_block(key, bytes(BLOCK)), "big")
    lengths = (8 * len(associated)).to_bytes(8, "big") + (8 * len(ciphertext)).to_bytes(8, "big")
    data = _padded(associated) + _padded(ciphertext) + lengths
    total = 0
    for start in range(0, len(data), BLOCK):
        block = int.from_bytes(data[start : start + BLOCK], "big")
        total = _multiply_128(total ^ block, subkey)
    return total.to_bytes(BLOCK, "big")


def _padded(data: bytes) -> bytes:
    return data + bytes(-len(data) % BLOCK)


def _multiply_128(x: int, y: int) -> int:
    """The product in GCM's field, whose bits run from the most significant one."""
    product = 0
    for bit in range(127, -1, -1):
        if x >> bit & 1:
            product ^= y
        y = y >> 1 ^ (0xE1 << 120 if y & 1 else 0)
    return product


def _xor(one: bytes, other: bytes) -> bytes:
    require(len(one) == len(other), "an exclusive or is of strings of one length")
    return (int.from_bytes(one, "big") ^ int.from_bytes(other, "big")).to_bytes(len(one), "big")


def _double(value: int) -> int:
    """Times x in GF(2^8) modulo x^8 + x^4 + x^3 + x + 1."""
    return value << 1 ^ (0x11B if value >> 7 else 0)


def _multiply_8(x: int, y: int) -> int:
    product = 0
    while y:
        product ^= x if y & 1 else 0
        x, y = _double(x), y >> 1
    return product


def _make_sbox() -> bytes:
    """The inverse in GF(2^8), then the affine map of FIPS 197, §5.1.1."""
    inverses = [0] * 256
    for x in range(1, 256):
        inverses[x] = next(y for y in range(1, 256) if _multiply_8(x, y) == 1)
    return bytes(_affine(value) for value in inverses)


def _affine(value: int) -> int:
    doubled = value | value << 8
    return (doubled ^ doubled >> 7 ^ doubled >> 6 ^ doubled >> 5 ^ doubled >> 4 ^ 0x63) & 0xFF


_SBOX = _make_sbox()


def _substitute(state: bytes) -> bytes:
    return state.translate(_SBOX)


def _shift_rows(state: bytes) -> bytes:
    """Byte (row r, column c) of the state is at r + 4c; row r moves r columns to the left."""
    return bytes(state[(place + 4 * (place % 4)) % BLOCK] for place in range(BLOCK))


def _mix_columns(state: bytes) -> bytes:
    return b"".join(_mix(state[start : start + 4]) for start in range(0, BLOCK, 4))


def _mix(column: bytes) -> bytes:
    whole = column[0] ^ column[1] ^ column[2] ^ column[3]
    return bytes(
        byte ^ whole ^ _double(byte ^ column[(row + 1) % 4]) for row, byte in enumerate(column)
    )


@cache
def _round_keys(key: bytes) -> list[bytes]:
    words = [key[start : start + 4] for start in range(0, 16, 4)]
    constant = 1
    for index in range(4, 4 * (_ROUNDS + 1)):
        word = words[-1]
        if index % 4 == 0:
            word = _xor(_substitute(word[1:] + word[:1]), bytes((constant, 0, 0, 0)))
            constant = _double(constant)
        words.append(_xor(words[-4], word))
    return [b"".join(words[start : start + 4]) for start in range(0, len(words), 4)]
