"""The command `secagg`: a demo, plan files, parameters, and a look into frames."""

from __future__ import annotations

import dataclasses
import io
import sys
import time
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from protocols.cli_contest import refuse_beside_attacks, require_attacks, run_contest
from protocols.cli_laboratory import audit_epsilon, audit_frontier, audit_leakage
from protocols.cli_parameters import params
from protocols.cli_privacy import audit, privacy
from protocols.cli_robust import benchmark_detectors, screen
from protocols.cli_serve import helper, identity, leader, roster, upload
from protocols.cli_shared import (
    NOT_AS_PROMISED,
    PRIVATE_CLIP,
    Commands,
    Json,
    grid,
    print_json,
    watched,
)
from protocols.inspect import inspect as inspect_frame
from protocols.planfile import SCHEMES, PlanFile, PrivacyChoice, Quantizer, SchemeChoice, Training
from protocols.simulate import Frame
from secagg.errors import ParameterError
from secagg.identity import SERVER, THIRD

__all__ = ["app", "main"]


# Tracebacks stay plain: the pretty ones print local variables, and those may be keys.
app = typer.Typer(
    cls=Commands,
    help="Secure aggregation for federated learning: the server learns the sum, nothing else.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)

_Record = Annotated[
    Path | None, typer.Option("--record", metavar="DIR", help="Write every frame to this folder.")
]
_Attack = Annotated[
    list[str] | None,
    typer.Option(help="By 3 clients, who are screened; may be given again. 'list' lists."),
]
_Clients = Annotated[int | None, typer.Option(help="Size of the cohort; 20, or 40 with attackers.")]
_Rounds = Annotated[
    int | None, typer.Option(help="Rounds of federated averaging; 15, or 12 with attackers.")
]
_Drop = Annotated[
    float | None,
    typer.Option(help="Fraction silent in each round; 0.2, or 0.05 with attackers."),
]
_Audit = Annotated[
    int, typer.Option(metavar="N", help="With attackers: every N rounds an audit; 0 for none.")
]
_Page = Annotated[
    Path | None,
    typer.Option(metavar="PAGE.html", help="Write why attackers were left out as one page."),
]


app.command()(privacy)
app.command()(screen)
app.command()(benchmark_detectors)
app.command()(params)
for _command in (identity, roster, leader, helper, upload):
    app.command()(_command)
audit.command("leakage")(audit_leakage)
audit.command("epsilon")(audit_epsilon)
audit.command("frontier")(audit_frontier)
app.add_typer(audit, name="audit")


@app.command()
def demo(
    *,
    attack: _Attack = None,
    clients: _Clients = None,
    rounds: _Rounds = None,
    drop: _Drop = None,
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
    audit: _Audit = 0,
    html: _Page = None,
    as_json: Json = False,
    record: _Record = None,
) -> None:
    """Train a model on digits; every update goes through the real protocol as real bytes."""
    if attack:
        refuse_beside_attacks(epsilon=epsilon, record=record, scheme=scheme != "secagg_plus")
        run_contest(
            attack,
            clients=clients or 40,
            rounds=rounds or 12,
            drop=0.05 if drop is None else drop,
            audit=audit,
            seed=seed,
            html=html,
            as_json=as_json,
        )
        return
    require_attacks(html=html, audit=audit)
    fraction = 0.2 if drop is None else drop
    cohort = 20 if clients is None else clients
    file = PlanFile(
        scheme=SchemeChoice(name=scheme, clients=cohort, dropout=max(fraction, 0.3)),
        quantize=Quantizer(bound=PRIVATE_CLIP, max_weight=1) if epsilon else Quantizer(),
        privacy=PrivacyChoice(epsilon=epsilon, delta=delta, by=noise_by),
        training=Training(rounds=15 if rounds is None else rounds, drop=fraction, seed=seed),
    )
    _train(file, as_json=as_json, record=record)


@app.command()
def run(
    plan: Annotated[Path, typer.Argument(metavar="PLAN.toml", help="A plan file.")],
    *,
    as_json: Json = False,
    record: _Record = None,
) -> None:
    """The same, as a plan file says."""
    try:
        _train(PlanFile.load(plan), as_json=as_json, record=record)
    except ParameterError as error:
        raise ParameterError(f"{plan}: {error}") from None


@app.command()
def inspect(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A frame, as --record wrote it.")],
    *,
    as_json: Json = False,
) -> None:
    """What a frame shows to anybody: its header, its message type and its sizes."""
    info = dataclasses.asdict(inspect_frame(file.read_bytes()))
    if as_json:
        print_json(info)
        return
    fields = info.pop("fields")
    rows = grid()
    for name, value in info.items():
        rows.add_row(name, f"{value:,} bytes" if name in ("size", "body") else str(value))
        if name == "body":
            for field, shape in fields.items():
                rows.add_row(f"  {field}", shape)
    rows.add_row("", "[dim]signature not verified: that takes the roster[/dim]")
    Console().print(rows)


def main() -> None:
    """The entry point of the command `secagg`."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")  # a terminal without ✓ is no reason to stop
    app(prog_name="secagg")


def _train(file: PlanFile, *, as_json: bool, record: Path | None) -> None:
    # Only here: the other commands need neither PyTorch nor the seconds that it takes to import.
    from protocols.demo import table, training  # noqa: PLC0415
    from protocols.demo.leak import where_more_is  # noqa: PLC0415

    start = time.perf_counter()
    federation = training.Federation(file, _recorder(record))
    console = Console(quiet=as_json)
    console.print(table.heading(federation))
    reports = watched(federation.rounds, file.training.rounds, console)
    seconds = time.perf_counter() - start
    if as_json:
        print_json(table.json_document(federation, reports, seconds))
    console.print(table.rounds_table(reports))
    if federation.stopped is not None:
        console.print(table.stopped(federation, reports))
    console.print(table.verdict(reports, seconds))
    many = federation.plan.scheme.honest_inputs
    console.print(where_more_is(f"--clients {many}"), style="dim", highlight=False)
    if not table.all_exact(reports):
        raise typer.Exit(NOT_AS_PROMISED)


def _recorder(folder: Path | None) -> Any:
    """A function that writes every frame to a file of its own, or None."""
    if folder is None:
        return None
    folder.mkdir(parents=True, exist_ok=True)

    def write(number: int, frame: Frame) -> None:
        sender = _RECORDED.get(frame.sender, f"client-{frame.sender}")
        name = f"round-{number:03}-{frame.number:05}-{frame.phase}-{sender}.frame"
        (folder / name).write_bytes(frame.data)

    return write


_RECORDED = {SERVER: "server", THIRD: "third-party"}


if __name__ == "__main__":
    main()
