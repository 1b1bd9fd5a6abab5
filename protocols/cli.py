"""The command `secagg`: a demo, plan files, parameters, and a look into frames."""

from __future__ import annotations

import dataclasses
import io
import json
import os
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
import typer
from rich import box
from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.table import Table
from typer.core import TyperGroup

from dp.audit import NoiseVerdict
from dp.errors import DPError
from protocols.audit import NoiseAudit
from protocols.audit import audit_noise as run_null_round
from protocols.cost import client_cost
from protocols.inspect import inspect as inspect_frame
from protocols.planfile import SCHEMES, PlanFile, PrivacyChoice, Quantizer, SchemeChoice, Training
from protocols.simulate import Frame
from secagg.errors import ParameterError, SecAggError
from secagg.schemes.secagg_plus import SecAggPlus, SecAggPlusSemiHonest

if TYPE_CHECKING:
    from protocols.demo.training import Federation, RoundReport

__all__ = ["app", "main"]

_NOT_EXACT, _REFUSED = 1, 2
_PRIVATE_CLIP = 1.0
_AUDITED = PlanFile(
    quantize=Quantizer(bound=_PRIVATE_CLIP, max_weight=1),
    privacy=PrivacyChoice(epsilon=1.0),
    training=Training(rounds=1, drop=0.0),
)

# Typer brings its own click from 0.26 on; its base class is the one name that all versions share.
_UsageError: Any = typer.BadParameter.__base__


class _Commands(TyperGroup):
    """One line for what a user can put right, and no traceback: set SECAGG_DEBUG=1 for that."""

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except BrokenPipeError:
            raise  # the reader has seen enough; typer ends quietly
        except (SecAggError, DPError, ImportError, OSError, _UsageError) as error:
            if os.environ.get("SECAGG_DEBUG") == "1":
                raise
            path = " ".join(filter(None, ("secagg", *_above(ctx), ctx.invoked_subcommand)))
            typer.echo(f"{path}: {_one_line(path, error)}", err=True)
            raise typer.Exit(_REFUSED) from None


def _above(ctx: Any) -> list[str]:
    """The groups that a command is in, but for the outermost."""
    return [] if ctx.parent is None else [*_above(ctx.parent), ctx.info_name]


def _one_line(command: str, error: Exception) -> str:
    match error:
        case _UsageError():
            return f"{error.format_message().rstrip('.')}; see '{command} --help'"
        case ParameterError():
            return f"{error}; see '{command} --help'"
        case OSError(filename=str() | Path() as name):
            return f"{name}: {error.strerror}"
    return str(error)


