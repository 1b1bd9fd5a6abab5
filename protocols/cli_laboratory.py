"""`secagg audit leakage`, `frontier` and `epsilon`: attacks, measured beside what was promised."""

from __future__ import annotations

import enum
import json
import shlex
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeVar

import numpy as np
import typer
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.table import Table

from protocols.cli_shared import NOT_AS_PROMISED, Json, grid, planned, print_json
from protocols.planfile import PlanFile
from secagg.errors import ParameterError

if TYPE_CHECKING:
    from protocols.laboratory.curves import Curve
    from protocols.laboratory.exposure import Exposure, Row, Skipped
    from protocols.laboratory.frontier import Point
    from protocols.laboratory.modes import Mode
    from protocols.laboratory.suite import Subject

__all__ = ["audit_epsilon", "audit_frontier", "audit_leakage"]

T = TypeVar("T")

_SIZE = 4096  # of the template for a plan whose figures do not depend on it
_Plan = Annotated[Path, typer.Argument(metavar="PLAN.toml", help="A plan file.")]
_Seed = Annotated[int, typer.Option(min=0, help="Of everything that is drawn but noise and keys.")]
_Out = Annotated[
    Path | None, typer.Option("--out", "-o", metavar="DIR", help="Write page and JSON here.")
]
_Full = Annotated[bool, typer.Option("--full", help="More trials, and longer searches.")]
_Seconds = Annotated[float, typer.Option(help="Begin nothing more after so long.")]
_Clients = Annotated[int | None, typer.Option(help="In a sum; 10, without a plan file.")]
_Noise = Annotated[float | None, typer.Option(help="Over the clip bound, without a plan file.")]
_Jobs = Annotated[int, typer.Option(min=1, help="Processes for the trials of the frontier.")]


class Exact(enum.StrEnum):
    """What `--exact` opens."""

    NORM = "norm"
    COSINE = "cosine"


_Exact = Annotated[Exact | None, typer.Option(help="Opened by two aggregators: norm, or both.")]


def audit_leakage(
    plan: Annotated[Path | None, typer.Argument(metavar="PLAN.toml", help="A plan file.")] = None,
    *,
    clients: _Clients = None,
    noise: _Noise = None,
    opened: Annotated[int, typer.Option(help="Numbers of each, without a plan file.")] = 0,
    opened_noise: Annotated[float, typer.Option(help="In these numbers, over the bound.")] = 0.0,
    group: Annotated[int, typer.Option(help="Clients of whose sum they are opened.")] = 1,
    exact: _Exact = None,
    model: Annotated[
        str | None, typer.Option(metavar="MODULE:FACTORY", help="Your torch model; runs your code.")
    ] = None,
    data: Annotated[
        str | None, typer.Option(metavar="MODULE:LOADER", help="Your records; runs your code.")
    ] = None,
    out: _Out = None,
    full: _Full = False,
    attacks_only: Annotated[
        bool, typer.Option("--attacks-only", help="A page without curves and frontier.")
    ] = False,
    jobs: _Jobs = 2,
    seconds: _Seconds = 600.0,
    seed: _Seed = 1,
    as_json: Json = False,
) -> None:
    """Who learns what from a round: attacks on clients that train on digits, or on your data."""
    from protocols.laboratory.page import document, page  # noqa: PLC0415 -- extras, slow to import
    from protocols.laboratory.suite import rows  # noqa: PLC0415

    exposure = _exposure(plan, clients, noise, _mode(opened, opened_noise, group, exact))
    clock = _Clock(seconds, quiet=as_json)
    _make(out)
    subject, rng = _brought(model, data), np.random.default_rng(seed)
    found = clock.taken(rows(exposure, rng, quick=not full, subject=subject), "attacks")
    around = out is not None and not attacks_only
    curves, points = _around(clock, seed, full=full, jobs=jobs) if around else ([], [])
    figures = document(found, curves, points, late=clock.late)
    if as_json:
        print_json(figures)
    else:
        _print_rows(exposure, found)
        _print_points(points)
    clock.say_if_late()
    if out is not None:
        whose = {} if model is None else {"whose": f"Clients train {model} on {data}."}
        text = page(
            found, title="What leaks, measured", command=_command(), curves=curves, points=points,
            late=clock.late, **whose,
        )  # fmt: skip
        _write(out, "leakage", figures, text)


