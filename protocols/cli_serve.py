"""`secagg leader`, `secagg helper` and `secagg upload`, and the keys and roster that they need."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from protocols.cli_shared import NOT_AS_PROMISED, Json, grid, print_json
from protocols.enrollment import (
    card,
    load_card,
    load_identity,
    load_roster,
    save_identity,
    save_roster,
)
from secagg.identity import THIRD, Identity, Roster

if TYPE_CHECKING:
    from protocols.serve.task import Task

__all__ = ["helper", "identity", "leader", "roster", "upload"]

_Roster = Annotated[Path, typer.Option(metavar="ROSTER.json", help="Who takes part.")]
_Plan = Annotated[
    Path,
    typer.Option(
        metavar="PLAN.toml", help="With [task]; or a folder, of which every *.toml is a round."
    ),
]
_Key = Annotated[Path, typer.Option(metavar="FILE.key", help="Key file of `secagg identity`.")]
_Listen = Annotated[str, typer.Option(metavar="HOST:PORT", help="Port 0 for any.")]
_Certificate = Annotated[
    Path | None, typer.Option(metavar="PEM", help="For TLS; needed beyond this machine.")
]
_CertificateKey = Annotated[Path | None, typer.Option(metavar="PEM", help="Its private key.")]
_Store = Annotated[Path, typer.Option(metavar="FILE.db", help="One for each server. Keep it.")]
_MostStored = Annotated[int, typer.Option(metavar="MB", help="Size at which it refuses more.")]
_Connections = Annotated[int, typer.Option(help="Open at a time.")]
_BodySeconds = Annotated[float, typer.Option(help="For the body of a request.")]
_UntilEof = Annotated[
    bool, typer.Option("--until-eof", help="Stop at the end of the standard input.")
]
_Authority = Annotated[
    Path | None, typer.Option("--ca", metavar="PEM", help="Who signed the other's certificate.")
]
_Patience = Annotated[float, typer.Option(help="Seconds until a silent server is given up.")]


def identity(
    path: Annotated[Path, typer.Argument(metavar="FILE.key", help="Made if it is not there.")],
) -> None:
    """Make a key file, once, and print its card: the public half, for the roster."""
    if not path.exists():
        save_identity(path, Identity.generate(os.urandom))
    typer.echo(json.dumps(card(load_identity(path))))


def roster(
    cards: Annotated[
        list[Path], typer.Argument(metavar="CARD…", help="Clients 1, 2, … in this order.")
    ],
    *,
    leader: Annotated[Path, typer.Option(metavar="CARD", help="Of the leader.")],
    helper: Annotated[Path, typer.Option(metavar="CARD", help="Of the helper.")],
    out: Annotated[Path, typer.Option("--out", "-o", metavar="ROSTER.json")],
) -> None:
    """Put cards together to a roster. Whoever does it decides who takes part."""
    clients = {party: load_card(path) for party, path in enumerate(cards, start=1)}
    server, server_share_key = load_card(leader)
    listed = {**clients, THIRD: load_card(helper)}
    found = Roster(
        server,
        {party: public for party, (public, _) in listed.items()},
        {party: share_key for party, (_, share_key) in listed.items()},
        server_share_key,
    )
    save_roster(out, found)
    typer.echo(f"{out}: leader, helper, {len(clients)} clients")


def helper(
    *,
    listen: _Listen,
    roster: _Roster,
    plan: _Plan,
    key: _Key,
    store: _Store = Path("helper.db"),
    store_mb: _MostStored = 1 << 16,
    certificate: _Certificate = None,
    certificate_key: _CertificateKey = None,
    connections: _Connections = 64,
    body_seconds: _BodySeconds = 60.0,
    until_eof: _UntilEof = False,
) -> None:
    """The second aggregator: verifies its half of every report, until it is stopped."""
    from protocols.serve.intake import Bounds  # noqa: PLC0415 -- an extra
    from protocols.serve.listen import Listening  # noqa: PLC0415
    from protocols.serve.programs import Workplace, run_helper  # noqa: PLC0415

    place = Workplace(
        listening=Listening(address=listen, certificate=certificate, key=certificate_key),
        bounds=Bounds(connections=connections, body_seconds=body_seconds),
        roster=roster, plan=plan, key=key,
        store=store, most_bytes=store_mb << 20, until_eof=until_eof,
    )  # fmt: skip
    run_helper(place)


def leader(
    *,
    listen: _Listen,
    roster: _Roster,
    plan: _Plan,
    key: _Key,
    helper: Annotated[str, typer.Option(metavar="URL", help="https://HOST:PORT of the helper.")],
    ca: _Authority = None,
    store: _Store = Path("leader.db"),
    store_mb: _MostStored = 1 << 20,
    out: Annotated[Path, typer.Option("--out", "-o", metavar="DIR", help="For results.")] = Path(),
    after: Annotated[
        int, typer.Option(metavar="N", help="Reports that end a round; 0 for all invited.")
    ] = 0,
    seconds: Annotated[float, typer.Option(help="After which it ends in any case.")] = 3600.0,
    cascade: Annotated[
        int,
        typer.Option(
            metavar="N",
            help="Leave out whom the default cascade of robust excludes, in a run of N rounds.",
        ),
    ] = 0,
    patience: _Patience = 300.0,
    certificate: _Certificate = None,
    certificate_key: _CertificateKey = None,
    connections: _Connections = 256,
    body_seconds: _BodySeconds = 60.0,
    until_eof: _UntilEof = False,
) -> None:
    """The first aggregator: takes reports until a round ends, then writes mean and outcome.

    With one plan file it stops with its round, with status 1 if there is no sum.
    """
    from protocols.serve.intake import Bounds  # noqa: PLC0415 -- an extra
    from protocols.serve.listen import Listening  # noqa: PLC0415
    from protocols.serve.peer import Peer  # noqa: PLC0415
    from protocols.serve.programs import Workplace, run_leader  # noqa: PLC0415
    from protocols.serve.rounds import Ending  # noqa: PLC0415

    place = Workplace(
        listening=Listening(address=listen, certificate=certificate, key=certificate_key),
        bounds=Bounds(connections=connections, body_seconds=body_seconds),
        roster=roster, plan=plan, key=key,
        store=store, most_bytes=store_mb << 20, until_eof=until_eof,
    )  # fmt: skip
    ending = Ending(after=after, seconds=seconds)
    with Peer(helper, authority=ca, patience=patience) as peer, _bar() as watch:
        ended = run_leader(place, peer, ending=ending, cascade=cascade, out=out, watch=watch)
    if any(shown["failure"] for shown in ended):
        raise typer.Exit(NOT_AS_PROMISED)


def upload(
    update: Annotated[Path, typer.Argument(metavar="FILE.npy", help="The update, one vector.")],
    *,
    leader: Annotated[str, typer.Option(metavar="URL", help="https://HOST:PORT of the leader.")],
    roster: _Roster,
    plan: _Plan,
    key: _Key,
    weight: Annotated[int, typer.Option(help="Such as the number of examples.")] = 1,
    spool: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Journal and reports; by default KEY.spool.")
    ] = None,
    opened: Annotated[
        int, typer.Option(help="Most numbers of the update that may be opened beside the sum.")
    ] = 0,
    epsilon: Annotated[
        float, typer.Option(help="Budget of all rounds, counted in the spool; 0 counts nothing.")
    ] = 0.0,
    delta: Annotated[float, typer.Option(help="At which the budget is counted.")] = 1e-5,
    ca: _Authority = None,
    patience: _Patience = 120.0,
    as_json: Json = False,
) -> None:
    """Send this client's update to a round, once however often it is called."""
    from protocols.serve.peer import Peer  # noqa: PLC0415 -- an extra
    from protocols.serve.task import load_task  # noqa: PLC0415
    from protocols.serve.upload import Limit, load_update  # noqa: PLC0415
    from protocols.serve.upload import upload as send  # noqa: PLC0415

    limit = Limit(opened=opened, epsilon=epsilon, delta=delta)
    task = load_task(plan, load_roster(roster))
    owner, vector = load_identity(key), load_update(update, task)
    kept = key.with_name(f"{key.name}.spool") if spool is None else spool
    with Peer(leader, authority=ca, patience=patience) as peer:
        found = send(task, owner, vector, weight, spool=kept, leader=peer, limit=limit)
    shown = {"task": task.id, "client": found.client, "bytes": found.size,
             "report": found.report, "made_before": found.was_stored}  # fmt: skip
    if as_json:
        print_json(shown)
        return
    rows = grid()
    for name, value in shown.items():
        rows.add_row(name.replace("_", " "), str(value))
    Console().print(rows)


@contextmanager
def _bar() -> Iterator[Callable[[Task, int, int], None]]:
    """What is told of the rounds, as two bars at a terminal."""
    console = Console()
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    bar = Progress(*columns, TimeElapsedColumn(), console=console, disable=not console.is_terminal)
    with bar:
        stored, checked = bar.add_task("reports", total=None), bar.add_task("verified", total=None)

        def watch(task: Task, count: int, verified: int) -> None:
            name = f"round {task.invitation.number}"
            bar.update(stored, description=f"{name}, reports", completed=count,
                       total=task.scheme.clients)  # fmt: skip
            bar.update(checked, description=f"{name}, verified", completed=verified, total=count)

        yield watch
