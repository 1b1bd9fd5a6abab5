"""Sums under homomorphic encryption, with a key authority that opens nothing but sums.

`EncryptedExact` sums integers exactly, by BFV. Only clients and the authority need `secagg[he]`.
"""

from secagg.schemes.ckks.holder import KeyAuthority
from secagg.schemes.ckks.params import EncryptedExact
from secagg.schemes.ckks.screened import EncryptedScreened, SlotMap, SlotScreen

__all__ = ["EncryptedExact", "EncryptedScreened", "KeyAuthority", "SlotMap", "SlotScreen"]
