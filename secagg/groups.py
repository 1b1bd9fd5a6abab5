"""Groups of clients, of which only sums are opened: drawn when all inputs are in."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np

from secagg.identity import PartyId
from secagg.primitives import prg

__all__ = ["HONEST", "Groups", "shuffled"]

HONEST = 2
"""Members among whom each honest one is hidden: of one, the sum would be its own."""


def shuffled(clients: Sequence[PartyId], seed: bytes) -> tuple[PartyId, ...]:
    """The clients in the order that the 32-byte `seed` draws.

    They are sorted by 128 pseudorandom bits each. Two agree with probability below n**2 / 2**129,
    so the permutation is uniform for all purposes.
    """
    keys = np.frombuffer(prg.stream(seed, 16 * len(clients)), "<u8").reshape(-1, 2)
    ranks = np.lexsort((keys[:, 1], keys[:, 0])).tolist()
    return tuple(clients[rank] for rank in ranks)


@dataclass(frozen=True)
class Groups:
    """Disjoint groups, each ascending.

    floor: clients that a sum has at least, if it has any of a group.
    """

    members: tuple[tuple[PartyId, ...], ...]
    floor: int

    @classmethod
    def drawn(cls, clients: Sequence[PartyId], size: int, floor: int, seed: bytes) -> Groups:
        """As many groups of `size` or more as `clients` fill; sizes differ by one at most."""
        order, count = shuffled(clients, seed), len(clients) // size
        # every count-th client: the first groups have the one more
        return cls(tuple(tuple(sorted(order[at::count])) for at in range(count)), floor)

    def beyond(self, client: PartyId) -> frozenset[PartyId]:
        """All who are in another group than `client`."""
        others = (group for group in self.members if client not in group)
        return frozenset(peer for group in others for peer in group)

    def among(self, included: Collection[PartyId]) -> tuple[tuple[PartyId, ...], ...]:
        """Who of each group is included; groups without any are left out."""
        present = frozenset(included)
        parts = (tuple(p for p in group if p in present) for group in self.members)
        return tuple(part for part in parts if part)

    def short(self, included: Collection[PartyId]) -> frozenset[PartyId]:
        """Those included of whose group too few are: the sum of these would tell too much."""
        parts = (part for part in self.among(included) if len(part) < self.floor)
        return frozenset(peer for part in parts for peer in part)
