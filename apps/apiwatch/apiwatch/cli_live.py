"""Commands that judge as requests come."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from apiwatch.alerts import Output
from apiwatch.cli_shared import PROFILE, AlertFormat, LogFormat, ProfileFile, Redact, say
from apiwatch.sinks import throttled, to_stream
from apiwatch.tail import Tail, until_signaled
from apiwatch.watch import Meter, Silent, Watcher

__all__ = ["add_to"]

_ALERTS = 1


def tail(
    log: Annotated[Path, typer.Argument(metavar="LOG", help="A log that is being written.")],
    *,
    profile: ProfileFile = PROFILE,
    output: AlertFormat = Output.TEXT,
    redact: Redact = True,
    from_start: Annotated[bool, typer.Option(help="Judge what is there already, too.")] = False,
    once_in: Annotated[
        float, typer.Option(help="Write a kind of alert once in so many seconds; 0: each.", min=0)
    ] = 0.0,
    metrics: Annotated[
        int | None, typer.Option(help="Serve metrics on this port of 127.0.0.1.", min=0, max=65535)
    ] = None,
    log_format: LogFormat = None,
) -> None:
    """Judge a log as it is written, across rotation, until SIGINT or SIGTERM: one line an alert.

    A new profile in the same file is taken up within a second.
    """
    with until_signaled() as stop, _metered(metrics) as meter:
        watcher = Watcher(profile, meter=meter)
        watcher.reload()
        sink = to_stream(output, redact=redact)
        following = Tail(
            log=log,
            watcher=watcher,
            sink=throttled(sink, once_in) if once_in else sink,
            kind=log_format,
            from_start=from_start,
        )
        following.run(stop)
    told = following.followed
    say(
        f"{following.requests:,} requests, {following.alerts:,} alerts; "
        f"{following.skipped:,} lines not read, {told.overlong:,} too long; "
        f"{told.rotated} times rotated, {told.truncated} truncated"
    )
    if following.alerts:
        raise typer.Exit(_ALERTS)


@contextmanager
def _metered(port: int | None) -> Iterator[Meter]:
    """Counts that are served while this lasts, or none."""
    if port is None:
        yield Silent()
        return
    from prometheus_client import start_http_server  # noqa: PLC0415 -- an extra

    from apiwatch.metrics import Metrics  # noqa: PLC0415 -- the same

    counted = Metrics()
    server, thread = start_http_server(port, "127.0.0.1", counted.registry)
    say(f"metrics at http://127.0.0.1:{server.server_port}/metrics")
    try:
        yield counted
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def demo(
    folder: Annotated[
        Path | None,
        typer.Option(help="Where to work; must not be there yet. A new one by default."),
    ] = None,
) -> None:
    """A real API behind twenty gateways, generated traffic and attacks: the whole story.

    Exit status 1 if anything is not shown as it is told.
    """
    from apiwatch.demo.story import tell  # noqa: PLC0415 -- extras

    if folder is None:
        folder = Path(tempfile.mkdtemp(prefix="apiwatch-demo-"))
    else:
        folder.mkdir(mode=0o700)
    if not tell(folder, Console()):
        raise typer.Exit(1)


def add_to(app: typer.Typer) -> None:
    """Make them commands of `app`."""
    app.command()(tail)
    app.command()(demo)
