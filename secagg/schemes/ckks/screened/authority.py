"""The key authority of the screened variant: shows blinded numbers once, then opens one sum."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from secagg.errors import DecodeError, RemoteProtocolError
from secagg.frame import Signed
from secagg.identity import PartyId
from secagg.machine import Send, State, Step
from secagg.rand import Rand
from secagg.schemes.ckks.authority import ExactAuthority
from secagg.schemes.ckks.binding import check_list, open_seeds
from secagg.schemes.ckks.layout import Slots
from secagg.schemes.ckks.masks import add_masks
from secagg.schemes.ckks.residues import unpack_residues
from secagg.schemes.ckks.screened import states
from secagg.schemes.ckks.screened.messages import Query, Shown
from secagg.schemes.ckks.screened.states import Watching
from secagg.wire import Columns, ids

if TYPE_CHECKING:
    from secagg.schemes.ckks.screened.params import EncryptedScreened
    from secagg.schemes.ckks.screened.screen import SlotMap

__all__ = ["ScreeningAuthority"]


class ScreeningAuthority(ExactAuthority):
    """Answers one query for numbers, and one request for a sum over some of whom it showed.

    What it decrypts for a query is uniform to it: the server has blinded every slot but those that
    must be zero. What it answers is uniform to a server that asked for anything but the map.
    """

    phases = ("screen", "open")
    transitions = states.AUTHORITY
    _params: EncryptedScreened

    def on_message(self, state: State, signed: Signed[Any], rand: Rand) -> Step[Any]:
        if isinstance(state, Watching):
            asked = set(signed.message.contributors.peers)
            if not asked <= set(state.shown.peers):
                raise RemoteProtocolError("a sum over clients of whom nothing was shown")
            return self._open(signed.message)
        return self._show(signed.message)

    def _show(self, query: Query) -> Step[Any]:
        check_list(query.contributors, self._endpoint, self._params.survivors)
        slots = self._decrypted(query)
        opened_map = self._params.opened_map(self._params.seed(self._endpoint.context, query.nonce))
        seeds = open_seeds(query.contributors, self._endpoint)
        values: dict[PartyId, tuple[bytes]] = {}
        for each, (peer, seed) in zip(slots, seeds.items(), strict=True):
            if seed is not None and self._is_readable(self._unmask(each, seed, opened_map)):
                values[peer] = (opened_map.opened(each).astype("<u8").tobytes(),)
        shown = Shown(
            values=Columns(value=self._params.limits.cell).table(values),
            unreadable=ids(set(seeds).difference(values)),
        )
        return Step(Watching(shown=ids(values)), (Send.to_server(shown),))

    def _decrypted(self, query: Query) -> Slots:
        """(clients, combinations, degree)."""
        keys, each = self._params.layout.ring.keys, self._params.combinations
        words = len(query.contributors) * each * keys.words
        try:
            residues = unpack_residues(query.blinded, words, keys)
        except DecodeError as error:
            raise RemoteProtocolError(str(error)) from None
        slots = self._cipher.decrypt(self._params.layout.ring, self._secret, residues)
        return slots.reshape(len(query.contributors), each, keys.degree)

    def _unmask(self, slots: Slots, seed: bytes, opened_map: SlotMap) -> Slots:
        """`slots` without the client's mask and without what stands for zero, in place."""
        layout = self._params.layout
        plain = np.uint64(layout.ring.plain)
        masks = np.zeros((layout.blocks, layout.ring.keys.degree), "<u8")
        add_masks(masks, layout.ring.plain, plus=[seed])
        zero = 1 << (layout.width - 1)
        offsets = [int(total) * zero % layout.ring.plain for total in opened_map.totals]
        slots += plain - opened_map.combined(masks, plain)
        slots %= plain
        slots += plain - np.array(offsets, np.uint64)[:, None]
        slots %= plain
        return slots

    def _is_readable(self, slots: Slots) -> bool:
        layout = self._params.layout
        return not np.any(slots[:, layout.room - layout.zeros :])
