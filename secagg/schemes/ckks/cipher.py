"""The port to native code: what encrypts and decrypts. Implementations stand beside it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Protocol

from secagg.schemes.ckks.layout import Slots
from secagg.schemes.ckks.reals import RealRing, Reals
from secagg.schemes.ckks.residues import Residues
from secagg.schemes.ckks.ring import KeyRing, PlainRing

__all__ = ["Cipher", "KeyPair"]


@dataclass(frozen=True, kw_only=True)
class KeyPair:
    """public: packed, see `residues.pack_key`. secret: residues modulo every prime, as words."""

    public: bytes = field(repr=False)
    secret: bytes = field(repr=False)


class Cipher(Protocol):
    """BFV with batching [FanVercauteren12], and CKKS [CheonKimKimSong17]. Every argument was
    checked by the caller.

    Raises `secagg.errors.CipherFailed`, and nothing else.
    """

    def generate(self, keys: KeyRing) -> KeyPair:
        """A fresh key pair, from the native code's own randomness."""
        ...

    def encrypt(self, ring: PlainRing, public: bytes, slots: Slots) -> Residues:
        """(blocks, degree) plaintexts -> (blocks * words,) residues of fresh ciphertexts."""
        ...

    def encrypt_reals(self, ring: RealRing, public: bytes, reals: Reals) -> Residues:
        """(blocks, degree / 2) reals -> (blocks * words,) residues of fresh CKKS ciphertexts."""
        ...

    def decrypt_reals(self, ring: RealRing, secret: bytes, residues: Residues) -> Reals:
        """(blocks * words,) residues -> (blocks, degree / 2) reals, noise included."""
        ...

    def decrypt(self, ring: PlainRing, secret: bytes, residues: Residues) -> Slots:
        """(blocks * words,) residues -> (blocks, degree) plaintexts in [0, plain)."""
        ...
