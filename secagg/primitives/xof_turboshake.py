"""TurboSHAKE128 [RFC 9861] as an `Xof`, in the two framings of the drafts: the extra `vdaf`.

Neither `cryptography` nor `hashlib` has it, so the package that has is imported here alone.
"""

from __future__ import annotations

from Crypto.Hash import TurboSHAKE128

__all__ = ["TurboShake", "TurboShake11"]


class TurboShake:
    """As in [VDAF, §6.2.1] since draft 13: two bytes of tag length, one of seed length."""

    seed_size = 32

    def __init__(self, seed: bytes, tag: bytes, *binders: bytes) -> None:
        self._stream = TurboSHAKE128.new(domain=1)
        self._stream.update(self._head(seed, tag))
        for binder in binders:
            self._stream.update(binder)

    def _head(self, seed: bytes, tag: bytes) -> bytes:
        framed = len(tag).to_bytes(2, "little") + tag
        return framed + len(seed).to_bytes(1, "little") + seed

    def read(self, size: int) -> bytes:
        """See `secagg.primitives.xof.Xof`."""
        return self._stream.read(size)


class TurboShake11(TurboShake):
    """As in draft 11, on which the published PINE vectors rest: one byte of tag length."""

    seed_size = 16

    def _head(self, seed: bytes, tag: bytes) -> bytes:
        return len(tag).to_bytes(1, "little") + tag + seed
