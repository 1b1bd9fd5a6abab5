"""What page and terminal share: who was excluded, when, and how numbers are written."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

from robust.decide import Verdicts
from robust.rule import Finding

__all__ = ["clients_of", "named", "number", "rounds_of"]


def clients_of(history: Sequence[Verdicts]) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Everybody in a round, and who was excluded at least once; both ascending."""
    everybody = {one.client for verdicts in history for one in verdicts.verdicts}
    excluded = {client for verdicts in history for client in verdicts.excluded}
    return tuple(sorted(everybody)), tuple(sorted(excluded))


def rounds_of(client: int, history: Sequence[Verdicts]) -> tuple[list[int], list[int]]:
    """Numbers of the rounds that excluded a client, and of those that it took part in."""
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
