"""The server of secagg_plus_verified: keeps what arrives, screens it, and sums whom it accepts."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from secagg.errors import Aborted, DecodeError, InputRefused, RemoteProtocolError
from secagg.event import Failed, FraudProven, Statistics
from secagg.frame import Endpoint, Signed
from secagg.identity import PartyId
from secagg.machine import Over, Send, State, Step
from secagg.primitives.digest import Label
from secagg.primitives.ring import reduce, unpack, word
from secagg.rand import Rand
from secagg.schemes.secagg_plus import transcript
from secagg.schemes.secagg_plus.messages import Consents, Masked
from secagg.schemes.secagg_plus.server import Server
from secagg.schemes.secagg_plus.states import Book, Collecting, Sharing
from secagg.schemes.secagg_plus.verified import derive, hearing, opening, strike
from secagg.schemes.secagg_plus.verified.messages import (
    ACCEPTED,
    DIGESTS,
    Accepted,
    Call,
    Claim,
    Dispute,
    Draw,
    Edges,
    Sketches,
    Strike,
)
from secagg.schemes.secagg_plus.verified.states import (
    PHASES,
    SERVER,
    SERVER_OF_GROUPS,
    Deciding,
    Disputing,
    Drawn,
    Hearing,
    Screening,
    Settling,
    Storing,
    Striking,
    Uncovering,
)
from secagg.wire import Message, Table, ids

if TYPE_CHECKING:
    from secagg.schemes.secagg_plus.verified.params import SecAggPlusVerified

__all__ = ["VerifiedServer"]


class VerifiedServer(Server):
    """Needs clients * length words: whose input is summed is known only when all are there."""

    phases = PHASES
    _params: SecAggPlusVerified

    def __init__(self, params: SecAggPlusVerified, endpoint: Endpoint) -> None:
        super().__init__(params, endpoint, SERVER_OF_GROUPS if params.screen.group else SERVER)

    # -- triggers ---------------------------------------------------------------------------

    def on_input(self, state: Collecting, value: Any, rand: Rand) -> Step[State]:
        assert isinstance(state, Deciding)
        if not isinstance(value, set | frozenset):
            raise InputRefused(f"whom to accept is a set of ids, got {type(value).__name__}")
        if not value <= set(state.eligible.peers):
            raise InputRefused("not all of the accepted were within the bounds")
        whole = self._whole(state.drawn, value)  # nobody can know the groups and spare the rest
        try:
            return self._settle(state, [peer for peer in state.eligible.peers if peer in whole])
        except Aborted as error:  # another set may do
            raise InputRefused(error.reason) from None

    def on_lost(self, state: Collecting, peer: PartyId, rand: Rand) -> Step[State]:
        if isinstance(state, Deciding):
            self._lose(state, [peer])
            rest = [other for other in state.eligible.peers if other != peer]
            return Step(replace(state, eligible=ids(self._whole(state.drawn, rest))))
        return super().on_lost(state, peer, rand)

    def satisfied(self, state: Collecting) -> bool:
        if isinstance(state, Striking):
            return strike.can_settle(self._params, self._graph_of(state.book.cohort), state)
        return super().satisfied(state)

    # -- taking one message -----------------------------------------------------------------

    def _take(self, state: Collecting, signed: Signed[Any]) -> None:
        match state, signed.message:
            case Storing(), Masked() as message:
                self._take_upload(state, signed.sender, message)
            case Screening(), Sketches() as message:
                self._take_sketches(state, signed.sender, message)
            case Disputing(), Edges() as message:
                self._take_edges(state, signed.sender, message)
            case Striking(), Strike() as message:
                self._take_strike(state, signed.sender, message)
            case _:
                super()._take(state, signed)

    def _take_upload(self, state: Storing, sender: PartyId, message: Masked) -> None:
        try:
            vector = unpack(message.vector, self._params.length, self._params.width)
            self._endpoint.check_attested(
                sender, message.attestation, Label.ATTEST, state.transcript
            )
        except DecodeError as error:
            raise RemoteProtocolError(str(error)) from None
        state.uploads[sender] = vector
        state.digests[sender] = derive.upload_digest(sender, message)

    def _take_sketches(self, state: Screening, sender: PartyId, message: Sketches) -> None:
        drawn = state.drawn
        if message.values.peers != self._due_values(state, sender):
            raise RemoteProtocolError("values are not for exactly the masks that are due")
        cells = hearing.residues(message.values, self._params.width)
        if self._params.width < 8 * cells.itemsize and int(cells.max()) >> self._params.width:
            raise RemoteProtocolError(f"a value has over {self._params.width} bits")
        signed = derive.root(derive.value_digests(message.values))
        try:
            self._endpoint.check_attested(
                sender, message.attestation, Label.ATTEST_SKETCHES, drawn.transcript, signed
            )
        except DecodeError as error:
            raise RemoteProtocolError(str(error)) from None
        drawn.attested[sender] = message.attestation
        drawn.values[sender] = message.values

    def _due_values(self, state: Screening, sender: PartyId) -> list[PartyId]:
        neighbours = self._graph_of(state.book.cohort).neighbours(sender)
        near = set(state.book.members.peers).intersection(neighbours)
        drawn = state.drawn
        return self._params.due(sender, near, drawn.transcript, drawn.digests.peers)

    def _take_edges(self, state: Disputing, sender: PartyId, message: Edges) -> None:
        if message.secrets.peers != state.asked[sender].peers:
            raise RemoteProtocolError("secrets are not for exactly the edges in dispute")
        shares = state.drawn.shares[sender].parcels.by_peer("edge_tag")
        for peer, secret in message.secrets.by_peer("secret").items():
            if shares[peer] != transcript.edge_tag(secret, state.book.cohort, sender, peer):
                raise RemoteProtocolError(f"the secret of the edge to {peer} is not the agreed one")
        state.opened[sender] = message.secrets

    def _take_strike(self, state: Striking, sender: PartyId, message: Strike) -> None:
        dealers = set(self._graph_of(state.book.cohort).holders(sender))
        if not set(message.shares.peers) <= dealers & set(state.liars.peers):
            raise RemoteProtocolError("shares of a client that nobody convicted")
        state.struck[sender] = message.shares

    # -- closing a phase --------------------------------------------------------------------

    def _close(self, state: Collecting) -> Step[State]:
        self._lose(state, self._awaited_in(state))
        steps: Mapping[type[State], Callable[[Any], Step[State]]] = {
            Storing: self._open_screen,
            Screening: self._open_dispute,
            Disputing: self._open_verdict,
            Deciding: lambda deciding: self._settle(deciding, deciding.eligible.peers),
            Settling: self._open_uncovering,
            Uncovering: self._uncover,
            Striking: self._strike,
        }
        step = steps.get(type(state))
        return step(state) if step else super()._close(state)

    def _open_verdict(self, state: Disputing) -> Step[State]:
        return self._open_decision(state, hearing.convicted(self._params, self._endpoint, state))

    def _uncover(self, state: Uncovering) -> Step[State]:
        graph = self._graph_of(state.book.cohort)
        if self._params.screen.group:
            return opening.open_groups(self._params, graph, state)
        return strike.uncover(self._params, self._endpoint, graph, state)

    def _strike(self, state: Striking) -> Step[State]:
        graph = self._graph_of(state.book.cohort)
        return strike.settle(self._params, self._endpoint, graph, state)

    def _cohort(self, adverts: Table) -> tuple[bytes, Message]:
        nonce = derive.server_nonce(self._endpoint)
        commitment = derive.nonce_commitment(self._endpoint.context, nonce)
        cohort = derive.cohort_transcript(self._endpoint.context, adverts, commitment)
        return cohort, Call(commitment=commitment, adverts=adverts)

    def _masking(self, state: Sharing, book: Book, agreed_on: bytes) -> State:
        shares = {peer: state.shares[peer] for peer in book.members.peers}
        return Storing(book=book, transcript=agreed_on, shares=shares, uploads={}, digests={})

    def _open_screen(self, state: Storing) -> Step[State]:
        self._require(state, len(state.uploads), self._params.survivors, "masked inputs")
        self._check_spread(state, state.uploads)
        nonce = derive.server_nonce(self._endpoint)
        uploads = DIGESTS.table({peer: (text,) for peer, text in state.digests.items()})
        screen = derive.screen_transcript(self._endpoint.context, state.transcript, nonce, uploads)
        drawn = Drawn(
            members=state.transcript,
            transcript=screen,
            shares=state.shares,
            uploads=state.uploads,
            digests=uploads,
            attested={},
            values={},
        )
        after = Screening(book=state.book, drawn=drawn)
        return Step(after, (Send.to_all(Draw(nonce=nonce, uploads=uploads), uploads.peers),))

    def _open_dispute(self, state: Screening) -> Step[State]:
        drawn = state.drawn
        self._require(state, len(drawn.values), self._params.survivors, "clients were sketched")
        conflicts = hearing.conflicts(drawn.values)
        if not conflicts:
            return self._open_decision(state, ())
        asked = {peer: ids(others) for peer, others in conflicts.items()}
        claims = {
            peer: Claim(
                attestation=drawn.attested[peer], digests=derive.value_digests(drawn.values[peer])
            )
            for peer in conflicts
        }
        send = (
            Send(Dispute(claims={other: claims[other] for other in others}), (peer,))
            for peer, others in conflicts.items()
        )
        return Step(Disputing(book=state.book, drawn=drawn, asked=asked, opened={}), tuple(send))

    def _open_decision(
        self, state: Screening | Disputing, convicted: Collection[FraudProven]
    ) -> Step[State]:
        liars = {event.peer for event in convicted}
        heard = state.drawn.values.keys() - liars - state.book.lost.keys()
        if self._params.screen.group:
            seed = derive.sketch_seed(state.drawn.transcript)
            statistics = Statistics.unopened(heard, self._whole(state.drawn, heard), seed)
        else:
            statistics = hearing.statistics(self._params, state.drawn, heard)
        try:
            self._require(state, len(statistics.eligible), self._params.survivors, "clients passed")
        except Aborted as error:  # what was found out is told all the same
            ended = Failed(Aborted(error.phase, error.reason, error.missing, liars))
            return Step(Over(), events=(*convicted, statistics, ended))
        after = Deciding(
            book=state.book, drawn=state.drawn, eligible=ids(statistics.eligible), none={}
        )
        return Step(after, events=(*convicted, statistics))

    def _settle(self, state: Deciding, accepted: list[PartyId]) -> Step[State]:
        self._require(state, len(accepted), self._params.survivors, "clients accepted")
        self._check_spread(state, accepted)
        drawn = state.drawn
        total = np.zeros(self._params.length, word(self._params.width))
        for peer in accepted:
            total += drawn.uploads[peer]
        rows = {
            peer: (derive.root(derive.value_digests(drawn.values[peer])), drawn.attested[peer])
            for peer in accepted
        }
        after = Settling(
            book=state.book,
            members=drawn.members,
            transcript=transcript.survivors_transcript(drawn.transcript, accepted),
            total=reduce(total, self._params.width),
            included=ids(accepted),
            votes={},
            drawn=drawn,
        )
        return Step(after, (Send.to_all(Accepted(included=ACCEPTED.table(rows)), accepted),))

    def _whole(self, drawn: Drawn, clients: Collection[PartyId]) -> set[PartyId]:
        """Without those of whose group too few are left."""
        groups = self._params.groups(drawn.transcript, drawn.digests.peers)
        return set(clients).difference(groups.short(clients) if groups else ())

    def _open_uncovering(self, state: Settling) -> Step[State]:
        votes = self._quorum_of(state)
        after = Uncovering(
            book=state.book,
            members=state.members,
            total=state.total,
            included=state.included,
            opened={},
            drawn=state.drawn,
        )
        return Step(after, (Send.to_all(Consents(votes=votes), state.included.peers),))

    def _check_spread(self, state: Collecting, included: Collection[PartyId]) -> None:
        assert isinstance(state, Storing | Hearing)
        self._check_stretches(state, state.book.cohort, included)
