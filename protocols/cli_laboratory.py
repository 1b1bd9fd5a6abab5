"""`secagg audit leakage` and `secagg audit epsilon`: attacks, measured beside what was promised."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import numpy as np
import typer
from rich.console import Console
from rich.table import Table

from protocols.cli_shared import NOT_AS_PROMISED, Json, grid, print_json
from protocols.planfile import PlanFile

if TYPE_CHECKING:
    from protocols.laboratory.suite import Row

__all__ = ["audit_epsilon", "audit_leakage"]

_SIZE = 4096  # of the template for a plan whose figures do not depend on it
_Plan = Annotated[Path, typer.Argument(metavar="PLAN.toml", help="A plan file.")]
_Seed = Annotated[int, typer.Option(help="Of everything that is drawn but noise and keys.")]


def audit_leakage(
    plan: Annotated[Path | None, typer.Argument(metavar="PLAN.toml", help="A plan file.")] = None,
    *,
    clients: Annotated[int, typer.Option(help="In a sum, without a plan file.")] = 10,
    noise: Annotated[float, typer.Option(help="Over the clip bound, without a plan file.")] = 0.0,
    opened: Annotated[int, typer.Option(help="Numbers of each, without a plan file.")] = 0,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", metavar="DIR", help="Write page and JSON here.")
    ] = None,
    full: Annotated[bool, typer.Option("--full", help="More trials, and longer searches.")] = False,
    seconds: Annotated[float, typer.Option(help="Begin no attack after so long.")] = 600.0,
    seed: _Seed = 1,
    as_json: Json = False,
) -> None:
    """Who learns what from a round: attacks on clients that train on digits."""
    from protocols.laboratory.page import document, page  # noqa: PLC0415 -- extras, slow to import
    from protocols.laboratory.suite import Exposure, rows  # noqa: PLC0415

    given = Exposure(clients=clients, noise=noise, opened=opened)
    exposure = given if plan is None else Exposure.of(PlanFile.load(plan).plan(np.zeros(_SIZE)))
    started, found, late = time.monotonic(), [], False
    for row in rows(exposure, np.random.default_rng(seed), quick=not full):
        found.append(row)
        late = time.monotonic() - started > seconds
        if late:
            break
    if out is not None:
        out.mkdir(parents=True, exist_ok=True)
        (out / "leakage.json").write_text(json.dumps(document(found), indent=2), "utf-8")
        command = f"secagg audit leakage {plan or ''} --seed {seed}{' --full' if full else ''}"
        text = page(found, title="What leaks, measured", command=command)
        (out / "leakage.html").write_text(text, "utf-8")
    if as_json:
        print_json(document(found))
    else:
        _print_rows(found, late)


def audit_epsilon(
    plan: _Plan,
    *,
    delta: Annotated[float, typer.Option(help="At which the claim is made.")] = 1e-5,
    rounds: Annotated[int, typer.Option(help="That one canary takes part in.")] = 1,
    runs: Annotated[int, typer.Option(help="Independent repetitions.")] = 2,
    scale: Annotated[float, typer.Option(help="Norm of a canary over the clip bound.")] = 1.0,
    seed: _Seed = 1,
    as_json: Json = False,
) -> None:
    """Canaries through real rounds: can the plan's epsilon be true?"""
    from protocols.laboratory.epsilon import audit_epsilon as run  # noqa: PLC0415 -- extras

    file = PlanFile.load(plan)
    template = np.zeros(max(_SIZE, file.scheme.clients))
    rng = np.random.default_rng(seed)
    audit = run(file.plan(template), delta=delta, rng=rng, rounds=rounds, runs=runs, scale=scale)
    figures = {
        "claimed": audit.claimed,
        "lower bound, any mechanism": audit.found.one_run,
        "lower bound, Gaussian trade-off": audit.found.gaussian_run,
        "lower bound, independent scores": audit.found.separate,
        "estimate, no bound": audit.found.estimate,
    }
    if as_json:
        print_json({"canaries": audit.scores.canaries, **figures, "passed": audit.passed})
    else:
        cells = grid()
        cells.add_row("canaries", f"{audit.scores.canaries}")
        for name, value in figures.items():
            cells.add_row(name, f"{value:.4g}")
        Console().print(cells)
    if not audit.passed:
        raise typer.Exit(NOT_AS_PROMISED)


def _print_rows(found: list[Row], late: bool) -> None:
    from protocols.laboratory.page import HEAD, described, shown  # noqa: PLC0415

    table = Table(title=described(found[0].exposure), title_justify="left")
    for name in ("question", *HEAD):
        table.add_column(name)
    for row in found:
        table.add_row(row.question, *shown(row))
    console = Console(width=None if sys.stdout.isatty() else 140)
    console.print(table)
    if late:
        console.print("stopped: --seconds are over, some attacks were not run", style="yellow")
