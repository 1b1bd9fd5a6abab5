"""The client of the encrypted scheme: one message."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from secagg.frame import Endpoint
from secagg.primitives import agreement
from secagg.primitives.prg import KEY_SIZE
from secagg.primitives.ring import check_vector
from secagg.rand import Rand
from secagg.role_speaker import Speaker
from secagg.schemes.ckks import states
from secagg.schemes.ckks.binding import seal_seed, sign
from secagg.schemes.ckks.cipher import Cipher
from secagg.schemes.ckks.masks import add_masks
from secagg.schemes.ckks.messages import Upload
from secagg.schemes.ckks.residues import Residues, pack_residues
from secagg.schemes.ckks.states import Waiting

if TYPE_CHECKING:
    from secagg.schemes.ckks.params import EncryptedExact, EncryptedScheme

__all__ = ["Client", "Sender"]


class Sender(Speaker[Waiting]):
    """Sends its vector as soon as it has one. It holds no secret key."""

    phases = ("upload",)
    transitions = states.CLIENT

    def __init__(self, params: EncryptedScheme, endpoint: Endpoint, cipher: Cipher) -> None:
        super().__init__(endpoint.me)
        self._params = params
        self._endpoint = endpoint
        self._cipher = cipher

    def _signed(self, seed: bytes, residues: Residues) -> Upload:
        """Masked ciphertexts, and for the authority the seed of their masks."""
        sealed = seal_seed(seed, self._params.share_key[: agreement.KEY_SIZE], self._endpoint)
        return Upload(
            sealed=sealed,
            signature=sign(sealed, self._endpoint),
            vector=pack_residues(residues, self._params.layout.ring.keys),
        )


class Client(Sender):
    """Masks its vector, and encrypts it."""

    _params: EncryptedExact

    def message(self, value: Any, rand: Rand) -> Upload:
        layout, width = self._params.layout, self._params.width
        seed = rand(KEY_SIZE)
        vector = check_vector(value, self._params.length, width)
        slots = layout.slots(layout.padded_vector(vector))
        add_masks(slots, layout.ring.plain, plus=[seed])
        residues = self._cipher.encrypt(layout.ring, self._params.public_key, slots)
        return self._signed(seed, residues)
