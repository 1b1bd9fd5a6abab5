"""Parameters of the screened variant: those of the encrypted scheme, and what is opened."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, ClassVar

from secagg.errors import ParameterError
from secagg.frame import Endpoint
from secagg.machine import Role
from secagg.primitives.digest import Label, digest
from secagg.schemes.ckks.cipher import Cipher
from secagg.schemes.ckks.layout import Layout, layout
from secagg.schemes.ckks.params import EncryptedExact, tenseal_cipher
from secagg.schemes.ckks.screened.authority import ScreeningAuthority
from secagg.schemes.ckks.screened.messages import Query, Shown
from secagg.schemes.ckks.screened.screen import SlotMap, SlotScreen
from secagg.schemes.ckks.screened.server import ScreenedServer
from secagg.wire import Limits, Message

__all__ = ["EncryptedScreened"]


@dataclass(frozen=True, kw_only=True)
class EncryptedScreened(EncryptedExact):
    """`EncryptedExact`, and before the sum the server learns a few linear functions of each
    client's vector. EXPERIMENTAL until externally reviewed.

    The server's input is the set of clients to accept; without one, at its deadline, all within the
    bounds of `screen` are. It keeps every ciphertext until then, and encrypts: it needs
    `secagg[he]`.
    """

    screen: SlotScreen

    code: ClassVar[int] = 8
    name: ClassVar[str] = "ckks-screened"

    def __post_init__(self) -> None:
        if not isinstance(self.screen, SlotScreen):
            raise ParameterError(f"screen is a SlotScreen, got {type(self.screen).__name__}")
        super().__post_init__()
        self.screen.check(self.clients, self.length, self.width)

    @property
    def layout(self) -> Layout:
        return layout(self.clients, self.length, self.width, self.screen.plain_bits)

    @property
    def opened(self) -> int:
        """Linear functionals of each client that a round opens."""
        return self.screen.opened

    @property
    def opened_of(self) -> int:
        return 1

    @property
    def combinations(self) -> int:
        """Ciphertexts that the authority decrypts of each client."""
        return self.screen.draws + 1

    @property
    def limits(self) -> Limits:
        size, keys = self.layout.size, self.layout.ring.keys
        blinded = (self.clients * self.combinations * keys.words * keys.bits + 7) // 8
        cell = 8 * self.screen.opened
        return Limits(parties=self.clients, vector=size, blob=max(size, blinded), cell=cell)

    @property
    def third_messages(self) -> tuple[type[Message], ...]:
        return (Query, *super().third_messages)

    @property
    def third_answers(self) -> tuple[type[Message], ...]:
        return (Shown, *super().third_answers)

    @property
    def derived(self) -> Mapping[str, object]:
        return {**super().derived, "combinations": self.combinations}

    def seed(self, context: bytes, nonce: bytes) -> bytes:
        """What draws the map of this context."""
        return digest(Label.SKETCH_SEED, context, nonce)

    def opened_map(self, seed: bytes) -> SlotMap:
        """The linear map that `seed` draws."""
        return _opened_map(self.screen, seed, self.layout)

    def server_role(self, endpoint: Endpoint) -> Role[Any]:
        return ScreenedServer(self, endpoint, tenseal_cipher())

    def authority_role(self, endpoint: Endpoint, secret: bytes, cipher: Cipher) -> Role[Any]:
        return ScreeningAuthority(self, endpoint, secret, cipher)


@lru_cache(maxsize=2)
def _opened_map(screen: SlotScreen, seed: bytes, shape: Layout) -> SlotMap:
    return SlotMap(screen, seed, shape)
