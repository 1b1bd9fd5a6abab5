"""What a screen adds to a round: `python -m benchmarks.screening`.

The same updates go through SecAggPlus and through its verified variant, every party in this
process, each metered on its own. Times are processor seconds of one thread; a tenth of the clients
is lost before the masked upload, and nobody lies.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Mapping
from typing import Any

# one thread for linear algebra: a client has one processor here, and threads of all would compete
os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
from rich.console import Console

from benchmarks import host
from benchmarks.table import Table, seconds
from protocols.plan import RoundPlan
from protocols.screening import SketchScreen
from protocols.simulate import Outcome, run_round
from secagg.quantize import NormClip

_TARGET_CLIENT, _TARGET_SERVER, _TARGET_BYTES = 1.0, 10.0, 60_000


def main() -> None:
    """Measure and print."""
    options = _parser().parse_args()
    console = Console(width=None if sys.stdout.isatty() else 110)
    template = np.broadcast_to(np.float64(0), (options.size,))
    updates = {i: (_update(i, options.size), 1) for i in range(1, options.clients + 1)}
    plain = _run(template, updates, {})
    screened = _run(template, updates, {"screen": SketchScreen(rows=options.rows)})
    console.print(_table(options, plain, screened).rich())
    console.print(host.describe())


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.screening", description=__doc__)
    parser.add_argument("--clients", type=int, default=100)
    parser.add_argument("--size", type=int, default=1_000_000, help="coordinates of an update")
    parser.add_argument("--rows", type=int, default=64)
    return parser


def _update(client: int, size: int) -> Any:
    drawn = np.random.default_rng(client).standard_normal(size, np.float32)
    drawn /= np.float32(np.sqrt(size))
    return drawn


def _run(template: Any, updates: Mapping[int, tuple[Any, int]], options: dict[str, Any]) -> Outcome:
    plan = RoundPlan.for_update(
        template.astype(np.float32), clients=len(updates), clip=NormClip(1.0), **options
    )
    lost = dict.fromkeys(range(1, len(updates) // 10 + 1), "masked")
    outcome = run_round(plan, updates, drops=lost)
    if not outcome.exact or outcome.rejected:
        raise RuntimeError(f"the round did not go as planned: {outcome.failure}")
    return outcome


def _table(options: argparse.Namespace, plain: Outcome, screened: Outcome) -> Table:
    one, other = _figures(plain), _figures(screened)
    added = [new - old for new, old in zip(other, one, strict=True)]
    named = {"plain": one, "screened": other, "added": added, "target": _TARGETS}
    rows = [
        [name, *(show(value) for show, value in zip(_SHOW, figures, strict=True))]
        for name, figures in named.items()
    ]
    size = f"n={options.clients}, d={options.size:,}, k={options.rows}"
    header = ["round", "client CPU", "server CPU", "bytes up", "bytes down"]
    return Table(f"What a screen adds: {size}, a tenth lost", header, rows)


def _figures(outcome: Outcome) -> list[float]:
    stayed = [
        cost for client, cost in outcome.clients.items() if client > len(outcome.clients) // 10
    ]
    return [
        sum(cost.cpu for cost in stayed) / len(stayed),
        outcome.server_cpu,
        sum(cost.bytes_up for cost in stayed) / len(stayed),
        sum(cost.bytes_down for cost in stayed) / len(stayed),
    ]


def _count(value: float) -> str:
    return f"{value:,.0f}"


_SHOW = (seconds, seconds, _count, _count)
_TARGETS = (_TARGET_CLIENT, _TARGET_SERVER, _TARGET_BYTES, _TARGET_BYTES)

if __name__ == "__main__":
    main()
