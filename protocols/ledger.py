"""What one party has spent of a privacy budget. A release that it cannot afford is refused before.

    ledger = PrivacyLedger.open("ledger.jsonl", epsilon=8.0, delta=1e-5)
    client = ClientRound(invitation, identity, me, journal=journal, ledger=ledger)

A client's ledger counts the sums that its updates went into, and stops this client; a server's
counts what a session releases, and stops the session. What was charged stays charged, whether or
not the round then came to an end: a cheating server may have got its sum.
"""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self

from dp.account import Accountant
from dp.account_reduction import ReductionAccountant
from dp.errors import BudgetExceeded, DPError
from dp.events import Composed, Event, event_of
from protocols import files
from secagg.errors import DecodeError, LocalProtocolError, ParameterError

__all__ = ["PrivacyLedger"]

_FORMAT = "secagg-ledger-1"
_HEADER = (json.dumps({"format": _FORMAT}) + "\n").encode()


class PrivacyLedger:
    """Releases charged so far, and a budget (epsilon, delta) that they never exceed together.

    Without a file it lives as long as the object. Two processes may share one file. Raises
    `ParameterError` unless 0 < epsilon < inf and 0 < delta < 1.
    """

    def __init__(
        self, *, epsilon: float, delta: float, accountant: Accountant | None = None
    ) -> None:
        self.epsilon = _within("epsilon", epsilon, math.inf)
        self.delta = _within("delta", delta, 1.0)
        self._accountant = accountant or ReductionAccountant()
        self._charged: dict[bytes, Event] = {}
        self._file: Path | None = None
        self._read = 0

    @classmethod
    def open(
        cls, path: str | Path, *, epsilon: float, delta: float, accountant: Accountant | None = None
    ) -> Self:
        """The ledger in a file, which is made if absent.

        The file has what was charged, and not the budget: that is configuration. Raises
        `DecodeError` for a file that is no ledger, or damaged: only its owner can say what then.
        """
        ledger = cls(epsilon=epsilon, delta=delta, accountant=accountant)
        ledger._file = Path(path)
        with ledger._current():
            pass
        return ledger

    @property
    def releases(self) -> int:
        """How many releases were charged."""
        return len(self._charged)

    def spent(self) -> float:
        """The epsilon, at this ledger's delta, of everything charged so far."""
        return self._epsilon(list(self._charged.values()))

    def charge(self, release: bytes, event: Event) -> float:
        """Charge `event` to the release of this name; the epsilon that is spent with it.

        It is on the disk when this returns. Raises `BudgetExceeded`, with nothing charged, where
        the whole would exceed the budget; `LocalProtocolError` for a name that was charged before;
        `dp.errors.UnknownEvent` for what the accountant has no bound for.
        """
        with self._current():
            if release in self._charged:
                raise LocalProtocolError("this release was charged before: it is not made again")
            spent = self._epsilon([*self._charged.values(), event])
            if not spent <= self.epsilon:
                raise BudgetExceeded(
                    f"epsilon <= {self.epsilon:g} at delta {self.delta:g} must hold: "
                    f"{self.spent():.4g} is spent, and this release would make it {spent:.4g}"
                )
            self._append(release, event)
        return spent

    def _epsilon(self, events: list[Event]) -> float:
        if not events:
            return 0.0
        return self._accountant.epsilon(Composed(tuple(Counter(events).items())), self.delta)

    # -- the file ---------------------------------------------------------------------------

    @contextmanager
    def _current(self) -> Iterator[None]:
        """Alone with the file, and with all that is in it read."""
        if self._file is None:
            yield
            return
        with files.locked(self._file):
            self._read_file(self._file)
            yield

    def _read_file(self, path: Path) -> None:
        data = path.read_bytes() if path.exists() else b""
        # A line without its end was being written when the power went: its charge never returned.
        whole = data[: data.rfind(b"\n") + 1]
        try:
            self._charged = dict(_parse(whole)) if whole else {}
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError, DPError):
            raise DecodeError(f"{path} is not a privacy ledger, or it is damaged") from None
        self._read = len(whole)

    def _append(self, release: bytes, event: Event) -> None:
        if self._file is not None:
            row = {"release": release.hex(), "event": event.document()}
            line = (json.dumps(row) + "\n").encode()
            files.append(self._file, self._read, line if self._read else _HEADER + line)
            self._read += len(line)
        self._charged[release] = event

    def __repr__(self) -> str:
        budget = f"({self.epsilon:g}, {self.delta:g})"
        return f"<PrivacyLedger of {len(self._charged)} releases, budget {budget}>"


def _parse(data: bytes) -> Iterator[tuple[bytes, Event]]:
    header, *lines = data.splitlines(keepends=True)
    if header != _HEADER:
        raise ValueError
    seen = set()
    for line in lines:
        row: Any = json.loads(line)
        if row.keys() != {"release", "event"} or row["release"] in seen:
            raise ValueError
        seen.add(row["release"])
        yield bytes.fromhex(row["release"]), event_of(row["event"])


def _within(name: str, value: float, below: float) -> float:
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if not number or not 0 < value < below:
        raise ParameterError(f"0 < {name} < {below:g} must hold, got {value!r}")
    return float(value)
