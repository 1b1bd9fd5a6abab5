"""`Cipher` by TenSEAL, in this process. The one module that imports TenSEAL: `secagg[he]`.

TenSEAL has no door to a ciphertext's residues but its serialized form: a protobuf message around
what SEAL writes. SEAL writes with zstd, and reads what is not compressed just as well. So what
leaves is decompressed here to a size known in advance, and what enters is built here from residues
that were checked: no bytes of another party reach a parser in native code.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import tenseal
import zstandard

from secagg.errors import CipherFailed
from secagg.schemes.ckks.cipher import KeyPair
from secagg.schemes.ckks.layout import Slots
from secagg.schemes.ckks.reals import RealRing, Reals
from secagg.schemes.ckks.residues import Residues, pack_key, unpack_key
from secagg.schemes.ckks.ring import SPECIAL_BITS, KeyRing, PlainRing

__all__ = ["TensealCipher"]

_MAGIC = bytes.fromhex("5ea110") + bytes((4, 3))  # 16 bytes of header, SEAL 4.3
_STORED, _ZSTD = 0, 2
_HEADER = 16
_ONE = np.float64(1).tobytes()
_FLAGS = b"\x10\x07\x19" + np.float64(-1).tobytes()  # TenSEAL's defaults; no scale is set
_LENGTH_DELIMITED = 2
_VARINT = 0
_FIXED64 = 1


class TensealCipher:
    """TenSEAL on one thread. Randomness is SEAL's own, from the system [SEAL, randomgen.cpp]."""

    def generate(self, keys: KeyRing) -> KeyPair:
        """A fresh key pair."""
        # keys do not depend on the plaintext prime, but TenSEAL takes none without one
        ring = PlainRing(keys=keys, plain=keys.least_plain, summands=1)
        sizes = [keys.bits] * keys.count + [SPECIAL_BITS]
        with _native():
            scheme = tenseal.SCHEME_TYPE.BFV
            context = tenseal.context(scheme, keys.degree, ring.plain, sizes, n_threads=1)
            public = context.serialize(True, False, False, False)
            secret = context.serialize(False, True, False, False)
        head = _ciphertext_head(ring, key=True)
        residues = _words(_body(_field(_field(public, 2), 1), head, keys.key_words))
        words = (keys.count + 1) * keys.degree
        body = _body(_field(_field(secret, 3), 1), _secret_head(ring), words)
        return KeyPair(public=pack_key(residues, keys), secret=body)

    def encrypt(self, ring: PlainRing, public: bytes, slots: Slots) -> Residues:
        """Plaintexts -> residues of fresh ciphertexts."""
        residues = unpack_key(public, ring.keys)
        key = _blob(_ciphertext_head(ring, key=True), residues.tobytes())
        public_context = _message((1, key)) + _FLAGS
        context = _context(_message((1, _parameters(ring)), (2, public_context)))
        return np.concatenate([self._encrypted(ring, context, row) for row in slots])

    def decrypt(self, ring: PlainRing, secret: bytes, residues: Residues) -> Slots:
        """Residues -> plaintexts."""
        private = _message((1, _blob(_secret_head(ring), secret)))
        context = _context(_message((1, _parameters(ring)), (2, _FLAGS), (3, private)))
        blocks = residues.reshape(-1, ring.keys.words)
        return np.stack([self._decrypted(ring, context, row) for row in blocks])

    def encrypt_reals(self, ring: RealRing, public: bytes, reals: Reals) -> Residues:
        """Reals -> residues of fresh CKKS ciphertexts."""
        residues = unpack_key(public, ring.keys)
        key = _blob(_ciphertext_head(ring, key=True), residues.tobytes())
        public_context = _message((1, key)) + _FLAGS
        context = _context(_message((1, _parameters(ring)), (2, public_context)))
        return np.concatenate([self._encrypted_reals(ring, context, row) for row in reals])

    def decrypt_reals(self, ring: RealRing, secret: bytes, residues: Residues) -> Reals:
        """Residues -> reals."""
        private = _message((1, _blob(_secret_head(ring), secret)))
        context = _context(_message((1, _parameters(ring)), (2, _FLAGS), (3, private)))
        blocks = residues.reshape(-1, ring.keys.words)
        return np.stack([self._decrypted_reals(ring, context, row) for row in blocks])

    def _encrypted_reals(self, ring: RealRing, context: tenseal.Context, reals: Reals) -> Residues:
        with _native():
            serialized = tenseal.ckks_vector(context, reals, ring.scale).serialize()
        head = _ciphertext_head(ring, key=False)
        return _words(_body(_field(serialized, 2), head, ring.keys.words))

    def _decrypted_reals(self, ring: RealRing, context: tenseal.Context, block: Residues) -> Reals:
        blob = _blob(_ciphertext_head(ring, key=False), block.tobytes())
        scale = _varint(3 << 3 | _FIXED64) + np.float64(ring.scale).tobytes()
        sizes = _message((1, _varint(ring.keys.degree // 2)), (2, blob)) + scale
        with _native():
            return np.array(tenseal.ckks_vector_from(context, sizes).decrypt(), np.float64)

    def _encrypted(self, ring: PlainRing, context: tenseal.Context, slots: Slots) -> Residues:
        with _native():
            serialized = tenseal.bfv_vector(context, slots.astype(np.int64)).serialize()
        head = _ciphertext_head(ring, key=False)
        return _words(_body(_field(serialized, 2), head, ring.keys.words))

    def _decrypted(self, ring: PlainRing, context: tenseal.Context, block: Residues) -> Slots:
        blob = _blob(_ciphertext_head(ring, key=False), block.tobytes())
        count = _varint(ring.keys.degree)
        with _native():
            vector = tenseal.bfv_vector_from(context, _message((1, count), (2, blob)))
            centered = np.array(vector.decrypt(), np.int64)
        return np.where(centered < 0, centered + ring.plain, centered).astype("<u8")


def _context(serialized: bytes) -> tenseal.Context:
    with _native():
        return tenseal.Context.load(serialized, n_threads=1)


@contextmanager
def _native() -> Iterator[None]:
    try:
        yield
    except (ValueError, RuntimeError, IndexError):  # what pybind11 makes of SEAL's exceptions
        raise CipherFailed("TenSEAL refused its own parameters or values") from None


# -- what SEAL writes -----------------------------------------------------------------------


def _header(size: int, mode: int) -> bytes:
    return _MAGIC + bytes((mode, 0, 0)) + size.to_bytes(8, "little")


def _stored(body: bytes) -> bytes:
    return _header(_HEADER + len(body), _STORED) + body


def _blob(head: bytes, body: bytes) -> bytes:
    """A SEAL object: what names it, then an array of words."""
    return _stored(head + _stored((len(body) // 8).to_bytes(8, "little") + body))


def _body(blob: bytes, head: bytes, words: int) -> bytes:
    """The words of a SEAL object that was written here; the inverse of `_blob`.

    Raises `CipherFailed` unless it is one with this head and so many words.
    """
    due = _blob(head, bytes(8 * words))[_HEADER : -8 * words]
    if blob[:_HEADER] != _header(len(blob), _ZSTD):
        raise CipherFailed("TenSEAL wrote another version or compression than this module reads")
    decompressor = zstandard.ZstdDecompressor()
    try:
        plain = decompressor.decompress(blob[_HEADER:], max_output_size=len(due) + 8 * words)
    except zstandard.ZstdError:
        raise CipherFailed("TenSEAL wrote more than its parameters allow") from None
    if plain[: len(due)] != due or len(plain) != len(due) + 8 * words:
        raise CipherFailed("TenSEAL chose other parameters than were asked for")
    return plain[len(due) :]


def _ciphertext_head(ring: PlainRing | RealRing, *, key: bool) -> bytes:
    """Parameters, form, polynomials, degree, primes, scale, correction. A public key is one too."""
    primes = ring.keys.count + key
    sizes = b"".join(number.to_bytes(8, "little") for number in (2, ring.keys.degree, primes))
    correction = (1).to_bytes(8, "little")
    form, scale = key, _ONE  # keys, and all that CKKS encrypts, are in evaluation form
    if isinstance(ring, RealRing) and not key:
        form, scale = True, np.float64(ring.scale).tobytes()
    return ring.identifier(key=key) + bytes((form,)) + sizes + scale + correction


def _secret_head(ring: PlainRing | RealRing) -> bytes:
    """Parameters, coefficients, scale: a secret key is a plaintext."""
    words = (ring.keys.count + 1) * ring.keys.degree
    return ring.identifier(key=True) + words.to_bytes(8, "little") + _ONE


def _parameters(ring: PlainRing | RealRing) -> bytes:
    """Scheme, degree, primes, plaintext prime."""
    primes = ring.keys.primes
    sizes = ring.keys.degree.to_bytes(8, "little") + len(primes).to_bytes(8, "little")
    kind, plain = (b"\x02", 0) if isinstance(ring, RealRing) else (b"\x01", ring.plain)
    moduli = (number.to_bytes(8, "little") for number in (*primes, plain))
    return _stored(kind + sizes + b"".join(_stored(modulus) for modulus in moduli))


def _words(body: bytes) -> Residues:
    return np.frombuffer(body, "<u8")


# -- what TenSEAL wraps around it: protobuf -------------------------------------------------


def _varint(number: int) -> bytes:
    out = bytearray()
    while number > 127:
        out.append(number & 127 | 128)
        number >>= 7
    return bytes((*out, number))


def _message(*fields: tuple[int, bytes]) -> bytes:
    tagged = ((_varint(tag << 3 | _LENGTH_DELIMITED), body) for tag, body in fields)
    return b"".join(tag + _varint(len(body)) + body for tag, body in tagged)


def _field(message: bytes, wanted: int) -> bytes:
    """The bytes of a field of a message that TenSEAL wrote."""
    at = 0
    while at < len(message):
        tag, at = _read_varint(message, at)
        number, kind = tag >> 3, tag & 7
        if kind == _LENGTH_DELIMITED:
            size, at = _read_varint(message, at)
            if number == wanted:
                return message[at : at + size]
            at += size
        elif kind == _VARINT:
            _, at = _read_varint(message, at)
        else:
            break
    raise CipherFailed("TenSEAL wrote a message without a field that is due")


def _read_varint(message: bytes, at: int) -> tuple[int, int]:
    number = 0
    for shift, byte in zip(itertools.count(0, 7), _bytes_from(message, at), strict=False):
        number, at = number | (byte & 127) << shift, at + 1
        if byte < 128:
            break
    return number, at


def _bytes_from(message: bytes, at: int) -> Iterator[int]:
    return itertools.islice(message, at, None)
