"""Adversaries for secagg_plus: scripts for one lie each, and a siege with any number of them."""

from secagg.testing.secagg_plus.by_client import CLIENT_ATTACKS, ClientAttack
from secagg.testing.secagg_plus.by_server import SERVER_ATTACKS, Scene, ServerAttack
from secagg.testing.secagg_plus.restraint import opened, restraint
from secagg.testing.secagg_plus.siege import Siege

__all__ = [
    "CLIENT_ATTACKS",
    "SERVER_ATTACKS",
    "ClientAttack",
    "Scene",
    "ServerAttack",
    "Siege",
    "opened",
    "restraint",
]
