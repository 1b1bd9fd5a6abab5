"""The server of the encrypted scheme, its aggregator: adds ciphertexts, and holds no key."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from secagg.errors import Aborted, DecodeError, IntegrityError, RemoteProtocolError
from secagg.frame import Endpoint, Signed
from secagg.identity import AUTHORITY, PartyId
from secagg.machine import Aggregate, Finished, Over, Send, Side, Step, Transitions
from secagg.primitives.ring import unpack
from secagg.rand import Rand
from secagg.schemes.ckks import states
from secagg.schemes.ckks.binding import check_signature
from secagg.schemes.ckks.messages import CONTRIBUTORS, Opened, Refused, Request, Upload
from secagg.schemes.ckks.residues import Residues, add, pack_residues, unpack_residues
from secagg.schemes.ckks.states import Asking, Summing
from secagg.wire import Table, ids

if TYPE_CHECKING:
    from secagg.schemes.ckks.params import EncryptedScheme

__all__ = ["Server", "extended"]


class Server:
    """Streams: one ciphertext vector in memory beside the one that arrives, and no native code."""

    phases: tuple[str, ...] = ("upload", "open")
    side = Side.SERVER
    transitions: Transitions = states.SERVER

    def __init__(self, params: EncryptedScheme, endpoint: Endpoint) -> None:
        self.me = endpoint.me
        self._params = params
        self._endpoint = endpoint
        self._invited = frozenset(endpoint.roster.ids)

    def start(self, rand: Rand) -> Step[Any]:
        total = np.zeros(self._params.layout.words, "<u8")
        return Step(Summing(total=total, contributors=CONTRIBUTORS.table({}), lost=ids(())))

    def on_message(self, state: Any, signed: Signed[Any], rand: Rand) -> Step[Any]:
        if isinstance(state, Summing):
            return self._add(state, signed)
        self._check_authority(signed.sender)
        if isinstance(signed.message, Refused):
            return self._withhold(state, signed.message)
        return self._release(state, signed.message)

    def on_lost(self, state: Any, peer: PartyId, rand: Rand) -> Step[Any]:
        if isinstance(state, Asking):
            if peer == AUTHORITY:
                raise Aborted("open", "the key authority broke the protocol", culprits={peer})
            return Step(state)
        if peer == AUTHORITY or peer in state.contributors.peers:
            return Step(state)
        return self._proceed(replace(state, lost=ids((*state.lost.peers, peer))))

    def on_deadline(self, state: Any, rand: Rand) -> Step[Any]:
        if isinstance(state, Asking):
            raise Aborted("open", "the key authority did not answer", {AUTHORITY})
        return self._ask(state)

    def on_input(self, state: Any, value: Any, rand: Rand) -> Step[Any]:
        raise AssertionError("the transition table allows no input")

    def expected(self, state: Any) -> frozenset[PartyId]:
        if isinstance(state, Asking):
            return frozenset({AUTHORITY})
        return self._invited.difference(state.contributors.peers, state.lost.peers)

    def satisfied(self, state: Any) -> bool:
        return False  # whoever is awaited would be in the sum, or opens it

    def refused(self, state: Asking) -> frozenset[PartyId]:
        """Whose inputs arrived and are not in the sum that the authority was asked for."""
        return frozenset()

    def _check_authority(self, sender: PartyId) -> None:
        if sender != AUTHORITY:
            raise RemoteProtocolError("only the key authority opens anything")

    def _checked(self, signed: Signed[Upload]) -> tuple[Residues, tuple[bytes, bytes]]:
        """An upload's residues, and its row in the list; `RemoteProtocolError` for a bad one."""
        if signed.sender == AUTHORITY:
            raise RemoteProtocolError("the key authority has no input")
        message, layout = signed.message, self._params.layout
        check_signature(signed.sender, message.sealed, message.signature, self._endpoint)
        try:
            residues = unpack_residues(message.vector, layout.words, layout.ring.keys)
        except DecodeError as error:
            raise RemoteProtocolError(str(error)) from None
        return residues, (message.sealed, message.signature)

    def _add(self, state: Summing, signed: Signed[Upload]) -> Step[Any]:
        residues, row = self._checked(signed)
        add(state.total, residues, self._params.layout.ring.keys)
        contributors = extended(state.contributors, signed.sender, row)
        return self._proceed(replace(state, contributors=contributors))

    def _proceed(self, state: Summing) -> Step[Any]:
        return Step(state) if self.expected(state) else self._ask(state)

    def _ask(self, state: Summing) -> Step[Any]:
        self._require_enough(state.contributors)
        vector = pack_residues(state.total, self._params.layout.ring.keys)
        request = Request(contributors=state.contributors, vector=vector)
        after = Asking(included=ids(state.contributors.peers))
        return Step(after, (Send(request, (AUTHORITY,)),))

    def _require_enough(self, contributors: Table) -> None:
        arrived, least = contributors.peers, self._params.survivors
        if len(arrived) < least:
            raise Aborted(
                "upload",
                f"{len(arrived)} inputs, at least {least} are needed",
                self._invited.difference(arrived),
            )

    def _release(self, state: Asking, message: Opened) -> Step[Any]:
        try:
            total = unpack(message.total, self._params.length, self._params.width)
        except DecodeError as error:
            raise RemoteProtocolError(str(error)) from None
        included = frozenset(state.included.peers)
        refused = self.refused(state)
        aggregate = Aggregate(
            total=total,
            included=included,
            dropped={"upload": self._invited - included - refused},
            refused=refused,
        )
        return Step(Over(), events=(Finished(aggregate),))

    def _withhold(self, state: Asking, message: Refused) -> Step[Any]:
        culprits = message.culprits.peers
        if not set(culprits) <= set(state.included.peers):
            raise RemoteProtocolError("the key authority blames who is not in the sum")
        if culprits:
            raise Aborted("open", "sealed seeds that do not open", culprits=culprits)
        raise IntegrityError("what was decrypted is not the sum of the contributors' vectors")


def extended(table: Table, party: PartyId, row: tuple[bytes, bytes]) -> Table:
    """`table` with one row more, in its place."""
    added = CONTRIBUTORS.table({party: row})
    at = int(np.searchsorted(table.rows["peer"], party))
    return Table(np.insert(table.rows, at, added.rows))
