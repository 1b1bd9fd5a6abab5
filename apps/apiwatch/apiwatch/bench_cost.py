"""What learning together costs, against the number of sites."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from apiwatch.datasets import csic
from apiwatch.federation import Federation
from apiwatch.settings import Settings
from apiwatch.splits import SALT
from apiwatch.table import gather

__all__ = ["bench_cost"]

_SITES = (5, 20, 50, 100, 200)
_CELLS = 14  # bytes are proportional to the cells, and so is most of the time


def bench_cost(folder: Path, half: str) -> list[Any]:
    """Two sums over the same traffic, dealt to ever more sites; all of them in this process."""
    requests = csic(folder, half=half).train
    rows: list[Any] = []
    for count in _SITES:
        dealt = {site + 1: gather(requests[site::count]) for site in range(count)}
        federation = Federation(dealt, Settings(salt=SALT, cells=_CELLS, slots=8))
        start = time.process_time()
        federation.learn()
        spent = time.process_time() - start
        sent = [max(summed.bytes_up.values()) / 1e6 for summed in federation.rounds]
        rows.append(
            {
                "sites": count,
                "sums": len(federation.rounds),
                "MB sent by one site": [round(megabytes, 2) for megabytes in sent],
                "CPU seconds, all parties": round(spent, 1),
                "per site": round(spent / count, 2),
            }
        )
    return rows
