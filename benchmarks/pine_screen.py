"""Two aggregators that open statistics: processor time of each for one client, and memory.

`python -m benchmarks.pine_screen [--sizes D …] [--clients N] [--memory BYTES]`. Time is that of one
thread for the draw and the halves, over the clients. Memory is the most that Python allocated in
the whole round, for all parties together, over 8 d bytes; beyond `--memory` bytes of sealed reports
the leader has them in a temporary file.
"""

from __future__ import annotations

import argparse
import os
import platform
import time
import tracemalloc
from collections import defaultdict
from collections.abc import Mapping
from typing import Any

import numpy as np

from secagg.frame import parse_header
from secagg.identity import SERVER
from secagg.machine import Machine
from secagg.primitives.field64 import field64
from secagg.schemes.pine import HELPER, PineScreen, Reference, TwoAggregators, screened_leader
from secagg.schemes.pine.messages import Close, Draw, Half, Part
from secagg.testing import make_round

SIZES = (100_000, 1_000_000)
LEADER, HELPERS = (Part, Half), (Close, Draw)


def screens(size: int) -> Mapping[str, PineScreen]:
    """What is opened of vectors of so many residues."""
    reference = Reference(np.resize(np.array([1, -1, 0], np.int64), size))
    return {
        "norm": PineScreen(norm=True),
        "cosine": PineScreen(norm=True, reference=reference),
        "sketch 64": PineScreen(rows=64),
        "sketch 256": PineScreen(rows=256),
        "groups 256": PineScreen(rows=256, group=2),
    }


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.pine_screen", description=__doc__)
    parser.add_argument("--sizes", type=int, nargs="+", default=SIZES, help="residues of a vector")
    parser.add_argument("--clients", type=int, default=4)
    parser.add_argument("--memory", type=int, default=0, help="bytes of reports in memory")
    options = parser.parse_args()
    screened_leader._IN_MEMORY = options.memory
    kernel = type(field64()).__name__
    print(f"python {platform.python_version()}, {kernel}, load {os.getloadavg()[0]:.1f}")
    print(f"{'d':>9} {'opened':>11} {'leader':>10} {'helper':>10} {'vectors':>8}")
    measure(options.sizes[0], options.clients, PineScreen(rows=1))  # compiles
    for size in options.sizes:
        for name, screen in screens(size).items():
            leader, helper, held = measure(size, options.clients, screen)
            times = f"{1e3 * leader:>7.1f} ms {1e3 * helper:>7.1f} ms"
            print(f"{size:>9,} {name:>11} {times} {held:>8.1f}")


def measure(size: int, clients: int, screen: PineScreen) -> tuple[float, float, float]:
    """Seconds of leader and helper for each client, and vectors in memory at the most."""
    spent = played(size, clients, screen)
    tracemalloc.start()
    played(size, clients, screen)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    leader, helper = (sum(spent[kind.code] for kind in kinds) for kinds in (LEADER, HELPERS))
    return leader / clients, helper / clients, peak / (8 * size)


def played(size: int, clients: int, screen: PineScreen) -> defaultdict[int, float]:
    """A round up to the sum: seconds by the code of the message that was taken."""
    scheme = TwoAggregators(
        clients=clients, length=size, width=32, bound=1 << 24, minimum=4, corrupt=0.0,
        screen=screen,
    )  # fmt: skip
    parties = make_round(scheme, os.urandom)
    leader, helper = (parties.machine(party, os.urandom) for party in (SERVER, HELPER))
    vector = np.full(size, int((1 << 24) / size**0.5), np.uint32)
    spent: defaultdict[int, float] = defaultdict(float)
    for client in parties.clients:
        machine = parties.machine(client, os.urandom)
        machine.submit(vector)
        ((_, report),) = machine.to_send()
        leader.receive(client, report)
        _carry(leader, helper, spent)
    while not leader.ended:
        leader.deadline()
        _carry(leader, helper, spent)
    return spent


def _carry(leader: Machine[Any], helper: Machine[Any], spent: defaultdict[int, float]) -> None:
    while frames := leader.to_send():
        for _, asked in frames:
            spent[parse_header(asked).code] += _seconds(helper, SERVER, asked)
            for _, told in helper.to_send():
                spent[parse_header(told).code] += _seconds(leader, HELPER, told)


def _seconds(machine: Machine[Any], sender: int, frame: bytes) -> float:
    started = time.process_time()
    machine.receive(sender, frame)
    return time.process_time() - started


if __name__ == "__main__":
    main()