def audit_frontier(
    *,
    out: _Out = None,
    full: _Full = False,
    jobs: _Jobs = 2,
    seconds: _Seconds = 600.0,
    seed: _Seed = 1,
    as_json: Json = False,
) -> None:
    """Detection against leakage, for everything that a plan can open of clients: on digits."""
    from protocols.laboratory.frontier import FULL, QUICK  # noqa: PLC0415 -- extras
    from protocols.laboratory.frontier import points as made  # noqa: PLC0415
    from protocols.laboratory.page import document, page  # noqa: PLC0415
    from protocols.laboratory.plots import frontier_svg  # noqa: PLC0415
    from protocols.svg import can_plot, standalone  # noqa: PLC0415

    clock = _Clock(seconds, quiet=as_json)
    _make(out)
    scale = FULL if full else QUICK
    points = clock.taken(made(scale, seed=seed, jobs=jobs), "modes", len(scale.modes))
    figures = document([], points=points, late=clock.late)
    if as_json:
        print_json(figures)
    else:
        _print_points(points)
    clock.say_if_late()
    if out is not None:
        title = "Detection against leakage"
        text = page([], title=title, command=_command(), points=points, late=clock.late)
        _write(out, "frontier", figures, text)
        if can_plot() and points:
            svg = standalone(frontier_svg(points, label=title))
            (out / "frontier.svg").write_text(svg, "utf-8")


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
    promised, authority = planned(file, template)
    audit = run(
        promised,
        delta=delta,
        rng=rng,
        rounds=rounds,
        runs=runs,
        scale=scale,
        authority=authority,
    )
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


class _Clock:
    """Takes what there is until the time is over, with a bar at a terminal."""

    def __init__(self, seconds: float, *, quiet: bool) -> None:
        if not seconds >= 0:
            raise ParameterError(f"seconds >= 0 must hold, got {seconds}")
        self._end, self._quiet, self.late = time.monotonic() + seconds, quiet, False

    def taken(self, items: Iterator[T], what: str, total: int | None = None) -> list[T]:
        """All items, or those that are done when the time is over, at least one."""
        found: list[T] = []
        console = Console(stderr=True)
        columns = (SpinnerColumn(), TextColumn(what), BarColumn(), TimeElapsedColumn())
        shown = console.is_terminal and not self._quiet
        with Progress(*columns, console=console, transient=True, disable=not shown) as bar:
            task = bar.add_task("", total=total)
            for item in items:
                found.append(item)
                bar.update(task, advance=1)
                if time.monotonic() > self._end and len(found) != total:
                    self.late = True
                    break
        return found

    def say_if_late(self) -> None:
        """That something is missing, and why: beside a document, not in it."""
        if self.late:
            said = "stopped: --seconds are over, some attacks were not run"
            Console(stderr=self._quiet).print(said, style="yellow")


def _exposure(plan: Path | None, clients: int | None, noise: float | None, mode: Mode) -> Exposure:
    from protocols.laboratory.exposure import Exposure  # noqa: PLC0415 -- extras, slow to import
    from protocols.laboratory.modes import NOTHING  # noqa: PLC0415

    if plan is None:
        many = 10 if clients is None else clients
        return Exposure(clients=many, noise=noise or 0.0, mode=mode)
    if mode != NOTHING:
        raise ParameterError("what is opened is in the plan file: no option says it beside one")
    if clients is not None or noise is not None:
        raise ParameterError("--clients and --noise are in the plan file, and go without one")
    return Exposure.of(planned(PlanFile.load(plan), np.zeros(_SIZE))[0])


