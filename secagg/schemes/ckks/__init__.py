"""Sums under homomorphic encryption, with a key authority that opens nothing but sums.

`EncryptedExact` sums integers exactly, by BFV. `EncryptedScreened` opens numbers before the sum,
`EncryptedRounded` takes CKKS. Only clients and the authority need `secagg[he]`.
"""

from secagg.schemes.ckks.holder import KeyAuthority
from secagg.schemes.ckks.params import EncryptedExact, EncryptedScheme
from secagg.schemes.ckks.rounded import EncryptedRounded
from secagg.schemes.ckks.screened import EncryptedScreened, SlotMap, SlotScreen

__all__ = [
    "EncryptedExact",
    "EncryptedRounded",
    "EncryptedScheme",
    "EncryptedScreened",
    "KeyAuthority",
    "SlotMap",
    "SlotScreen",
]
