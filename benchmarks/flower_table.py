"""The tables of the part on Flower."""

from __future__ import annotations

from collections.abc import Iterator

from benchmarks.flower import Flower, Pair, Point
from benchmarks.flower_task import RIGHT, Outcome
from benchmarks.table import Table, seconds

__all__ = ["flower_tables"]

_COSTS = ["exchanges", "server CPU", "client CPU", "bytes up", "bytes down"]


def flower_tables(found: Flower) -> Iterator[Table]:
    """Costs side by side, then who is right, then how ours grows."""
    costly = [pair for pair in found.pairs if pair.case.costly]
    checked = [pair for pair in found.pairs if not pair.case.costly]
    rows = [row for pair in costly for row in _cost_rows(pair)]
    yield Table("Cost of a round; ours is a steady one", ["round", *_COSTS], rows)
    header = ["round of 10, unless it says else", "Flower's SecAgg+", "secagg"]
    title = f"Largest deviation from the exact mean of the contributors; off above {RIGHT}"
    yield Table(title, header, [_verdict_row(pair) for pair in checked])
    title = "Cost of a steady round of ours"
    yield Table(title, ["round", *_COSTS], [_point_row(point) for point in found.points])


def _cost_rows(pair: Pair) -> Iterator[list[str]]:
    theirs, ours = pair.theirs, pair.ours
    yield [f"{pair.case.name}: Flower", *_costs(theirs)]
    yield [f"{pair.case.name}: secagg", *_costs(ours)]
    if "time" not in (theirs.verdict, ours.verdict):
        yield [
            f"{pair.case.name}: ratio",
            "",
            f"{theirs.server_cpu / ours.server_cpu:.1f}x",
            f"{theirs.client_cpu / ours.client_cpu:.1f}x",
            f"{theirs.upload / ours.upload:.1f}x",
            f"{theirs.download / ours.download:.1f}x",
        ]


def _point_row(point: Point) -> list[str]:
    task = point.task
    return [f"n={task.clients}, d={task.dimension:,}", *_costs(point.ours)]


def _costs(outcome: Outcome) -> list[str]:
    if outcome.verdict == "time":
        return [*outcome.remarks, "", "", "", ""]
    return [
        str(len(outcome.exchanges)),
        seconds(outcome.server_cpu),
        seconds(outcome.client_cpu),
        f"{outcome.upload:,.0f}",
        f"{outcome.download:,.0f}",
    ]


def _verdict_row(pair: Pair) -> list[str]:
    return [pair.case.name, _verdict(pair.theirs), _verdict(pair.ours)]


def _verdict(outcome: Outcome) -> str:
    number = "inf or NaN" if outcome.deviation is None else f"{outcome.deviation:.1e}"
    match outcome.verdict:
        case "right":
            return number
        case "off":
            return f"off by {number}"
        case "nothing":
            return f"no release: {outcome.remarks[0]}"
    return outcome.remarks[0]
