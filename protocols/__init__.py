"""Composes: one plan, one round, adapters to frameworks, the command line."""

from protocols.journal import ClientJournal
from protocols.ledger import PrivacyLedger
from protocols.plan import RoundPlan, model_digest
from protocols.private import CentralNoise, DistributedNoise
from protocols.round import ClientRound, Invitation, Result, ServerRound

__all__ = [
    "CentralNoise",
    "ClientJournal",
    "ClientRound",
    "DistributedNoise",
    "Invitation",
    "PrivacyLedger",
    "Result",
    "RoundPlan",
    "ServerRound",
    "model_digest",
]
