"""The encrypted scheme keeps every promise of a scheme, with a third party on the wire."""

from __future__ import annotations

import pytest
from hypothesis import settings

pytest.importorskip("tenseal")

from secagg.scheme import Scheme
from secagg.schemes.ckks import KeyAuthority
from secagg.schemes.ckks.layout import layout
from secagg.testing.conformance import SchemeConformance
from secagg.testing.rand import SeededRand
from secagg.testing.stateful import RoundRules

KEEPER = KeyAuthority.generate(SeededRand("keeper"))


class TestEncryptedExact(SchemeConformance):
    keeper = KEEPER
    patterns = 12

    def scheme(self, clients: int, length: int, width: int) -> Scheme:
        return KEEPER.scheme(clients=clients, length=length, width=width, corrupt=0.0, dropout=0.34)

    def kept(self, length: int) -> int:
        """The sum of the ciphertexts, in words; and packed, in the request that is on its way."""
        shape = layout(self.clients, length, self.width)
        return 8 * shape.words + shape.size


class EncryptedRounds(RoundRules):
    keeper = KEEPER

    def scheme(self) -> Scheme:
        return KEEPER.scheme(clients=5, length=3, width=20, corrupt=0.0, dropout=0.4)


TestEncryptedRounds = EncryptedRounds.TestCase
TestEncryptedRounds.settings = settings(deadline=None, max_examples=10, stateful_step_count=20)
