"""Composes: one plan, one round, adapters to frameworks, the command line."""

from protocols.journal import ClientJournal
from protocols.plan import RoundPlan, model_digest
from protocols.round import ClientRound, Invitation, Result, ServerRound

__all__ = [
    "ClientJournal",
    "ClientRound",
    "Invitation",
    "Result",
    "RoundPlan",
    "ServerRound",
    "model_digest",
]
