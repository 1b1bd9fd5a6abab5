"""Parcels from dealers to holders, as tables: no Python loop over n times k rows."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from secagg.identity import PartyId
from secagg.schemes.secagg_plus.states import TAGS
from secagg.wire import Table

__all__ = ["agreeing", "deliver", "quarrels"]


def agreeing(
    parcels: Mapping[PartyId, Table], least: int, corrupt: int
) -> tuple[set[PartyId], dict[PartyId, str]]:
    """The dealers to go on with, and why others were left out.

    Both ends of an edge post its tag; where they differ one of them lies, and the server cannot
    tell which. Who quarrels with more than `corrupt` others quarrels with an honest one, and an
    honest one quarrels with liars only: it lies. Of the quarrels that are left, a maximal set of
    disjoint ones is settled by leaving out both ends. Each holds a liar, so no more honest clients
    go than liars, and at most `corrupt`. At last, dealers with fewer than `least` neighbours
    among the rest are left out: their secrets could not be rebuilt.
    """
    found = quarrels(parcels, "edge_tag")
    out = {
        peer: f"posted other tags than {len(others)} neighbours, where {corrupt} may collude"
        for peer, others in found.items()
        if len(others) > corrupt
    }
    for peer, others in sorted(found.items()):
        for other in sorted(others):
            if peer not in out and other not in out:
                out[peer] = f"posted another edge tag than client {other}: one of the two lies"
                out[other] = f"posted another edge tag than client {peer}: one of the two lies"
    return _keep_sharable(parcels, set(parcels) - out.keys(), least), out


def deliver(
    parcels: Mapping[PartyId, Table],
) -> tuple[dict[PartyId, Table], dict[PartyId, Table]]:
    """Per holder its parcels, by dealer; and per dealer the tags of its shares, by holder.

    Only rows between two of the given dealers travel. `parcels` must come ascending by dealer.
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


def quarrels(posted: Mapping[PartyId, Table], column: str) -> dict[PartyId, set[PartyId]]:
    """With whom each party does not agree on an edge: where one end has a row, so has the other.

    Rows on edges to oneself, or to parties that posted nothing, are passed over.
    """
    if not posted:
        return {}
    rows, dealers = _stack(posted)
    known = np.isin(rows["peer"], np.fromiter(posted, np.uint32)) & (rows["peer"] != dealers)
    rows, dealers = rows[known], dealers[known]
    low, high = np.minimum(dealers, rows["peer"]), np.maximum(dealers, rows["peer"])
    order = np.lexsort((high, low))
    low, high, tags = low[order], high[order], rows[column][order]
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
    if not keys.size:
        return {}
    parties, starts = np.unique(keys, return_index=True)
    pieces = np.split(rows, starts[1:])
    return {int(party): Table(piece.copy()) for party, piece in zip(parties, pieces, strict=True)}
