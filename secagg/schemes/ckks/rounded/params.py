"""Parameters of the rounded variant."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from secagg.frame import Endpoint
from secagg.machine import Role
from secagg.schemes.ckks.cipher import Cipher
from secagg.schemes.ckks.params import EncryptedScheme, tenseal_cipher
from secagg.schemes.ckks.reals import RoundedLayout, rounded_layout
from secagg.schemes.ckks.rounded.authority import RoundingAuthority
from secagg.schemes.ckks.rounded.client import RoundedClient

__all__ = ["EncryptedRounded"]


@dataclass(frozen=True, kw_only=True)
class EncryptedRounded(EncryptedScheme):
    """Sums under CKKS, which the authority rounds to the integers that they are.

    `EncryptedExact` gives the same sums at less than half the bytes, for any width. This one is
    for comparison, and for what else one has CKKS ciphertexts for.

    Raises `ParameterError` where rounding is not proven to give the sum.
    """

    code: ClassVar[int] = 9
    name: ClassVar[str] = "ckks-rounded"

    @property
    def layout(self) -> RoundedLayout:
        return rounded_layout(self.clients, self.length, self.width)

    def client_role(self, endpoint: Endpoint) -> Role[Any]:
        return RoundedClient(self, endpoint, tenseal_cipher())

    def authority_role(self, endpoint: Endpoint, secret: bytes, cipher: Cipher) -> Role[Any]:
        return RoundingAuthority(self, endpoint, secret, cipher)
