"""What audit rounds are worth: `python -m benchmarks.audit_rounds [--seeds N]`.

Forty clients on the digits, of whom eight send noise shaped like the last update and never train.
After 25 rounds without screening, when the model has all but converged, 15 rounds are screened by
the default cascade, on 64 numbers of each update. Printed are, over seeds: the free-riders left out
in a round, mean over the last ten rounds, of eight; honest clients ever left out, of 32; and the
accuracy at the end. Honest updates alone make the model, in both runs.
"""

from __future__ import annotations

import argparse
import os
import sys

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
from rich.console import Console

from benchmarks.table import Table
from protocols.audit_rounds import AuditRounds
from protocols.federation.data import Owners, Split, digits, owners_dirichlet, owners_iid, split
from protocols.federation.federation import Federation
from protocols.federation.observe import gaussian, sketched
from robust.attacks.free_rider_mimic import Shaped
from robust.decide import Cascade, Screening

_CLIENTS, _RIDERS, _ALPHA = 40, 8, 0.3
_WARM, _ROUNDS, _LAST = 25, 15, 10
_ROWS = 64
_AUDITS = (None, AuditRounds(every=3, relative=0.3), AuditRounds(every=3), AuditRounds(every=2))


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.audit_rounds", description=__doc__)
    parser.add_argument("--seeds", type=int, default=3)
    seeds = range(parser.parse_args().seeds)
    rows = [_row(iid, audit, seeds) for iid in (True, False) for audit in _AUDITS]
    head = ("labels", "audit rounds", "free-riders left out", "honest ever left out", "accuracy")
    table = Table(f"{_ROWS} numbers of each update, {len(seeds)} seeds", head, rows)
    Console(width=None if sys.stdout.isatty() else 110).print(table.rich())


def _row(iid: bool, audit: AuditRounds | None, seeds: range) -> tuple[str, ...]:
    found = np.array([_run(iid, audit, seed) for seed in seeds])
    caught, honest, accuracy = found.mean(axis=0)
    labels = "IID" if iid else f"Dirichlet({_ALPHA:g})"
    name = "none" if audit is None else f"every {audit.every}, relative {audit.relative:g}"
    return labels, name, f"{caught:.1f}", f"{honest:.1f}", f"{accuracy:.1%}"


def _run(iid: bool, audit: AuditRounds | None, seed: int) -> tuple[float, int, float]:
    rng = np.random.default_rng(seed)
    parts = split(digits(), rng)
    federation = Federation(
        split=parts, owners=_owners(parts, iid, rng), seed=seed, attackers=[(Shaped(), _RIDERS)]
    )
    for _ in range(_WARM):
        data = federation.round()
        federation.apply(data.mean(data.honest.astype(np.float64)))
    screening, riders = Screening(Cascade(rounds=_ROUNDS)), set(federation.malicious)
    caught, wronged = [], set[int]()
    for number in range(1, _ROUNDS + 1):
        session = seed.to_bytes(16, "little")
        added = audit.perturbation(federation.weights, session, number) if audit else None
        data = federation.round(perturbation=added)
        projection = gaussian(_ROWS, federation.network.size, rng)
        out = set(screening.judge(sketched(data, projection)).excluded)
        caught.append(len(out & riders))
        wronged |= out - riders
        if added is None:
            federation.apply(data.mean(data.honest.astype(np.float64)))
        else:
            federation.skip()
    return float(np.mean(caught[-_LAST:])), len(wronged), federation.accuracy()


def _owners(parts: Split, iid: bool, rng: np.random.Generator) -> Owners:
    if iid:
        return owners_iid(parts.train, _CLIENTS, rng)
    return owners_dirichlet(parts.train, _CLIENTS, _ALPHA, rng)


if __name__ == "__main__":
    main()
