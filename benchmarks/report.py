"""A run's results: as JSON, in the terminal, and on the pages that show them."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from rich.console import Console

from benchmarks.flower import Flower
from benchmarks.flower_table import flower_tables
from benchmarks.host import Host
from benchmarks.peers import Comparison
from benchmarks.physical import Speeds
from benchmarks.privacy import Privacy
from benchmarks.privacy_table import privacy_tables
from benchmarks.scale import Scale
from benchmarks.table import Table, peer_table, scale_tables, speed_table

__all__ = ["FLOWER_PAGE", "PAGE", "PRIVACY_PAGE", "Report"]

_DOCS = Path(__file__).resolve().parent.parent / "docs"
PAGE = _DOCS / "benchmarks.md"
FLOWER_PAGE = _DOCS / "how-to" / "migrate-from-flower-secagg.md"
PRIVACY_PAGE = _DOCS / "explanation" / "privacy-cost.md"

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
    flower: Flower | None = None
    privacy: Privacy | None = None

    def json(self) -> str:
        """All figures, and nothing derived from them."""
        return json.dumps(asdict(self), indent=1) + "\n"

    def show(self, console: Console) -> None:
        """Print the tables."""
        for table in (*self._tables(), *self._flower_tables(), *self._privacy_tables()):
            console.print(table.rich())

    def write(
        self, page: Path = PAGE, flower_page: Path = FLOWER_PAGE, privacy_page: Path = PRIVACY_PAGE
    ) -> None:
        """Replace the generated part of the pages whose tables were measured."""
        for path, tables in (
            (page, [*self._tables()]),
            (flower_page, [*self._flower_tables()]),
            (privacy_page, [*self._privacy_tables()]),
        ):
            if tables:
                _replace(path, self.markdown(tables))

    def markdown(self, tables: Iterable[Table]) -> str:
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
            *(table.markdown() for table in tables),
        ]
        return "\n".join(lines)

    def _tables(self) -> Iterator[Table]:
        if self.peers:
            yield peer_table(self.peers)
        if self.speeds:
            yield from scale_tables(self.scale, self.speeds)
            yield speed_table(self.speeds)

    def _flower_tables(self) -> Iterator[Table]:
        if self.flower:
            yield from flower_tables(self.flower)

    def _privacy_tables(self) -> Iterator[Table]:
        if self.privacy:
            yield from privacy_tables(self.privacy)


def _replace(page: Path, generated: str) -> None:
    """The page's method stays, what is between its marks goes."""
    text = page.read_text()
    head, begin, rest = text.partition(_BEGIN)
    _, end, tail = rest.partition(_END)
    if not (begin and end):
        raise ValueError(f"{page} lacks the marks around its generated part")
    page.write_text(f"{head}{begin}\n{generated}\n{end}{tail}")
