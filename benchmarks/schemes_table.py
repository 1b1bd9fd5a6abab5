"""The schemes as tables, one column each, and the targets of two aggregators."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from benchmarks.schemes import Comparison, Cost, Declared, Proofs, Size
from benchmarks.table import Table, judged, seconds

__all__ = ["scheme_tables"]

_CLIENT, _AGGREGATOR = {100_000: 0.045, 1_000_000: 0.35}, {100_000: 0.035, 1_000_000: 0.2}
_UPLOAD = {1_000_000: 8_100_200}  # 8.1 bytes a parameter, and 200
_SLOWER, _COLD, _CACHED = 10, 10.0, 2.0


def scheme_tables(found: Comparison) -> Iterator[Table]:
    """Costs at each size; what is declared; targets."""
    for size in found.sizes:
        yield _cost_table(size, found.declared)
    yield _declared_table(found.declared)
    yield _target_table(found)


def _cost_table(found: Size, declared: Sequence[Declared]) -> Table:
    third = {item.name: item.third for item in declared}
    rows = {
        "messages of a client": [str(cost.messages) for cost in found.costs],
        "client, CPU": [seconds(cost.client) for cost in found.costs],
        "server, CPU a client": [seconds(cost.server) for cost in found.costs],
        "third party, CPU a client": [_third(cost, third) for cost in found.costs],
        "one client lost: server, CPU a client": [_lost(cost) for cost in found.costs],
        "bytes up a parameter": [f"{cost.up / found.size:.2f}" for cost in found.costs],
        "bytes down a parameter": [f"{cost.down / found.size:.2f}" for cost in found.costs],
        "server and third party, bytes a parameter": [
            f"{cost.between / found.size:.2f}" if cost.between else "-" for cost in found.costs
        ],
        "mean off by": [f"{cost.deviation:.1e}" for cost in found.costs],
    }
    title = f"Schemes: {found.clients} clients, {found.size:,} parameters"
    return Table(title, ["", *(cost.name for cost in found.costs)], _rows(rows))


def _third(cost: Cost, third: dict[str, str]) -> str:
    return f"{seconds(cost.third)}, {third[cost.name]}" if cost.third else "-"


def _lost(cost: Cost) -> str:
    return "-" if cost.lost is None else seconds(cost.lost)


def _declared_table(found: Sequence[Declared]) -> Table:
    rows = {
        "fewest updates in a sum": [str(item.survivors) for item in found],
        "fewest honest ones, whatever the server does": [str(item.honest) for item in found],
        "numbers of one update that are opened": [str(item.opened) for item in found],
        "read an update, together with the server": [
            f"the {item.third}" if item.third else f"{item.colluders} clients" for item in found
        ],
        "a client falls silent at any of its messages": [
            f"exact sum, {item.exact} of {item.losses}" for item in found
        ],
    }
    return Table("Schemes: what they declare", ["", *(item.name for item in found)], _rows(rows))


def _rows(rows: dict[str, list[str]]) -> list[list[str]]:
    return [[name, *cells] for name, cells in rows.items()]


def _target_table(found: Comparison) -> Table:
    rows = [row for item in found.proofs for row in _proof_rows(item)]
    for name, value, most in (
        ("first report, kernels to compile", found.cold, _COLD),
        ("first report, kernels compiled before", found.cached, _CACHED),
    ):
        if value is not None:
            rows.append([name, judged(seconds(value), value <= most), seconds(most)])
    return Table("Two aggregators, one report", ["CPU or bytes", "measured", "target"], rows)


def _proof_rows(item: Proofs) -> Iterator[list[str]]:
    compiled, size = item.compiled, f"{item.size:,} parameters"
    aggregator = _AGGREGATOR.get(item.size)
    for name, value, most in (
        ("client", compiled.client, _CLIENT.get(item.size)),
        ("leader", compiled.leader, aggregator),
        ("helper", compiled.helper, aggregator),
    ):
        met = most is None or value <= most
        target = "" if most is None else seconds(most)
        yield [f"{size}: {name}", judged(seconds(value), met), target]
    most = _UPLOAD.get(item.size)
    target = "" if most is None else f"{most:,} B"
    met = most is None or compiled.upload <= most
    yield [f"{size}: upload", judged(f"{compiled.upload:,} B", met), target]
    for name, ratio in _ratios(item):
        shown = judged(f"{ratio:.1f}x", ratio <= _SLOWER)
        yield [f"{size}: {name}, numpy over compiled", shown, f"{_SLOWER}x"]


def _ratios(item: Proofs) -> Iterator[tuple[str, float]]:
    yield "client", item.plain.client / item.compiled.client
    yield "leader", item.plain.leader / item.compiled.leader
    yield "helper", item.plain.helper / item.compiled.helper
