"""Who masks with whom: the complete graph, or a Harary ring over a permutation nobody chose."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from secagg.groups import shuffled
from secagg.identity import PartyId

__all__ = ["Graph"]


@dataclass(frozen=True)
class Graph:
    """A regular graph on the invited clients.

    order: the clients around the ring. reach: each is joined to its `reach` nearest on both sides;
    the complete graph has a reach of half the clients or more.
    own: whether a client holds a share of its own secrets too.
    """

    order: tuple[PartyId, ...]
    reach: int
    own: bool = False

    @classmethod
    def complete(cls, clients: Sequence[PartyId], *, own: bool = False) -> Graph:
        """Everybody with everybody."""
        return cls(tuple(clients), len(clients), own)

    @classmethod
    def drawn(cls, clients: Sequence[PartyId], reach: int, seed: bytes) -> Graph:
        """A Harary ring in the order that the 32-byte `seed` draws."""
        return cls(shuffled(clients, seed), reach)

    def neighbours(self, client: PartyId) -> tuple[PartyId, ...]:
        """The clients joined to `client`, ascending."""
        count = len(self.order)
        if 2 * self.reach >= count - 1:
            return tuple(sorted(other for other in self.order if other != client))
        place = self._place[client]
        steps = (*range(1, self.reach + 1), *range(-self.reach, 0))
        return tuple(sorted(self.order[(place + step) % count] for step in steps))

    def holders(self, client: PartyId) -> tuple[PartyId, ...]:
        """Who holds shares of its secrets, ascending. A share's point is 1 + the place in here."""
        others = self.neighbours(client)
        return tuple(sorted((*others, client))) if self.own else others

    def weakest_window(self, included: Collection[PartyId]) -> int:
        """Fewest members of `included` among any `reach` consecutive places of the ring.

        Whoever wants to cut the ring must empty two disjoint windows of honest members.
        """
        present = np.isin(np.array(self.order), np.fromiter(included, np.int64)).astype(np.int64)
        wrapped: NDArray[np.int64] = np.concatenate([[0], present, present[: self.reach]]).cumsum()
        return int((wrapped[self.reach :] - wrapped[: -self.reach]).min())

    @cached_property
    def _place(self) -> dict[PartyId, int]:
        return {client: place for place, client in enumerate(self.order)}
