"""Why clients were excluded, for a terminal."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from rich import box
from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from protocols.report.words import clients_of, named, number, rounds_of
from robust.decide import Verdicts
from robust.fairness import FairnessReport, render

__all__ = ["fairness", "rendered"]


def rendered(history: Sequence[Verdicts]) -> RenderableType:
    """A line for each round, then each client that was excluded, with the last reasons for it."""
    parts: list[RenderableType] = [_rounds(history)]
    for client in clients_of(history)[1]:
        parts += _client(client, history)
    for verdicts in history[-1:]:
        for one in verdicts.abstained:
            parts.append(Text(f"{one.detector} could not tell: {one.reason.value}", "dim"))
    return Group(*parts)


def fairness(report: FairnessReport | None) -> RenderableType:
    """Whom exclusions hit."""
    return Text("" if report is None else render(report), no_wrap=True, overflow="ignore")


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
