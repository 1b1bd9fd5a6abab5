"""`secagg benchmark-detectors` and `secagg screen`: what detection is worth, whom it excludes."""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from protocols.cli_shared import Json, print_json
from protocols.files import locked
from secagg.errors import ParameterError

if TYPE_CHECKING:
    from protocols.trial.grid import Grid
    from protocols.trial.results import Results, Timed

__all__ = ["benchmark_detectors", "screen"]

_MOST_UNSAVED = 100  # runs, a few minutes


def benchmark_detectors(
    *,
    grid: Annotated[
        str, typer.Option(help="One of protocols.trial.grid, such as preview or held-out.")
    ] = "quick",
    jobs: Annotated[int, typer.Option(help="Processes.")] = 1,
    results: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="JSON lines: what is there is not run again."),
    ] = None,
    write: Annotated[
        Path | None, typer.Option(metavar="PAGE.md", help="Write the tables as Markdown.")
    ] = None,
    frozen: Annotated[
        Path,
        typer.Option(metavar="FILE", help="The hash that held-out runs must have."),
    ] = Path("held-out.frozen.json"),
    freeze: Annotated[
        bool, typer.Option("--freeze", help="Write the hash of a held-out grid, once; run nothing.")
    ] = False,
    table: Annotated[
        bool, typer.Option("--table", help="Print the table of the results and run nothing.")
    ] = False,
) -> None:
    """Attacks against defenses, in the loop: who is caught, who is wronged, what gets through."""
    from protocols.trial import freeze as freezing  # noqa: PLC0415 -- slow to import
    from protocols.trial.grid import grid_of  # noqa: PLC0415
    from protocols.trial.results import Results  # noqa: PLC0415

    chosen = grid_of(grid)
    if freeze:
        typer.echo(f"{freezing.freeze(frozen, chosen)}  {frozen}")
        return
    if jobs < 1:
        raise ParameterError(f"--jobs >= 1 must hold, got {jobs}")
    if not chosen.held_out:
        due = freezing.sources(chosen)
    elif not frozen.exists():
        raise ParameterError(f"{frozen} is missing: freeze before a held-out grid is run")
    else:
        due = freezing.frozen(frozen) if table else freezing.require_frozen(frozen, chosen)
    if results is None and len(chosen.cases) > _MOST_UNSAVED:
        raise ParameterError(f"--results FILE is needed for {len(chosen.cases)} runs")
    # alone with the file from reading it on: what others add in between would be overwritten
    with nullcontext() if results is None else locked(results):
        book = Results(results, due)
        if not table:
            _play(chosen, book, jobs)
    _print_tables(chosen, book.of(chosen.cases), due, write)


def _play(grid: Grid, book: Results, jobs: int) -> None:
    from protocols.trial.results import ran  # noqa: PLC0415 -- slow to import

    console = Console(stderr=True)
    bar = Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        console=console,
        transient=True,
        disable=not console.is_terminal,
    )
    missing = book.missing(grid.cases)
    done = len(grid.cases) - len(missing)
    with bar:
        task = bar.add_task("runs", total=len(grid.cases), completed=done)
        for timed in ran(missing, jobs):
            book.add(timed)
            case = timed.run.case
            bar.update(task, advance=1, description=f"{case.data} {case.attack} {case.method}")


def _print_tables(grid: Grid, found: list[Timed], due: str, write: Path | None) -> None:
    from protocols.trial import tables  # noqa: PLC0415 -- slow to import

    if not found:
        raise ParameterError(f"--results has no run of the grid {grid.name}")
    runs = [timed.run for timed in found]
    hours = sum(timed.seconds for timed in found) / 3600
    notes = [
        f"{len(runs)} of {len(grid.cases)} runs, {hours:.2f} hours of one core. "
        f"SHA-256 of sources and grid: `{due}`."
    ]
    console = Console()
    console.print(tables.rendered(runs, console.width))
    console.print(notes[0].replace("`", ""), style="dim", highlight=False)
    if write is not None:
        write.write_text(tables.markdown(grid, runs, notes), encoding="utf-8")
        console.print(f"written to {write}", style="dim", highlight=False)


def screen(
    statistics: Annotated[
        Path, typer.Argument(metavar="FILE.json", help="Saved statistics of one or more rounds.")
    ],
    *,
    rounds: Annotated[
        int | None, typer.Option(help="Of the whole run, over which the budget holds; 20.")
    ] = None,
    budget: Annotated[
        float | None,
        typer.Option(help="Expected share of honest clients ever excluded; 0.03."),
    ] = None,
    state: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Go on from a saved state.")
    ] = None,
    save_state: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Save what is remembered of the rounds.")
    ] = None,
    html: Annotated[
        Path | None, typer.Option(metavar="PAGE.html", help="Write the reasons as one page.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Whom to leave out of a sum, and why: the cascade over saved statistics."""
    from protocols.report import page, recorded, terminal  # noqa: PLC0415 -- slow to import
    from protocols.report.summary import summary_document, summary_of  # noqa: PLC0415

    saved = recorded.load_rounds(statistics)
    screening = recorded.screening_of(state, rounds=rounds, budget=budget)
    history = recorded.judged(statistics, screening, saved.rounds)
    if save_state is not None:
        recorded.save_state(save_state, screening)
    found = summary_of(saved, history)
    if html is not None:
        text = page.page(history, title=f"Screening of {statistics.name}", summary=found)
        html.write_text(text, encoding="utf-8")
    if as_json:
        verdicts = [recorded.verdict_document(one) for one in history]
        print_json({"rounds": verdicts, "standings": summary_document(found)})
        return
    console = Console()
    console.print(terminal.rendered(history))
    console.print(terminal.standings(found))
    if found.fairness is not None:
        console.print(terminal.fairness(found.fairness), soft_wrap=True)
