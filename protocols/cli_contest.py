"""`secagg demo --attack`: attackers among the clients, screened through the real protocol."""

from __future__ import annotations

import time
from pathlib import Path

import typer
from rich.console import Console

from protocols.cli_shared import NOT_AS_PROMISED, print_json, watched
from secagg.errors import ParameterError

__all__ = ["refuse_beside_attacks", "require_attacks", "run_contest"]


def run_contest(
    attacks: list[str],
    *,
    clients: int,
    rounds: int,
    drop: float,
    audit: int,
    seed: int,
    html: Path | None,
    as_json: bool,
) -> None:
    """Run and print it; exit status 1 unless every sum was exact."""
    from protocols.demo import contest_report as report  # noqa: PLC0415 -- slow to import
    from protocols.demo import contest_table as table  # noqa: PLC0415
    from protocols.demo.contest import ATTACKS, Contest, Settings  # noqa: PLC0415
    from protocols.demo.leak import where_more_is  # noqa: PLC0415
    from protocols.report import terminal  # noqa: PLC0415
    from protocols.report.summary import summary_document  # noqa: PLC0415

    if "list" in attacks:
        typer.echo("\n".join(ATTACKS))
        return
    start = time.perf_counter()
    settings = Settings(
        attacks=tuple(attacks), clients=clients, rounds=rounds, drop=drop, audit=audit, seed=seed
    )
    contest = Contest(settings)
    console = Console(quiet=as_json)
    console.print(table.heading(contest))
    matches = watched(contest.rounds, rounds, console)
    seconds = time.perf_counter() - start
    found = report.summarized(contest, matches)
    if html is not None:
        html.write_text(report.document_page(contest, matches), encoding="utf-8")
    if as_json:
        standings = summary_document(found)
        print_json({**table.json_document(contest, matches, seconds), "standings": standings})
    console.print(table.rounds_table(contest, matches))
    console.print(table.reasons(contest, matches), "", sep="\n")
    console.print(terminal.standings(found, report.truth(contest)), "", sep="\n")
    assert found.fairness is not None, "the simulation knows sizes and label mixes"
    console.print(terminal.hit(found.fairness), "", sep="\n")
    if not all(match.outcome.failure is None for match in matches):
        console.print(table.failures(matches))
    console.print(table.verdict(contest, matches, seconds))
    options = f"--clients {contest.plan.scheme.honest_inputs} --opened {contest.settings.rows}"
    console.print(where_more_is(options), style="dim", highlight=False)
    if not table.all_exact(matches):
        raise typer.Exit(NOT_AS_PROMISED)


def refuse_beside_attacks(**given: object) -> None:
    """`ParameterError` for options that this demo has no use for."""
    for name, value in given.items():
        if value:
            raise ParameterError(f"--{name} and --attack do not go together")


def require_attacks(**given: object) -> None:
    """`ParameterError` for options that only this demo has a use for."""
    for name, value in given.items():
        if value:
            raise ParameterError(f"--{name} goes with --attack: nobody is left out without it")