# Tracebacks stay plain: the pretty ones print local variables, and those may be keys.
app = typer.Typer(
    cls=_Commands,
    help="Secure aggregation for federated learning: the server learns the sum, nothing else.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)

audit = typer.Typer(cls=_Commands, help="Is what was promised really there?", no_args_is_help=True)
app.add_typer(audit, name="audit")

_Json = Annotated[bool, typer.Option("--json", help="Print one JSON document and nothing else.")]
_Record = Annotated[
    Path | None, typer.Option("--record", metavar="DIR", help="Write every frame to this folder.")
]


@app.command()
def demo(
    *,
    clients: Annotated[int, typer.Option(help="Size of the cohort.")] = 20,
    rounds: Annotated[int, typer.Option(help="Rounds of federated averaging.")] = 15,
    drop: Annotated[float, typer.Option(help="Fraction that falls silent in each round.")] = 0.2,
    scheme: Annotated[str, typer.Option(help=f"One of {', '.join(SCHEMES)}.")] = "secagg_plus",
    epsilon: Annotated[
        float, typer.Option(help="Privacy budget of the run; 0 for no noise.")
    ] = 0.0,
    delta: Annotated[float, typer.Option(help="At which the budget is counted.")] = 1e-5,
    noise_by: Annotated[
        str, typer.Option(help="'clients', or a 'server' that is trusted with the sum.")
    ] = "clients",
    seed: Annotated[
        int, typer.Option(help="Of data split, model and dropouts; never of keys or noise.")
    ] = 0,
    as_json: _Json = False,
    record: _Record = None,
) -> None:
    """Train a model on digits; every update goes through the real protocol as real bytes."""
    file = PlanFile(
        scheme=SchemeChoice(name=scheme, clients=clients, dropout=max(drop, 0.3)),
        quantize=Quantizer(bound=_PRIVATE_CLIP, max_weight=1) if epsilon else Quantizer(),
        privacy=PrivacyChoice(epsilon=epsilon, delta=delta, by=noise_by),
        training=Training(rounds=rounds, drop=drop, seed=seed),
    )
    _train(file, as_json=as_json, record=record)


@app.command()
def run(
    plan: Annotated[Path, typer.Argument(metavar="PLAN.toml", help="A plan file.")],
    *,
    as_json: _Json = False,
    record: _Record = None,
) -> None:
    """The same, as a plan file says."""
    try:
        _train(PlanFile.load(plan), as_json=as_json, record=record)
    except ParameterError as error:
        raise ParameterError(f"{plan}: {error}") from None


@app.command()
def params(
    clients: Annotated[int, typer.Argument(metavar="N", help="Size of the cohort.")],
    *,
    corrupt: Annotated[float, typer.Option(help="Fraction that colludes with the server.")] = 0.2,
    drop: Annotated[float, typer.Option(help="Fraction that may drop out.")] = 0.3,
    length: Annotated[int, typer.Option(help="Coordinates of an update.")] = 100_000,
    width: Annotated[int, typer.Option(help="Bits of a coordinate.")] = 32,
    as_json: _Json = False,
) -> None:
    """What the two fractions lead to, and what a round costs one client."""
    columns = {
        kind.name: _parameters(
            kind, clients=clients, corrupt=corrupt, dropout=drop, length=length + 1, width=width
        )
        for kind in (SecAggPlus, SecAggPlusSemiHonest)
    }
    if all("impossible" in column for column in columns.values()):
        raise ParameterError(columns[SecAggPlus.name]["impossible"])
    if as_json:
        _print_json(columns)
    else:
        _print_parameters(columns)


@audit.command("noise")
def audit_noise(
    plan: Annotated[
        Path | None, typer.Argument(metavar="PLAN.toml", help="A plan file with [privacy].")
    ] = None,
    *,
    length: Annotated[int, typer.Option(help="Coordinates of the null update.")] = 1 << 17,
    skip: Annotated[
        int, typer.Option(help="Let so many clients forget their noise, to see it found.")
    ] = 0,
    false_alarm: Annotated[
        float, typer.Option(help="Probability that honest noise fails a test.")
    ] = 1e-6,
    as_json: _Json = False,
) -> None:
    """One real round of zero updates: is the noise of the plan really in the sum?"""
    file = _AUDITED if plan is None else PlanFile.load(plan)
    template = {"update": np.zeros(length)}
    silent = frozenset(range(1, skip + 1))
    found = run_null_round(file.plan(template), silent=silent, false_alarm=false_alarm)
    document = {
        "clients": found.clients,
        **dataclasses.asdict(found.verdict),
        "passed": found.verdict.passed,
    }
    if as_json:
        _print_json(document)
    else:
        _print_audit(found)
    if not found.verdict.passed:
        raise typer.Exit(_NOT_EXACT)


def _print_audit(found: NoiseAudit) -> None:
    verdict = found.verdict
    grid = _grid()
    grid.add_row("clients in the sum", f"{found.clients}")
    grid.add_row("integers", f"{verdict.size:,}")
    span = f"within {1 - verdict.tolerance:.4f} and {1 + verdict.tolerance:.4f}"
    grid.add_row("variance", f"{verdict.ratio:.4f} of what was promised, {span} by chance")
    grid.add_row("mean", f"{verdict.offset:+.2f} deviations, within ±{verdict.limit:.2f} by chance")
    console = Console()
    console.print(grid)
    if verdict.passed:
        console.print("✓ the sum holds the noise that the plan promises", style="bold green")
    else:
        console.print(f"✗ {_wrong_noise(verdict)}", style="bold red")


def _wrong_noise(verdict: NoiseVerdict) -> str:
    if verdict.variance_fits:
        return "the noise is not centered"
    less = verdict.ratio < 1
    return f"there is {abs(1 - verdict.ratio):.1%} {'less' if less else 'more'} noise than promised"


@app.command()
def inspect(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A frame, as --record wrote it.")],
    *,
    as_json: _Json = False,
) -> None:
    """What a frame shows to anybody: its header, its message type and its sizes."""
    info = dataclasses.asdict(inspect_frame(file.read_bytes()))
    if as_json:
        _print_json(info)
        return
    fields = info.pop("fields")
    grid = _grid()
    for name, value in info.items():
        grid.add_row(name, f"{value:,} bytes" if name in ("size", "body") else str(value))
        if name == "body":
            for field, shape in fields.items():
                grid.add_row(f"  {field}", shape)
    grid.add_row("", "[dim]signature not verified: that takes the roster[/dim]")
    Console().print(grid)


def main() -> None:
    """The entry point of the command `secagg`."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")  # a terminal without ✓ is no reason to stop
    app(prog_name="secagg")


def _train(file: PlanFile, *, as_json: bool, record: Path | None) -> None:
    # Only here: the other commands need neither PyTorch nor the seconds that it takes to import.
    from protocols.demo import table, training  # noqa: PLC0415

    start = time.perf_counter()
    federation = training.Federation(file, _recorder(record))
    console = Console(quiet=as_json)
    console.print(table.heading(federation))
    reports = _watched(federation, file.training.rounds, console)
    seconds = time.perf_counter() - start
    if as_json:
        _print_json(table.json_document(federation, reports, seconds))
    console.print(table.rounds_table(reports))
    if federation.stopped is not None:
        console.print(table.stopped(federation, reports))
    console.print(table.verdict(reports, seconds))
    if not table.all_exact(reports):
        raise typer.Exit(_NOT_EXACT)


def _watched(federation: Federation, total: int, console: Console) -> list[RoundReport]:
    bar = Progress(
        SpinnerColumn(),
        TextColumn("round {task.completed}/{task.total}"),
        BarColumn(),
        TimeElapsedColumn(),
        TextColumn("{task.description}"),
        console=console,
        transient=True,
        disable=console.quiet or not console.is_terminal,
    )
    reports = []
    with bar:
        task = bar.add_task("", total=total)
        for report in federation.rounds(lambda what: bar.update(task, description=what)):
            reports.append(report)
            bar.update(task, advance=1)
    return reports


def _recorder(folder: Path | None) -> Any:
    """A function that writes every frame to a file of its own, or None."""
    if folder is None:
        return None
    folder.mkdir(parents=True, exist_ok=True)

    def write(number: int, frame: Frame) -> None:
        sender = f"client-{frame.sender}" if frame.sender else "server"
        name = f"round-{number:03}-{frame.number:05}-{frame.phase}-{sender}.frame"
        (folder / name).write_bytes(frame.data)

    return write


def _parameters(kind: Any, **fields: Any) -> dict[str, Any]:
    try:
        scheme = kind(**fields)
    except ParameterError as error:
        return {"impossible": str(error)}
    near, cost = scheme.neighbourhood, client_cost(scheme)
    return {
        "degree": near.degree,
        "threshold": scheme.shares_needed,
        "quorum": scheme.quorum,
        "survivors": scheme.survivors,
        "window": near.window,
        **dataclasses.asdict(cost),
    }


_ROWS = {
    "degree": "neighbours of a client",
    "threshold": "shares that recover a secret",
    "quorum": "consents before unmasking",
    "survivors": "fewest inputs in a sum",
    "window": "window of the survivor rule",
    "mask_keys": "mask keys per client",
    "shares": "shares dealt per client",
    "vector": "bytes of the update",
    "up": "bytes up per client",
    "down": "bytes down per client",
}


def _print_parameters(columns: dict[str, dict[str, Any]]) -> None:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("")
    table.add_column("malicious server", justify="right")
    table.add_column("semi-honest server", justify="right")
    for key, label in _ROWS.items():
        table.add_row(label, *(_count(column.get(key)) for column in columns.values()))
    console = Console()
    console.print(table)
    for name, column in columns.items():
        if "impossible" in column:
            console.print(f"{name}: {column['impossible']}", soft_wrap=True, highlight=False)


def _count(value: int | None) -> str:
    return f"{value:,}" if value else "-"


def _print_json(document: dict[str, Any]) -> None:
    typer.echo(json.dumps(document, indent=2))


def _grid() -> Table:
    grid = Table.grid(padding=(0, 2))
    grid.add_column(style="bold")
    grid.add_column()
    return grid


if __name__ == "__main__":
    main()
