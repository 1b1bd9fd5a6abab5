"""What both sides of secagg_plus_verified derive alike."""

from __future__ import annotations

from secagg.frame import Endpoint
from secagg.identity import PartyId
from secagg.primitives.digest import Label, digest
from secagg.schemes.secagg_plus import transcript
from secagg.schemes.secagg_plus.messages import Masked
from secagg.schemes.secagg_plus.verified.messages import DIGESTS
from secagg.wire import Table, encode

__all__ = [
    "cohort_transcript",
    "group_seed",
    "nonce_commitment",
    "root",
    "screen_transcript",
    "server_nonce",
    "sketch_seed",
    "upload_digest",
    "value_digests",
]


def server_nonce(endpoint: Endpoint) -> bytes:
    """The server's nonce: the same after a restart, and known to nobody else."""
    return endpoint.identity.secret(Label.DRAW, endpoint.context)


def nonce_commitment(context: bytes, nonce: bytes) -> bytes:
    """What binds the server to its nonce before any input."""
    return digest(Label.DRAWN, context, nonce)


def cohort_transcript(context: bytes, adverts: Table, commitment: bytes) -> bytes:
    """First transcript: as in secagg_plus, and the commitment to the nonce."""
    return digest(Label.COHORT, transcript.cohort_transcript(context, adverts), commitment)


def upload_digest(sender: PartyId, message: Masked) -> bytes:
    """What names one masked input; nobody can guess it, for its masks are uniform."""
    return digest(Label.UPLOAD, sender.to_bytes(4, "little"), encode(message))


def screen_transcript(context: bytes, members: bytes, nonce: bytes, uploads: Table) -> bytes:
    """Third transcript: also the nonce, and what everybody uploaded."""
    return digest(Label.SCREEN, context, members, nonce, uploads.tobytes())


def sketch_seed(screen: bytes) -> bytes:
    """The seed of the map."""
    return digest(Label.SKETCH_SEED, screen)


def group_seed(screen: bytes) -> bytes:
    """The seed of the groups: as late as that of the map."""
    return digest(Label.GROUPS, screen)


def value_digests(values: Table) -> Table:
    """A digest of each value, by peer."""
    return DIGESTS.table(
        {peer: (digest(Label.SKETCH, cell),) for peer, cell in values.by_peer("value").items()}
    )


def root(digests: Table) -> bytes:
    """One digest for all values of a client: what it signs together with the transcript."""
    return digest(Label.SKETCH_ROOT, digests.tobytes())
