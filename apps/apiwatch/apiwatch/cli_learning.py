"""Commands around learning: with noise, what has left, and the figures of the documentation."""

from __future__ import annotations

import secrets
from pathlib import Path
from typing import Annotated

import typer

from apiwatch.bench import run as bench
from apiwatch.logs import Format, Log
from apiwatch.private import Privacy, Protects
from apiwatch.settings import Settings
from apiwatch.store import Profile
from apiwatch.work import learnt_privately

__all__ = ["add_commands"]

_PROFILE = Path("apiwatch.profile")
_ProfileFile = Annotated[
    Path, typer.Option("--profile", "-p", metavar="FILE", help="The profile's file.")
]


def learn_privately(
    logs: Annotated[list[Path], typer.Argument(metavar="LOG…", help="Logs; each is a site.")],
    *,
    profile: _ProfileFile = _PROFILE,
    epsilon: Annotated[float, typer.Option(help="Of both sums together, at most.")] = 3.0,
    delta: Annotated[float, typer.Option(help="Of both sums together.")] = 1e-5,
    protects: Annotated[Protects, typer.Option(help="What is hidden.")] = Protects.REQUEST,
    counters: Annotated[float, typer.Option(help="Norm of what is hidden, first sum.")] = 14.0,
    calibration: Annotated[float, typer.Option(help="The same, second sum.")] = 8.0,
    log_format: Annotated[Format | None, typer.Option(help="Of the logs.")] = None,
) -> None:
    """Learn together as `learn --together` does, with noise that hides requests or sites."""
    privacy = Privacy(
        epsilon=epsilon,
        delta=delta,
        protects=protects,
        counters=counters,
        calibration=calibration,
    )
    sites = []
    for path in logs:
        with path.open("rb") as lines:
            sites.append(list(Log(lines, log_format)))
    made = learnt_privately(sites, Settings(salt=secrets.token_bytes(32)), privacy)
    made.save(profile)
    spent = made.ledger.epsilon(delta)
    typer.echo(f"epsilon {spent:.3f} at delta {delta:g}; {profile}", err=True)


def ledger(
    *,
    profile: _ProfileFile = _PROFILE,
    delta: Annotated[float, typer.Option(help="At which epsilon is told.")] = 1e-5,
) -> None:
    """What left a site, sum by sum, and the privacy it costs."""
    loaded = Profile.load(profile).ledger
    for entry in loaded.sent:
        noise = "noisy" if entry.event else "exact"
        typer.echo(
            f"{entry.what}: {entry.coordinates:,} integers, {entry.bytes_up:,} bytes, "
            f"{noise}; {entry.sites} sites, {entry.lost} lost"
        )
    if not loaded.sent:
        typer.echo("nothing has left this site")
    elif all(entry.event for entry in loaded.sent):
        typer.echo(f"epsilon {loaded.epsilon(delta):.3f} at delta {delta:g}")
    else:
        typer.echo("no epsilon: an exact sum promises none")


def add_commands(app: typer.Typer) -> None:
    """Put them into the command `apiwatch`."""
    app.command("learn-privately")(learn_privately)
    app.command("ledger")(ledger)
    app.command("bench")(bench)
