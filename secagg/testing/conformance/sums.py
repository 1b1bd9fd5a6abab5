"""The released sum is exact, whatever the sizes, the values and the order of events."""

from __future__ import annotations

import numpy as np

from secagg.identity import PartyId
from secagg.primitives.ring import Words, word
from secagg.testing.conformance.harness import Harness
from secagg.testing.faults import Delay, Duplicate, Reorder, Tardy
from secagg.testing.parties import Parties
from secagg.testing.rand import SeededRand

__all__ = ["Sums"]


class Sums(Harness):
    def test_sum_is_exact_for_every_cohort(self) -> None:
        for clients in self.cohorts:
            self._check(self.round_of(self.scheme(clients, self.length, self.width)))

    def test_sum_is_exact_for_every_width(self) -> None:
        for width in self.widths:
            self._check(self.round_of(self.scheme(self.cohorts[0], self.length, width)))

    def test_sum_is_exact_for_every_length(self) -> None:
        for length in (1, 2, 63, 64, 65, 1000):
            self._check(self.round_of(self.scheme(self.cohorts[0], length, self.width)))

    def test_sum_is_exact_for_extreme_values(self) -> None:
        for width in self.widths:
            parties = self.round_of(self.scheme(self.cohorts[0], self.length, width))
            for rows in self._extremes(parties):
                if all(self.accepts(parties.scheme, row) for row in rows.values()):
                    self._check(parties, rows)

    def test_ids_may_have_gaps(self) -> None:
        most = 2**32 - (2 if self.keeper is None else 3)
        ids = [1, 5, 255, 256, 65_536, 2**31, most][-self.clients :]
        scheme = self.scheme(len(ids), self.length, self.width)
        self._check(self.round_of(scheme, SeededRand("gaps"), ids=ids))

    def test_inputs_may_come_late(self) -> None:
        parties = self.usual()
        inputs = self.inputs(parties)
        for tardy in ([parties.clients[0]], list(parties.clients)):
            result = self.play(parties, inputs, faults=[Tardy(party) for party in tardy])
            self.check_exact(result, inputs, set(parties.clients))

    def test_order_of_arrival_does_not_matter(self) -> None:
        parties = self.usual()
        inputs = self.inputs(parties)
        for seed in range(4):
            result = self.play(parties, inputs, faults=[Delay(), Reorder()], seed=seed)
            self.check_exact(result, inputs, set(parties.clients))
            self.check_nobody_blamed(result)
            assert not result.errors

    def test_the_same_seed_gives_the_same_round(self) -> None:
        parties = self.usual()
        faults = [Delay(chance=0.5), Reorder(chance=0.5), Duplicate(chance=0.2)]
        one, same = (self.play(parties, faults=faults, seed=1) for _ in range(2))
        assert one.shape == same.shape
        assert one.received == same.received

    def test_the_server_keeps_one_vector_however_many_arrive(self) -> None:
        """Bytes of its snapshot that grow with the length: at most what `kept` says."""
        long, short = (self._peak(length) for length in (20_000, 1))
        assert long - short <= self.kept(20_000)

    def _peak(self, length: int) -> int:
        parties = self.round_of(self.scheme(self.clients, length, self.width))
        sizes: list[int] = []
        self.play(
            parties,
            durable=True,
            watch=lambda node: sizes.append(len(node.stored or b"") if node.tolerant else 0),
        )
        return max(sizes)

    def _check(self, parties: Parties, inputs: dict[PartyId, Words] | None = None) -> None:
        rows = self.inputs(parties) if inputs is None else inputs
        result = self.play(parties, rows)
        self.check_exact(result, rows, set(parties.clients))
        assert not any(result.aggregate.dropped.values()) if result.aggregate else False
        assert not result.errors
        assert not result.refused

    def _extremes(self, parties: Parties) -> list[dict[PartyId, Words]]:
        scheme = parties.scheme
        dtype = word(scheme.width)
        least = np.zeros(scheme.length, dtype)
        most = np.full(scheme.length, (1 << scheme.width) - 1, dtype)
        first = parties.clients[0]
        mixed = {party: most if party == first else least for party in parties.clients}
        return [dict.fromkeys(parties.clients, least), dict.fromkeys(parties.clients, most), mixed]
