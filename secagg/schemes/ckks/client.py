"""The client of the encrypted scheme: one message."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from secagg.errors import Aborted
from secagg.frame import Endpoint, Signed
from secagg.identity import SERVER, PartyId
from secagg.machine import Finished, Over, Send, Step, Transitions
from secagg.primitives import agreement
from secagg.primitives.prg import KEY_SIZE
from secagg.primitives.ring import check_vector
from secagg.rand import Rand
from secagg.schemes.ckks import states
from secagg.schemes.ckks.binding import seal_seed, sign
from secagg.schemes.ckks.cipher import Cipher
from secagg.schemes.ckks.masks import add_masks
from secagg.schemes.ckks.messages import Upload
from secagg.schemes.ckks.residues import pack_residues
from secagg.schemes.ckks.states import Waiting

if TYPE_CHECKING:
    from secagg.schemes.ckks.params import EncryptedExact

__all__ = ["Client"]


class Client:
    """Masks, encrypts and sends its vector as soon as it has one. It holds no secret key."""

    phases = ("upload",)
    tolerant = False
    transitions: Transitions = states.CLIENT

    def __init__(self, params: EncryptedExact, endpoint: Endpoint, cipher: Cipher) -> None:
        self.me = endpoint.me
        self._params = params
        self._endpoint = endpoint
        self._cipher = cipher

    def start(self, rand: Rand) -> Step[Waiting]:
        return Step(Waiting())

    def on_input(self, state: Waiting, value: Any, rand: Rand) -> Step[Waiting]:
        layout, width = self._params.layout, self._params.width
        seed = rand(KEY_SIZE)
        vector = check_vector(value, self._params.length, width)
        slots = layout.slots(layout.padded_vector(vector))
        add_masks(slots, layout.ring.plain, plus=[seed])
        residues = self._cipher.encrypt(layout.ring, self._params.public_key, slots)
        sealed = seal_seed(seed, self._params.share_key[: agreement.KEY_SIZE], self._endpoint)
        upload = Upload(
            sealed=sealed,
            signature=sign(sealed, self._endpoint),
            vector=pack_residues(residues, layout.ring.keys),
        )
        return Step(Over(), (Send(upload, (SERVER,)),), (Finished(),))

    def on_message(self, state: Waiting, signed: Signed[Any], rand: Rand) -> Step[Waiting]:
        raise AssertionError("the transition table allows no message")

    def on_deadline(self, state: Waiting, rand: Rand) -> Step[Waiting]:
        raise Aborted("upload", "no input was submitted in time", {self.me})

    def on_lost(self, state: Waiting, peer: PartyId, rand: Rand) -> Step[Waiting]:
        raise AssertionError("a client has no peers to lose")

    def expected(self, state: Waiting) -> frozenset[PartyId]:
        return frozenset()

    def satisfied(self, state: Waiting) -> bool:
        return False
