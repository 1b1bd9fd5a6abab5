"""What a key authority keeps between rounds: its identity, and a key pair for each ring."""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import partial
from typing import Any, Self

from secagg.context import Round
from secagg.errors import ParameterError
from secagg.identity import Identity
from secagg.machine import Machine
from secagg.rand import Rand
from secagg.scheme import check_sizes
from secagg.schemes.ckks.cipher import Cipher, KeyPair
from secagg.schemes.ckks.layout import layout
from secagg.schemes.ckks.params import EncryptedExact, EncryptedScheme, Shape, tenseal_cipher
from secagg.schemes.ckks.reals import rounded_layout
from secagg.schemes.ckks.ring import KeyRing
from secagg.schemes.ckks.rounded import EncryptedRounded
from secagg.schemes.ckks.screened import EncryptedScreened, SlotScreen

__all__ = ["KeyAuthority"]


class KeyAuthority:
    """The long-term part of a key authority. It does not pickle, and its repr shows no secret.

        authority = KeyAuthority.generate()
        plan = RoundPlan.for_update(model, clients=20, clip=clip, scheme=authority.scheme)
        machine = authority.machine(plan.scheme, invitation.round)

    Make a new one for each training run: keys that are gone decrypt nothing. cipher: where it finds
    native code; `protocols.cipher_process` has one that runs in a process of its own.
    """

    def __init__(
        self, identity: Identity, *, cipher: Callable[[], Cipher] = tenseal_cipher
    ) -> None:
        self.identity = identity
        self._cipher = cipher
        self._pairs: dict[KeyRing, KeyPair] = {}

    @classmethod
    def generate(
        cls, rand: Rand = os.urandom, *, cipher: Callable[[], Cipher] = tenseal_cipher
    ) -> Self:
        """A fresh identity from `rand`; keys of rings come from the native code's randomness."""
        return cls(Identity.generate(rand), cipher=cipher)

    def scheme(
        self,
        *,
        clients: int,
        length: int,
        width: int,
        screen: SlotScreen | None = None,
        approximate: bool = False,
        **fields: Any,
    ) -> EncryptedScheme:
        """The scheme of these parameters under a key of this authority, made when first needed.

        screen: what is opened of each client before the sum; the scheme is then screened.
        approximate: whether sums are under CKKS, and rounded.

        Raises `ParameterError` as `EncryptedExact` does, `CipherFailed` if no key can be made.
        """
        check_sizes(clients, length, width)
        kind, shape = _kind(screen, approximate)
        pair = self._pair(shape(clients, length, width).ring.keys)
        return kind(
            clients=clients,
            length=length,
            width=width,
            authority_identity=self.identity.public,
            share_key=self.identity.share_key,
            public_key=pair.public,
            **fields,
        )

    def machine(
        self,
        scheme: EncryptedScheme,
        round: Round,
        *,
        snapshot: bytes | None = None,
        rand: Rand = os.urandom,
    ) -> Machine[Any]:
        """The machine that opens one sum of this round, or as it was at `snapshot`.

        A second machine for one context would open a second sum: whoever runs an authority keeps
        a journal, as `protocols.authority` does. Raises `ParameterError` for the scheme of another
        authority.
        """
        pair = self._pairs.get(scheme.layout.ring.keys)
        if pair is None or pair.public != scheme.public_key:
            raise ParameterError("the scheme has the public key of another authority")
        return scheme.authority_machine(
            round, self.identity, pair.secret, self._cipher(), snapshot=snapshot, rand=rand
        )

    def _pair(self, keys: KeyRing) -> KeyPair:
        if keys not in self._pairs:
            self._pairs[keys] = self._cipher().generate(keys)
        return self._pairs[keys]

    def __repr__(self) -> str:
        return f"KeyAuthority(public={self.identity.public.hex()[:16]}…)"

    def __reduce__(self) -> str:
        raise TypeError("a key authority holds secrets and does not pickle")


def _kind(
    screen: SlotScreen | None, approximate: bool
) -> tuple[Callable[..., EncryptedScheme], Callable[[int, int, int], Shape]]:
    """The scheme of such a plan, and its layout."""
    if screen is not None and approximate:
        raise ParameterError("a screen is for the exact mode: approximate must be False")
    if approximate:
        return EncryptedRounded, rounded_layout
    if screen is None:
        return EncryptedExact, layout
    shape = partial(layout, plain_bits=screen.plain_bits)
    return partial(EncryptedScreened, screen=screen), shape
