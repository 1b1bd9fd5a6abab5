"""Arguments that several commands share, and how they speak to a person."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Annotated

import typer

from apiwatch.alerts import Output
from apiwatch.errors import LogUnreadable
from apiwatch.event import Request
from apiwatch.logs import Format, Log
from apiwatch.normalize import fold

__all__ = [
    "PROFILE",
    "AlertFormat",
    "LogFormat",
    "Logs",
    "ProfileFile",
    "Redact",
    "ResultsFile",
    "examples_of",
    "requests_of",
    "say",
]

Logs = Annotated[list[Path], typer.Argument(metavar="LOG…", help="Logs; - is standard input.")]
ProfileFile = Annotated[
    Path, typer.Option("--profile", "-p", metavar="FILE", help="The profile's file.")
]
LogFormat = Annotated[
    Format | None, typer.Option("--log-format", help="Of the logs; found out by default.")
]
AlertFormat = Annotated[Output, typer.Option("--format", help="Of the alerts.")]
Redact = Annotated[bool, typer.Option(help="Show shapes in the place of values.")]
ResultsFile = Annotated[
    Path | None,
    typer.Option("--results", metavar="FILE", help="JSON lines: parts there are not run again."),
]
PROFILE = Path("apiwatch.profile")


def say(text: str) -> None:
    """One line on the error stream."""
    typer.echo(text, err=True)


def requests_of(paths: Iterable[Path], kind: Format | None) -> Iterator[Request]:
    """All requests of all logs, and a line on what could not be read of each."""
    for path in paths:
        if str(path) == "-":
            log = Log(sys.stdin.buffer, kind)
            yield from log
        else:
            with path.open("rb") as lines:
                log = Log(lines, kind)
                yield from log
        if log.skipped:
            say(f"{path}: {log.skipped:,} entries could not be read; {log.reason}")


def examples_of(path: Path) -> Iterator[tuple[str, str]]:
    """Values and labels of JSON lines. Raises `LogUnreadable` for a line without them."""
    with path.open(encoding="utf-8") as lines:
        for number, line in enumerate(lines, 1):
            try:
                entry = json.loads(line)
                value, name = entry["value"], entry["label"]
            except (ValueError, KeyError, TypeError) as error:
                reason = f"{path}, line {number}: no value and label: {type(error).__name__}"
                raise LogUnreadable(reason) from None
            yield fold(str(value)), str(name)
