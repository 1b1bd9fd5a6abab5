"""The key authority of the screened variant: shows blinded numbers once, then opens one sum."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from secagg.errors import DecodeError, RemoteProtocolError
from secagg.frame import Signed
from secagg.identity import PartyId
from secagg.machine import Send, State, Step
from secagg.rand import Rand
from secagg.schemes.ckks.authority import ExactAuthority
from secagg.schemes.ckks.binding import check_list, open_seeds
from secagg.schemes.ckks.layout import Slots
from secagg.schemes.ckks.masks import add_masks
from secagg.schemes.ckks.residues import Residues, moduli, unpack_residues
from secagg.schemes.ckks.screened import states
from secagg.schemes.ckks.screened.messages import Query, Shown
from secagg.schemes.ckks.screened.modular import shifted
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
        residues = self._residues(query)
        slots = self._decrypted(residues)
        quiet = self._is_quiet(residues, slots)
        opened_map = self._params.opened_map(self._params.seed(self._endpoint.context, query.nonce))
        seeds = open_seeds(query.contributors, self._endpoint)
        values: dict[PartyId, tuple[bytes]] = {}
        for each, sums, (peer, seed) in zip(slots, quiet, seeds.items(), strict=True):
            if not sums or seed is None:
                continue
            if self._is_readable(self._unmask(each, seed, opened_map)):
                values[peer] = (opened_map.opened(each).astype("<u8").tobytes(),)
        shown = Shown(
            values=Columns(value=self._params.limits.cell).table(values),
            unreadable=ids(set(seeds).difference(values)),
        )
        return Step(Watching(shown=ids(values)), (Send.to_server(shown),))

    def _residues(self, query: Query) -> Residues:
        """(clients * combinations, words) of the combinations."""
        keys = self._params.layout.ring.keys
        words = len(query.contributors) * self._params.combinations * keys.words
        try:
            return unpack_residues(query.blinded, words, keys).reshape(-1, keys.words)
        except DecodeError as error:
            raise RemoteProtocolError(str(error)) from None

    def _decrypted(self, residues: Residues) -> Slots:
        """(clients, combinations, degree)."""
        ring = self._params.layout.ring
        slots = self._cipher.decrypt(ring, self._secret, residues.reshape(-1))
        return slots.reshape(-1, self._params.combinations, ring.keys.degree)

    def _is_quiet(self, residues: Residues, slots: Slots) -> NDArray[np.bool_]:
        """(clients,): whether noise is so small that it cannot add up to something in a sum.

        Noise grows with a multiple of a ciphertext: the multiple decrypts to that of the plaintext
        exactly where noise was below that part of what decrypts.
        """
        layout = self._params.layout
        ring, bits = layout.ring, layout.spare_bits
        found = self._decrypted(shifted(residues, bits, moduli(ring.keys)))
        due = shifted(slots, bits, np.uint64(ring.plain))
        quiet: NDArray[np.bool_] = np.all(found == due, axis=(1, 2))
        return quiet

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
