"""Dealing shares of two secrets, and keeping what others dealt: alike in all variants."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from secagg.errors import DecodeError
from secagg.identity import PartyId
from secagg.primitives import shamir
from secagg.primitives.seal import open_sealed
from secagg.rand import Rand
from secagg.schemes.secagg_plus import transcript
from secagg.schemes.secagg_plus.messages import SHARE_SIZE
from secagg.schemes.secagg_plus.states import HOLDINGS
from secagg.wire import Table

__all__ = ["Pair", "deal", "open_shares", "share_tags", "unseal"]

Pair = tuple[bytes, bytes]
"""A share of a self-mask seed and a share of a private mask key."""


def deal(
    seed: bytes, private: bytes, holders: Sequence[PartyId], threshold: int, rand: Rand
) -> dict[PartyId, Pair]:
    """Both shares for every holder, present or not: a holder's point is 1 + its place."""
    points = range(1, len(holders) + 1)
    shares = shamir.split([seed, private], threshold, points, rand)
    return {
        holder: (row[0].tobytes(), row[1].tobytes())
        for holder, row in zip(holders, shares, strict=True)
    }


def share_tags(bound_to: bytes, dealer: PartyId, holder: PartyId, pair: Pair) -> Pair:
    """Commitments to the self share and the key share that `dealer` deals to `holder`."""
    kinds = (transcript.SELF, transcript.KEY)
    self_tag, key_tag = (
        transcript.share_tag(bound_to, dealer, holder, kind, share)
        for kind, share in zip(kinds, pair, strict=True)
    )
    return self_tag, key_tag


def unseal(
    parcels: Table,
    private: bytes,
    bound_to: bytes,
    me: PartyId,
    info: Callable[[PartyId], bytes],
) -> Table:
    """The shares of each parcel that opens to what its tags commit to, by dealer.

    One that does not is left out, not blamed: the dealer alone is the worse for it.
    """
    key = X25519PrivateKey.from_private_bytes(private)
    tags = zip(parcels.column("self_tag"), parcels.column("key_tag"), strict=True)
    held: dict[int, tuple[bytes, ...]] = {}
    for dealer, sealed, expected in zip(parcels.peers, parcels.column("sealed"), tags, strict=True):
        try:
            opened = open_sealed(sealed, key, info(dealer))
        except DecodeError:
            continue
        pair = opened[:SHARE_SIZE], opened[SHARE_SIZE:]
        if share_tags(bound_to, dealer, me, pair) == expected:
            held[dealer] = pair
    return HOLDINGS.table(held)


def open_shares(included: Iterable[PartyId], holdings: Table) -> dict[int, tuple[bytes]]:
    """For each dealer one share: of the self seed if it is included, of the mask key if not."""
    alive = set(included)
    self_shares, key_shares = (holdings.by_peer(name) for name in HOLDINGS.sizes)
    return {
        dealer: (self_shares[dealer] if dealer in alive else key_shares[dealer],)
        for dealer in holdings.peers
    }
