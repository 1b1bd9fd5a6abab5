"""The scheme with two aggregators keeps the promises of every scheme."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import numpy as np

from secagg.identity import PartyId
from secagg.primitives.ring import Words, centered, word
from secagg.scheme import Scheme
from secagg.schemes.pine import TwoAggregators
from secagg.testing import SeededRand
from secagg.testing.conformance import SchemeConformance
from secagg.testing.parties import Parties, make_round
from secagg.vdaf.claim import squared_norm


class TestTwoAggregators(SchemeConformance):
    widths: ClassVar[Sequence[int]] = (8, 16, 17, 31, 32, 33, 63, 64)
    patterns: ClassVar[int] = 6

    def scheme(self, clients: int, length: int, width: int) -> Scheme:
        bound = min(((1 << width - 1) - 1) // clients, 30_854_650)
        return TwoAggregators(
            clients=clients, length=length, width=width, bound=bound, minimum=2, corrupt=0.0
        )

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
        ids = [5, 255, 65_536, 2**31, 2**32 - 3]
        self._check(make_round(self.scheme(5, self.length, self.width), ids=ids))

    def test_the_server_keeps_one_vector_however_many_arrive(self) -> None:
        """And one for each report whose reply is due: here all arrive before the first reply."""
        long, short = (self._peak(length) for length in (20_000, 1))
        verifier = 4096  # of one report, more than with one residue
        assert long - short <= (1 + self.clients) * 8 * 20_000 + self.clients * verifier
