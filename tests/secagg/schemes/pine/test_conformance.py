"""The scheme with two aggregators keeps the promises of every scheme."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import numpy as np
import pytest

from secagg.identity import PartyId
from secagg.primitives.ring import Words, centered, word
from secagg.scheme import Scheme
from secagg.schemes.pine import Entries, PineScreen, Reference, TwoAggregators
from secagg.testing import SeededRand
from secagg.testing.conformance import SchemeConformance
from secagg.testing.parties import Parties, make_round
from secagg.vdaf.claim import squared_norm


class Small(SchemeConformance):
    """Vectors within the bound."""

    widths: ClassVar[Sequence[int]] = (8, 16, 17, 31, 32, 33, 63, 64)
    patterns: ClassVar[int] = 6
    minimum: ClassVar[int] = 2

    def scheme(self, clients: int, length: int, width: int) -> Scheme:
        return TwoAggregators(
            clients=clients,
            length=length,
            width=width,
            bound=min(((1 << width - 1) - 1) // clients, 30_854_650),
            minimum=self.minimum,
            corrupt=0.0,
            screen=self.screen_of(length),
        )

    def screen_of(self, length: int) -> PineScreen | None:
        """What rounds open of vectors of this length: nothing."""
        return None

    @property
    def held(self) -> int:
        """Vectors of a client that a snapshot may have: here all arrive before the first reply."""
        return 1

    def inputs(self, parties: Parties, seed: object = 0) -> dict[PartyId, Words]:
        scheme = parties.scheme
        assert isinstance(scheme, TwoAggregators)
        most = int(scheme.bound / scheme.length**0.5)
        rand = SeededRand(repr(("inputs", seed)))
        rng = np.random.default_rng(int.from_bytes(rand(8), "little"))
        return {
            party: self.residues(rng.integers(-most, most + 1, scheme.length), scheme.width)
            for party in parties.clients
        }

    def residues(self, vector: np.ndarray, width: int) -> Words:
        mask = np.uint64((1 << width) - 1)
        return (vector.astype(np.uint64) & mask).astype(word(width))

    def accepts(self, scheme: Scheme, vector: Words) -> bool:
        assert isinstance(scheme, TwoAggregators)
        signed = centered(vector, scheme.width)
        if np.any(signed > scheme.bound) or np.any(signed < -scheme.bound):
            return False
        return squared_norm(signed) <= scheme.bound**2

    def test_ids_may_have_gaps(self) -> None:
        """The greatest id of all is the helper's."""
        ids = [5, 6, 255, 65_536, 2**31, 2**32 - 3][-self.clients :]
        self._check(make_round(self.scheme(len(ids), self.length, self.width), ids=ids))

    def test_the_server_keeps_one_vector_however_many_arrive(self) -> None:
        """And what is `held` of each client."""
        long, short = (self._peak(length) for length in (20_000, 1))
        verifier = 4096  # of one report, more than with one residue
        vectors = (1 + self.held * self.clients) * 8 * 20_000
        assert long - short <= vectors + (1 + self.held) * self.clients * verifier


class TestTwoAggregators(Small):
    """Nothing is opened but who is valid."""


class ToyScreen(PineScreen):
    """Opens much of short vectors: for tests of everything but how much that tells."""

    least_ratio = 0


class Screened(Small):
    """The sealed reports are kept until the end."""

    stores_inputs = True
    patterns = 2
    widths = (8, 33, 64)

    @property
    def held(self) -> int:
        """The sealed share stays."""
        return 2


@pytest.mark.slow
class TestScreened(Screened):
    """Numbers of each client."""

    cohorts = (3, 8)

    def screen_of(self, length: int) -> PineScreen:
        reference = Reference(np.ones(length, np.int64))
        return ToyScreen(norm=True, rows=5, buckets=16, reference=reference)


@pytest.mark.slow
class TestScreenedGroups(Screened):
    """Numbers of sums over two groups or three."""

    clients = 6
    cohorts = (6, 7)
    minimum = 4

    def screen_of(self, length: int) -> PineScreen:
        return ToyScreen(rows=5, buckets=16, group=2)


@pytest.mark.slow
class TestEntries(Small):
    """Nothing is proven but the range of each entry."""

    widths = (8, 33, 64)
    patterns = 3

    def scheme(self, clients: int, length: int, width: int) -> Scheme:
        return TwoAggregators(
            clients=clients,
            length=length,
            width=width,
            minimum=self.minimum,
            corrupt=0.0,
            entries=Entries(count=length, bits=2),
        )

    def inputs(self, parties: Parties, seed: object = 0) -> dict[PartyId, Words]:
        scheme = parties.scheme
        rand = SeededRand(repr(("entries", seed)))
        rng = np.random.default_rng(int.from_bytes(rand(8), "little"))
        return {
            party: self.residues(rng.integers(0, 4, scheme.length), scheme.width)
            for party in parties.clients
        }

    def accepts(self, scheme: Scheme, vector: Words) -> bool:
        return bool(np.all(vector < 4))

    @property
    def held(self) -> int:
        """A residue is two elements of the field here."""
        return 2
