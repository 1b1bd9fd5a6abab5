"""Why a client was left out, for the client itself.

Of what the rules found. A client that the plan's bounds left out was judged by no rule, and its
rounds are not among those here: an explanation that does not count them says so.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from robust.decide import Verdicts
from robust.rule import Finding

__all__ = ["Point", "explanation", "history_of"]


@dataclass(frozen=True, kw_only=True)
class Point:
    """One finding in its round: enough to draw a line of figures over one of thresholds."""

    number: int
    excluded: bool
    finding: Finding


def history_of(client: int, rounds: Sequence[Verdicts]) -> dict[str, tuple[Point, ...]]:
    """Test -> what it found of `client`, by round; a test that never judged it is missing.

    Two rules of one name are told apart by a number: "training", "training 2".
    """
    found: dict[str, list[Point]] = {}
    for verdicts in rounds:
        verdict = verdicts.by_client.get(client)
        taken: dict[str, int] = {}
        for finding in verdict.findings if verdict is not None else ():
            taken[finding.test] = taken.get(finding.test, 0) + 1
            again = taken[finding.test]
            name = finding.test if again == 1 else f"{finding.test} {again}"
            point = Point(
                number=verdicts.number,
                excluded=verdict is not None and verdict.excluded,
                finding=finding,
            )
            found.setdefault(name, []).append(point)
    return {name: tuple(points) for name, points in found.items()}


def explanation(client: int, history: Sequence[Verdicts]) -> str:
    """Plain text: the last verdict with its reasons, and the figures of all rounds of `history`."""
    seen = [verdicts for verdicts in history if client in verdicts.by_client]
    if not seen:
        return (
            f"Client {client} was judged in none of {len(history)} rounds: it was absent, or "
            "beyond the bounds of the plan."
        )
    last = seen[-1].by_client[client]
    state = "excluded" if last.excluded else "kept"
    lines = [f"Client {client}, round {seen[-1].number}: {state}."]
    for finding in last.reasons or last.findings:
        lines += [f"  {finding.in_words}", f"    {_numbers(finding)}"]
    out = [verdicts.number for verdicts in seen if verdicts.by_client[client].excluded]
    rounds = f" ({', '.join(map(str, out))})" if out else ""
    lines.append(f"Excluded in {len(out)} of the {len(seen)} rounds that judged it{rounds}.")
    for test, points in history_of(client, history).items():
        lines.append(f"  {test}: round, figure, threshold")
        lines += [_row(point) for point in points]
    return "\n".join(lines)


def _numbers(finding: Finding) -> str:
    p = "" if finding.p_value is None else f", p = {finding.p_value:.3g}"
    return f"test {finding.test}: figure {finding.figure:.4g}, threshold {finding.threshold:.4g}{p}"


def _row(point: Point) -> str:
    finding = point.finding
    mark = "  excludes" if finding.excludes else ""
    return f"    {point.number:>5} {finding.figure:>10.4g} {finding.threshold:>10.4g}{mark}"
