"""What the rounds of a run add up to: standings, contributions, and whom exclusions cost.

All of it follows from verdicts and from what was opened before; it opens nothing more.

A contribution is how far along the server's own update a client's goes, in units of that update,
relative to the clients of the same rounds: a first-order view of what the update is worth on the
root set, estimated from sketches. It protects from nothing: a replay of the last mean goes along it
as honest updates do, and who knows the root set can aim at it. Without a root set there is none.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from protocols.report.recorded import Recorded
from robust.contribution import Contributions, GroupUtilities, contributions
from robust.decide import Verdicts
from robust.fairness import FairnessReport, RoundWeights, fairness_report
from robust.observe import Sketches
from robust.reputation import Record, Reputation, ReputationRule, Standing
from robust.rule import Seen

__all__ = [
    "Summary",
    "Trail",
    "contributions_of",
    "fairness_of",
    "summary_document",
    "summary_of",
    "trails_of",
]

_MOST_CELLS = 1 << 23
"""Of the least-squares problem; beyond it the oldest rounds are left out."""


@dataclass(frozen=True, kw_only=True)
class Trail:
    """What became of one client.

    Attributes
    ----------
    client: its id.
    kept: by round of the history, whether its update was kept; None where it was absent.
    changes: round numbers and the standings that it came to there, ascending.
    record: after the last round.
    """

    client: int
    kept: tuple[bool | None, ...]
    changes: tuple[tuple[int, Standing], ...]
    record: Record

    @property
    def spotless(self) -> bool:
        """Whether it was never left out."""
        return False not in self.kept


@dataclass(frozen=True, kw_only=True)
class Summary:
    """What is shown after a run.

    Attributes
    ----------
    trails: of all clients, ascending.
    contributions: None where no round has a root update, or too few clients have a sketch.
    fairness: None where nobody declared a subgroup or a size.
    """

    trails: tuple[Trail, ...]
    contributions: Contributions | None
    fairness: FairnessReport | None

    @cached_property
    def contribution_of(self) -> Mapping[int, tuple[float, float]]:
        """Client -> (score, standard error)."""
        found = self.contributions
        if found is None:
            return {}
        rows = zip(found.clients, found.scores.tolist(), found.errors.tolist(), strict=True)
        return {client: (score, error) for client, score, error in rows}


def trails_of(history: Sequence[Verdicts], rule: ReputationRule | None = None) -> tuple[Trail, ...]:
    """Of every client in some round: a mark of 1 where it was kept, and 0 where it was not.

    Raises `ObservationError` where round numbers do not ascend.
    """
    reputation = Reputation(rule=rule or ReputationRule())
    changes: dict[int, list[tuple[int, Standing]]] = {}
    for verdicts in history:
        marks = {one.client: float(not one.excluded) for one in verdicts.verdicts}
        before, reputation = reputation, reputation.after(verdicts.number, marks)
        for client in marks:
            standing = reputation.record(client).standing
            if standing is not before.record(client).standing:
                changes.setdefault(client, []).append((verdicts.number, standing))
    return tuple(
        Trail(
            client=client,
            kept=tuple(_kept(client, verdicts) for verdicts in history),
            changes=tuple(changes.get(client, ())),
            record=record,
        )
        for client, record in reputation.records.items()
    )


def contributions_of(rounds: Sequence[Seen]) -> Contributions | None:
    """From all rounds with the sketch of a root update; of the last ones where they are many."""
    chosen: list[GroupUtilities] = []
    clients: set[tuple[int, ...]] = set()
    rows = 0
    for seen in reversed(rounds):
        worths = _worths(seen)
        if worths is None:
            continue
        clients.update(worths.groups)
        rows += len(worths.groups)
        if rows * len(clients) > _MOST_CELLS:
            break
        chosen.append(worths)
    return contributions(chosen) if chosen else None


def fairness_of(
    saved: Recorded, history: Sequence[Verdicts], attackers: Collection[int] | None = None
) -> FairnessReport | None:
    """Whom exclusions hit, by subgroup and data size; None where nobody declared any.

    attackers: the known ones, who are set aside; None where the truth is not known.
    """
    if not saved.subgroups and not saved.sizes:
        return None
    weights = [
        RoundWeights(
            number=verdicts.number,
            weights={one.client: float(not one.excluded) for one in verdicts.verdicts},
        )
        for verdicts in history
    ]
    return fairness_report(
        weights, subgroups=saved.subgroups, sizes=saved.sizes, attackers=attackers
    )


def summary_of(
    saved: Recorded, history: Sequence[Verdicts], attackers: Collection[int] | None = None
) -> Summary:
    """All three, of the rounds that are `saved` and the verdicts on them."""
    return Summary(
        trails=trails_of(history),
        contributions=contributions_of(saved.rounds),
        fairness=fairness_of(saved, history, attackers),
    )


def summary_document(summary: Summary) -> dict[str, Any]:
    """Client -> standing, score and contribution, as JSON knows it."""
    return {
        str(trail.client): {
            "standing": trail.record.standing.value,
            "score": trail.record.score,
            "changes": [[number, standing.value] for number, standing in trail.changes],
            "contribution": _finite(summary.contribution_of.get(trail.client)),
        }
        for trail in summary.trails
    }


def _finite(scored: tuple[float, float] | None) -> dict[str, float | None] | None:
    """JSON has no infinity: None for an error that is not known."""
    if scored is None:
        return None
    score, error = scored
    return {"score": score, "error": error if math.isfinite(error) else None}


def _worths(seen: Seen) -> GroupUtilities | None:
    """A group for each client, as the sketch of each was opened."""
    if not isinstance(seen, Sketches) or len(seen.clients) < 2:
        return None
    root = seen.public.root
    if root is None or not np.any(root):
        return None
    groups = tuple((client,) for client in seen.clients)
    return GroupUtilities(
        number=seen.number, groups=groups, utilities=seen.rows @ root / (root @ root)
    )


def _kept(client: int, verdicts: Verdicts) -> bool | None:
    found = verdicts.by_client.get(client)
    return None if found is None else not found.excluded
