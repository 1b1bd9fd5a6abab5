"""The server of the encrypted scheme, its aggregator: adds ciphertexts, and holds no key."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from secagg.errors import Aborted, DecodeError, IntegrityError, RemoteProtocolError
from secagg.frame import Endpoint, Signed
from secagg.identity import AUTHORITY, PartyId
from secagg.machine import Aggregate, Finished, Over, Send, Step, Transitions
from secagg.primitives.ring import unpack
from secagg.rand import Rand
from secagg.schemes.ckks import states
from secagg.schemes.ckks.binding import check_signature
from secagg.schemes.ckks.messages import CONTRIBUTORS, Opened, Refused, Request, Upload
from secagg.schemes.ckks.residues import add, pack_residues, unpack_residues
from secagg.schemes.ckks.states import Asking, Summing
from secagg.wire import Table, ids

if TYPE_CHECKING:
    from secagg.schemes.ckks.params import EncryptedExact

__all__ = ["Server"]

ServerState = Summing | Asking


class Server:
    """Streams: one ciphertext vector in memory beside the one that arrives, and no native code."""

    phases = ("upload", "open")
    tolerant = True
    transitions: Transitions = states.SERVER

    def __init__(self, params: EncryptedExact, endpoint: Endpoint) -> None:
        self.me = endpoint.me
        self._params = params
        self._endpoint = endpoint
        self._invited = frozenset(endpoint.roster.ids)

    def start(self, rand: Rand) -> Step[ServerState]:
        total = np.zeros(self._params.layout.words, "<u8")
        return Step(Summing(total=total, contributors=CONTRIBUTORS.table({}), lost=ids(())))

    def on_message(self, state: ServerState, signed: Signed[Any], rand: Rand) -> Step[ServerState]:
        if isinstance(state, Summing):
            return self._add(state, signed)
        if signed.sender != AUTHORITY:
            raise RemoteProtocolError("only the key authority opens a sum")
        if isinstance(signed.message, Refused):
            return self._withhold(state, signed.message)
        return self._release(state, signed.message)

    def on_lost(self, state: ServerState, peer: PartyId, rand: Rand) -> Step[ServerState]:
        if isinstance(state, Asking):
            if peer == AUTHORITY:
                raise Aborted("open", "the key authority broke the protocol", culprits={peer})
            return Step(state)
        if peer == AUTHORITY or peer in state.contributors.peers:
            return Step(state)
        return self._proceed(replace(state, lost=ids((*state.lost.peers, peer))))

    def on_deadline(self, state: ServerState, rand: Rand) -> Step[ServerState]:
        if isinstance(state, Asking):
            raise Aborted("open", "the key authority did not answer", {AUTHORITY})
        return self._ask(state)

    def on_input(self, state: ServerState, value: Any, rand: Rand) -> Step[ServerState]:
        raise AssertionError("the transition table allows no input")

    def expected(self, state: ServerState) -> frozenset[PartyId]:
        if isinstance(state, Asking):
            return frozenset({AUTHORITY})
        return self._invited.difference(state.contributors.peers, state.lost.peers)

    def satisfied(self, state: ServerState) -> bool:
        return False  # whoever is awaited would be in the sum, or opens it

    def _add(self, state: Summing, signed: Signed[Upload]) -> Step[ServerState]:
        if signed.sender == AUTHORITY:
            raise RemoteProtocolError("the key authority has no input")
        message, layout = signed.message, self._params.layout
        check_signature(signed.sender, message.sealed, message.signature, self._endpoint)
        try:
            residues = unpack_residues(message.vector, layout.words, layout.ring.keys)
        except DecodeError as error:
            raise RemoteProtocolError(str(error)) from None
        add(state.total, residues, layout.ring.keys)
        row = (message.sealed, message.signature)
        extended = _extended(state.contributors, signed.sender, row)
        return self._proceed(replace(state, contributors=extended))

    def _proceed(self, state: Summing) -> Step[ServerState]:
        return Step(state) if self.expected(state) else self._ask(state)

    def _ask(self, state: Summing) -> Step[ServerState]:
        arrived, least = state.contributors.peers, self._params.survivors
        if len(arrived) < least:
            raise Aborted(
                "upload",
                f"{len(arrived)} inputs, at least {least} are needed",
                self._invited.difference(arrived),
            )
        vector = pack_residues(state.total, self._params.layout.ring.keys)
        request = Request(contributors=state.contributors, vector=vector)
        return Step(Asking(included=ids(arrived)), (Send(request, (AUTHORITY,)),))

    def _release(self, state: Asking, message: Opened) -> Step[ServerState]:
        try:
            total = unpack(message.total, self._params.length, self._params.width)
        except DecodeError as error:
            raise RemoteProtocolError(str(error)) from None
        included = frozenset(state.included.peers)
        dropped = {"upload": self._invited - included}
        aggregate = Aggregate(total=total, included=included, dropped=dropped)
        return Step(Over(), events=(Finished(aggregate),))

    def _withhold(self, state: Asking, message: Refused) -> Step[ServerState]:
        culprits = message.culprits.peers
        if not set(culprits) <= set(state.included.peers):
            raise RemoteProtocolError("the key authority blames who is not in the sum")
        if culprits:
            raise Aborted("open", "sealed seeds that do not open", culprits=culprits)
        raise IntegrityError("what was decrypted is not the sum of the contributors' vectors")


def _extended(table: Table, party: PartyId, row: tuple[bytes, bytes]) -> Table:
    """`table` with one row more, in its place."""
    added = CONTRIBUTORS.table({party: row})
    at = int(np.searchsorted(table.rows["peer"], party))
    return Table(np.insert(table.rows, at, added.rows))
