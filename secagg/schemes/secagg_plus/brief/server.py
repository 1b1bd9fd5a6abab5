"""The server of secagg_plus_brief: deals and the statement first, then as secagg_plus."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from secagg.errors import DecodeError, InputRefused, LocalProtocolError, RemoteProtocolError
from secagg.frame import Endpoint, Signed
from secagg.identity import PartyId
from secagg.machine import Send, State, Step
from secagg.primitives import agreement
from secagg.primitives.digest import Label, digest
from secagg.primitives.ring import word
from secagg.rand import Rand
from secagg.schemes.secagg_plus import route, transcript
from secagg.schemes.secagg_plus.brief.messages import DEALERS, Deal, Delivery
from secagg.schemes.secagg_plus.brief.states import SERVER, Dealing, Prepared
from secagg.schemes.secagg_plus.messages import MEMBERS
from secagg.schemes.secagg_plus.server import Server
from secagg.schemes.secagg_plus.states import PEERS, Book, Collecting, Masking
from secagg.wire import Table, encode

if TYPE_CHECKING:
    from secagg.schemes.secagg_plus.brief.params import SecAggPlusBrief

__all__ = ["BriefServer"]


class BriefServer(Server):
    """`submit` takes the 32-byte statement: the digest of the model that is sent out."""

    phases = ("shares", "masked", "unmask")

    def __init__(self, params: SecAggPlusBrief, endpoint: Endpoint) -> None:
        super().__init__(params, endpoint, SERVER)

    def start(self, rand: Rand) -> Step[State]:
        return Step(Dealing(deals={}, lost={}, statement=b""))

    def on_input(self, state: Collecting, value: Any, rand: Rand) -> Step[State]:
        if not isinstance(value, bytes) or len(value) != 32:
            raise InputRefused("a statement is a digest of 32 bytes")
        if isinstance(state, Prepared):
            return self._deliver(state, value)
        assert isinstance(state, Dealing)
        if state.statement:
            raise LocalProtocolError("a statement was given already")
        # the collected deals are the same object, so what is awaited stays known
        return Step(replace(state, statement=value))

    def _take(self, state: Collecting, signed: Signed[Any]) -> None:
        if isinstance(state, Dealing):
            self._take_deal(state, signed.sender, signed.message)
        else:
            super()._take(state, signed)

    def _take_deal(self, state: Dealing, sender: PartyId, message: Deal) -> None:
        agreement.check_public(message.mask_key)
        if tuple(message.parcels.peers) != self._invited:
            raise RemoteProtocolError("a deal is not to exactly the invited clients")
        try:
            context = self._endpoint.context
            self._endpoint.check_attested(
                sender, message.proof, Label.MASK_KEY, context, message.mask_key
            )
        except DecodeError as error:
            raise RemoteProtocolError(str(error)) from None
        state.deals[sender] = message

    def _proceed(self, state: Collecting) -> Step[State]:
        return Step(state) if isinstance(state, Prepared) else super()._proceed(state)

    def _close(self, state: Collecting) -> Step[State]:
        if isinstance(state, Prepared):
            return Step(state)  # nobody is awaited but this server's own caller
        if isinstance(state, Dealing):
            self._lose(state, self._awaited_in(state))
            return self._open_delivery(state)
        return super()._close(state)

    def _open_delivery(self, state: Dealing) -> Step[State]:
        self._require(state, len(state.deals), self._params.survivors, "deals")
        deals = {peer: state.deals[peer] for peer in sorted(state.deals)}
        parcels, tags = route.deliver({peer: deal.parcels for peer, deal in deals.items()})
        dealers = DEALERS.table({peer: _row(deal) for peer, deal in deals.items()})
        book = Book(
            cohort=self._endpoint.context,
            mask_keys=PEERS.table({peer: (deal.mask_key,) for peer, deal in deals.items()}),
            members=_members(dealers),
            commitments={peer: deal.commitment for peer, deal in deals.items()},
            tags=tags,
            lost=state.lost,
        )
        prepared = Prepared(book=book, dealers=dealers, parcels=parcels, none={})
        return self._deliver(prepared, state.statement) if state.statement else Step(prepared)

    def _deliver(self, state: Prepared, statement: bytes) -> Step[State]:
        words = self._params.length + self._params.check_count
        after = Masking(
            book=state.book,
            transcript=transcript.stated_transcript(
                self._endpoint.context, state.dealers, statement
            ),
            total=np.zeros(words, word(self._params.width)),
            arrived={},
        )
        lost = state.book.lost
        send = (
            Send(Delivery(members=state.dealers, parcels=table), (peer,))
            for peer, table in state.parcels.items()
            if peer not in lost
        )
        return Step(after, tuple(send))


def _row(deal: Deal) -> tuple[bytes, ...]:
    return deal.mask_key, deal.proof, digest(Label.SHARES, encode(deal))


def _members(dealers: Table) -> Table:
    return MEMBERS.table({peer: (row,) for peer, row in dealers.by_peer("manifest").items()})
