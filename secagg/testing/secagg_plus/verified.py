"""Liars in secagg_plus_verified: what one may say of its masks, and what it may upload."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Mapping

import numpy as np

from secagg.identity import PartyId
from secagg.primitives.digest import Label
from secagg.primitives.ring import Words, pack, reduce, unpack, word
from secagg.schemes.secagg_plus.messages import OPENED, Masked
from secagg.schemes.secagg_plus.verified import derive
from secagg.schemes.secagg_plus.verified.messages import SECRETS, Edges, Sketches, Strike
from secagg.schemes.secagg_plus.verified.states import Sketched
from secagg.testing.adversaries import Hostile, Lie, Outgoing, honest, on, replacing
from secagg.wire import Columns, Message

__all__ = [
    "about",
    "about_all_edges",
    "about_itself",
    "chained",
    "other_secrets",
    "other_struck_shares",
    "saying",
    "shifted",
    "silent_at",
    "uploading",
]

Values = dict[PartyId, bytes]
"""What a client says of its masks, by peer; under its own id, of its self mask."""


def saying(change: Callable[[Hostile, Values], object]) -> Lie:
    """Other values than the true ones, properly signed; the liar's machine then stands by them."""

    def twist(liar: Hostile, out: Outgoing) -> Message:
        assert isinstance(out.message, Sketches)
        values = out.message.values.by_peer("value")
        change(liar, values)
        return signed_values(liar, values)

    return on(Sketches, replacing(twist))


def signed_values(liar: Hostile, values: Mapping[PartyId, bytes]) -> Sketches:
    """The message with these values, signed under the draw that the liar saw."""
    assert isinstance(liar.state, Sketched)
    size = liar.parties.scheme.limits.cell
    table = Columns(value=size).table({peer: (cell,) for peer, cell in values.items()})
    digests = derive.value_digests(table)
    liar.adopt(digests=digests)
    attestation = liar.endpoint.attest(
        Label.ATTEST_SKETCHES, liar.state.transcript, derive.root(digests)
    )
    return Sketches(attestation=attestation, values=table)


def about(*peers: PartyId) -> Lie:
    """A lie about the masks with these peers."""

    def change(_: Hostile, values: Values) -> None:
        for peer in peers:
            values[peer] = flipped(values[peer])

    return saying(change)


def about_itself(liar: Hostile, out: Outgoing) -> Iterable[tuple[PartyId, bytes]]:
    """A lie about the self mask."""
    return about(liar.me)(liar, out)


def about_all_edges(liar: Hostile, out: Outgoing) -> Iterable[tuple[PartyId, bytes]]:
    """Lies about the masks with all neighbours."""

    def change(liar: Hostile, values: Values) -> None:
        values.update({peer: flipped(cell) for peer, cell in values.items() if peer != liar.me})

    return saying(change)(liar, out)


def flipped(cell: bytes) -> bytes:
    """Another canonical value: the lowest bit of its first residue is changed."""
    return bytes([cell[0] ^ 1]) + cell[1:]


def uploading(change: Callable[[Hostile, Words], Words]) -> Lie:
    """Another masked input than the honest one, which the liar's machine then stands by."""

    def twist(liar: Hostile, out: Outgoing) -> Message:
        assert isinstance(out.message, Masked)
        scheme = liar.parties.scheme
        vector = change(liar, unpack(out.message.vector, scheme.length, scheme.width))
        packed = pack(reduce(vector, scheme.width), scheme.width)
        message = dataclasses.replace(out.message, vector=packed)
        liar.adopt(upload=derive.upload_digest(liar.me, message))
        return message

    return on(Masked, replacing(twist))


def shifted(by: Mapping[int, int]) -> Lie:
    """A masked input that is off by so much at these positions: so is the input it hides."""

    def change(liar: Hostile, vector: Words) -> Words:
        dtype = word(liar.parties.scheme.width)
        for position, amount in by.items():
            vector[position : position + 1] += np.array([amount], np.int64).astype(dtype)
        return vector

    return uploading(change)


def silent_at(kind: type[Message]) -> Lie:
    """Nothing at all where this message is due."""
    return on(kind, replacing(lambda *_: None))


def _noise(liar: Hostile, out: Outgoing) -> Message:
    assert isinstance(out.message, Edges)
    peers = out.message.secrets.peers
    return Edges(secrets=SECRETS.table({peer: (liar.rand(32),) for peer in peers}))


def _noise_in_shares(liar: Hostile, out: Outgoing) -> Message:
    assert isinstance(out.message, Strike)
    peers = out.message.shares.peers
    return Strike(shares=OPENED.table({peer: (liar.rand(32),) for peer in peers}))


other_secrets: Lie = on(Edges, replacing(_noise))
"""Other secrets than those of the edges in dispute."""

other_struck_shares: Lie = on(Strike, replacing(_noise_in_shares))
"""Other shares of a liar's mask key than those that it dealt."""


def chained(*lies: Lie) -> Lie:
    """The first of the lies that does not leave a message as it is."""

    def told(liar: Hostile, out: Outgoing) -> Iterable[tuple[PartyId, bytes]]:
        for lie in lies:
            said = list(lie(liar, out))
            if said != [(out.to, out.frame)]:
                return said
        return honest(liar, out)

    return told
