"""What page and terminal share: who was excluded, when, and how numbers are written."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

from protocols.report.summary import Summary, Trail
from robust.decide import Verdicts
from robust.rule import Finding

__all__ = [
    "CONTRIBUTION",
    "LEGEND",
    "changes",
    "clients_of",
    "contribution",
    "named",
    "number",
    "rounds_of",
    "spans",
    "strip",
]

LEGEND = (
    "rounds: · kept, x left out by a rule, blank absent or beyond the plan's bounds; "
    "score: exponential mean of these"
)
CONTRIBUTION = "contribution: along the server's own update, against the others, ± error"


def clients_of(history: Sequence[Verdicts]) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Everybody in a round, and who was excluded at least once; both ascending."""
    everybody = {one.client for verdicts in history for one in verdicts.verdicts}
    excluded = {client for verdicts in history for client in verdicts.excluded}
    return tuple(sorted(everybody)), tuple(sorted(excluded))


def rounds_of(client: int, history: Sequence[Verdicts]) -> tuple[list[int], list[int]]:
    """Numbers of the rounds that excluded a client, and of those that judged it."""
    present = [verdicts for verdicts in history if client in verdicts.by_client]
    out = [one.number for one in present if one.by_client[client].excluded]
    return out, [one.number for one in present]


def named(findings: Sequence[Finding]) -> Iterator[tuple[str, Finding]]:
    """Findings of one round; two of one name are told apart as `robust.explain` does it."""
    taken: dict[str, int] = {}
    for finding in findings:
        again = taken[finding.test] = taken.get(finding.test, 0) + 1
        yield finding.test if again == 1 else f"{finding.test} {again}", finding


def number(value: float | None) -> str:
    """Three digits; a dash where there is none."""
    if value is None or math.isnan(value):
        return "-"
    return f"{value:.3g}"


def spans(numbers: Sequence[int]) -> str:
    """Ascending round numbers; three and more in a row become "4 to 9"."""
    runs: list[list[int]] = []
    for at in numbers:
        if runs and at == runs[-1][-1] + 1:
            runs[-1].append(at)
        else:
            runs.append([at])
    return ", ".join(
        f"{run[0]} to {run[-1]}" if len(run) > 2 else ", ".join(map(str, run)) for run in runs
    )


def strip(trail: Trail) -> str:
    """A character for each round."""
    return "".join({None: " ", True: "·", False: "x"}[kept] for kept in trail.kept)


def changes(trail: Trail) -> str:
    """The last standing, and the rounds in which it came to this and the ones before."""
    told = [f"{standing.value} in {at}" for at, standing in trail.changes]
    return ", ".join(reversed(told)) or trail.record.standing.value


def contribution(summary: Summary, client: int) -> str:
    """The score and its standard error; a dash where there is none."""
    score, error = summary.contribution_of.get(client, (math.nan, math.nan))
    if not math.isfinite(error):
        return "-"
    return f"{score:+.2f} ±{error:.2f}"
