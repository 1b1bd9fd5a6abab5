"""The command `apiwatch`: learn from logs, judge logs, explain, name, forget, report.

Exit status: 0 nothing to report, 1 alerts (or drift), 2 an error, in one line.
"""

from __future__ import annotations

import os
import secrets
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from itertools import count, islice
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from typer.core import TyperGroup

from apiwatch import cli_learning, cli_live, cli_round
from apiwatch.alerts import Output, render
from apiwatch.alone import keep_alone, learnt_alone, pooled_digest
from apiwatch.cli_shared import (
    PROFILE,
    AlertFormat,
    LogFormat,
    Logs,
    ProfileFile,
    Redact,
    examples_of,
    requests_of,
    say,
)
from apiwatch.doctor import findings
from apiwatch.errors import ApiwatchError, LogUnreadable
from apiwatch.event import Field, Request
from apiwatch.pending import Pending, pending_file
from apiwatch.report import page
from apiwatch.settings import Settings, require
from apiwatch.store import Profile
from apiwatch.table import gather
from apiwatch.work import (
    alerts_of,
    explained,
    labeled,
    learnt,
    learnt_together,
    proposals,
    set_threshold,
    taught,
    unknown_clusters,
)

__all__ = ["app", "main"]

_ALERTS, _ERROR = 1, 2
# Typer brings its own click from 0.26 on; its base class is the one name that all versions share.
_UsageError: Any = typer.BadParameter.__base__


class _Commands(TyperGroup):
    """One line for what a user can put right; APIWATCH_DEBUG=1 shows the traceback."""

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except BrokenPipeError:
            raise
        except (ApiwatchError, ImportError, OSError, _UsageError) as error:
            if os.environ.get("APIWATCH_DEBUG") == "1":
                raise
            typer.echo(f"apiwatch {ctx.invoked_subcommand or ''}: {_one_line(error)}", err=True)
            raise typer.Exit(_ERROR) from None


def _one_line(error: Exception) -> str:
    if isinstance(error, _UsageError):
        return str(error.format_message())
    if isinstance(error, OSError) and error.filename is not None:
        return f"{error.filename}: {error.strerror}"
    return str(error)


