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
from benchmarks.schemes import Comparison as Schemes
from benchmarks.schemes_table import scheme_tables
from benchmarks.table import Table, peer_table, scale_tables, speed_table

__all__ = ["PAGES", "Report"]

_DOCS = Path(__file__).resolve().parent.parent / "docs"
PAGE = _DOCS / "benchmarks.md"
FLOWER_PAGE = _DOCS / "how-to" / "migrate-from-flower-secagg.md"
PRIVACY_PAGE = _DOCS / "explanation" / "privacy-cost.md"
SCHEME_PAGE = _DOCS / "how-to" / "choose-a-scheme.md"
PAGES = (PAGE, FLOWER_PAGE, PRIVACY_PAGE, SCHEME_PAGE)

_BEGIN, _END = "<!-- {}: begin -->\n", "<!-- {}: end -->\n"


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
    schemes: Schemes | None = None

    def json(self) -> str:
        """All figures, and nothing derived from them."""
        return json.dumps(asdict(self), indent=1) + "\n"

    def show(self, console: Console) -> None:
        """Print the tables."""
        for tables in self._parts():
            for table in tables:
                console.print(table.rich())

    def write(self, docs: Path = _DOCS) -> None:
        """Replace the generated part of the pages whose tables were measured."""
        peers, scale, flower, privacy, schemes = self._parts()
        for page, part, tables in (
            (PAGE, "peers", peers),
            (PAGE, "benchmarks", scale),
            (FLOWER_PAGE, "benchmarks", flower),
            (PRIVACY_PAGE, "benchmarks", privacy),
            (PAGE, "schemes", schemes),
            (SCHEME_PAGE, "schemes", schemes),
        ):
            if tables:
                _replace(docs / page.relative_to(_DOCS), part, self.markdown(tables))

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

    def _parts(self) -> tuple[list[Table], ...]:
        """Peers', scale's, Flower's, on privacy, on schemes; empty where nothing was measured."""
        schemes = [] if self.schemes is None else [*scheme_tables(self.schemes)]
        return (
            [peer_table(self.peers)] if self.peers else [],
            [*self._scale_tables()],
            [*self._flower_tables()],
            [*self._privacy_tables()],
            schemes,
        )

    def _scale_tables(self) -> Iterator[Table]:
        if self.speeds:
            yield from scale_tables(self.scale, self.speeds)
            yield speed_table(self.speeds)

    def _flower_tables(self) -> Iterator[Table]:
        if self.flower:
            yield from flower_tables(self.flower)

    def _privacy_tables(self) -> Iterator[Table]:
        if self.privacy:
            yield from privacy_tables(self.privacy)


def _replace(page: Path, part: str, generated: str) -> None:
    """The page's method stays, what is between the marks of this part goes."""
    text, begin, end = page.read_text(), _BEGIN.format(part), _END.format(part)
    head, began, rest = text.partition(begin)
    _, ended, tail = rest.partition(end)
    if not (began and ended):
        raise ValueError(f"{page} lacks the marks around its generated part")
    page.write_text(f"{head}{begin}\n{generated}\n{end}{tail}")
