"""A run's results: as JSON, in the terminal, and in docs/benchmarks.md."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from rich.console import Console

from benchmarks.host import Host
from benchmarks.peers import Comparison
from benchmarks.physical import Speeds
from benchmarks.scale import Scale
from benchmarks.table import Table, peer_table, scale_tables, speed_table

__all__ = ["PAGE", "Report"]

PAGE = Path(__file__).resolve().parent.parent / "docs" / "benchmarks.md"

_BEGIN, _END = "<!-- benchmarks: begin -->\n", "<!-- benchmarks: end -->\n"


@dataclass(frozen=True, kw_only=True)
class Report:
    """Everything that one command measured."""

    command: str
    date: str
    host: Host
    load_after: float
    speeds: Speeds | None
    peers: Sequence[Comparison]
    scale: Sequence[Scale]

    def json(self) -> str:
        """All figures, and nothing derived from them."""
        return json.dumps(asdict(self), indent=1) + "\n"

    def show(self, console: Console) -> None:
        """Print the tables."""
        for table in self._tables():
            console.print(table.rich())

    def markdown(self) -> str:
        """The tables, headed by where they come from."""
        host = self.host
        versions = ", ".join(f"{name} {number}" for name, number in host.packages.items())
        lines = [
            f"Written by `{self.command}` on {self.date}.",
            "",
            f"Machine: {host.processor}, {host.cores} cores, {host.instructions}; {host.system}; "
            f"load {host.load} before and {self.load_after} after. "
            f"Python {host.python}, {versions}, {host.openssl}.",
            "",
            *(table.markdown() for table in self._tables()),
        ]
        return "\n".join(lines)

    def write(self, page: Path = PAGE) -> None:
        """Replace the generated part of the page; its method above stays."""
        text = page.read_text()
        head, begin, rest = text.partition(_BEGIN)
        _, end, tail = rest.partition(_END)
        if not (begin and end):
            raise ValueError(f"{page} lacks the marks around its generated part")
        page.write_text(f"{head}{begin}\n{self.markdown()}\n{end}{tail}")

    def _tables(self) -> Iterator[Table]:
        if self.peers:
            yield peer_table(self.peers)
        if self.speeds:
            yield from scale_tables(self.scale, self.speeds)
            yield speed_table(self.speeds)
