"""The client of the rounded variant: one message."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from secagg.primitives.prg import KEY_SIZE
from secagg.primitives.ring import check_vector
from secagg.rand import Rand
from secagg.schemes.ckks.client import Sender
from secagg.schemes.ckks.messages import Upload
from secagg.schemes.ckks.rounded.masks import add_masks

if TYPE_CHECKING:
    from secagg.schemes.ckks.rounded.params import EncryptedRounded

__all__ = ["RoundedClient"]


class RoundedClient(Sender):
    """Encrypts its vector, masks the ciphertexts and sends them."""

    _params: EncryptedRounded

    def message(self, value: Any, rand: Rand) -> Upload:
        layout = self._params.layout
        vector = check_vector(value, self._params.length, self._params.width)
        reals = layout.reals(vector)
        residues = self._cipher.encrypt_reals(layout.ring, self._params.public_key, reals)
        seed = rand(KEY_SIZE)
        add_masks(residues, layout.ring.keys, plus=[seed])
        return self._signed(seed, residues)
