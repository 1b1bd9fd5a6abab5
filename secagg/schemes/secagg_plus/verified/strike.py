"""The server's last steps: remove the masks, check what was said of them, take liars out."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from secagg.errors import Aborted
from secagg.event import Aggregate, Failed, Finished, FraudProven
from secagg.frame import Endpoint
from secagg.identity import PartyId
from secagg.machine import Over, Send, State, Step
from secagg.primitives import prg
from secagg.primitives.ring import Words, reduce, word
from secagg.schemes.secagg_plus import transcript
from secagg.schemes.secagg_plus.graph import Graph
from secagg.schemes.secagg_plus.messages import OPENED
from secagg.schemes.secagg_plus.unmask import Opener, by_phase
from secagg.schemes.secagg_plus.verified import derive, hearing
from secagg.schemes.secagg_plus.verified.messages import Closing
from secagg.schemes.secagg_plus.verified.states import PHASES, Striking, Uncovering
from secagg.wire import Table, ids

if TYPE_CHECKING:
    from secagg.schemes.secagg_plus.verified.params import SecAggPlusVerified

__all__ = ["Mask", "can_settle", "finished", "masks_by_client", "settle", "taken_out", "uncover"]

_BATCH = 8  # vectors of masks in memory at a time


@dataclass(frozen=True)
class Mask:
    """One mask of an accepted client that is still in the total.

    secret: what its owner, or the server, rebuilt it from. adds: whether the client added it.
    """

    peer: PartyId
    secret: bytes
    key: bytes
    adds: bool


def uncover(
    params: SecAggPlusVerified, endpoint: Endpoint, graph: Graph, state: Uncovering
) -> Step[State]:
    """The sum, or the proofs against those whose sketches turn out to be false."""
    opener = Opener(params, graph, state)
    found = _convictions(params, endpoint, state, opener)
    closing = Closing(
        members=state.book.members,
        proofs={
            event.peer: hearing.proof_of(state.drawn, event.peer, peer, secret)
            for event, peer, secret in found
        },
    )
    send = (Send.to_all(closing, state.included.peers),)
    if not found:
        return Step(Over(), send, (*opener.rejected(), finished(params, state)))
    events = tuple(event for event, _, _ in found)
    rejected = opener.rejected()
    liars = {event.peer for event in events}
    after = Striking(
        book=state.book,
        drawn=state.drawn,
        included=ids(peer for peer in state.included.peers if peer not in liars),
        liars=ids(liars),
        rejected=ids(event.peer for event in rejected),
        opened=state.opened,
        struck={},
    )
    return Step(after, send, (*rejected, *events))


def settle(
    params: SecAggPlusVerified, endpoint: Endpoint, graph: Graph, state: Striking
) -> Step[State]:
    """The sum without the liars. Whoever vouched for a liar's edge is found out only now, and ends
    the round: its neighbours have left.

    Raises `Aborted` where shares of a liar's key are missing.
    """
    total = np.zeros(params.length, word(params.width))
    for peer in state.included.peers:
        total += state.drawn.uploads[peer]
    rest = _rest(state, total)
    opener = Opener(params, graph, rest)
    try:
        found = _convictions(params, endpoint, rest, opener)
    except Aborted as error:
        silent = set(state.included.peers).difference(state.struck)
        culprits = error.culprits.union(state.liars.peers)
        raise Aborted(state.phase, error.reason, silent, culprits) from None
    rejected = [event for event in opener.rejected() if event.peer not in state.rejected.peers]
    if found:
        events = [replace(event, phase=state.phase) for event, _, _ in found]
        reason = "a client was in league with one that was taken out of the sum"
        named = {*state.liars.peers, *(event.peer for event in events)}
        ended = Failed(Aborted(state.phase, reason, culprits=named))
        return Step(Over(), events=(*rejected, *events, ended))
    return Step(Over(), events=(*rejected, finished(params, rest)))


def can_settle(params: SecAggPlusVerified, graph: Graph, state: Striking) -> bool:
    """Whether enough shares are there to take the liars out."""
    nothing = np.zeros(0, word(params.width))  # it is asked after each message: no sum is made
    return Opener(params, graph, _rest(state, nothing)).complete()


def _rest(state: Striking, total: Words) -> Uncovering:
    """The round as if the liars had dropped out before the sum, which is `total`, masks and all."""
    liars = set(state.liars.peers)
    nothing = OPENED.table({})
    opened = {
        holder: _merged(state.opened.get(holder, nothing), state.struck.get(holder, nothing), liars)
        for holder in state.opened.keys() | state.struck.keys()
    }
    return Uncovering(
        book=state.book,
        members=state.drawn.members,
        total=total,
        included=state.included,
        opened=opened,
        drawn=state.drawn,
    )


def _merged(opened: Table, struck: Table, liars: set[PartyId]) -> Table:
    before, after = opened.by_peer("share"), struck.by_peer("share")
    kept = {dealer: share for dealer, share in before.items() if dealer not in liars}
    return OPENED.table({dealer: (share,) for dealer, share in {**kept, **after}.items()})


def finished(params: SecAggPlusVerified, state: Uncovering) -> Finished:
    return Finished(
        Aggregate(
            total=reduce(state.total, params.width),
            included=frozenset(state.included.peers),
            dropped=by_phase(state.book, PHASES),
            refused=frozenset(state.drawn.values).difference(state.included.peers),
        )
    )


def _convictions(
    params: SecAggPlusVerified,
    endpoint: Endpoint,
    state: Uncovering,
    opener: Opener,
) -> list[tuple[FraudProven, PartyId, bytes]]:
    """Takes all masks out of the total, and finds whose values they contradict.

    Of each client only the sum of its masks is sketched: lies that cancel are none.
    """
    masks = masks_by_client(state, opener)
    opened_map = params.opened_map(derive.sketch_seed(state.drawn.transcript))
    found: list[tuple[FraudProven, PartyId, bytes]] = []
    peers = list(masks)
    for at in range(0, len(peers), _BATCH):
        batch = peers[at : at + _BATCH]
        sums = [taken_out(params, state.total, masks[peer]) for peer in batch]
        for peer, true in zip(batch, opened_map.of_words(sums), strict=True):
            among = [mask.peer for mask in masks[peer]]
            said = hearing.claimed(state.drawn.values[peer], peer, params.width, among)
            if not np.array_equal(reduce(said, params.width), true):
                found.append(_conviction(params, endpoint, state, peer, masks[peer]))
    return found


def _conviction(
    params: SecAggPlusVerified,
    endpoint: Endpoint,
    state: Uncovering,
    liar: PartyId,
    masks: list[Mask],
) -> tuple[FraudProven, PartyId, bytes]:
    opened_map = params.opened_map(derive.sketch_seed(state.drawn.transcript))
    values = state.drawn.values[liar].by_peer("value")
    for mask in masks:
        if values[mask.peer] != params.cell(opened_map.of_streams([mask.key])[0]):
            event = hearing.conviction(params, endpoint, state, liar, mask.peer, mask.secret)
            return event, mask.peer, mask.secret
    raise AssertionError("values that are all true add up to a true sum")


def masks_by_client(state: Uncovering, opener: Opener) -> dict[PartyId, list[Mask]]:
    included, cohort = state.included.peers, state.book.cohort
    masks: dict[PartyId, list[Mask]] = {}
    tags = {peer: state.drawn.shares[peer].parcels.by_peer("edge_tag") for peer in included}
    for peer in included:
        seed = opener.seed(peer)
        masks[peer] = [Mask(peer, seed, transcript.self_mask_key(seed, state.members, peer), True)]
    for gone in sorted(set(state.book.members.peers).difference(included)):
        for peer, secret in opener.secrets(gone):
            if tags[peer][gone] != transcript.edge_tag(secret, cohort, gone, peer):
                # an honest end compares the tags: both must have posted the same false one
                reason = "two clients committed to another secret than that of their edge"
                raise Aborted(state.phase, reason, culprits={peer, gone})
            key = transcript.mask_key(secret, state.members, gone, peer)
            masks[peer].append(Mask(gone, secret, key, peer < gone))
    return masks


def taken_out(params: SecAggPlusVerified, total: Words, masks: list[Mask]) -> Words:
    """The sum (length,) of the masks of a client; it is taken out of the total."""
    found = np.zeros(params.length, word(params.width))
    plus = [mask.key for mask in masks if mask.adds]
    minus = [mask.key for mask in masks if not mask.adds]
    prg.add_streams(found, plus, minus)
    total -= found
    return reduce(found, params.width)
