"""Who is who: Ed25519 identities, the roster of a round, and what a signature covers.

A signature covers a label and a digest of length-prefixed parts, so it can serve one purpose only.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from types import MappingProxyType
from typing import Self

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from secagg.errors import DecodeError, ParameterError, RemoteProtocolError
from secagg.primitives import agreement
from secagg.primitives.digest import Label, digest
from secagg.rand import Rand

__all__ = [
    "AUTHORITY",
    "BROADCAST",
    "SERVER",
    "THIRD",
    "FirstUseRoster",
    "Identity",
    "PartyId",
    "Roster",
    "is_share_key",
]

PartyId = int
"""0 is the server; clients are 1 … 2**32 - 2, in any order and with any gaps."""

SERVER: PartyId = 0
BROADCAST: PartyId = (1 << 32) - 1
THIRD: PartyId = (1 << 32) - 2
"""The party beside clients and server, in schemes that have one; in others a client's id like any
other. No scheme has two."""
AUTHORITY = THIRD
"""The third party as the key authority of an encrypted plan."""
_PUBLIC_SIZE = 32
_PRIME = (1 << 255) - 19
_ORDER_8 = 0x05FC536D880238B13933C6D305ACDFD5F098EFF289F4C345B027B2C28F95E826
"""The y coordinate of four of the points of order 8; its negative is that of the other four."""


class Identity:
    """A long-term signing key. Its repr shows the public half only; it does not pickle."""

    def __init__(self, private: Ed25519PrivateKey) -> None:
        self._private = private
        self.public: bytes = private.public_key().public_bytes_raw()

    @classmethod
    def generate(cls, rand: Rand) -> Self:
        """A fresh identity from 32 bytes of `rand`."""
        return cls.from_bytes(rand(32))

    @classmethod
    def from_bytes(cls, private: bytes) -> Self:
        """The identity whose private seed is these 32 bytes; `ParameterError` on another length."""
        if len(private) != 32:
            raise ParameterError(f"an Ed25519 private key has 32 bytes, got {len(private)}")
        return cls(Ed25519PrivateKey.from_private_bytes(private))

    @cached_property
    def share_private(self) -> bytes:
        """Private half of the long-term X25519 key that some schemes seal shares to."""
        return agreement.derive(self.to_bytes(), Label.SHARE_KEY)

    @cached_property
    def share_key(self) -> bytes:
        """Its public half and this identity's signature on it, 96 bytes, for `Roster.share_keys`.

        The signature makes it as authentic as the identity, however the roster travels.
        """
        public = agreement.public_key(self.share_private)
        return public + self.sign(Label.SHARE_KEY, public)

    def secret(self, label: Label, *parts: bytes | memoryview) -> bytes:
        """32 bytes for one purpose that nobody else can compute, the same whenever asked for."""
        return digest(label, agreement.derive(self.to_bytes(), label), *parts)

    def to_bytes(self) -> bytes:
        """The 32 private bytes, for the caller's own key store."""
        return self._private.private_bytes_raw()

    def sign(self, label: Label, *parts: bytes | memoryview) -> bytes:
        """64 bytes that `verify` accepts for the same label and parts."""
        return self._private.sign(_covered(label, *parts))

    def __repr__(self) -> str:
        return f"Identity(public={self.public.hex()[:16]}…)"

    def __reduce__(self) -> str:
        raise TypeError("an Identity holds a private key and does not pickle; use to_bytes()")


