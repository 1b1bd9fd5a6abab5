"""What both aggregators do to open statistics: a half each, and what two halves come to."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Collection, Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from secagg.errors import DecodeError, RemoteProtocolError
from secagg.event import GroupStatistics, Statistics
from secagg.identity import PartyId
from secagg.primitives.field import Elements
from secagg.schemes.pine import derive

if TYPE_CHECKING:
    from secagg.schemes.pine.params import TwoAggregators

__all__ = ["half_of", "opened"]

Parts = tuple[tuple[PartyId, ...], ...]


def half_of(
    params: TwoAggregators,
    screen: bytes,
    batch: Collection[PartyId],
    share_of: Callable[[PartyId], Elements],
) -> bytes:
    """One aggregator's half, under this transcript: a row for each client, or for each group.

    share_of: its share of a client's vector and norm. One is held at a time, and the sum of a
    group before it is opened.
    """
    field = params.limits_of_norm.field
    pine_map = params.opened_map(derive.sketch_seed(screen))
    rows = []
    for members in params.parts(screen, batch):
        total = share_of(members[0])
        for client in members[1:]:
            total = field.add(total, share_of(client))
        rows.append(pine_map.of(total))
    return field.encode(np.concatenate(rows))


def opened(
    params: TwoAggregators, screen: bytes, batch: Collection[PartyId], halves: Sequence[bytes]
) -> Statistics | GroupStatistics:
    """What two halves come to.

    Raises `RemoteProtocolError` for one that is malformed, or whose numbers are none of inputs
    within the bound.
    """
    field, parts = params.limits_of_norm.field, params.parts(screen, batch)
    try:
        one, other = (field.decode(half) for half in halves)
    except DecodeError as error:
        raise RemoteProtocolError(f"a half of what is opened: {error}") from None
    due = len(parts) * params.opened
    if len(one) != due or len(other) != due:
        raise RemoteProtocolError("a half of what is opened has another length")
    found = field.centered(field.add(one, other)).reshape(len(parts), params.opened)
    return _statistics(params, screen, parts, found)


def _statistics(
    params: TwoAggregators, screen: bytes, parts: Parts, found: NDArray[np.int64]
) -> Statistics | GroupStatistics:
    assert params.screen is not None, "something is opened"
    sizes, seed = np.array([len(part) for part in parts]), derive.sketch_seed(screen)
    if not params.screen.possible(found, sizes, params.limits_of_norm):
        raise RemoteProtocolError("a half makes numbers that no inputs within the bound have")
    columns = params.screen.columns(found, sizes)
    if params.screen.group:
        del columns["norms"]
        proven = np.ones(len(parts), np.bool_)
        return GroupStatistics(groups=parts, within=proven, seed=seed, **columns)
    clients = tuple(client for (client,) in parts)
    eligible = frozenset(itertools.compress(clients, params.screen.within(found)))
    return Statistics(clients=clients, eligible=eligible, seed=seed, **columns)
