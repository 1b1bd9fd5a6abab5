"""Results as tables: one description, printed in the terminal and written as Markdown."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from rich.table import Table as RichTable

from benchmarks.cost import Cost
from benchmarks.peers import Comparison
from benchmarks.physical import Speeds
from benchmarks.scale import Scale
from benchmarks.workload import Workload

__all__ = ["Table", "judged", "peer_table", "scale_tables", "seconds", "speed_table"]


@dataclass(frozen=True)
class Table:
    """A titled grid of texts; the first column is aligned left, the others right."""

    title: str
    header: Sequence[str]
    rows: Sequence[Sequence[str]]

    def markdown(self) -> str:
        """The table as GitHub prints it."""
        rule = ["---", *["--:"] * (len(self.header) - 1)]
        lines = ("| " + " | ".join(cells) + " |" for cells in (self.header, rule, *self.rows))
        return "\n".join([f"### {self.title}", "", *lines, ""])

    def rich(self) -> RichTable:
        """The table for a terminal."""
        table = RichTable(title=self.title, title_justify="left")
        for index, name in enumerate(self.header):
            table.add_column(name, justify="right" if index else "left")
        for row in self.rows:
            table.add_row(*row)
        return table


def peer_table(found: Sequence[Comparison]) -> Table:
    """Ours beside Flower's SecAgg+, at every drop-out level."""
    workload = found[0].workload
    size = f"n={workload.clients}, d={workload.dimension:,}"
    title = f"Beside Flower's SecAgg+: {size}, Shamir threshold {workload.scheme.shares_needed}"
    header = ["lost", "server CPU", "client CPU", "bytes up", "bytes down", "largest error"]
    return Table(title, header, [row for item in found for row in _peer_rows(item)])


def _peer_rows(item: Comparison) -> Iterator[list[str]]:
    lost, target = _lost(item.workload), item.target
    for name, cost in (("Flower", item.flower), ("secagg", item.ours)):
        yield [f"{lost}, {name}", *_costs(cost)]
    server, client = item.server_ratio, item.client_ratio
    yield [
        f"{lost}, ratio",
        judged(f"{server:.0f}x", target.server is None or server >= target.server),
        judged(f"{client:.1f}x", target.client is None or client >= target.client),
        f"{item.flower.upload / item.ours.upload:.1f}x",
        f"{item.flower.download / item.ours.download:.1f}x",
        "",
    ]


def _costs(cost: Cost) -> list[str]:
    cpu = [seconds(cost.server_cpu), seconds(cost.client_cpu_mean)]
    return [*cpu, f"{cost.upload:,.0f}", f"{cost.download:,.0f}", f"{cost.error:.1e}"]


def scale_tables(found: Iterable[Scale], speeds: Speeds) -> Iterator[Table]:
    """Per round: times beside their targets and bounds, then bytes."""
    bounds = ["keystream", "memory", "hash", "public key"]
    for item in found:
        workload = item.workload
        size = f"n={workload.clients}, d={workload.dimension:,}"
        title = f"{size}, {_lost(workload)} lost, {item.degree} neighbours"
        header = ["CPU", "measured", "target", *bounds, "over physical", "over all four"]
        yield Table(f"Time: {title}", header, list(_time_rows(item, speeds)))
        yield Table(f"Bytes: {title}", ["figure", "measured", "target"], list(_byte_rows(item)))


def _time_rows(item: Scale, speeds: Speeds) -> Iterator[list[str]]:
    cost, target = item.cost, item.target
    client, server = item.client_work.at(speeds), item.server_work.at(speeds)
    for name, spent, most, bound in (
        ("client, mean", cost.client_cpu_mean, target.client_cpu, client),
        ("client, most", cost.client_cpu_max, target.client_cpu, client),
        ("server", cost.server_cpu, target.server_cpu, server),
    ):
        parts = (bound.keystream, bound.memory, bound.hashing, bound.public_key)
        yield [
            name,
            judged(seconds(spent), most is None or spent <= most),
            "" if most is None else seconds(most),
            *map(seconds, parts),
            f"{spent / bound.physical:.1f}x",
            f"{spent / bound.all:.1f}x",
        ]


def _byte_rows(item: Scale) -> Iterator[list[str]]:
    upload, memory = item.target.upload, item.memory_target
    yield [
        "upload of a client, per coordinate",
        judged(f"{item.upload:.3f} B", upload is None or item.upload <= upload),
        "" if upload is None else f"{upload} B",
    ]
    yield ["download of a client", f"{item.cost.download / 1e3:,.1f} kB", ""]
    vectors = item.memory / item.vector
    yield [
        "server memory, at most",
        judged(f"{_megabytes(item.memory)}", memory is None or item.memory <= memory),
        "" if memory is None else _megabytes(memory),
    ]
    yield ["the same in vectors of 4 B a coordinate", f"{vectors:.1f}", ""]


def speed_table(speeds: Speeds) -> Table:
    """What the bounds are computed from."""
    rates = {
        "AES-128-CTR keystream": speeds.keystream,
        "memory copy, read and write": speeds.memory,
        "BLAKE2b": speeds.hash,
    }
    durations = {
        "X25519 exchange": speeds.exchange,
        "Ed25519 sign": speeds.sign,
        "Ed25519 verify": speeds.verify,
        "HPKE seal": speeds.seal,
        "HPKE open": speeds.open,
    }
    rows = [[name, f"{rate / 1e9:.2f} GB/s"] for name, rate in rates.items()]
    rows += [[name, f"{duration * 1e6:.0f} µs"] for name, duration in durations.items()]
    return Table("Speeds of this machine, one thread", ["work", "speed"], rows)


def _lost(workload: Workload) -> str:
    return f"{100 * workload.lost_share:.0f} %"


def seconds(value: float) -> str:
    """Three digits, in the unit that fits."""
    if value >= 1:
        return f"{value:.2f} s"
    return f"{1000 * value:.3g} ms" if value >= 1e-5 else "<0.01 ms"


def _megabytes(value: int) -> str:
    return f"{value / 1e6:.0f} MB"


def judged(text: str, met: bool) -> str:
    """The text, and whether it missed its target."""
    return text if met else f"{text} (missed)"
