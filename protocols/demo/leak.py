"""What a round of the demo tells, by attacks that take milliseconds.

    in the sum    a server that knows one client's update asks whether it is in the released sum
    labels        a server reads a client's most frequent digit from the numbers that are opened

Stronger attacks are in `secagg audit leakage`: these say that something leaks, and not how much.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from dp.audit.attack import Access, Trial, View
from dp.audit.choice_fit_scipy import LabelFit
from dp.audit.measure import Figure, measure
from dp.audit.member_correlation import Correlation
from robust.observe import Array, Sketches
from secagg.identity import PartyId
from secagg.structure import flatten

__all__ = ["in_the_sum", "labels_read", "where_more_is"]


def in_the_sum(
    mean: Any, total_weight: int, updates: Mapping[PartyId, tuple[Any, int]], bound: float
) -> Figure:
    """Each client that is in the sum is looked for in it, and in the same sum without it.

    updates: of these clients, with their weights; bound: the norm that they were clipped to. For
    clips of single coordinates, which bound no norm, infinity.
    """
    total = flatten(mean)[0] * total_weight
    trials = []
    for tree, weight in updates.values():
        update = flatten(tree)[0]
        length = float(np.linalg.norm(update))
        part = weight * update * min(1.0, bound / max(length, 1e-300))
        for inside in (1, 0):
            given = {Access.TARGET: part, Access.SUM: total if inside else total - part}
            trials.append(Trial(View(given), np.array(inside)))
    return measure(Correlation(), trials, np.random.default_rng(0))[0]


def labels_read(seen: Sketches, labels: Mapping[PartyId, int]) -> Figure | None:
    """How often a server tells the most frequent label of a client; None where nothing is opened of
    any. labels: what is true, of those who are asked about.

    The server fits the numbers by those of one update for each class, of its own data; the control
    knows which label is the most frequent one.
    """
    classes = seen.public.classes
    asked = [at for at, client in enumerate(seen.clients) if client in labels]
    if classes is None or not asked:
        return None
    truth = np.array([labels[seen.clients[at]] for at in asked])
    prior: dict[Access, Array] = {
        Access.CLASSES: classes,
        Access.PROJECTION: np.eye(classes.shape[1]),
        Access.SHARES: np.bincount(truth, minlength=len(classes)) / len(truth),
    }
    trials = [
        Trial(View({**prior, Access.STATISTIC: seen.rows[at]}), label)
        for at, label in zip(asked, truth, strict=True)
    ]
    return measure(LabelFit(), trials, np.random.default_rng(0))[0]


def where_more_is(options: str) -> str:
    """How to get the page with all attacks."""
    return f"what leaks, all attacks: secagg audit leakage {options} -o out\npage: out/leakage.html"
