"""Parameters of the encrypted scheme."""

from __future__ import annotations

import os
from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Protocol

from secagg.context import Round
from secagg.errors import DecodeError, ParameterError
from secagg.frame import Endpoint
from secagg.identity import AUTHORITY, Identity, is_share_key
from secagg.machine import Machine, Role
from secagg.parameters import corrupt_bound, dropout_bound
from secagg.rand import Rand
from secagg.scheme import Scheme
from secagg.schemes.ckks.authority import ExactAuthority
from secagg.schemes.ckks.cipher import Cipher
from secagg.schemes.ckks.client import Client
from secagg.schemes.ckks.layout import Layout, layout
from secagg.schemes.ckks.messages import Opened, Refused, Request, Upload
from secagg.schemes.ckks.residues import unpack_key
from secagg.schemes.ckks.ring import KeyRing
from secagg.schemes.ckks.server import Server
from secagg.wire import Limits, Message

__all__ = ["EncryptedExact", "EncryptedScheme", "Shape", "tenseal_cipher"]


class Keyed(Protocol):
    """A ring that is encrypted in."""

    @property
    def keys(self) -> KeyRing: ...


class Shape(Protocol):
    """What everybody has to know of how vectors are encrypted."""

    @property
    def ring(self) -> Keyed: ...
    @property
    def words(self) -> int: ...
    @property
    def size(self) -> int: ...


def tenseal_cipher() -> Cipher:
    """TenSEAL in this process; `ParameterError` where it is not installed."""
    try:
        from secagg.schemes.ckks.cipher_tenseal import TensealCipher  # noqa: PLC0415  an extra
    except ModuleNotFoundError:
        raise ParameterError("TenSEAL is missing: pip install 'secagg[he]'") from None
    return TensealCipher()


@dataclass(frozen=True, kw_only=True)
class EncryptedScheme(Scheme):
    """What all schemes with a key authority have. `KeyAuthority.scheme` makes them, with its keys.

    authority_identity: the authority's public identity, 32 bytes. share_key: its
    `Identity.share_key`, to which clients seal. public_key: of the encryption, packed. corrupt,
    dropout: fractions of the invited clients that may collude, and that may be lost.

    Raises `ParameterError` for keys that do not fit the parameters, and where no ring of 128 bits
    of security holds `clients` times the largest residue.
    """

    authority_identity: bytes = field(repr=False)
    share_key: bytes = field(repr=False)
    public_key: bytes = field(repr=False)
    corrupt: float = 0.2
    dropout: float = 0.3

    def __post_init__(self) -> None:
        super().__post_init__()
        corrupt_bound(self.clients, self.corrupt)
        dropout_bound(self.clients, self.dropout)
        object.__setattr__(self, "corrupt", float(self.corrupt) + 0.0)  # -0.0 is the same plan
        object.__setattr__(self, "dropout", float(self.dropout) + 0.0)
        if self.honest_inputs < 2:
            raise ParameterError(
                f"survivors - corrupt >= 2 must hold, got {self.honest_inputs}: the sum of one "
                "honest client is that client's update"
            )
        for name in ("authority_identity", "share_key", "public_key"):
            if not isinstance(getattr(self, name), bytes):
                raise ParameterError(f"{name} must be bytes")
        if not is_share_key(self.authority_identity, self.share_key):
            raise ParameterError("share_key is not the authority's own")
        try:
            unpack_key(self.public_key, self.layout.ring.keys)
        except DecodeError as error:
            raise ParameterError(f"public_key is not of these parameters: {error}") from None

    @property
    @abstractmethod
    def layout(self) -> Shape:
        """How vectors are packed and encrypted."""

    @property
    def authority(self) -> bytes:
        return self.authority_identity

    @property
    def survivors(self) -> int:
        return self.clients - dropout_bound(self.clients, self.dropout)

    @property
    def honest_inputs(self) -> int:
        return self.survivors - corrupt_bound(self.clients, self.corrupt)

    @property
    def limits(self) -> Limits:
        size = self.layout.size
        return Limits(parties=self.clients, vector=size, blob=size)

    @property
    def client_messages(self) -> tuple[type[Message], ...]:
        return ()

    @property
    def server_messages(self) -> tuple[type[Message], ...]:
        return (Upload,)

    @property
    def third_messages(self) -> tuple[type[Message], ...]:
        return (Request,)

    @property
    def third_answers(self) -> tuple[type[Message], ...]:
        return (Opened, Refused)

    @property
    def derived(self) -> Mapping[str, object]:
        return {"layout": self.layout}

    def server_role(self, endpoint: Endpoint) -> Role[Any]:
        return Server(self, endpoint)

    @abstractmethod
    def authority_role(self, endpoint: Endpoint, secret: bytes, cipher: Cipher) -> Role[Any]:
        """The authority's steps."""

    def authority_machine(
        self,
        round: Round,
        identity: Identity,
        secret: bytes,
        cipher: Cipher,
        *,
        snapshot: bytes | None = None,
        rand: Rand = os.urandom,
    ) -> Machine[Any]:
        """The machine of the key authority, or as it was at `snapshot`; see `KeyAuthority`."""
        endpoint = self._endpoint(round, identity, AUTHORITY)
        role = self.authority_role(endpoint, secret, cipher)
        if snapshot is None:
            return Machine(role, endpoint, rand)
        return Machine.restore(role, endpoint, snapshot, rand)


@dataclass(frozen=True, kw_only=True)
class EncryptedExact(EncryptedScheme):
    """Exact sums under BFV."""

    code: ClassVar[int] = 7
    name: ClassVar[str] = "ckks-exact"

    @property
    def layout(self) -> Layout:
        return layout(self.clients, self.length, self.width)

    def client_role(self, endpoint: Endpoint) -> Role[Any]:
        return Client(self, endpoint, tenseal_cipher())

    def authority_role(self, endpoint: Endpoint, secret: bytes, cipher: Cipher) -> Role[Any]:
        return ExactAuthority(self, endpoint, secret, cipher)
