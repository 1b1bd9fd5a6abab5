"""Commands around learning: with noise, forgetting, what has left, and the figures of the
documentation.
"""

from __future__ import annotations

import secrets
from pathlib import Path
from typing import Annotated

import typer

from apiwatch.alone import alone_file
from apiwatch.cli_shared import (
    PROFILE,
    LogFormat,
    Logs,
    ProfileFile,
    ResultsFile,
    examples_of,
    requests_of,
    say,
)
from apiwatch.ledger import Ledger
from apiwatch.pending import Pending, pending_file
from apiwatch.private import Privacy, Protects
from apiwatch.private_classes import NamePrivacy, PrivateClasses
from apiwatch.settings import Settings, require
from apiwatch.store import Profile
from apiwatch.table import gather
from apiwatch.work import forgotten, learnt_privately, names_forgotten

__all__ = ["add_to"]


def learn_privately(
    logs: Logs,
    *,
    profile: ProfileFile = PROFILE,
    epsilon: Annotated[float, typer.Option(help="Of both sums together, at most.")] = 3.0,
    delta: Annotated[float, typer.Option(help="Of both sums together.")] = 1e-5,
    protects: Annotated[Protects, typer.Option(help="What is hidden.")] = Protects.REQUEST,
    counters: Annotated[float, typer.Option(help="Norm of what is hidden, first sum.")] = 14.0,
    calibration: Annotated[float, typer.Option(help="The same, second sum.")] = 8.0,
    examples: Annotated[
        list[Path] | None,
        typer.Option(help="Examples as for `teach`: the first file is of the first log's site."),
    ] = None,
    name: Annotated[
        list[str] | None,
        typer.Option(help="A name that the examples may have, beside 'benign'; all may know it."),
    ] = None,
    names_epsilon: Annotated[
        float, typer.Option(help="Of the sums of examples together, at most.")
    ] = 3.0,
    log_format: LogFormat = None,
) -> None:
    """Each log is a site, as in `learn --together`; noise hides requests or sites, and each
    example.
    """
    privacy = Privacy(
        epsilon=epsilon,
        delta=delta,
        protects=protects,
        counters=counters,
        calibration=calibration,
    )
    require(bool(examples) == bool(name), "--name with --examples, and both or none", name)
    names = None
    if examples:
        # refused before anything is released
        require(protects is Protects.REQUEST, "--protects request with --examples", protects.value)
        require(len(examples) <= len(logs), "files of examples <= logs", len(examples))
        given = {site: _pairs([file]) for site, file in enumerate(examples, 1)}
        pairs = {site: given.get(site, []) for site in range(1, len(logs) + 1)}
        names = PrivateClasses(pairs, name or [], NamePrivacy(epsilon=names_epsilon, delta=delta))
    # what has left once is not taken back by a profile in its place
    spent = Profile.load(profile).ledger if profile.is_file() else Ledger()
    sites = [list(requests_of([log], log_format)) for log in logs]
    made = learnt_privately(sites, Settings(salt=secrets.token_bytes(32)), privacy, names)
    made.ledger = spent + made.ledger
    made.save(profile)
    if names is not None:
        _tell_names(names, made.level)
    say(f"{_cost(made.ledger, delta)}; {profile}")


def forget(
    logs: Logs,
    *,
    rest: Annotated[list[Path], typer.Option(help="A log that stays; name all of them.")],
    examples: Annotated[
        list[Path] | None, typer.Option(help="Taught examples to forget, as for `teach`.")
    ] = None,
    rest_examples: Annotated[
        list[Path] | None, typer.Option(help="Taught examples that stay; name all of them.")
    ] = None,
    profile: ProfileFile = PROFILE,
    log_format: LogFormat = None,
) -> None:
    """Take away what these logs and examples taught: what is left is the profile that never saw
    them.
    """
    require(bool(examples) or not rest_examples, "--rest-examples with --examples", rest_examples)
    loaded = Profile.load(profile)
    gone = gather(requests_of(logs, log_format))
    after = forgotten(loaded, gone, gather(requests_of(rest, log_format)))
    if examples:
        untaught, stay = _pairs(examples), _pairs(rest_examples or [])
        names_forgotten(after, untaught, stay)
        Pending(pending_file(profile)).drop(set(untaught) - set(stay))
    elif after.classes is not None:
        say("names stay as they are; --examples forgets those that the same site has given")
    after.save(profile)
    alone_file(profile).unlink(missing_ok=True)  # it may hold what is to be forgotten
    say(f"{gone.total():,} fields forgotten; {profile} {after.detector.digest[:16]}")


def ledger(
    *,
    profile: ProfileFile = PROFILE,
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
    typer.echo(_cost(loaded, delta) if loaded.sent else "nothing has left this site")


def bench(
    folder: Annotated[Path, typer.Argument(help="Where the data sets are.")],
    names: Annotated[list[str] | None, typer.Argument(help="Which; all by default.")] = None,
    *,
    half: Annotated[str, typer.Option(help="development, final or both of the test.")] = "final",
    as_json: Annotated[bool, typer.Option("--json", help="One JSON document.")] = False,
    results: ResultsFile = None,
) -> None:
    """Measure what the documentation says."""
    from apiwatch.bench import run  # noqa: PLC0415 -- half of the time that commands start in

    run(folder, names, half=half, as_json=as_json, results=results)


def _cost(sums: Ledger, delta: float) -> str:
    if all(entry.event for entry in sums.sent):
        return f"epsilon {sums.epsilon(delta):.3f} at delta {delta:g}"
    return "no epsilon: an exact sum promises none"


def _tell_names(names: PrivateClasses, level: float) -> None:
    """What was learnt, and what was not."""
    known = ", ".join(names.sums.labels) if names.sums else "none"
    drowned = ", ".join(names.drowned) or "none"
    say(f"names learnt: {known}; drowned in noise: {drowned}")
    if names.sums:
        source = "by default: too few examples to tell" if names.level is None else "as measured"
        say(f"unknown below a response of {level:.2f}, {source}")


def _pairs(files: list[Path]) -> list[tuple[str, str]]:
    return [pair for file in files for pair in examples_of(file)]


def add_to(app: typer.Typer) -> None:
    """Put them into the command `apiwatch`."""
    app.command("learn-privately")(learn_privately)
    app.command("forget")(forget)
    app.command("ledger")(ledger)
    app.command("bench")(bench)
