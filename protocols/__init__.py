"""Composes: one plan, one round, adapters to frameworks, the command line."""

from protocols.journal import ClientJournal
from protocols.ledger import PrivacyLedger
from protocols.plan import RoundPlan, model_digest
from protocols.private import CentralNoise, DistributedNoise, LeafClip
from protocols.round import ClientRound, Invitation, Result, ServerRound

__all__ = [
    "CentralNoise",
    "ClientJournal",
    "ClientRound",
    "DistributedNoise",
    "Invitation",
    "LeafClip",
    "PrivacyLedger",
    "Result",
    "RoundPlan",
    "ServerRound",
    "model_digest",
]
