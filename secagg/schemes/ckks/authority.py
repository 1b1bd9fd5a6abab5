"""The key authority: opens one sum of enough contributors, and nothing else."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any

from secagg.errors import DecodeError, IntegrityError, RemoteProtocolError
from secagg.frame import Endpoint, Signed
from secagg.identity import SERVER, PartyId
from secagg.machine import Failed, Finished, Over, Send, Side, Step, Transitions
from secagg.primitives.ring import Words, pack
from secagg.rand import Rand
from secagg.schemes.ckks import states
from secagg.schemes.ckks.binding import check_list, open_seeds
from secagg.schemes.ckks.cipher import Cipher
from secagg.schemes.ckks.masks import add_masks
from secagg.schemes.ckks.messages import Opened, Refused, Request
from secagg.schemes.ckks.residues import Residues, unpack_residues
from secagg.schemes.ckks.states import Holding
from secagg.wire import ids

if TYPE_CHECKING:
    from secagg.schemes.ckks.params import EncryptedExact, EncryptedScheme

__all__ = ["Authority", "ExactAuthority"]


class Authority(ABC):
    """Answers the aggregator once. It is shown no client's ciphertext, only their sum.

    A request without a list of enough signatures raises `RemoteProtocolError`, and this context is
    over. What leaves are integers after exact decryption: no noise of a ciphertext is in them.
    """

    phases: tuple[str, ...] = ("open",)
    side = Side.THIRD
    transitions: Transitions = states.AUTHORITY

    def __init__(
        self, params: EncryptedScheme, endpoint: Endpoint, secret: bytes, cipher: Cipher
    ) -> None:
        self.me = endpoint.me
        self._params = params
        self._endpoint = endpoint
        self._secret = secret
        self._cipher = cipher

    def start(self, rand: Rand) -> Step[Any]:
        return Step(Holding())

    def on_message(self, state: Any, signed: Signed[Any], rand: Rand) -> Step[Any]:
        return self._open(signed.message)

    def on_input(self, state: Any, value: Any, rand: Rand) -> Step[Any]:
        raise AssertionError("the transition table allows no input")

    def on_deadline(self, state: Any, rand: Rand) -> Step[Any]:
        return Step(Over())  # nobody asked, and no sum was opened

    def on_lost(self, state: Any, peer: PartyId, rand: Rand) -> Step[Any]:
        raise AssertionError("an authority has no peers to lose")

    def expected(self, state: Any) -> frozenset[PartyId]:
        return frozenset({SERVER})

    def satisfied(self, state: Any) -> bool:
        return False

    def _open(self, request: Request) -> Step[Any]:
        check_list(request.contributors, self._endpoint, self._params.survivors)
        seeds = open_seeds(request.contributors, self._endpoint)
        opened = [seed for seed in seeds.values() if seed is not None]
        if len(opened) < len(seeds):
            culprits = [party for party, seed in seeds.items() if seed is None]
            return _refused(culprits, "sealed seeds that do not open")
        total = self._total(request.vector, opened)
        if total is None:
            return _refused([], "what was decrypted is not the sum of the contributors' vectors")
        message = Opened(total=pack(total, self._params.width))
        included = frozenset(seeds)
        return Step(Over(), (Send.to_server(message),), (Finished(included=included),))

    def _total(self, vector: bytes, seeds: list[bytes]) -> Words | None:
        """The sum over the list; None if the ciphertexts are of anything else."""
        layout = self._params.layout
        try:
            residues = unpack_residues(vector, layout.words, layout.ring.keys)
        except DecodeError as error:
            raise RemoteProtocolError(str(error)) from None
        return self._summed(residues, seeds)

    @abstractmethod
    def _summed(self, residues: Residues, seeds: list[bytes]) -> Words | None:
        """What these ciphertexts are of, without the masks of `seeds`; None for garbage."""


class ExactAuthority(Authority):
    """Decrypts exactly."""

    _params: EncryptedExact

    def _summed(self, residues: Residues, seeds: list[bytes]) -> Words | None:
        layout = self._params.layout
        slots = self._cipher.decrypt(layout.ring, self._secret, residues)
        add_masks(slots, layout.ring.plain, minus=seeds)
        return layout.opened(slots, len(seeds))


def _refused(culprits: list[PartyId], reason: str) -> Step[Any]:
    message = Refused(culprits=ids(culprits))
    return Step(Over(), (Send.to_server(message),), (Failed(IntegrityError(reason)),))
