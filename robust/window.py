"""What was measured in past rounds, and the last few of it for each client that is there now.

The only state of a screening. It exports to plain numbers, lists and strings, so that it can be
written as JSON; loading checks everything again.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from robust.errors import ObservationError
from robust.observe import MOST_CLIENT, Array

__all__ = ["Memory", "Past"]


@dataclass(frozen=True, kw_only=True, eq=False)
class Past:
    """The last rounds of some clients, the latest last.

    Attributes
    ----------
    figures: name -> (rounds, n); NaN where a client is absent or the figure was not taken.
    """

    figures: Mapping[str, Array]

    def counts(self, name: str) -> Array:
        """(n,), rounds in which the figure was taken."""
        found: Array = (~np.isnan(self.figures[name])).sum(axis=0).astype(np.float64)
        return found

    def mean(self, name: str) -> Array:
        """(n,), mean over those rounds; NaN where there are none."""
        return self.total(name) / np.where(self.counts(name) > 0, self.counts(name), np.nan)

    def total(self, name: str) -> Array:
        """(n,), sum over those rounds."""
        found: Array = np.nansum(self.figures[name], axis=0)
        return found

    def latest(self, name: str) -> Array:
        """(n,), in the last round."""
        found: Array = self.figures[name][-1]
        return found


class Memory:
    """Figures of the last `rounds` rounds, by round and client."""

    def __init__(self, rounds: int) -> None:
        self._rounds = rounds
        self._entries: list[tuple[int, Array, dict[str, Array]]] = []

    def add(self, number: int, clients: tuple[int, ...], figures: Mapping[str, Array]) -> None:
        """Remembers the figures (n,) of round `number`, and forgets the oldest round if full."""
        columns = {name: np.array(column) for name, column in figures.items()}
        self._entries.append((number, np.array(clients), columns))
        del self._entries[: -self._rounds]

    def amend(self, figures: Mapping[str, Array]) -> None:
        """More figures (n,) of the round that was added last, of the same clients."""
        self._entries[-1][2].update({name: np.array(column) for name, column in figures.items()})

    def past(self, clients: tuple[int, ...], window: int) -> Past:
        """For each client the last `window` rounds in which it was there."""
        names = sorted({name for _, _, columns in self._entries for name in columns})
        ids = np.array(clients)
        tables = {name: np.full((len(self._entries), len(ids)), np.nan) for name in names}
        present = np.zeros((len(self._entries), len(ids)), dtype=bool)
        for row, (_, known, columns) in enumerate(self._entries):
            at = np.minimum(np.searchsorted(known, ids), len(known) - 1)
            present[row] = known[at] == ids
            for name, column in columns.items():
                tables[name][row] = np.where(present[row], column[at], np.nan)
        old = np.cumsum(present[::-1], axis=0)[::-1] > window
        return Past(figures={name: np.where(old, np.nan, table) for name, table in tables.items()})

    def export(self) -> list[dict[str, object]]:
        """Lists and numbers; NaN as None."""
        return [
            {
                "number": number,
                "clients": clients.astype(int).tolist(),
                "figures": {name: _plain(column) for name, column in columns.items()},
            }
            for number, clients, columns in self._entries
        ]

    @classmethod
    def load(cls, rounds: int, document: object) -> Memory:
        """What `export` gave. Raises `ObservationError` for anything else."""
        memory = cls(rounds)
        if not isinstance(document, list) or len(document) > rounds:
            raise ObservationError(f"a memory must be a list of at most {rounds} rounds")
        for entry in document:
            memory.add(*_entry(entry))
        numbers = [number for number, _, _ in memory._entries]
        if numbers != sorted(set(numbers)):
            raise ObservationError("rounds of a memory must ascend")
        return memory


def _plain(column: Array) -> list[float | None]:
    return [None if math.isnan(value) else value for value in column.tolist()]


def _entry(entry: object) -> tuple[int, tuple[int, ...], dict[str, Array]]:
    if not isinstance(entry, dict) or set(entry) != {"number", "clients", "figures"}:
        raise ObservationError("a remembered round must have number, clients and figures")
    clients, figures = entry["clients"], entry["figures"]
    if not isinstance(clients, list) or not clients or not isinstance(figures, dict):
        raise ObservationError("a remembered round must have a list of clients and named figures")
    ids = tuple(_whole(client) for client in clients)
    if any(a >= b for a, b in pairwise(ids)) or ids[-1] >= MOST_CLIENT:
        raise ObservationError("remembered ids must be strictly ascending, and below 2^53")
    columns = {_name(name): _column(values, len(ids)) for name, values in figures.items()}
    return _whole(entry["number"]), ids, columns


def _whole(value: object) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        raise ObservationError("remembered rounds and ids must be integers >= 0")
    return value


def _name(value: object) -> str:
    if not isinstance(value, str):
        raise ObservationError("names of figures must be strings")
    return value


def _column(values: object, size: int) -> Array:
    if not isinstance(values, list) or len(values) != size:
        raise ObservationError(f"a remembered figure must be a list of {size} numbers")
    return np.array([_number(value) for value in values], dtype=np.float64)


def _number(value: object) -> float:
    if value is None:
        return math.nan
    if not isinstance(value, int | float) or isinstance(value, bool) or not math.isfinite(value):
        raise ObservationError("remembered figures must be finite numbers or None")
    return float(value)
