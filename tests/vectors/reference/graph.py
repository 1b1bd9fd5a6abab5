"""Who masks with whom: the complete graph, or a ring in pseudorandom order."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from reference.hashing import digest
from reference.ring import stream

__all__ = ["graph_seed", "neighbours", "ring_order", "weakest_window"]


def graph_seed(cohort: bytes) -> bytes:
    """The seed of the ring, from the first transcript."""
    return digest("graph", cohort)


def ring_order(clients: Sequence[int], seed: bytes) -> list[int]:
    """The invited clients around the ring.

    Client i, counted by ascending id, gets bytes 16i … 16i + 15 of the stream: two little-endian
    words of 64 bits, the first of which decides; equal pairs keep the order of the ids.
    """
    data = stream(seed, 16 * len(clients))

    def key(place: int) -> tuple[int, int]:
        at = 16 * place
        first, second = data[at : at + 8], data[at + 8 : at + 16]
        return int.from_bytes(first, "little"), int.from_bytes(second, "little")

    ascending = sorted(clients)
    return [ascending[place] for place in sorted(range(len(clients)), key=key)]


def neighbours(order: Sequence[int], reach: int, client: int) -> list[int]:
    """Those within `reach` places of `client` on either side, ascending by id."""
    place = order.index(client)
    count = len(order)
    near = {order[(place + step) % count] for step in range(-reach, reach + 1)}
    return sorted(near - {client})


def weakest_window(order: Sequence[int], reach: int, included: Collection[int]) -> int:
    """The fewest members of `included` on `reach` consecutive places of the ring."""
    count = len(order)
    return min(
        sum(order[(start + step) % count] in included for step in range(reach))
        for start in range(count)
    )
