"""What a server pays to look for triggers: `python -m benchmarks.unlearning [--quick]`.

One hidden layer in PyTorch, a root set of ten examples of each of ten classes, and statistics as of
updates that have nothing in common. The second round of each case, in processor seconds of one
thread: reading pulls (`look`), and all that comes after the sum where nothing commands (`mended`),
most of which is the search. Memory is the most that NumPy held in that round beyond what it began
with. Where patterns command, steps of SGD on about 64 + 64 examples are added, 100 at most.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
import tracemalloc
from typing import Any, NamedTuple

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import torch
from rich.console import Console

from benchmarks import host
from benchmarks.table import Table
from protocols.federation.model_torch import TorchModel
from protocols.federation.unlearning import Unlearning
from protocols.plan import RoundPlan
from protocols.screening import SketchScreen
from robust.attacks.attack import Examples
from secagg.event import Statistics
from secagg.quantize import NormClip

_ROWS, _CLASSES, _EACH = 256, 10, 10
_CASES = ((64, 64, 40), (64, 64, 100), (784, 512, 40), (784, 512, 100))
_QUICK = ((64, 64, 8),)


class Cost(NamedTuple):
    """Coordinates of an update, processor seconds, and bytes."""

    size: int
    look: float
    mended: float
    memory: int


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.unlearning", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="one small case")
    cases = _QUICK if parser.parse_args().quick else _CASES
    head = ("features, hidden units, clients", "coordinates", "look", "mended", "memory")
    table = Table(f"{_ROWS} numbers of each update", head, [_row(*case) for case in cases])
    console = Console(width=None if sys.stdout.isatty() else 110)
    console.print(table.rich())
    console.print(host.describe())


def _row(features: int, hidden: int, clients: int) -> tuple[str, ...]:
    cost = measured(features, hidden, clients)
    return (
        f"{features}, {hidden}, {clients}",
        f"{cost.size:,}",
        f"{cost.look:.2f} s",
        f"{cost.mended:.2f} s",
        f"{cost.memory / 2**20:.0f} MiB",
    )


def measured(features: int, hidden: int, clients: int) -> Cost:
    """What the second round costs; memory in a third, as tracing it takes time."""
    torch.set_num_threads(1)
    rng = np.random.default_rng(0)
    network = torch.nn.Sequential(
        torch.nn.Linear(features, hidden), torch.nn.ReLU(), torch.nn.Linear(hidden, _CLASSES)
    )
    model = TorchModel(network, shape=(features,))
    labels = np.arange(_EACH * _CLASSES) % _CLASSES
    root = Examples(rng.standard_normal((len(labels), features)), labels, _CLASSES)
    unlearning = Unlearning(model=model, root=root)
    plan = RoundPlan.for_update(
        np.zeros(model.size), clients=clients, clip=NormClip(4.0), screen=SketchScreen(rows=_ROWS)
    )
    weights = model.flat(network.state_dict())
    numbers = range(1, clients + 1)
    statistics = Statistics(
        clients=tuple(numbers),
        eligible=frozenset(numbers),
        weights=None,
        products=np.zeros((clients, 0), np.int64),
        rows=rng.integers(-(2**20), 2**20, (clients, _ROWS)),
        seed=bytes(32),
    )
    _round(unlearning, plan, statistics, 1, weights)
    look, mended = _round(unlearning, plan, statistics, 2, weights)
    tracemalloc.start()
    _round(unlearning, plan, statistics, 3, weights)
    _, memory = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    return Cost(model.size, look, mended, memory)


def _round(
    unlearning: Unlearning, plan: Any, statistics: Statistics, number: int, weights: Any
) -> tuple[float, float]:
    begun = time.process_time()
    unlearning.look(plan, statistics, number, weights, summed=statistics.eligible)
    looked = time.process_time()
    found = unlearning.mended(weights, np.random.default_rng(number))
    if found.commanded:
        raise RuntimeError("nothing commands where clients have nothing in common")
    return looked - begun, time.process_time() - looked


if __name__ == "__main__":
    main()
