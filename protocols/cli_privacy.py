"""`secagg privacy` and `secagg audit`: what a budget takes, and whether noise is there."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from rich.console import Console

from dp.account_reduction import ReductionAccountant
from dp.audit import NoiseVerdict
from dp.calibrate import choose_within
from protocols.audit import NoiseAudit
from protocols.audit import audit_noise as run_null_round
from protocols.cli_shared import (
    NOT_AS_PROMISED,
    PRIVATE_CLIP,
    Audits,
    Json,
    grid,
    planned,
    print_json,
)
from protocols.planfile import PlanFile, PrivacyChoice, Quantizer, Training
from secagg.schemes.secagg_plus import SecAggPlus

__all__ = ["audit", "privacy"]

_AUDITED = PlanFile(
    quantize=Quantizer(bound=PRIVATE_CLIP, max_weight=1),
    privacy=PrivacyChoice(epsilon=1.0),
    training=Training(rounds=1, drop=0.0),
)

audit = typer.Typer(
    cls=Audits,
    help="Is what was promised really there? With a plan file alone: `leakage`.",
    no_args_is_help=True,
)


def privacy(
    clients: Annotated[int, typer.Argument(metavar="N", help="Size of the cohort.")],
    *,
    epsilon: Annotated[float, typer.Option(help="Budget of all rounds together.")] = 8.0,
    delta: Annotated[float, typer.Option(help="At which the budget is counted.")] = 1e-5,
    rounds: Annotated[int, typer.Option(help="How many rounds it must last.")] = 1,
    clip: Annotated[float, typer.Option(help="L2 bound of one update.")] = 1.0,
    corrupt: Annotated[float, typer.Option(help="Fraction that colludes with the server.")] = 0.2,
    drop: Annotated[float, typer.Option(help="Fraction that may drop out.")] = 0.3,
    length: Annotated[int, typer.Option(help="Coordinates of an update.")] = 100_000,
    width: Annotated[int, typer.Option(help="Bits of a coordinate; 0 takes enough.")] = 0,
    as_json: Json = False,
) -> None:
    """Which noise a budget needs, what ring it takes, and what both cost."""
    scheme = SecAggPlus(clients=clients, length=1, width=32, corrupt=corrupt, dropout=drop)
    choice = choose_within(
        epsilon,
        delta,
        rounds=rounds,
        size=length,
        clients=clients,
        parts=scheme.honest_inputs,
        clip=clip,
        width=width or None,
    )
    unit = choice.mechanism.clip / choice.mechanism.units
    document = {
        "multiplier": choice.noise_multiplier,
        "counted on": scheme.honest_inputs,
        "width": choice.mechanism.width,
        "coordinates": choice.mechanism.length,
        "bytes per parameter": choice.bytes_per_parameter,
        "rounding adds": choice.inflation,
        "deviation in a sum": choice.sigma * unit,
        "deviation in the mean of all": choice.sigma * unit / clients,
        "epsilon of one round": ReductionAccountant().epsilon(choice.mechanism.event, delta),
    }
    if as_json:
        print_json(document)
        return
    rows = grid()
    for name, value in document.items():
        rows.add_row(name, f"{value:,}" if isinstance(value, int) else f"{value:.4g}")
    console = Console()
    console.print(rows)
    console.print(choice.explained(), style="dim", highlight=False)


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
    as_json: Json = False,
) -> None:
    """One real round of zero updates: is the noise of the plan really in the sum?"""
    file = _AUDITED if plan is None else PlanFile.load(plan)
    template = {"update": np.zeros(length)}
    silent = frozenset(range(1, skip + 1))
    promised, authority = planned(file, template)
    found = run_null_round(promised, silent=silent, false_alarm=false_alarm, authority=authority)
    document = {
        "clients": found.clients,
        **dataclasses.asdict(found.verdict),
        "passed": found.verdict.passed,
    }
    if as_json:
        print_json(document)
    else:
        _print_audit(found)
    if not found.verdict.passed:
        raise typer.Exit(NOT_AS_PROMISED)


def _print_audit(found: NoiseAudit) -> None:
    verdict = found.verdict
    rows = grid()
    rows.add_row("clients in the sum", f"{found.clients}")
    rows.add_row("integers", f"{verdict.size:,}")
    span = f"within {1 - verdict.tolerance:.4f} and {1 + verdict.tolerance:.4f}"
    rows.add_row("variance", f"{verdict.ratio:.4f} of what was promised, {span} by chance")
    rows.add_row("mean", f"{verdict.offset:+.2f} deviations, within ±{verdict.limit:.2f} by chance")
    console = Console()
    console.print(rows)
    if verdict.passed:
        console.print("✓ the sum holds the noise that the plan promises", style="bold green")
    else:
        console.print(f"✗ {_wrong_noise(verdict)}", style="bold red")


def _wrong_noise(verdict: NoiseVerdict) -> str:
    if verdict.variance_fits:
        return "the noise is not centered"
    less = verdict.ratio < 1
    return f"there is {abs(1 - verdict.ratio):.1%} {'less' if less else 'more'} noise than promised"
