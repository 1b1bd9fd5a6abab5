"""The server of secagg_plus: collects, adds as it goes, and removes the masks at the end."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import TYPE_CHECKING, Any

import numpy as np

from secagg.errors import Aborted, DecodeError, RemoteProtocolError
from secagg.frame import Endpoint, Signed
from secagg.identity import PartyId
from secagg.machine import Over, PeerRejected, Send, Side, State, Step, Transitions
from secagg.primitives import agreement
from secagg.primitives.digest import Label, digest
from secagg.primitives.ring import unpack, word
from secagg.rand import Rand
from secagg.schemes.secagg_plus import route, transcript
from secagg.schemes.secagg_plus.graph import Graph
from secagg.schemes.secagg_plus.messages import (
    ADVERTS,
    MEMBERS,
    SURVIVORS,
    VOTES,
    Advert,
    Cohort,
    Consent,
    Consents,
    Inbox,
    Masked,
    Shares,
    Survivors,
    Unmask,
)
from secagg.schemes.secagg_plus.states import (
    PEERS,
    PHASES,
    Book,
    Collecting,
    Consenting,
    Inviting,
    Masking,
    Sharing,
    Unmasking,
)
from secagg.schemes.secagg_plus.unmask import can_release, release
from secagg.wire import Message, Table, encode, ids

if TYPE_CHECKING:
    from secagg.schemes.secagg_plus.params import PairwiseScheme

__all__ = ["Server"]


class Server:
    """Streams: one vector in memory, however many clients."""

    phases: tuple[str, ...] = PHASES
    side = Side.SERVER

    def __init__(
        self, params: PairwiseScheme, endpoint: Endpoint, transitions: Transitions
    ) -> None:
        self.me = endpoint.me
        self.transitions = transitions
        self._params = params
        self._endpoint = endpoint
        self._invited = endpoint.roster.ids
        # derived from the state and rebuilt when its phase or its cohort changes
        self._asked: tuple[object, frozenset[PartyId], set[PartyId]] = (None, frozenset(), set())
        self._graph: tuple[bytes, Graph] | None = None

    # -- triggers ---------------------------------------------------------------------------

    def start(self, rand: Rand) -> Step[State]:
        return Step(Inviting(adverts={}, lost={}))

    def on_message(self, state: Collecting, signed: Signed[Any], rand: Rand) -> Step[State]:
        due, awaited = self._asked_in(state)
        # one that was lost before, and not left out for it, is not waited for but welcome
        if signed.sender not in due:
            raise RemoteProtocolError("a message of a client that was left out of this phase")
        self._take(state, signed)
        awaited.discard(signed.sender)
        return self._proceed(state)

    def on_lost(self, state: Collecting, peer: PartyId, rand: Rand) -> Step[State]:
        awaited = self._awaited_in(state)
        self._lose(state, [peer])
        awaited.discard(peer)
        if state.revocable:
            state.collected.pop(peer, None)
        return self._proceed(state)

    def on_deadline(self, state: Collecting, rand: Rand) -> Step[State]:
        return self._close(state)

    def on_input(self, state: Collecting, value: Any, rand: Rand) -> Step[State]:
        raise AssertionError("the transition table allows no input")

    def expected(self, state: Collecting) -> frozenset[PartyId]:
        return frozenset(self._awaited_in(state))

    def satisfied(self, state: Collecting) -> bool:
        # Before, whoever is awaited would be in the sum, or is needed to open it.
        if not isinstance(state, Unmasking):
            return False
        return can_release(self._params, self._graph_of(state.book.cohort), state)

    def _awaited_in(self, state: Collecting) -> set[PartyId]:
        return self._asked_in(state)[1]

    def _asked_in(self, state: Collecting) -> tuple[frozenset[PartyId], set[PartyId]]:
        """Whose message this phase asks for, and whose of these is still waited for.

        Kept up to date from message to message of one phase: building it anew for each would
        cost the square of the cohort.
        """
        arrived = state.collected
        if self._asked[0] is not arrived:
            due = frozenset(state.due(self._invited))
            self._asked = arrived, due, set(due.difference(arrived, state.losses))
        return self._asked[1], self._asked[2]

    # -- taking one message: check everything, then change the state ------------------------

    def _take(self, state: Collecting, signed: Signed[Any]) -> None:
        match state, signed.message:
            case Inviting(), Advert() as message:
                self._take_advert(state, signed.sender, message, signed.signature)
            case Sharing(), Shares() as message:
                self._take_shares(state, signed.sender, message)
            case Masking(), Masked() as message:
                self._take_masked(state, signed.sender, message)
            case Consenting(), Consent() as message:
                self._take_consent(state, signed.sender, message, signed.signature)
            case Unmasking(), Unmask() as message:
                self._take_unmask(state, signed.sender, message)

    def _take_advert(
        self, state: Inviting, sender: PartyId, message: Advert, signature: bytes
    ) -> None:
        agreement.check_public(message.mask_key)
        agreement.check_public(message.share_key)
        state.adverts[sender] = message.mask_key + message.share_key + signature

    def _take_shares(self, state: Sharing, sender: PartyId, message: Shares) -> None:
        holders = np.array(self._graph_of(state.cohort).neighbours(sender), np.uint32)
        present = holders[np.isin(holders, state.adverts.rows["peer"])]
        if not np.array_equal(message.parcels.rows["peer"], present):
            raise RemoteProtocolError("shares are not for exactly the advertised neighbours")
        state.shares[sender] = message

    def _take_masked(self, state: Masking, sender: PartyId, message: Masked) -> None:
        try:
            vector = unpack(message.vector, len(state.total), self._params.width)
            self._endpoint.check_attested(
                sender, message.attestation, Label.ATTEST, state.transcript
            )
        except DecodeError as error:
            raise RemoteProtocolError(str(error)) from None
        np.add(state.total, vector, out=state.total)
        state.arrived[sender] = message.attestation

    def _take_consent(
        self, state: Consenting, sender: PartyId, message: Consent, signature: bytes
    ) -> None:
        if message.transcript != state.transcript:
            raise RemoteProtocolError("consent to another transcript")
        state.votes[sender] = signature

    def _take_unmask(self, state: Unmasking, sender: PartyId, message: Unmask) -> None:
        dealers = self._graph_of(state.book.cohort).holders(sender)
        if not set(message.shares.peers) <= state.book.tags.keys() & set(dealers):
            raise RemoteProtocolError("shares of a client that dealt none to the sender")
        state.opened[sender] = message.shares

    # -- closing a phase --------------------------------------------------------------------

    def _proceed(self, state: Collecting) -> Step[State]:
        return Step(state) if self._awaited_in(state) else self._close(state)

    def _close(self, state: Collecting) -> Step[State]:
        self._lose(state, self._awaited_in(state))
        match state:
            case Inviting():
                return self._open_shares(state)
            case Sharing():
                return self._open_masked(state)
            case Masking():
                return self._open_consent(state)
            case Consenting():
                return self._open_unmask(state)
            case Unmasking():
                graph = self._graph_of(state.book.cohort)
                return Step(Over(), events=release(self._params, graph, state, self.phases))
        raise AssertionError("no other state waits")

    def _lose(self, state: Collecting, peers: Iterable[PartyId]) -> None:
        phase, lost = self.phases.index(state.phase), state.losses
        for peer in peers:
            lost.setdefault(peer, phase)

    def _require(self, state: Collecting, count: int, least: int, what: str) -> None:
        if count < least:
            missing = set(state.due(self._invited)).difference(state.collected)
            raise Aborted(state.phase, f"{count} {what}, at least {least} are needed", missing)

    def _open_shares(self, state: Inviting) -> Step[State]:
        self._require(state, len(state.adverts), self._params.survivors, "adverts")
        adverts = ADVERTS.table(
            {peer: (row[:32], row[32:64], row[64:]) for peer, row in state.adverts.items()}
        )
        cohort, message = self._cohort(adverts)
        after = Sharing(cohort=cohort, adverts=adverts, shares={}, lost=state.lost)
        return Step(after, (Send.to_all(message, adverts.peers),))

    def _cohort(self, adverts: Table) -> tuple[bytes, Message]:
        cohort = transcript.cohort_transcript(self._endpoint.context, adverts)
        return cohort, Cohort(adverts=adverts)

    def _open_masked(self, state: Sharing) -> Step[State]:
        self._require(state, len(state.shares), self._params.survivors, "clients shared")
        parcels = {sender: message.parcels for sender, message in state.shares.items()}
        agreed, quarrels = route.agreeing(
            parcels, self._params.shares_needed, self._params.corrupt_count
        )
        self._lose(state, parcels.keys() - agreed)
        self._require(state, len(agreed), self._params.survivors, "clients agree on their edges")
        members = MEMBERS.table(
            {peer: (digest(Label.SHARES, encode(state.shares[peer])),) for peer in agreed}
        )
        inboxes, tags = route.deliver({peer: parcels[peer] for peer in sorted(agreed)})
        book = Book(
            cohort=state.cohort,
            mask_keys=PEERS.table(
                {peer: (key,) for peer, key in state.adverts.by_peer("mask_key").items()}
            ),
            members=members,
            commitments={peer: state.shares[peer].commitment for peer in agreed},
            tags=tags,
            lost=state.lost,
        )
        agreed_on = transcript.members_transcript(state.cohort, members)
        send = (
            Send(Inbox(members=members, parcels=table), (peer,)) for peer, table in inboxes.items()
        )
        blamed = (PeerRejected(peer, state.phase, reason) for peer, reason in quarrels.items())
        return Step(self._masking(state, book, agreed_on), tuple(send), tuple(blamed))

    def _masking(self, state: Sharing, book: Book, agreed_on: bytes) -> State:
        words = self._params.length + self._params.check_count
        return Masking(
            book=book,
            transcript=agreed_on,
            total=np.zeros(words, word(self._params.width)),
            arrived={},
        )

    def _open_consent(self, state: Masking) -> Step[State]:
        self._require(state, len(state.arrived), self._params.survivors, "masked inputs")
        self._check_stretches(state, state.book.cohort, state.arrived)
        included = ids(state.arrived)
        agreed = transcript.survivors_transcript(state.transcript, state.arrived)
        attested = SURVIVORS.table({peer: (text,) for peer, text in state.arrived.items()})
        send = (Send.to_all(Survivors(included=attested), included.peers),)
        if not self._params.consent:
            return Step(_unmasking(state.book, state.transcript, state.total, included), send)
        after = Consenting(
            book=state.book,
            members=state.transcript,
            transcript=agreed,
            total=state.total,
            included=included,
            votes={},
        )
        return Step(after, send)

    def _check_stretches(
        self, state: Collecting, cohort: bytes, included: Collection[PartyId]
    ) -> None:
        floor = self._params.window_floor
        if floor < 0:
            return
        weakest = self._graph_of(cohort).weakest_window(included)
        self._require(state, weakest, floor + 1, "inputs in the emptiest stretch of the ring")

    def _open_unmask(self, state: Consenting) -> Step[State]:
        votes = self._quorum_of(state)
        after = _unmasking(state.book, state.members, state.total, state.included)
        return Step(after, (Send.to_all(Consents(votes=votes), state.included.peers),))

    def _quorum_of(self, state: Consenting) -> Table:
        self._require(state, len(state.votes), self._params.quorum, "consents")
        chosen = sorted(state.votes)[: self._params.quorum]
        return VOTES.table({peer: (state.votes[peer],) for peer in chosen})

    def _graph_of(self, cohort: bytes) -> Graph:
        if self._graph is None or self._graph[0] != cohort:
            self._graph = cohort, self._params.graph(self._invited, cohort)
        return self._graph[1]


def _unmasking(book: Book, members: bytes, total: Any, included: Table) -> Unmasking:
    return Unmasking(book=book, members=members, total=total, included=included, opened={})
