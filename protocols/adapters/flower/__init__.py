"""Secure aggregation for Flower's message API: one line on each side.

    app = ClientApp(mods=[secure_aggregation_mod])

    plan = SecurePlan(clip=NormClip(5.0), max_weight=2000)
    strategy = SecureAggregation(FedAvg(), plan=plan, identity="server.key", roster="roster.json")

A training round takes two exchanges, the first round three; six where the plan has a screen, under
which `SecureAggregation(…, judge=Screening(Cascade()), weights=Selected(…))` says whose update is
summed. Nothing but
protocol messages leaves a client in a training reply. Needs `pip install 'secagg[flower]'`; see
docs/how-to/flower.md.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from protocols.adapters.flower.terms import SecurePlan
from protocols.enrollment import enroll, load_identity, load_roster, save_roster

if TYPE_CHECKING:
    from protocols.adapters.flower.client import mod_from, secure_aggregation_mod
    from protocols.adapters.flower.settings import ClientSettings, simulated_settings
    from protocols.adapters.flower.strategy import RoundReport, SecureAggregation
    from protocols.adapters.flower.weights import CarriedWeights, Drawn, Selected

__all__ = [
    "CarriedWeights",
    "ClientSettings",
    "Drawn",
    "RoundReport",
    "SecureAggregation",
    "SecurePlan",
    "Selected",
    "enroll",
    "load_identity",
    "load_roster",
    "mod_from",
    "save_roster",
    "secure_aggregation_mod",
    "simulated_settings",
]

# A client starts a process for every message: it must not pay for the server's imports.
_LAZY = {
    "CarriedWeights": "weights",
    "ClientSettings": "settings",
    "Drawn": "weights",
    "RoundReport": "strategy",
    "SecureAggregation": "strategy",
    "Selected": "weights",
    "mod_from": "client",
    "secure_aggregation_mod": "client",
    "simulated_settings": "settings",
}


def __getattr__(name: str) -> Any:
    if name not in _LAZY:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    try:
        module = importlib.import_module(f"{__name__}.{_LAZY[name]}")
    except ModuleNotFoundError as error:
        if error.name is None or error.name.partition(".")[0] != "flwr":
            raise
        raise ImportError(
            f"{__name__} needs Flower 1.41 or newer: pip install 'secagg[flower]'"
        ) from error
    return getattr(module, name)
