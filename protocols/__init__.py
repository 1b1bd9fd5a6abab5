"""Composes: one plan, one round, adapters to frameworks, the command line."""

from protocols.journal import ClientJournal
from protocols.leakage import LeakageLedger
from protocols.ledger import PrivacyLedger
from protocols.plan import RoundPlan, model_digest
from protocols.private import AggregatorNoise, CentralNoise, DistributedNoise, LeafClip
from protocols.result import Result
from protocols.round import ClientRound, Invitation, ServerRound
from protocols.screening import GroupScreen, NormScreen, SketchScreen, observed

__all__ = [
    "AggregatorNoise",
    "CentralNoise",
    "ClientJournal",
    "ClientRound",
    "DistributedNoise",
    "GroupScreen",
    "Invitation",
    "LeafClip",
    "LeakageLedger",
    "NormScreen",
    "PrivacyLedger",
    "Result",
    "RoundPlan",
    "ServerRound",
    "SketchScreen",
    "model_digest",
    "observed",
]
