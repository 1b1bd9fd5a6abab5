"""Why clients were excluded, for a terminal."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from statistics import median

from rich import box
from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from protocols.report.summary import Summary, Trail
from protocols.report.words import (
    CONTRIBUTION,
    LEGEND,
    changes,
    clients_of,
    contribution,
    named,
    number,
    rounds_of,
    strip,
)
from robust.decide import Verdicts
from robust.fairness import FairnessReport, Part, Verdict, render

__all__ = ["fairness", "hit", "rendered", "standings"]

_MOST_ROWS = 12
_MOST_ROUNDS = 30


def rendered(history: Sequence[Verdicts]) -> RenderableType:
    """A line for each round, then each client that was excluded, with the last reasons for it."""
    parts: list[RenderableType] = [_rounds(history)]
    for client in clients_of(history)[1]:
        parts += _client(client, history)
    for verdicts in history[-1:]:
        for one in verdicts.abstained:
            parts.append(Text(f"{one.detector} could not tell: {one.reason.value}", "dim"))
    return Group(*parts)


def fairness(report: FairnessReport) -> RenderableType:
    """Whom exclusions hit, in full."""
    return Text(render(report), no_wrap=True, overflow="ignore")


def standings(summary: Summary, truth: Mapping[int, str] | None = None) -> RenderableType:
    """A row for each client that was ever left out, the lowest scores first; the rest in a line.

    truth: what clients are known to do, where that is known, as in a simulation.
    """
    marked = sorted(
        (trail for trail in summary.trails if not trail.spotless),
        key=lambda trail: (trail.record.score, trail.client),
    )
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1), collapse_padding=True)
    table.add_column("client", justify="right", style="bold")
    if truth is not None:
        table.add_column("is")
    table.add_column(f"last {_MOST_ROUNDS} rounds", no_wrap=True)
    table.add_column("score", justify="right")
    table.add_column("standing", no_wrap=True)
    if summary.contributions is not None:
        table.add_column("contribution", justify="right", no_wrap=True)
    for trail in marked[:_MOST_ROWS]:
        table.add_row(*_standing(trail, summary, truth))
    head = Text("Standings", style="bold")
    return Group(head, table if marked else Text(""), Text(_rest(summary, len(marked)), "dim"))


def _standing(
    trail: Trail, summary: Summary, truth: Mapping[int, str] | None
) -> list[RenderableType]:
    known = [] if truth is None else [_truth(truth.get(trail.client))]
    scored = [] if summary.contributions is None else [contribution(summary, trail.client)]
    return [
        str(trail.client), *known, strip(trail)[-_MOST_ROUNDS:], f"{trail.record.score:.2f}",
        changes(trail), *scored,
    ]  # fmt: skip


def _truth(does: str | None) -> Text:
    return Text("honest", "red") if does is None else Text(does, "green")


def _rest(summary: Summary, marked: int) -> str:
    spotless = [trail.client for trail in summary.trails if trail.spotless]
    known = summary.contribution_of
    scores = [known[client][0] for client in spotless if client in known]
    typical = f"; their median contribution: {median(scores):+.2f}" if scores else ""
    hidden = marked - _MOST_ROWS
    return "\n".join(
        [
            *([f"{hidden} more were left out, with higher scores"] if hidden > 0 else []),
            f"{len(spotless)} clients were never left out{typical}",
            LEGEND,
            *([CONTRIBUTION] if known else []),
        ]
    )


def hit(report: FairnessReport) -> RenderableType:
    """Whom exclusions hit, in a line for each way to divide clients: left out of how many."""
    whole = report.all
    who = "clients" if report.attackers is None else "honest clients"
    parts = Table.grid(padding=(0, 2))
    parts.add_row(
        "all",
        f"{whole.excluded} of {whole.clients} {who} left out in at least {report.often:.0%} of "
        f"their rounds; {whole.weight_lost:.1%} of their weight lost",
    )
    for title, found in (("subgroup", report.subgroups), ("data size", report.sizes)):
        if found:
            parts.add_row(title, f"{', '.join(map(_hit, found))}{_said(found)}")
    return Group(Text("Whom exclusions hit", style="bold"), parts)


def _hit(part: Part) -> str:
    lost = f" {part.weight_lost:.0%} lost" if part.weight_lost else ""
    uneven = f" ({part.verdict.value})" if part.verdict is Verdict.UNEVEN else ""
    return f"{part.name} {part.excluded}/{part.clients}{lost}{uneven}"


def _said(parts: Sequence[Part]) -> str:
    """What the tests of all parts say alike."""
    verdicts = {part.verdict for part in parts}
    return f": {verdicts.pop().value}" if len(verdicts) == 1 else ""


def _rounds(history: Sequence[Verdicts]) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for name in ("round", "clients", "kept"):
        table.add_column(name, justify="right")
    table.add_column("excluded")
    for verdicts in history:
        total, out = len(verdicts.verdicts), verdicts.excluded
        named = ", ".join(map(str, out)) or "-"
        table.add_row(str(verdicts.number), str(total), str(total - len(out)), named)
    return table


def _client(client: int, history: Sequence[Verdicts]) -> Iterator[RenderableType]:
    out, present = rounds_of(client, history)
    last = next(one for one in reversed(history) if one.number == out[-1])
    yield Text.assemble(
        (f"client {client}", "bold"),
        (f"  excluded in {len(out)} of {len(present)} rounds, last in round {out[-1]}", "dim"),
    )
    for name, finding in named(last.by_client[client].findings):
        if finding.excludes:
            p = "" if finding.p_value is None else f", p = {number(finding.p_value)}"
            numbers = f"figure {number(finding.figure)}, threshold {number(finding.threshold)}{p}"
            said = Text.assemble(finding.in_words, (f"\ntest {name}: {numbers}", "dim"))
            yield Padding(said, (0, 0, 0, 2))