app = typer.Typer(
    cls=_Commands,
    help="Anomaly detection for APIs that sites learn together, without sharing a request.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)

_AlertsPerDay = Annotated[int, typer.Option(help="How many alerts usual traffic may give.", min=0)]
_PerDay = Annotated[
    int | None,
    typer.Option(help="Requests a day; by default what the times in the logs show.", min=1),
]


@app.command()
def learn(
    logs: Logs,
    *,
    profile: ProfileFile = PROFILE,
    together: Annotated[
        bool, typer.Option(help="Each log is a site: they learn by secure sums, 5 or more.")
    ] = False,
    support: Annotated[
        int, typer.Option(help="With --together: sites that must agree on a cell.", min=1)
    ] = 1,
    proved: Annotated[
        int,
        typer.Option(
            help="With --together: sites prove that they say 0 or 1 of each cell, and that their "
            "counters are within this norm; 0 for sums without a proof.",
            min=0,
        ),
    ] = 0,
    more: Annotated[bool, typer.Option(help="Add to the profile that is there.")] = False,
    log_format: LogFormat = None,
) -> None:
    """Learn what is usual from logs of usual traffic."""
    require(together or not proved, "proved = 0 without --together", proved)
    with _progress("learning") as step:
        counts = [gather(step(requests_of([log], log_format))) for log in logs]
    if together:
        settings = Settings(support=support, salt=secrets.token_bytes(32))
        made, alone = learnt_together(counts, settings, proved), None
        own, pooled = counts[0], pooled_digest(sum(counts, Counter[Field]()), made)
    else:
        before = Profile.load(profile) if more else None
        alone = learnt_alone(before, profile) if before else None
        settings = before.table.settings if before else Settings(salt=secrets.token_bytes(32))
        own, pooled = sum(counts, Counter[Field]()), ""
        made = learnt(own, settings, before)
    made.save(profile)
    if together or alone is not None:
        keep_alone(made, profile, own, pooled=pooled, before=alone)
    fields = sum(part.total() for part in counts)
    say(f"{fields:,} fields of {len(logs)} logs; {profile} {made.detector.digest[:16]}")


@app.command()
def score(
    logs: Logs,
    *,
    profile: ProfileFile = PROFILE,
    output: AlertFormat = Output.TEXT,
    redact: Redact = True,
    log_format: LogFormat = None,
) -> None:
    """Judge logs: one line for each group of alerts, the most suspicious first."""
    loaded = Profile.load(profile)
    with _progress("judging") as step:
        alerts = alerts_of(loaded, step(requests_of(logs, log_format)))
    for line in render(alerts, output, redact=redact, now=time.time()):
        typer.echo(line)
    if alerts:
        raise typer.Exit(_ALERTS)


@app.command()
def explain(
    alert: Annotated[str, typer.Argument(metavar="ID", help="As `score` prints it.")],
    logs: Logs,
    *,
    profile: ProfileFile = PROFILE,
    log_format: LogFormat = None,
) -> None:
    """Say why an alert was raised. It shows the value: for eyes that may see the log."""
    loaded = Profile.load(profile)
    found = [a for a in alerts_of(loaded, requests_of(logs, log_format)) if a.id.startswith(alert)]
    if not found:
        raise LogUnreadable(f"no alert {alert} in these logs under this profile")
    console = Console(highlight=False)
    for one in found:
        for line in explained(loaded, one):
            console.print(line)


@app.command()
def threshold(
    logs: Logs,
    *,
    profile: ProfileFile = PROFILE,
    alerts_per_day: _AlertsPerDay = 20,
    requests_per_day: _PerDay = None,
    log_format: LogFormat = None,
) -> None:
    """Set the threshold from separate logs of usual traffic."""
    loaded = Profile.load(profile)
    with _progress("judging") as step:
        chosen = set_threshold(
            loaded,
            step(requests_of(logs, log_format)),
            alerts=alerts_per_day,
            per_day=requests_per_day,
        )
    loaded.save(profile)
    say(f"threshold {chosen:.2f}")


@app.command()
def clusters(
    logs: Logs,
    *,
    profile: ProfileFile = PROFILE,
    least: Annotated[int, typer.Option(help="Alerts that make a cluster.", min=2)] = 5,
    propose: Annotated[int, typer.Option(help="Alerts to name first, with ids.", min=0)] = 0,
    log_format: LogFormat = None,
) -> None:
    """Which unknown attacks belong together, and which show the most different kinds."""
    loaded = Profile.load(profile)
    found = unknown_clusters(loaded, requests_of(logs, log_format), least)
    for number, alerts in found.items():
        shapes = Counter(alert.shown(redact=True)[:40] for alert in alerts)
        places = Counter(alert.first.field.label for alert in alerts)
        name = "alone" if number < 0 else f"cluster {number}"
        common = ", ".join(shape for shape, _ in shapes.most_common(3))
        typer.echo(f"{name}: {len(alerts)} groups in {places.most_common(1)[0][0]}; {common}")
    for alert in islice(proposals(loaded, found), propose):
        typer.echo(f"{alert.id}  {alert.title}  {alert.shown(redact=True)[:40]}")
    if found:
        raise typer.Exit(_ALERTS)


@app.command()
def label(
    which: Annotated[str, typer.Argument(help="A cluster's number, or ids of alerts: ID,ID,…")],
    name: Annotated[str, typer.Argument(help="What this kind of attack is called.")],
    logs: Logs,
    *,
    profile: ProfileFile = PROFILE,
    least: Annotated[int, typer.Option(help="As given to `clusters`.", min=2)] = 5,
    log_format: LogFormat = None,
) -> None:
    """Give a cluster, or single alerts, a name; from then on values like it carry it, and after the
    next round of names those of all sites.
    """
    loaded = Profile.load(profile)
    pending = Pending(pending_file(profile))
    examples = labeled(loaded, requests_of(logs, log_format), which, name, least)
    pending.add(examples)
    loaded.save(profile)
    say(f"{len(examples)} examples of {name}; {pending.path} has them for `round join`")


@app.command()
def teach(
    examples: Annotated[
        Path, typer.Argument(metavar="EXAMPLES", help="JSON lines of 'value' and 'label'.")
    ],
    *,
    profile: ProfileFile = PROFILE,
) -> None:
    """Learn the names of attacks from examples, some of which are labeled 'benign'."""
    loaded = Profile.load(profile)
    pairs = list(examples_of(examples))
    taught(loaded, pairs)
    loaded.save(profile)
    say(f"{len(pairs):,} examples; unknown below a response of {loaded.level:.2f}")


@app.command()
def drift(
    logs: Logs,
    *,
    profile: ProfileFile = PROFILE,
    log_format: LogFormat = None,
) -> None:
    """Where usual traffic has changed, by ADWIN over the scores of each endpoint."""
    from apiwatch.drift import changes  # noqa: PLC0415 -- an extra

    loaded = Profile.load(profile)
    found = changes(loaded.detector.judge(requests_of(logs, log_format)), loaded.threshold)
    for change in found:
        typer.echo(
            f"{change.endpoint or '/'}: after {change.after} of {change.requests} requests, "
            f"alerts {change.share_before:.1%} -> {change.share_now:.1%}"
        )
    if found:
        raise typer.Exit(_ALERTS)


@app.command()
def report(
    logs: Logs,
    *,
    html: Annotated[Path, typer.Option(help="Where to write the page.")],
    profile: ProfileFile = PROFILE,
    attacks: Annotated[
        list[Path] | None, typer.Option(help="A log of attacks, to compare.")
    ] = None,
    compare: Annotated[list[Path] | None, typer.Option(help="A profile to compare with.")] = None,
    redact: Redact = True,
    log_format: LogFormat = None,
) -> None:
    """One self-contained page on what was found in the logs."""
    loaded = Profile.load(profile)
    with _progress("judging") as step:
        judged = list(loaded.detector.judge(step(requests_of(logs, log_format))))
    known = list(loaded.detector.judge(requests_of(attacks or [], log_format)))
    others = _by_name(compare or [])
    alone = learnt_alone(loaded, profile)
    shown = page(loaded, judged, redact=redact, attacks=known, others=others, alone=alone)
    html.write_text(shown, encoding="utf-8")
    say(f"{html}")


@app.command()
def doctor(*, profile: ProfileFile = PROFILE) -> None:
    """Check the profile, and say what is missing for which command."""
    found = findings(profile)
    for finding in found:
        typer.echo(finding.line)
    if any(finding.is_error for finding in found):
        raise typer.Exit(_ERROR)


cli_learning.add_to(app)
cli_live.add_to(app)
app.add_typer(cli_round.rounds, name="round")


def main() -> None:
    """The entry point."""
    app()


def _by_name(paths: list[Path]) -> dict[str, Profile]:
    """By the name of the file, and a number where others have the same."""
    found: dict[str, Profile] = {}
    for path in paths:
        names = (path.stem if n == 1 else f"{path.stem} {n}" for n in count(1))
        found[next(name for name in names if name not in found)] = Profile.load(path)
    return found


@contextmanager
def _progress(what: str) -> Iterator[Any]:
    """A counter on the terminal, and nothing where there is none."""
    columns = (SpinnerColumn(), TextColumn(what), TextColumn("{task.completed:,.0f} requests"))
    console = Console(stderr=True)
    with Progress(
        *columns,
        TimeElapsedColumn(),
        console=console,
        transient=True,
        disable=not console.is_terminal,
    ) as bar:
        task = bar.add_task(what, total=None)

        def step(requests: Iterable[Request]) -> Iterator[Request]:
            for number, request in enumerate(requests):
                if number % 1000 == 999:
                    bar.advance(task, 1000)
                yield request

        yield step


if __name__ == "__main__":
    main()
