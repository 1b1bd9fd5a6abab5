"""The server's last step: rebuild the secrets that are left to remove, and release the sum."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from secagg.errors import Aborted, IntegrityError
from secagg.identity import PartyId
from secagg.machine import Aggregate, Event, Finished, PeerRejected
from secagg.primitives import agreement, prg, shamir
from secagg.primitives.ring import Words, reduce
from secagg.schemes.secagg_plus import transcript
from secagg.schemes.secagg_plus.graph import Graph
from secagg.schemes.secagg_plus.states import Book, Unmasking

if TYPE_CHECKING:
    from secagg.schemes.secagg_plus.params import PairwiseScheme

__all__ = ["Opener", "by_phase", "can_release", "release"]


def can_release(params: PairwiseScheme, graph: Graph, state: Unmasking) -> bool:
    """Whether enough shares of every secret are there that fit its dealer's commitments."""
    return Opener(params, graph, state).complete()


def release(
    params: PairwiseScheme, graph: Graph, state: Unmasking, phases: Sequence[str]
) -> tuple[Event, ...]:
    """The aggregate, once every remaining mask is removed from the total; and who lied about it.

    Raises `Aborted` when the shares of some secret are too few or do not fit the commitments, and
    `IntegrityError` when the check words say that masks are left in the sum.
    """
    opener = Opener(params, graph, state)
    included = state.included.peers
    dropped = sorted(set(state.book.members.peers).difference(included))
    minus = [transcript.self_mask_key(opener.seed(peer), state.members, peer) for peer in included]
    plus: list[bytes] = []
    for peer in dropped:
        for other, shared in opener.secrets(peer):
            key = transcript.mask_key(shared, state.members, peer, other)
            (minus if other < peer else plus).append(key)
    prg.add_streams(state.total, plus, minus)
    total = reduce(state.total, params.width)
    vector, checks = total[: params.length], total[params.length :]
    _check(params, state, vector, checks)
    aggregate = Aggregate(
        total=vector, included=frozenset(included), dropped=by_phase(state.book, phases)
    )
    return *opener.rejected(), Finished(aggregate)


# what a share is of, and the column of its tag
_SELF = transcript.SELF, "self_tag"
_KEY = transcript.KEY, "key_tag"


class Opener:
    """Rebuilds secrets from opened shares, and proves each against what its owner committed to."""

    def __init__(self, params: PairwiseScheme, graph: Graph, state: Unmasking) -> None:
        self._needed = params.shares_needed
        self._corrupt = params.corrupt_count
        self._graph = graph
        self._state = state
        self._included = frozenset(state.included.peers)
        self._mask_keys = state.book.mask_keys.by_peer("mask_key")
        self._liars: set[PartyId] = set()
        self._held: dict[PartyId, dict[PartyId, bytes]] = {}
        for holder, table in sorted(state.opened.items()):
            for dealer, share in table.by_peer("share").items():
                self._held.setdefault(dealer, {})[holder] = share

    def seed(self, dealer: PartyId) -> bytes:
        """The self-mask seed of an included client."""
        book = self._state.book

        def proven(secret: bytes) -> bool:
            return transcript.commitment(book.cohort, dealer, secret) == book.commitments[dealer]

        return self._open(dealer, *_SELF, proven)

    def secrets(self, dealer: PartyId) -> Iterator[tuple[PartyId, bytes]]:
        """The included neighbours of a dropped client, each with the secret that they share."""
        public = self._mask_keys[dealer]
        secret = self._open(dealer, *_KEY, lambda key: agreement.public_key(key) == public)
        private = X25519PrivateKey.from_private_bytes(secret)
        for other in self._graph.neighbours(dealer):
            if other in self._included:
                yield other, agreement.agree(private, self._mask_keys[other])

    def complete(self) -> bool:
        """Whether every secret can be rebuilt from shares that fit their commitments."""
        dealers = self._state.book.members.peers
        if any(len(self._held.get(dealer, {})) < self._needed for dealer in dealers):
            return False  # cheap, and so for most of the phase
        return all(len(self._fitting(dealer)) >= self._needed for dealer in dealers)

    def rejected(self) -> list[PeerRejected]:
        """Holders that opened something else than they were dealt."""
        reason = "opened a share that its dealer did not commit to"
        return [PeerRejected(peer, "unmask", reason) for peer in sorted(self._liars)]

    def _open(
        self, dealer: PartyId, kind: bytes, column: str, proven: Callable[[bytes], bool]
    ) -> bytes:
        held = self._held.get(dealer, {})
        secret = self._combine(dealer, held)
        if secret is not None and proven(secret):
            return secret
        committed = self._committed(dealer, kind, column, held)
        self._liars |= held.keys() - committed.keys()
        secret = self._combine(dealer, committed)
        if secret is None:
            raise self._too_few(dealer, len(committed))
        if not proven(secret):
            raise Aborted(
                "unmask",
                f"client {dealer} dealt shares that do not fit its own commitment",
                culprits={dealer},
            )
        return secret

    def _too_few(self, dealer: PartyId, valid: int) -> Aborted:
        """Whose fault it is. Honest holders omit a share only if the dealer spoiled it."""
        opened = self._state.opened
        omitted = [
            peer
            for peer in self._state.book.tags[dealer].peers
            if peer in opened and peer not in self._held.get(dealer, {})
        ]
        spoiled = {dealer} if len(omitted) > self._corrupt else set()
        return Aborted(
            "unmask",
            f"{valid} valid shares of a secret of client {dealer}, {self._needed} are needed",
            self._included - opened.keys(),
            spoiled | self._liars,
        )

    def _combine(self, dealer: PartyId, held: dict[PartyId, bytes]) -> bytes | None:
        if len(held) < self._needed:
            return None
        place = {peer: at for at, peer in enumerate(self._graph.holders(dealer), start=1)}
        chosen = list(held.items())[: self._needed]
        shares = np.frombuffer(b"".join(share for _, share in chosen), np.uint8)
        points = [place[holder] for holder, _ in chosen]
        return shamir.reconstruct(points, shares.reshape(len(chosen), 1, -1))[0]

    def _fitting(self, dealer: PartyId) -> dict[PartyId, bytes]:
        kind = _SELF if dealer in self._included else _KEY
        return self._committed(dealer, *kind, self._held[dealer])

    def _committed(
        self, dealer: PartyId, kind: bytes, column: str, held: dict[PartyId, bytes]
    ) -> dict[PartyId, bytes]:
        tags = self._state.book.tags[dealer].by_peer(column)
        cohort = self._state.book.cohort
        return {
            holder: share
            for holder, share in held.items()
            if transcript.share_tag(cohort, dealer, holder, kind, share) == tags[holder]
        }


def _check(params: PairwiseScheme, state: Unmasking, vector: Words, checks: Words) -> None:
    expected = transcript.check_words(vector, state.book.cohort, params.check_count)
    if not np.array_equal(reduce(expected, params.width), checks):
        raise IntegrityError(
            "the masks do not cancel: some client sent another vector than its input under the "
            "agreed masks; the sum is withheld"
        )


def by_phase(book: Book, phases: Sequence[str]) -> dict[str, frozenset[PartyId]]:
    """Who was lost in which phase."""
    return {
        name: frozenset(peer for peer, phase in book.lost.items() if phase == number)
        for number, name in enumerate(phases)
    }
