"""The rounded variant keeps every promise of a scheme, for the widths that it is proven for."""

from __future__ import annotations

import pytest

pytest.importorskip("tenseal")

from secagg.scheme import Scheme
from secagg.schemes.ckks import KeyAuthority
from secagg.schemes.ckks.reals import rounded_layout
from secagg.testing.conformance import SchemeConformance
from secagg.testing.rand import SeededRand

KEEPER = KeyAuthority.generate(SeededRand("keeper"))


@pytest.mark.slow
class TestEncryptedRounded(SchemeConformance):
    keeper = KEEPER
    patterns = 8
    widths = (2, 7, 16, 17, 31, 32, 33)

    def scheme(self, clients: int, length: int, width: int) -> Scheme:
        return KEEPER.scheme(
            clients=clients, length=length, width=width, corrupt=0.0, dropout=0.34, approximate=True
        )

    def kept(self, length: int) -> int:
        """The sum of the ciphertexts, in words; and packed, in the request that is on its way."""
        shape = rounded_layout(self.clients, length, self.width)
        return 8 * shape.words + shape.size
