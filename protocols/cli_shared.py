"""What all parts of the command `secagg` have in common: errors in one line, JSON, grids."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Annotated, Any, TypeVar

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.table import Table
from typer.core import TyperGroup

from dp.errors import DPError
from protocols.plan import RoundPlan
from protocols.planfile import PlanFile
from protocols.third import ThirdParty
from robust.errors import RobustError
from secagg.errors import ParameterError, SecAggError

__all__ = [
    "NOT_AS_PROMISED",
    "PRIVATE_CLIP",
    "Audits",
    "Commands",
    "Json",
    "grid",
    "planned",
    "print_json",
    "watched",
]

T = TypeVar("T")

NOT_AS_PROMISED = 1  # exit status: a sum that was not exact, or without its noise
PRIVATE_CLIP = 1.0
_REFUSED = 2

Json = Annotated[bool, typer.Option("--json", help="Print one JSON document and nothing else.")]

# Typer brings its own click from 0.26 on; its base class is the one name that all versions share.
_UsageError: Any = typer.BadParameter.__base__


class Commands(TyperGroup):
    """One line for what a user can put right, and no traceback: set SECAGG_DEBUG=1 for that."""

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except BrokenPipeError:
            raise  # the reader has seen enough; typer ends quietly
        except (SecAggError, DPError, RobustError, ImportError, OSError, _UsageError) as error:
            if os.environ.get("SECAGG_DEBUG") == "1":
                raise
            path = " ".join(filter(None, ("secagg", *_above(ctx), ctx.invoked_subcommand)))
            typer.echo(f"{path}: {_one_line(path, error)}", err=True)
            raise typer.Exit(_REFUSED) from None


class Audits(Commands):
    """`secagg audit PLAN.toml …` is short for `secagg audit leakage PLAN.toml …`."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        if args and args[0].endswith(".toml"):
            args = ["leakage", *args]
        found: list[str] = super().parse_args(ctx, args)
        return found


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


def print_json(document: dict[str, Any]) -> None:
    """The document, and nothing else."""
    typer.echo(json.dumps(document, indent=2))


def grid() -> Table:
    """Two columns: names and values."""
    rows = Table.grid(padding=(0, 2))
    rows.add_column(style="bold")
    rows.add_column()
    return rows


def watched(
    rounds: Callable[[Callable[[str], None]], Iterator[T]], total: int, console: Console
) -> list[T]:
    """All that `rounds` yields, with a bar at a terminal; `rounds` is given what to say there."""
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
    found = []
    with bar:
        task = bar.add_task("", total=total)
        for one in rounds(lambda what: bar.update(task, description=what)):
            found.append(one)
            bar.update(task, advance=1)
    return found


def planned(file: PlanFile, template: Any) -> tuple[RoundPlan, ThirdParty | None]:
    """The plan of the file, and the key authority whose keys it has: one of this process."""
    if not file.scheme.has_authority:
        return file.plan(template), None
    from protocols.authority import AuthorityKeeper  # noqa: PLC0415 -- its scheme is an extra
    from secagg.schemes.ckks import KeyAuthority  # noqa: PLC0415

    authority = AuthorityKeeper(KeyAuthority.generate())
    return file.plan(template, authority), authority
