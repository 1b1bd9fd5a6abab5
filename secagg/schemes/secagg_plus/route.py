"""Parcels from dealers to holders, as tables: no Python loop over n times k rows."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from secagg.identity import PartyId
from secagg.schemes.secagg_plus.states import TAGS
from secagg.wire import Table

__all__ = ["agreeing", "deliver"]


def agreeing(parcels: Mapping[PartyId, Table], least: int) -> set[PartyId]:
    """The dealers to go on with: no edge among them has two different tags, and each keeps at
    least `least` neighbours.

    Both ends of an edge post its tag. Where they differ one of them lies, and the server cannot
    tell which; the client in most such quarrels goes first, and two that only quarrel with each
    other both go. A liar can thus take at most one honest client with it per edge it gives up.
    """
    quarrels = _quarrels(parcels)
    left = set(parcels)
    while quarrels:
        most = max(len(others) for others in quarrels.values())
        for peer in [peer for peer, others in quarrels.items() if len(others) == most]:
            left.discard(peer)
            for other in quarrels.pop(peer, ()):
                quarrels.get(other, set()).discard(peer)
        quarrels = {peer: others for peer, others in quarrels.items() if others}
    return _keep_sharable(parcels, left, least)


def deliver(
    parcels: Mapping[PartyId, Table],
) -> tuple[dict[PartyId, Table], dict[PartyId, Table]]:
    """Per holder its parcels, by dealer; and per dealer the tags of its shares, by holder.

    Only rows between two of the given dealers travel.
    """
    if not parcels:
        return {}, {}
    rows, dealers = _stack(parcels)
    kept = np.isin(rows["peer"], np.fromiter(parcels, np.uint32))
    rows, dealers = rows[kept], dealers[kept]
    holders = rows["peer"].copy()
    tags = np.empty(rows.size, TAGS.dtype)
    for name in TAGS.dtype.names or ():
        tags[name] = rows[name]
    tables = _split(tags, dealers)
    rows["peer"] = dealers
    order = np.lexsort((dealers, holders))
    return _split(rows[order], holders[order]), tables


def _quarrels(parcels: Mapping[PartyId, Table]) -> dict[PartyId, set[PartyId]]:
    rows, dealers = _stack(parcels)
    known = np.isin(rows["peer"], np.fromiter(parcels, np.uint32))
    rows, dealers = rows[known], dealers[known]
    low, high = np.minimum(dealers, rows["peer"]), np.maximum(dealers, rows["peer"])
    order = np.lexsort((high, low))
    low, high, tags = low[order], high[order], rows["edge_tag"][order]
    # the two postings of an edge are now adjacent
    differ = (tags[0::2] != tags[1::2]).any(axis=1)
    found: dict[PartyId, set[PartyId]] = {}
    for one, other in zip(low[0::2][differ].tolist(), high[0::2][differ].tolist(), strict=True):
        found.setdefault(one, set()).add(other)
        found.setdefault(other, set()).add(one)
    return found


def _keep_sharable(
    parcels: Mapping[PartyId, Table], left: set[PartyId], least: int
) -> set[PartyId]:
    """Drop clients whose secrets too few remaining neighbours would hold, until none is left."""
    while True:
        members = np.fromiter(left, np.uint32)
        poor = {
            peer
            for peer in left
            if np.count_nonzero(np.isin(parcels[peer].rows["peer"], members)) < least
        }
        if not poor:
            return left
        left = left - poor


def _stack(parcels: Mapping[PartyId, Table]) -> tuple[NDArray[Any], NDArray[np.uint32]]:
    rows = np.concatenate([table.rows for table in parcels.values()])
    counts = [len(table) for table in parcels.values()]
    return rows, np.repeat(np.fromiter(parcels, np.uint32), counts)


def _split(rows: NDArray[Any], keys: NDArray[np.uint32]) -> dict[PartyId, Table]:
    """Cut `rows` where the sorted `keys` change."""
    parties, starts = np.unique(keys, return_index=True)
    pieces = np.split(rows, starts[1:])
    return {int(party): Table(piece.copy()) for party, piece in zip(parties, pieces, strict=True)}
