"""What the server makes of the clients' values: disagreements, convictions, statistics."""

from __future__ import annotations

import itertools
from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from secagg.event import FraudProven, GroupStatistics, Statistics
from secagg.identity import PartyId
from secagg.primitives.ring import Words, reduce, word
from secagg.schemes.secagg_plus import route
from secagg.schemes.secagg_plus.verified import derive
from secagg.schemes.secagg_plus.verified.messages import Claim, Proof
from secagg.schemes.secagg_plus.verified.proof import FraudProof, Scene, committed_key
from secagg.schemes.secagg_plus.verified.states import Disputing, Drawn
from secagg.wire import Columns, Table

if TYPE_CHECKING:
    from secagg.frame import Endpoint
    from secagg.schemes.secagg_plus.verified.params import SecAggPlusVerified

__all__ = [
    "claimed",
    "conflicts",
    "convicted",
    "conviction",
    "group_statistics",
    "residues",
    "scene_of",
    "statistics",
]


def residues(values: Table, width: int) -> Words:
    """The residues (rows, opened) of a table of values."""
    dtype = word(width)
    return np.ascontiguousarray(values.rows["value"]).view(dtype).reshape(len(values), -1)


def conflicts(values: Mapping[PartyId, Table]) -> dict[PartyId, set[PartyId]]:
    """With whom each client does not agree on what the map makes of their common mask."""
    found = route.quarrels({peer: values[peer] for peer in sorted(values)}, "value")
    return dict(sorted(found.items()))


def convicted(
    params: SecAggPlusVerified, endpoint: Endpoint, state: Disputing
) -> tuple[FraudProven, ...]:
    """Who lied about an edge of which an end opened the secret. One lie is enough for each."""
    found: dict[PartyId, FraudProven] = {}
    drawn, book = state.drawn, state.book
    opened_map = params.opened_map(derive.sketch_seed(drawn.transcript))
    for opener, secrets in sorted(state.opened.items()):
        for peer, secret in secrets.by_peer("secret").items():
            if {opener, peer} & found.keys():
                continue
            key = committed_key(
                drawn.shares[opener], secret, book.cohort, drawn.members, opener, peer
            )
            true = params.cell(opened_map.of_streams([key])[0])
            for one, other in ((opener, peer), (peer, opener)):
                if drawn.values[one].by_peer("value")[other] != true:
                    found[one] = conviction(params, endpoint, state, one, other, secret)
    return tuple(found.values())


def conviction(
    params: SecAggPlusVerified,
    endpoint: Endpoint,
    state: Any,
    liar: PartyId,
    peer: PartyId,
    secret: bytes,
) -> FraudProven:
    """That `liar` signed another value than `secret` leads to."""
    proof = proof_of(state.drawn, liar, peer, secret)
    scene = scene_of(params, endpoint, state)
    nonce = derive.server_nonce(endpoint)
    exhibit = FraudProof.of(liar, scene, nonce, state.drawn.digests, proof)
    whose = "its self mask" if peer == liar else f"its mask with client {peer}"
    return FraudProven(liar, state.phase, f"lied about the sketch of {whose}", exhibit.encode())


def proof_of(drawn: Drawn, liar: PartyId, peer: PartyId, secret: bytes) -> Proof:
    values = drawn.values[liar]
    cell = values.by_peer("value")[peer]
    return Proof(
        peer=peer,
        secret=secret,
        shares=drawn.shares[liar],
        claim=Claim(attestation=drawn.attested[liar], digests=derive.value_digests(values)),
        value=Columns(value=len(cell)).table({peer: (cell,)}),
    )


def scene_of(params: SecAggPlusVerified, endpoint: Endpoint, state: Any) -> Scene:
    """What proofs of this round are judged against."""
    return Scene(
        params=params,
        roster=endpoint.roster,
        cohort=state.book.cohort,
        before=state.drawn.members,
        screen=state.drawn.transcript,
        members=state.book.members,
    )


def statistics(params: SecAggPlusVerified, drawn: Drawn, heard: Collection[PartyId]) -> Statistics:
    """What is opened of everybody who was heard."""
    clients = tuple(sorted(heard))
    seed = derive.sketch_seed(drawn.transcript)
    rows = params.opened_map(seed).of_words([drawn.uploads[peer] for peer in clients])
    for at, peer in enumerate(clients):
        rows[at] -= claimed(drawn.values[peer], peer, params.width)
    signed = params.screen.signed(reduce(rows, params.width), params.width)
    within = params.screen.within(signed)
    return Statistics(
        clients=clients,
        eligible=frozenset(itertools.compress(clients, within)),
        seed=seed,
        **_columns(params, signed),
    )


def group_statistics(
    params: SecAggPlusVerified,
    drawn: Drawn,
    groups: tuple[tuple[PartyId, ...], ...],
    sums: Sequence[Words],
) -> GroupStatistics:
    """What is opened of `groups`, who are all in the sum.

    sums: of each (length,), under no masks but those between two clients in the sum.
    """
    seed = derive.sketch_seed(drawn.transcript)
    included = [peer for group in groups for peer in group]
    rows = params.opened_map(seed).of_words(sums)
    for at, group in enumerate(groups):
        for peer in group:
            rows[at] -= claimed(drawn.values[peer], peer, params.width, included)
    signed = params.screen.signed(reduce(rows, params.width), params.width)
    return GroupStatistics(
        groups=groups,
        within=params.screen.within(signed, np.array([len(group) for group in groups])),
        seed=seed,
        **_columns(params, signed),
    )


def _columns(params: SecAggPlusVerified, signed: NDArray[np.int64]) -> dict[str, Any]:
    head, at = params.screen.head, params.screen.opened - params.screen.rows
    return {
        "weights": signed[:, 0] if head else None,
        "products": signed[:, head:at],
        "rows": signed[:, at:],
    }


def claimed(
    values: Table, me: PartyId, width: int, among: Collection[PartyId] | None = None
) -> Words:
    """What the masks of client `me` come to by its own account, (opened,): all, or some."""
    cells, peers = residues(values, width), values.rows["peer"]
    chosen = np.isin(peers, np.fromiter(among, np.uint32)) if among is not None else peers >= 0
    plus, minus = cells[chosen & (peers >= me)], cells[chosen & (peers < me)]
    found: Words = plus.sum(axis=0, dtype=cells.dtype) - minus.sum(axis=0, dtype=cells.dtype)
    return found
