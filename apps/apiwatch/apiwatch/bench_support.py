"""The benchmark of support: poisoners that lie about the cells they set, with proof and without."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from apiwatch.datasets import Split, csic
from apiwatch.event import Field, Request
from apiwatch.federation import Federation
from apiwatch.figures import Figures
from apiwatch.proved import ProvedFederation
from apiwatch.settings import Settings
from apiwatch.splits import SALT, SITES, dealt, injections
from apiwatch.table import Table, gather

__all__ = ["bench_support"]

_SUPPORT, _POISONERS, _REPEATS = 5, 4, 20
_BOUND = 1 << 15  # of the norm of counters: above that of every honest site here
_Counts = Mapping[int, Mapping[Field, int]]


def bench_support(folder: Path, half: str) -> list[Any]:
    """Four of twenty sites teach injections, others are to be found, at a support of five.

    Who lies says of each of its cells that five sites have set it.
    """
    split = csic(folder, half=half)
    taught, unseen = injections(split)
    honest = dealt(split.train)
    poisoned = {
        site: [*requests, *taught * _REPEATS] if site <= _POISONERS else requests
        for site, requests in honest.items()
    }
    rows: list[Any] = []
    for name, groups, lies, proved in (
        ("masked, 4 of 20 poison and lie", poisoned, True, False),
        ("proved, nobody poisons", honest, False, True),
        ("proved, 4 of 20 poison, and say truly where", poisoned, False, True),
        ("proved, 4 of 20 poison and lie", poisoned, True, True),
    ):
        sites = {site: gather(requests) for site, requests in groups.items()}
        rows += _measured(name, sites, lies, proved, split, unseen)
    return rows


def _lying(kind: type[Federation]) -> type[Federation]:
    """One whose first sites vote for as many as it takes."""

    class Lying(kind):  # type: ignore[valid-type, misc]
        def _vector(self, site: int) -> NDArray[np.int64]:
            counts, bits = np.split(super()._vector(site), 2)
            return np.concatenate([counts, (_SUPPORT if site <= _POISONERS else 1) * bits])

    return Lying


def _norm(table: Table) -> float:
    return float(np.linalg.norm(table.counts))


def _measured(
    name: str, sites: _Counts, lies: bool, proved: bool, split: Split, unseen: list[Request]
) -> list[Any]:
    kind: Any = ProvedFederation if proved else Federation
    options = {"bound": _BOUND, "minimum": 12} if proved else {}
    settings = Settings(salt=SALT, support=_SUPPORT)
    federation = (_lying(kind) if lies else kind)(sites, settings, **options)
    start = time.process_time()
    federation.learn()
    spent = time.process_time() - start
    scores = federation.detector(SITES).scores
    rows: list[Any] = [
        Figures.of(name, *map(scores, (split.calibration, split.normal, unseen))),
        {
            "of": name,
            "refused": sorted(getattr(federation, "refused", ())),
            "largest norm": round(max(map(_norm, federation.tables.values()))),
            "MB sent by one site": [
                round(max(summed.bytes_up.values()) / 1e6, 2) for summed in federation.rounds
            ],
            "CPU seconds of all parties": round(spent, 1),
        },
    ]
    return rows