def _mode(opened: int, noise: float, group: int, exact: Exact | None) -> Mode:
    from protocols.laboratory.modes import NOTHING, Kind, Mode  # noqa: PLC0415 -- slow to import

    silent = opened == 0 and group == 1 and noise == 0
    if exact is not None:
        if not silent:
            raise ParameterError("--exact goes without --opened, --opened-noise and --group")
        return Mode(kind=Kind.EXACT if exact is Exact.NORM else Kind.COSINE)
    if silent:
        return NOTHING
    kind = Kind.SKETCH if group == 1 else Kind.GROUPS
    return Mode(kind=kind, numbers=opened, noise=noise, group=group)


def _brought(model: str | None, data: str | None) -> Subject | None:
    """What the user brings; nobody's code is imported unless both options ask for it."""
    if (model is None) != (data is None):
        raise ParameterError("--model and --data go together")
    if model is None or data is None:
        return None
    from protocols.laboratory.brought import subject_of  # noqa: PLC0415 -- extras

    sys.path.insert(0, str(Path.cwd()))  # as `python -m` does: modules of the user's project
    return subject_of(model, data)


def _around(clock: _Clock, seed: int, *, full: bool, jobs: int) -> tuple[list[Curve], list[Point]]:
    from protocols.laboratory.curves import curves  # noqa: PLC0415 -- extras, slow to import
    from protocols.laboratory.frontier import FULL, QUICK, points  # noqa: PLC0415

    rng, scale = np.random.default_rng(seed), FULL if full else QUICK
    drawn = [] if clock.late else clock.taken(curves(rng, quick=not full), "curves", 3)
    if clock.late:
        return drawn, []
    modes = points(scale, seed=seed, jobs=jobs)
    return drawn, clock.taken(modes, "modes of the frontier", len(scale.modes))


def _command() -> str:
    """What was typed."""
    return shlex.join(["secagg", *sys.argv[1:]])


def _make(out: Path | None) -> None:
    """The folder, before minutes are spent on what it is for."""
    if out is not None:
        out.mkdir(parents=True, exist_ok=True)


def _write(out: Path, name: str, document: dict[str, object], text: str) -> None:
    (out / f"{name}.json").write_text(json.dumps(document, indent=2), "utf-8")
    (out / f"{name}.html").write_text(text, "utf-8")


def _print_rows(exposure: Exposure, found: list[Row | Skipped]) -> None:
    from protocols.laboratory.exposure import Row  # noqa: PLC0415
    from protocols.laboratory.page import HEAD, shown  # noqa: PLC0415

    table = Table(title=exposure.name, title_justify="left")
    for name in ("question", *HEAD):
        table.add_column(name)
    for one in found:
        if isinstance(one, Row):
            table.add_row(*map(escape, (one.question, *shown(one))))
    console = _wide()
    console.print(table)
    for one in found:
        if not isinstance(one, Row):
            said = f"not run: {one.attack}, {one.question} {one.why}"
            console.print(said, style="dim", highlight=False, markup=False)


def _print_points(points: list[Point]) -> None:
    from protocols.laboratory.frontier import advice  # noqa: PLC0415
    from protocols.laboratory.page import POINT_HEAD, shown_point  # noqa: PLC0415

    if not points:
        return
    table = Table(title="Detection against leakage", title_justify="left")
    sides = (cell for name in points[0].sides for cell in (f"{name}: out", "honest ever out"))
    for name in (*POINT_HEAD, *sides):
        table.add_column(name)
    for point in points:
        table.add_row(*map(escape, shown_point(point)))
    console = _wide()
    console.print(table)
    console.print(advice(points), highlight=False)


def _wide() -> Console:
    return Console(width=None if sys.stdout.isatty() else 140)
