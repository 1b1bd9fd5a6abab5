"""Vectors of the sparse graph: public derivations alone, since a whole round would be megabytes."""

from __future__ import annotations

from typing import Any

from drawn.rounds import Shake, scheme_of

from secagg.schemes.secagg_plus.graph import Graph
from secagg.schemes.secagg_plus.transcript import graph_seed

__all__ = ["CASES", "graph"]

Json = dict[str, Any]

CASES: dict[str, tuple[Json, int]] = {
    "graph_300": (
        {"scheme": "secagg_plus", "clients": 300, "corrupt": "0.05", "dropout": "0.1"},
        1,
    ),
    "graph_1000": (
        {"scheme": "secagg_plus", "clients": 1_000, "corrupt": "0.05", "dropout": "0.1"},
        4_000_037,
    ),
    "graph_300_semi_honest": (
        {"scheme": "secagg_plus_semi_honest", "clients": 300, "corrupt": "0.05", "dropout": "0.1"},
        17,
    ),
}
"""Name -> stated parameters, and the step between the clients' ids."""


def graph(name: str) -> Json:
    """The order of the ring, neighbours of some clients, and windows of some survivor sets."""
    stated, step = CASES[name]
    plan = {**stated, "length": 1_000, "width": 20, "threshold": None}
    scheme = scheme_of(plan)
    clients = tuple(step * (place + 1) for place in range(scheme.clients))
    cohort = Shake(name)(32)
    drawn = scheme.graph(clients, cohort)
    shown = (clients[0], clients[-1], drawn.order[0], drawn.order[-1], drawn.order[137])
    return {
        "kind": "graph",
        "description": "`weakest`: the fewest survivors on `reach` consecutive places of the ring.",
        "plan": plan,
        "parameters": scheme.encoded().decode(),
        "clients": list(clients),
        "cohort": cohort.hex(),
        "seed": graph_seed(cohort).hex(),
        "reach": drawn.reach,
        "order": list(drawn.order),
        "neighbours": {str(client): list(drawn.neighbours(client)) for client in shown},
        "windows": [_window(drawn, missing) for missing in _missing(drawn)],
    }


def _missing(drawn: Graph) -> list[list[int]]:
    """Nobody; one client; a stretch over the seam of the ring; a window but one; every third."""
    ring, reach = drawn.order, drawn.reach
    seam = ring[-(reach // 2) :] + ring[: reach // 3]
    return [[], [ring[5]], sorted(seam), sorted(ring[40 : 40 + reach - 1]), sorted(ring[::3])]


def _window(drawn: Graph, missing: list[int]) -> Json:
    weakest = drawn.weakest_window(set(drawn.order) - set(missing))
    return {"missing": missing, "weakest": weakest}
