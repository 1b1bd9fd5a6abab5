"""The server's last steps: remove the masks, check what was said of them, take liars out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from secagg.errors import Aborted
from secagg.event import Aggregate, Finished, FraudProven
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

__all__ = ["can_settle", "settle", "uncover"]

_BATCH = 8  # vectors of masks in memory at a time


@dataclass(frozen=True)
class _Mask:
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
    send = (Send(closing, tuple(state.included.peers), broadcast=True),)
    if not found:
        return Step(Over(), send, (*opener.rejected(), _finished(params, state)))
    events = tuple(event for event, _, _ in found)
    liars = {event.peer for event in events}
    after = Striking(
        book=state.book,
        drawn=state.drawn,
        included=ids(peer for peer in state.included.peers if peer not in liars),
        liars=ids(liars),
        opened=state.opened,
        struck={},
    )
    return Step(after, send, (*opener.rejected(), *events))


def settle(
    params: SecAggPlusVerified, endpoint: Endpoint, graph: Graph, state: Striking
) -> Step[State]:
    """The sum without the liars. Whoever vouched for a liar's edge is found out only now.

    Raises `Aborted` for such an accomplice: its neighbours have left.
    """
    rest = _rest(params, state)
    opener = Opener(params, graph, rest)
    found = _convictions(params, endpoint, rest, opener)
    if found:
        culprits = {event.peer for event, _, _ in found}
        reason = "a client was in league with one that was taken out of the sum"
        raise Aborted(state.phase, reason, culprits={*culprits, *state.liars.peers})
    return Step(Over(), events=(*opener.rejected(), _finished(params, rest)))


def can_settle(params: SecAggPlusVerified, graph: Graph, state: Striking) -> bool:
    """Whether enough shares are there to take the liars out."""
    return Opener(params, graph, _rest(params, state)).complete()


def _rest(params: SecAggPlusVerified, state: Striking) -> Uncovering:
    """The round as if the liars had dropped out before the sum."""
    included, liars = state.included.peers, set(state.liars.peers)
    total = np.zeros(params.length, word(params.width))
    for peer in included:
        total += state.drawn.uploads[peer]
    opened = {
        holder: _merged(table, state.struck.get(holder), liars)
        for holder, table in state.opened.items()
    }
    return Uncovering(
        book=state.book,
        members=state.drawn.members,
        total=reduce(total, params.width),
        included=ids(included),
        opened=opened,
        drawn=state.drawn,
    )


def _merged(opened: Table, struck: Table | None, liars: set[PartyId]) -> Table:
    shares = {
        dealer: (share,) for dealer, share in opened.by_peer("share").items() if dealer not in liars
    }
    if struck is not None:
        shares |= {dealer: (share,) for dealer, share in struck.by_peer("share").items()}
    return OPENED.table(shares)


def _finished(params: SecAggPlusVerified, state: Uncovering) -> Finished:
    return Finished(
        Aggregate(
            total=reduce(state.total, params.width),
            included=frozenset(state.included.peers),
            dropped=by_phase(state.book, PHASES),
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
    masks = _masks_by_client(state, opener)
    opened_map = params.opened_map(derive.sketch_seed(state.drawn.transcript))
    found: list[tuple[FraudProven, PartyId, bytes]] = []
    peers = list(masks)
    for at in range(0, len(peers), _BATCH):
        batch = peers[at : at + _BATCH]
        sums = [_summed(params, state.total, masks[peer]) for peer in batch]
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
    masks: list[_Mask],
) -> tuple[FraudProven, PartyId, bytes]:
    opened_map = params.opened_map(derive.sketch_seed(state.drawn.transcript))
    values = state.drawn.values[liar].by_peer("value")
    for mask in masks:
        if values[mask.peer] != params.cell(opened_map.of_streams([mask.key])[0]):
            event = hearing.conviction(params, endpoint, state, liar, mask.peer, mask.secret)
            return event, mask.peer, mask.secret
    raise AssertionError("values that are all true add up to a true sum")


def _masks_by_client(state: Uncovering, opener: Opener) -> dict[PartyId, list[_Mask]]:
    included = state.included.peers
    masks: dict[PartyId, list[_Mask]] = {}
    for peer in included:
        seed = opener.seed(peer)
        masks[peer] = [_Mask(peer, seed, transcript.self_mask_key(seed, state.members, peer), True)]
    for gone in sorted(set(state.book.members.peers).difference(included)):
        for peer, secret in opener.secrets(gone):
            key = transcript.mask_key(secret, state.members, gone, peer)
            masks[peer].append(_Mask(gone, secret, key, peer < gone))
    return masks


def _summed(params: SecAggPlusVerified, total: Words, masks: list[_Mask]) -> Words:
    """The sum (length,) of the masks of a client; it is taken out of the total."""
    found = np.zeros(params.length, word(params.width))
    plus = [mask.key for mask in masks if mask.adds]
    minus = [mask.key for mask in masks if not mask.adds]
    prg.add_streams(found, plus, minus)
    total -= found
    return reduce(found, params.width)
