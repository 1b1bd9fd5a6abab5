"""Runs in a file of JSON lines: appended one by one, so that a long grid can go on where it ended.

    {"format": 1, "sources": "<sha256>", "seconds": 1.3, "run": {...}}

`sources` is the hash of `protocols.trial.freeze` at the time of the run. Results of different
sources do not belong in one table, so a file has one hash.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from time import process_time
from typing import Any

from protocols.files import append
from protocols.lines import Lines
from protocols.trial.trial import Case, Run, run
from secagg.errors import ParameterError

__all__ = ["Results", "Timed", "ran"]

_FORMAT = 1
_FIELDS = frozenset({"seconds", "run"})


@dataclass(frozen=True, kw_only=True)
class Timed:
    """A run, and the processor seconds that it took."""

    run: Run
    seconds: float


class Results:
    """What is in a file, and what is added to it; without a path, in memory only.

    sources: the hash that every line must have. Raises `ParameterError`, naming the line, for a
    file that is not of this format, or of other sources. A last line that was cut off is ignored
    and overwritten.
    """

    def __init__(self, path: Path | None, sources: str) -> None:
        self._path = path
        self._lines = Lines(format=_FORMAT, sources=sources, fields=_FIELDS)
        self._runs: dict[Case, Timed] = {}
        self._size = 0
        if path is not None and path.exists():
            self._size = self._lines.read(path, self._take)

    @property
    def runs(self) -> Mapping[Case, Timed]:
        """Case -> its run."""
        return self._runs

    def of(self, cases: Iterable[Case]) -> list[Timed]:
        """The runs of these cases that are there."""
        return [self._runs[case] for case in cases if case in self._runs]

    def missing(self, cases: Iterable[Case]) -> list[Case]:
        """Cases that have not been run."""
        return [case for case in cases if case not in self._runs]

    def add(self, timed: Timed) -> None:
        """Keeps a run; it is on the disk when this returns."""
        self._runs[timed.run.case] = timed
        if self._path is None:
            return
        found = {"seconds": round(timed.seconds, 3), "run": timed.run.document()}
        document = self._lines.head | found
        line = json.dumps(document, allow_nan=False).encode() + b"\n"
        append(self._path, self._size, line)
        self._size += len(line)

    def _take(self, document: Mapping[str, Any]) -> None:
        seconds = document["seconds"]
        if type(seconds) not in (int, float) or not 0 <= seconds < 1e9:
            raise ParameterError("seconds must be a number >= 0")
        timed = Timed(run=Run.from_document(document["run"]), seconds=float(seconds))
        self._runs[timed.run.case] = timed


def ran(cases: Sequence[Case], jobs: int = 1) -> Iterator[Timed]:
    """Runs cases, `jobs` at a time in processes of their own, and gives each as it is done.

    Raises `ParameterError` unless jobs >= 1, and what `run` raises.
    """
    if jobs < 1:
        raise ParameterError(f"jobs >= 1 must hold, got {jobs}")
    if jobs == 1:
        yield from map(_timed, cases)
        return
    with ProcessPoolExecutor(jobs) as pool:
        yield from pool.map(_timed, cases)


def _timed(case: Case) -> Timed:
    start = process_time()
    found = run(case)
    return Timed(run=found, seconds=process_time() - start)
