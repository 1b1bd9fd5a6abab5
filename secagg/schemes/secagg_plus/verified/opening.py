"""The server's last step where groups are opened: the sum, and the statistics of its groups."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from secagg.errors import IntegrityError
from secagg.event import Failed, GroupStatistics
from secagg.identity import PartyId
from secagg.machine import Over, Send, State, Step
from secagg.primitives.ring import Words, reduce, word
from secagg.schemes.secagg_plus.graph import Graph
from secagg.schemes.secagg_plus.unmask import Opener
from secagg.schemes.secagg_plus.verified import hearing
from secagg.schemes.secagg_plus.verified.messages import Closing
from secagg.schemes.secagg_plus.verified.states import Uncovering
from secagg.schemes.secagg_plus.verified.strike import Mask, finished, masks_by_client, taken_out

if TYPE_CHECKING:
    from secagg.schemes.secagg_plus.verified.params import SecAggPlusVerified

__all__ = ["open_groups"]


def open_groups(params: SecAggPlusVerified, graph: Graph, state: Uncovering) -> Step[State]:
    """The sum and what is opened of its groups; no sum if a group is beyond the bounds.

    Nobody can be convicted here. What clients said is of edges inside the sum, and its two ends
    agree; all other masks are rebuilt.
    """
    drawn, opener = state.drawn, Opener(params, graph, state)
    groups = params.groups(drawn.transcript, drawn.digests.peers)
    assert groups is not None, "of a plan that opens groups"
    masks = masks_by_client(state, opener)
    parts = groups.among(state.included.peers)
    sums = [_sum(params, state, part, masks) for part in parts]
    found = hearing.group_statistics(params, drawn, parts, sums)
    closing = Closing(members=state.book.members, proofs={})
    ended = finished(params, state) if found.within.all() else _withheld(found)
    send = (Send.to_all(closing, state.included.peers),)
    return Step(Over(), send, (*opener.rejected(), found, ended))


def _withheld(found: GroupStatistics) -> Failed:
    beyond = len(found.groups) - np.count_nonzero(found.within)
    reason = f"{beyond} of {len(found.groups)} groups are beyond the bounds: the sum is withheld"
    return Failed(IntegrityError(reason))


def _sum(
    params: SecAggPlusVerified,
    state: Uncovering,
    group: Sequence[PartyId],
    masks: Mapping[PartyId, list[Mask]],
) -> Words:
    """The sum (length,) of a group, under no masks but those between two clients in the sum. The
    others leave the total too.
    """
    found = np.zeros(params.length, word(params.width))
    for peer in group:
        found += state.drawn.uploads[peer]
        found -= taken_out(params, state.total, masks[peer])
    return reduce(found, params.width)
