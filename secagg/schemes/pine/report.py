"""What binds a report together: its signature, its seals, its nonce, and the verify key."""

from __future__ import annotations

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from secagg.frame import Endpoint
from secagg.identity import PartyId
from secagg.primitives import agreement
from secagg.primitives.digest import Label, digest, tag
from secagg.schemes.pine.messages import Relay, Report

__all__ = ["bound_nonce", "check_report", "covered", "relay_of", "seal_info", "verify_key"]


def bound_nonce(client: PartyId, nonce: bytes) -> bytes:
    """16 bytes: the nonce that proofs use. No two clients can have one in common."""
    return tag(Label.REPORT_NONCE, client.to_bytes(4, "little"), nonce)


def seal_info(context: bytes, client: PartyId, receiver: PartyId, nonce: bytes) -> bytes:
    """What must be the same on opening as on sealing."""
    ends = client.to_bytes(4, "little") + receiver.to_bytes(4, "little")
    return Label.REPORT_SEAL.value + context + ends + nonce


def covered(report: Relay) -> tuple[bytes, ...]:
    """What a client's signature for the helper covers; the leader's share by its digest."""
    return report.nonce, report.public, report.leader_digest, report.for_helper


def relay_of(client: PartyId, report: Report) -> Relay:
    """What the leader hands on of a report; the verifier share is yet to come."""
    return Relay(
        client=client,
        nonce=report.nonce,
        public=report.public,
        leader_digest=digest(Label.REPORT, report.for_leader),
        for_helper=report.for_helper,
        attested=report.attested,
        verifier=b"",
    )


def check_report(endpoint: Endpoint, report: Relay) -> None:
    """Return if the client signed all parts of its report for this round; else `DecodeError`."""
    parts = endpoint.context, *covered(report)
    endpoint.check_attested(report.client, report.attested, Label.REPORT, *parts)


def verify_key(private: bytes, peer: bytes, context: bytes) -> bytes:
    """32 bytes that the two aggregators have in common and no client knows, fresh every round.

    private, peer: own and the other's long-term share keys, 32 bytes each. Both keys are on the
    roster before any report is made, so nobody chooses this one in the light of a report.
    """
    secret = agreement.agree(X25519PrivateKey.from_private_bytes(private), peer)
    return agreement.derive(secret, Label.VERIFY_KEY, context)
