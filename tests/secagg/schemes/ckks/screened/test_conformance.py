"""The screened variant keeps every promise of a scheme, for vectors within its bound."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import pytest
from hypothesis import settings

pytest.importorskip("tenseal")

from secagg.identity import PartyId
from secagg.primitives.ring import Words, centered, reduce, word
from secagg.scheme import Scheme
from secagg.schemes.ckks import EncryptedScreened, KeyAuthority, SlotScreen
from secagg.testing.conformance import SchemeConformance
from secagg.testing.parties import Parties
from secagg.testing.rand import SeededRand
from secagg.testing.stateful import RoundRules

KEEPER = KeyAuthority.generate(SeededRand("keeper"))


@dataclass(frozen=True, kw_only=True)
class FewDraws(SlotScreen):
    """INSECURE: opens more numbers than there are coordinates, of few combinations."""

    draws: ClassVar[int] = 2
    least_ratio: ClassVar[int] = 0
    rows: int = 2


def scheme(clients: int, length: int, width: int) -> Scheme:
    screen = FewDraws(bound=1 << (width - 9))
    return KEEPER.scheme(
        clients=clients, length=length, width=width, corrupt=0.0, dropout=0.4, screen=screen
    )


def within(parties: Parties, seed: object) -> dict[PartyId, Words]:
    """A weight of 1, and an update so small that two rows cannot overestimate it beyond bounds."""
    shape = parties.scheme
    assert isinstance(shape, EncryptedScreened)
    most = max(shape.screen.bound // (4 * shape.length), 1)
    rand = SeededRand(repr(("inputs", seed)))
    found = {}
    for party in parties.clients:
        drawn = np.frombuffer(rand(8 * shape.length), "<i8") % (2 * most + 1) - most
        drawn[0] = 1
        found[party] = reduce(drawn.astype(word(shape.width)), shape.width)
    return found


@pytest.mark.slow
class TestEncryptedScreened(SchemeConformance):
    keeper = KEEPER
    clients = 4
    patterns = 4
    cohorts = (3, 5)
    widths = (16, 33, 48)
    stores_inputs = True

    def scheme(self, clients: int, length: int, width: int) -> Scheme:
        return scheme(clients, length, width)

    def inputs(self, parties: Parties, seed: object = 0) -> dict[PartyId, Words]:
        return within(parties, seed)

    def accepts(self, scheme: Scheme, vector: Words) -> bool:
        """A weight of 1, and nothing after it that could be too large."""
        rest = centered(vector, scheme.width)[1:]
        return int(vector[0]) == 1 and int(np.abs(rest.astype(np.float64)).sum()) < 8

    def kept(self, length: int) -> int:
        """Every client's ciphertexts in words, and the combinations, packed, on their way."""
        shape = self.scheme(self.clients, length, self.width)
        assert isinstance(shape, EncryptedScreened)
        return 8 * shape.layout.words * (self.clients + 1) + shape.limits.blob


class ScreenedRounds(RoundRules):
    keeper = KEEPER

    def scheme(self) -> Scheme:
        return scheme(4, 3, 20)


TestScreenedRounds = ScreenedRounds.TestCase
TestScreenedRounds.settings = settings(deadline=None, max_examples=4, stateful_step_count=12)
