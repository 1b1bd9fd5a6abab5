"""Two aggregators: processor time of each party for one report, and what travels.

`python -m benchmarks.pine [--sizes D …] [--bits BITS] [--entries BITS] [--repeats N] [--numpy]`.
With `--entries` the range of each entry is proven, and no norm. Sealing and signatures are
included. Time is processor time of one thread, the best of the repeats.
"""

from __future__ import annotations

import argparse
import os
import platform
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass

import numpy as np

from secagg.context import Round
from secagg.identity import SERVER, Identity, Roster
from secagg.machine import Machine
from secagg.primitives import field64 as fields
from secagg.primitives.ring import Words
from secagg.schemes.pine import HELPER, Entries, TwoAggregators, params

SIZES = (10_000, 100_000, 1_000_000)
CLIENTS = (1, 2, 3)


@dataclass(frozen=True)
class Cost:
    """Seconds of each party for one report, and bytes of one report's frames."""

    client: float
    leader: float
    helper: float
    upload: int
    between: int


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.pine", description=__doc__)
    parser.add_argument("--sizes", type=int, nargs="+", default=SIZES, help="residues of a vector")
    parser.add_argument("--bits", type=int, default=24, help="the bound of the norm is 2**bits")
    parser.add_argument("--entries", type=int, default=0, help="each is below 2**entries; no norm")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--numpy", action="store_true", help="without the compiled kernels")
    options = parser.parse_args()
    with without_kernels() if options.numpy else nullcontext():
        _show(options.sizes, options.bits, options.repeats, options.entries)


def _show(sizes: Sequence[int], bits: int, repeats: int, entries: int) -> None:
    print(f"python {platform.python_version()}, {kernel()}, load {os.getloadavg()[0]:.1f}")
    print(f"{'d':>9} {'client':>10} {'leader':>10} {'helper':>10} {'upload':>12} {'between':>9}")
    for size in sizes:
        cost = best(size, bits, repeats, entries)
        seconds = (cost.client, cost.leader, cost.helper)
        times = " ".join(f"{1e3 * second:>7.1f} ms" for second in seconds)
        print(f"{size:>9,} {times} {cost.upload:>10,} B {cost.between:>7,} B")


@contextmanager
def without_kernels() -> Iterator[None]:
    """Parameters that are made within compute in numpy alone."""
    fastest = params.field64
    params.field64 = fields.Field64  # type: ignore[assignment]
    try:
        yield
    finally:
        params.field64 = fastest


def kernel() -> str:
    """What field arithmetic is computed by: its class."""
    return type(params.field64()).__name__


def best(size: int, bits: int, repeats: int, entries: int = 0) -> Cost:
    """The least of each figure; the first report, which compiles, does not count."""
    costs = [measure(size, bits, entries) for _ in range(repeats + 1)][1:]
    first = costs[0]
    return Cost(
        client=min(cost.client for cost in costs),
        leader=min(cost.leader for cost in costs),
        helper=min(cost.helper for cost in costs),
        upload=first.upload,
        between=first.between,
    )


def measure(size: int, bits: int, entries: int = 0) -> Cost:
    """One report through the machines of three parties, up to the leader's decision."""
    client, leader, helper = _machines(_scheme(size, bits, entries))
    vector = _vector(size, bits, entries)
    at_client = _seconds(lambda: client.submit(vector))
    ((_, report),) = client.to_send()
    at_leader = _seconds(lambda: leader.receive(CLIENTS[0], report))
    ((_, relay),) = leader.to_send()
    at_helper = _seconds(lambda: helper.receive(SERVER, relay))
    ((_, reply),) = helper.to_send()
    at_leader += _seconds(lambda: leader.receive(HELPER, reply))
    if leader.expected != set(CLIENTS[1:]):
        raise RuntimeError("the report was not accepted")
    return Cost(at_client, at_leader, at_helper, len(report), len(relay) + len(reply))


def _scheme(size: int, bits: int, entries: int) -> TwoAggregators:
    fields = {"clients": len(CLIENTS), "length": size, "width": 32, "minimum": 2, "corrupt": 0.0}
    if entries:
        return TwoAggregators(**fields, entries=Entries(count=size, bits=entries))
    return TwoAggregators(**fields, bound=1 << bits)


def _vector(size: int, bits: int, entries: int) -> Words:
    rng = np.random.default_rng(1)
    if entries:
        return rng.integers(0, 1 << entries, size).astype(np.uint32)
    drawn = rng.normal(size=size)
    scaled = drawn / np.linalg.norm(drawn) * ((1 << bits) - np.sqrt(size))
    return np.rint(scaled).astype(np.int64).astype(np.uint32)


def _machines(scheme: TwoAggregators) -> tuple[Machine, Machine, Machine]:  # type: ignore[type-arg]
    who = {party: Identity.generate(os.urandom) for party in (SERVER, HELPER, *CLIENTS)}
    listed = {party: identity for party, identity in who.items() if party != SERVER}
    roster = Roster(
        server=who[SERVER].public,
        clients={party: identity.public for party, identity in listed.items()},
        share_keys={party: identity.share_key for party, identity in listed.items()},
        server_share_key=who[SERVER].share_key,
    )
    agreed = Round(session=os.urandom(16), number=1, model=bytes(32), roster=roster)
    client = scheme.client(agreed, who[CLIENTS[0]], CLIENTS[0])
    return client, scheme.server(agreed, who[SERVER]), scheme.helper(agreed, who[HELPER])


def _seconds(action: Callable[[], None]) -> float:
    started = time.process_time()
    action()
    return time.process_time() - started


if __name__ == "__main__":
    main()
