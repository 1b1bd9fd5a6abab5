"""What binds a sum to the list of those in it: masks that cancel for that very list only.

Each client adds a stream to its vector before it encrypts, seals the stream's key to the authority
and signs the sealed key for this context. The authority decrypts and takes off the streams of the
signed list. Whatever else an aggregator has it decrypt stays masked.
"""

from __future__ import annotations

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from secagg.errors import DecodeError, RemoteProtocolError
from secagg.frame import Endpoint
from secagg.identity import PartyId
from secagg.primitives.digest import Label
from secagg.primitives.prg import KEY_SIZE
from secagg.primitives.seal import open_sealed, seal
from secagg.wire import Table

__all__ = ["check_list", "check_signature", "open_seeds", "seal_seed", "sign"]


def seal_seed(seed: bytes, recipient: bytes, endpoint: Endpoint) -> bytes:
    """A client's seed, sealed to the authority for this context and this client."""
    return seal(seed, recipient, _info(endpoint.context, endpoint.me))


def sign(sealed: bytes, endpoint: Endpoint) -> bytes:
    """The client's word, for the authority, that it contributes to this context."""
    return endpoint.attest(Label.CONTRIBUTOR, endpoint.context, sealed)


def check_list(contributors: Table, endpoint: Endpoint, least: int) -> None:
    """Return if the list names at least `least` clients of the roster, all by their own signature.

    Raises `RemoteProtocolError` otherwise: the aggregator had no such list.
    """
    if len(contributors) < least:
        raise RemoteProtocolError(
            f"a list of {len(contributors)} contributors, at least {least} are needed"
        )
    rows = zip(
        contributors.peers,
        contributors.column("sealed"),
        contributors.column("signature"),
        strict=True,
    )
    for party, sealed, signature in rows:
        if party not in endpoint.roster.clients:
            raise RemoteProtocolError(f"contributor {party} is not a client of this round")
        check_signature(party, sealed, signature, endpoint)


def check_signature(party: PartyId, sealed: bytes, signature: bytes, endpoint: Endpoint) -> None:
    """`RemoteProtocolError` unless `party` signed `sealed` for this context."""
    try:
        endpoint.check_attested(party, signature, Label.CONTRIBUTOR, endpoint.context, sealed)
    except DecodeError:
        raise RemoteProtocolError(
            f"the signature of contributor {party} is not for this context"
        ) from None


def open_seeds(contributors: Table, endpoint: Endpoint) -> dict[PartyId, bytes | None]:
    """Each contributor's seed; None where it sealed something else."""
    private = X25519PrivateKey.from_private_bytes(endpoint.identity.share_private)
    return {
        party: _opened(sealed, private, _info(endpoint.context, party))
        for party, sealed in contributors.by_peer("sealed").items()
    }


def _opened(sealed: bytes, private: X25519PrivateKey, info: bytes) -> bytes | None:
    try:
        seed = open_sealed(sealed, private, info)
    except DecodeError:
        return None
    return seed if len(seed) == KEY_SIZE else None


def _info(context: bytes, party: PartyId) -> bytes:
    return Label.BINDING.value + context + party.to_bytes(4, "little")
