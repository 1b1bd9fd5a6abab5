"""Who was convicted in a round of secagg_plus_verified, and whether the proofs hold."""

from __future__ import annotations

from secagg.event import FraudProven, GroupStatistics, Statistics
from secagg.identity import SERVER, PartyId
from secagg.machine import PeerRejected
from secagg.schemes.secagg_plus.verified import FraudProof, SecAggPlusVerified
from secagg.testing.network import RunResult

__all__ = ["accused", "convicted", "group_statistics", "statistics"]


def convicted(result: RunResult) -> dict[PartyId, str]:
    """Who was proven to lie, and in which phase. Each proof must convince a third party."""
    found: dict[PartyId, str] = {}
    scheme = result.parties.scheme
    assert isinstance(scheme, SecAggPlusVerified)
    for event in result.events[SERVER]:
        if isinstance(event, FraudProven):
            proof = FraudProof.decode(event.proof, scheme)
            proof.verify(scheme, result.parties.round)
            assert proof.liar == event.peer
            assert event.peer not in found, "a client was convicted twice"
            found[event.peer] = event.phase
    return found


def accused(result: RunResult) -> set[PartyId]:
    """Whom the server rejected without a proof."""
    return {
        event.peer
        for event in result.events[SERVER]
        if isinstance(event, PeerRejected) and not isinstance(event, FraudProven)
    }


def statistics(result: RunResult) -> Statistics:
    """What was opened before the sum."""
    (found,) = (event for event in result.events[SERVER] if isinstance(event, Statistics))
    return found


def group_statistics(result: RunResult) -> GroupStatistics:
    """What was opened of groups."""
    (found,) = (event for event in result.events[SERVER] if isinstance(event, GroupStatistics))
    return found
