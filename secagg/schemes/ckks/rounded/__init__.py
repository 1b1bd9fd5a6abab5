"""Sums under CKKS, rounded to integers by the authority; docs/spec/ckks.md."""

from secagg.schemes.ckks.rounded.params import EncryptedRounded

__all__ = ["EncryptedRounded"]
