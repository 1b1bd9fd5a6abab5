"""A benchmark in parts, each of which is kept in a file as soon as it is done.

    {"format": 1, "sources": "<sha256>", "bench": "rates", "half": "final", "part": "0.002", …}

A long benchmark that was stopped goes on with the part that is missing. `sources` is the hash of
the package, of the library, and of the data: figures of others do not belong in one table.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass
from hashlib import sha256
from importlib.util import find_spec
from itertools import chain
from pathlib import Path
from typing import Any

from protocols.files import append
from protocols.lines import Lines
from secagg import ParameterError as Refused

from apiwatch.errors import ParameterError
from apiwatch.figures import Figures

__all__ = ["Bench", "Part", "Results", "rows_of", "sources", "whole"]

_FORMAT = 1
_PACKAGES = ("apiwatch", "dp", "protocols", "secagg")
_KEY = ("bench", "half", "part")
_FIELDS = frozenset({*_KEY, "rows", "state"})
_Key = tuple[str, str, str]


@dataclass(frozen=True, kw_only=True)
class Part:
    """run: what is left of the part before -> rows, and what is left for the next one, as text."""

    name: str
    run: Callable[[str], tuple[list[Any], str]]

    @classmethod
    def of(cls, name: str, rows: Callable[[], list[Any]]) -> Part:
        """One that needs no other."""
        return cls(name=name, run=lambda _: (rows(), ""))


Bench = Callable[[Path, str], Iterable[Part]]


def whole(bench: Callable[[Path, str], list[Any]]) -> Bench:
    """A benchmark of one part."""
    return lambda folder, half: [Part.of("", lambda: bench(folder, half))]


def sources(folder: Path) -> str:
    """The SHA-256 of this package, of the library, and of the data sets in a folder, in
    hexadecimal.
    """
    state = sha256()
    roots = [Path(str(spec.origin)).parent for name in _PACKAGES if (spec := find_spec(name))]
    found = [sorted(root.rglob("*.py")) for root in roots]
    for path in (*chain.from_iterable(found), *sorted(folder.glob("*.jsonl.gz"))):
        state.update(f"{path.name}\0".encode() + sha256(path.read_bytes()).digest())
    return state.hexdigest()


def rows_of(
    name: str, bench: Bench, folder: Path, half: str, results: Results
) -> Iterator[tuple[str, list[Any]]]:
    """The name of each part and its rows: those that are there, and the others once they are."""
    state = ""
    for part in bench(folder, half):
        key = (name, half, part.name)
        if key not in results.parts:
            results.add(key, *part.run(state))
        rows, state = results.parts[key]
        yield part.name, rows


class Results:
    """What is in a file, and what is added to it; without a path, in memory only.

    sources: the hash that every line must have. Raises `ParameterError`, naming the line, for a
    file that is not of this format, or of other sources. A last line that was cut off is ignored
    and overwritten, if it begins as one.
    """

    def __init__(self, path: Path | None = None, sources: str = "") -> None:
        self._path, self._size = path, 0
        self._lines = Lines(format=_FORMAT, sources=sources, fields=_FIELDS, of="sources or data")
        self.parts: dict[_Key, tuple[list[Any], str]] = {}
        if path is not None and path.exists():
            try:
                self._size = self._lines.read(path, self._take)
            except Refused as error:
                raise ParameterError(str(error)) from None

    def add(self, key: _Key, rows: list[Any], state: str) -> None:
        """Keeps a part, as it will be read again; it is on the disk when this returns."""
        found = [{"figures": asdict(r)} if isinstance(r, Figures) else {"row": r} for r in rows]
        document = self._lines.head | dict(zip(_KEY, key, strict=True))
        line = json.dumps(document | {"rows": found, "state": state}).encode() + b"\n"
        if self._path is not None:
            append(self._path, self._size, line)
            self._size += len(line)
        self._take(json.loads(line))

    def _take(self, document: dict[str, Any]) -> None:
        bench, half, part = (str(document[name]) for name in _KEY)
        self.parts[bench, half, part] = [_row(r) for r in document["rows"]], str(document["state"])


def _row(entry: Any) -> Any:
    if not isinstance(entry, dict) or entry.keys() not in ({"figures"}, {"row"}):
        raise ParameterError("a row has the field figures or row")
    return Figures(**entry["figures"]) if "figures" in entry else dict(entry["row"])
