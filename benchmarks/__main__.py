"""`python -m benchmarks [--quick] [--only PART] [--json FILE] [--write]`; PART as `--help` says."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from benchmarks import flower, host, peers, physical, privacy, scale, schemes
from benchmarks.flower import Flower
from benchmarks.peers import Comparison
from benchmarks.physical import Speeds
from benchmarks.privacy import Privacy
from benchmarks.report import PAGES, Report
from benchmarks.scale import Scale
from benchmarks.schemes import Comparison as Schemes
from benchmarks.secagg_round import Tick

_PARTS = ("peers", "scale", "flower", "privacy", "schemes")
_OURS = 5  # exchanges
_FLOWERS = 4


def main() -> None:
    """Measure, print, and write what was asked for."""
    options = _parser().parse_args()
    console = Console(width=None if sys.stdout.isatty() else 110)
    described = host.describe()
    parts = {options.only} if options.only else set(_PARTS)
    with _progress(console) as progress:
        speeds, scales = _scale(progress, options) if "scale" in parts else (None, [])
        compared = _peers(progress, options) if "peers" in parts else []
        in_flower = _flower(progress, options) if "flower" in parts else None
        priced = _privacy(progress, options) if "privacy" in parts else None
        by_scheme = _schemes(progress, options) if "schemes" in parts else None
    report = Report(
        command=_command(options),
        date=datetime.now(UTC).date().isoformat(),
        host=described,
        load_after=host.load(),
        speeds=speeds,
        peers=compared,
        scale=scales,
        flower=in_flower,
        privacy=priced,
        schemes=by_scheme,
    )
    report.show(console)
    if options.json:
        options.json.write_text(report.json())
    if options.write:
        report.write()


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="small sizes, to see that it runs")
    parser.add_argument("--only", choices=_PARTS, help="one part")
    parser.add_argument("--repeats", type=int, default=1, help="times that peers take turns")
    parser.add_argument(
        "--limit",
        type=float,
        default=flower.LIMIT,
        metavar="SECONDS",
        help="processor time for one side of a case in the part on Flower (%(default)s)",
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all figures here")
    parser.add_argument(
        "--write",
        action="store_true",
        help=f"rewrite the tables of {', '.join(page.name for page in PAGES)}",
    )
    return parser


def _command(options: argparse.Namespace) -> str:
    """What to type for the same figures: options that only say where they go stay out."""
    chosen = ["--quick"] if options.quick else []
    chosen += ["--only", options.only] if options.only else []
    chosen += ["--repeats", str(options.repeats)] if options.repeats != 1 else []
    chosen += ["--limit", f"{options.limit:g}"] if options.limit != flower.LIMIT else []
    return " ".join(["python -m benchmarks", *chosen, *(["--write"] if options.write else [])])


@contextmanager
def _progress(console: Console) -> Iterator[Progress]:
    columns = TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn()
    with Progress(*columns, console=console) as progress:
        yield progress


def _scale(progress: Progress, options: argparse.Namespace) -> tuple[Speeds, list[Scale]]:
    with _task(progress, "speeds of this machine", 1):
        speeds = physical.measure()
    found = []
    for workload, target in (scale.QUICK if options.quick else scale.FULL).items():
        name = f"scale: n={workload.clients}, d={workload.dimension:,}"
        with _task(progress, name, _OURS * workload.clients) as tick:
            found.append(scale.measure(workload, target, tick))
    with _task(progress, "speeds, once more", 1):
        return speeds.best(physical.measure()), found


def _peers(progress: Progress, options: argparse.Namespace) -> list[Comparison]:
    with _task(progress, "peers: warm-up", 1):
        peers.warm_up()
    found = []
    for workload, target in (peers.QUICK if options.quick else peers.FULL).items():
        name = f"peers: {100 * workload.lost_share:.0f} % lost"
        steps = options.repeats * (2 * _OURS + _FLOWERS) * workload.clients
        with _task(progress, name, steps) as tick:
            found.append(peers.compare(workload, target, options.repeats, tick))
    return found


def _flower(progress: Progress, options: argparse.Namespace) -> Flower:
    with _task(progress, "flower: warm-up", 1):
        flower.warm_up()
    pairs, points = [], []
    for case in flower.cases(options.quick):
        with _task(progress, f"flower: {case.name}", 9 * case.task.clients) as tick:
            pairs.append(flower.compare(case, options.limit, tick))
    for task in flower.curve(options.quick):
        name = f"flower: n={task.clients}, d={task.dimension:,}"
        with _task(progress, name, _OURS * task.clients) as tick:
            points.append(flower.grow(task, options.limit, tick))
    return Flower(limit=options.limit, pairs=pairs, points=points)


def _privacy(progress: Progress, options: argparse.Namespace) -> Privacy:
    with _task(progress, "privacy", privacy.steps(options.quick)) as tick:
        return privacy.measure(options.quick, tick)


def _schemes(progress: Progress, options: argparse.Namespace) -> Schemes:
    with _task(progress, "schemes", schemes.steps(options.quick, options.repeats)) as tick:
        return schemes.measure(options.quick, options.repeats, tick)


@contextmanager
def _task(progress: Progress, name: str, steps: int) -> Iterator[Tick]:
    """A line of progress, full at the end whatever number of ticks there were."""
    task = progress.add_task(name, total=steps)
    yield lambda: progress.advance(task)
    progress.update(task, completed=steps)


if __name__ == "__main__":
    main()