@dataclass(frozen=True)
class Roster:
    """The public keys of one round: the server's, and those of the clients invited to it.

    Signatures are checked against this list and its digest is bound into the context, so no party
    can be added or replaced without every mask ceasing to cancel. Raises `ParameterError` for ids
    out of range, malformed or repeated keys: one key under two ids would count twice.

    share_keys: each client's `Identity.share_key`, for schemes that need one; else empty.
    server_share_key: likewise the server's.
    authority: the public key of the key authority, in a scheme that has one; it speaks to the
    server only.
    """

    server: bytes
    clients: Mapping[PartyId, bytes]
    share_keys: Mapping[PartyId, bytes] = field(default_factory=dict)
    server_share_key: bytes = b""
    authority: bytes | None = None
    _verifiers: dict[PartyId, Ed25519PublicKey] = field(
        init=False, repr=False, compare=False, default_factory=dict
    )

    def __post_init__(self) -> None:
        for party in self.clients:
            if isinstance(party, bool) or not isinstance(party, int):
                raise ParameterError(f"a client id is an int, got {type(party).__name__}")
            if not SERVER < party < BROADCAST:
                raise ParameterError(f"{SERVER} < client id < {BROADCAST} must hold, got {party}")
        keys = [self.server, *self._authority_key, *self.clients.values()]
        if self.authority is not None and AUTHORITY in self.clients:
            raise ParameterError(f"client id < {AUTHORITY} must hold beside a key authority")
        if any(not isinstance(key, bytes) or len(key) != _PUBLIC_SIZE for key in keys):
            raise ParameterError("every public key of a roster has 32 bytes")
        if any(_is_weak(key) for key in keys):
            raise ParameterError("a public key is not canonical, or of small order")
        if len(set(keys)) != len(keys):
            raise ParameterError("two parties of a roster share one public key")
        self._check_share_keys()
        for name in ("clients", "share_keys"):
            given = getattr(self, name)
            ordered = MappingProxyType({party: given[party] for party in sorted(given)})
            object.__setattr__(self, name, ordered)

    @property
    def _authority_key(self) -> tuple[bytes, ...]:
        return () if self.authority is None else (self.authority,)

    def public(self, party: PartyId) -> bytes | None:
        """The public key of `party`; None if it is not on the roster."""
        if party == AUTHORITY and self.authority is not None:
            return self.authority
        return self.server if party == SERVER else self.clients.get(party)

    def _check_share_keys(self) -> None:
        if self.share_keys and self.share_keys.keys() != self.clients.keys():
            raise ParameterError("share keys must be listed for every client or for none")
        for party, certified in self.share_keys.items():
            if not is_share_key(self.clients[party], certified):
                raise ParameterError(f"the share key of client {party} is not its own")
        if self.server_share_key and not is_share_key(self.server, self.server_share_key):
            raise ParameterError("the share key of the server is not its own")

    def share_key(self, party: PartyId) -> bytes:
        """The 32-byte X25519 key that shares for `party` are sealed to."""
        certified = self.server_share_key if party == SERVER else self.share_keys[party]
        return certified[:_PUBLIC_SIZE]

    @cached_property
    def digest(self) -> bytes:
        """32 bytes that name this exact list."""
        rows = (
            party.to_bytes(4, "little") + key + self.share_keys.get(party, b"")
            for party, key in self.clients.items()
        )
        return digest(
            Label.ROSTER, self.server + self.server_share_key, *rows, *self._authority_key
        )

    @property
    def ids(self) -> tuple[PartyId, ...]:
        """The clients' ids, ascending."""
        return tuple(self.clients)

    def verify(
        self, party: PartyId, signature: bytes, label: Label, *parts: bytes | memoryview
    ) -> None:
        """Return if `party` signed; `DecodeError` if it did not or is not on the roster."""
        verifier = self._verifier(party)
        try:
            verifier.verify(signature, _covered(label, *parts))
        except InvalidSignature:
            raise DecodeError(f"the signature of party {party} does not verify") from None

    def _verifier(self, party: PartyId) -> Ed25519PublicKey:
        if party not in self._verifiers:
            public = self.public(party)
            if public is None:
                raise DecodeError(f"party {party} is not on the roster")
            self._verifiers[party] = Ed25519PublicKey.from_public_bytes(public)
        return self._verifiers[party]

    def __hash__(self) -> int:
        return hash(self.digest)

    def __iter__(self) -> Iterator[PartyId]:
        return iter(self.clients)

    def __len__(self) -> int:
        return len(self.clients)


class FirstUseRoster:
    """Trust on first use: pins the key first seen under each id and refuses another one later.

    What it loses against a `Roster` handed out by someone trusted: whoever carries the *first*
    introduction, usually the server, can put its own key in a client's place and then reads that
    client's masks in every later round. It protects only from a server that turns malicious after
    the introductions, and gives no defence against invented clients (Sybils).
    """

    def __init__(self, pinned: Mapping[PartyId, bytes] | None = None) -> None:
        self._pinned: dict[PartyId, bytes] = dict(pinned or {})

    @property
    def pinned(self) -> Mapping[PartyId, bytes]:
        """What to store between rounds and hand to the constructor."""
        return MappingProxyType(self._pinned)

    def roster(self, invited: Roster) -> Roster:
        """`invited` itself, once every key on it, the server's included, agrees with the pins.

        Raises `RemoteProtocolError` if any differs; then nothing new is pinned.
        """
        shown = {SERVER: invited.server, **invited.clients}
        for party, public in shown.items():
            if self._pinned.get(party, public) != public:
                raise RemoteProtocolError(
                    f"party {party} shows another identity key than the one pinned at first use; "
                    "verify it out of band before you forget the old one"
                )
        self._pinned.update(shown)
        return invited


def _is_weak(public: bytes) -> bool:
    """Whether an Ed25519 key is not canonical or one of the points of order 1, 2, 4 or 8.

    A point of small order accepts one signature for many messages. The sign bit does not matter.
    """
    y = int.from_bytes(public, "little") & ((1 << 255) - 1)
    return y >= _PRIME or y in (0, 1, _PRIME - 1, _ORDER_8, _PRIME - _ORDER_8)


def is_share_key(public: bytes, certified: object) -> bool:
    """Whether `certified` is a `share_key` that the owner of the identity `public` signed."""
    return isinstance(certified, bytes) and _is_certified(public, certified)


# A subset of a roster is a roster, and one process may see many: each signature is checked once.
@lru_cache(maxsize=1 << 16)
def _is_certified(public: bytes, certified: bytes) -> bool:
    key, signature = certified[:_PUBLIC_SIZE], certified[_PUBLIC_SIZE:]
    try:
        agreement.check_public(key)
        verifier = Ed25519PublicKey.from_public_bytes(public)
        verifier.verify(signature, _covered(Label.SHARE_KEY, key))
    except (RemoteProtocolError, InvalidSignature, ValueError):
        return False
    return True


def _covered(label: Label, *parts: bytes | memoryview) -> bytes:
    return label.value + digest(label, *parts)
