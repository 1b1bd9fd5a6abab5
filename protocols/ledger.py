"""What one party has spent of a privacy budget. A release that it cannot afford is refused before.

    ledger = PrivacyLedger.open("ledger.jsonl", epsilon=8.0, delta=1e-5)
    client = ClientRound(invitation, identity, me, journal=journal, ledger=ledger)

A client's ledger counts the sums that its updates went into, and stops this client. A server may
keep one for a session: `ledger.charge(invitation.name, plan.event)` before its model leaves. What
was charged stays charged, whether or not the round then came to an end: a cheating server may have
got its sum.
"""

from __future__ import annotations

import json
import math
import threading
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
from protocols.plan import RoundPlan
from secagg.errors import DecodeError, LocalProtocolError, ParameterError

__all__ = ["PrivacyLedger"]

_FORMAT = "secagg-ledger-1"
_HEADER = (json.dumps({"format": _FORMAT}) + "\n").encode()


class PrivacyLedger:
    """Releases charged so far, and a budget (epsilon, delta) that they never exceed together.

    Without a file it lives as long as the object. Threads may share it, and processes its file.

    trusting: whether the server is trusted. Only then does a client with this ledger take part
    where the server adds the noise, or in a scheme that a cheating server breaks: the price is then
    one for everybody else.

    Raises `ParameterError` unless 0 < epsilon < inf and 0 < delta < 1.
    """

    def __init__(
        self,
        *,
        epsilon: float,
        delta: float,
        accountant: Accountant | None = None,
        trusting: bool = False,
    ) -> None:
        self.epsilon = _within("epsilon", epsilon, math.inf)
        self.delta = _within("delta", delta, 1.0)
        self.trusting = trusting
        self._accountant = accountant or ReductionAccountant()
        self._names: set[bytes] = set()
        self._events: Counter[Event] = Counter()
        self._file: Path | None = None
        self._threads = threading.RLock()
        self._seen = _Seen()

    @classmethod
    def open(
        cls,
        path: str | Path,
        *,
        epsilon: float,
        delta: float,
        accountant: Accountant | None = None,
        trusting: bool = False,
    ) -> Self:
        """The ledger in a file, which the first charge makes if it is absent.

        The file has what was charged, and not the budget: that is configuration. Raises
        `DecodeError` for a file that is no ledger, or damaged: only its owner can say what then.
        """
        ledger = cls(epsilon=epsilon, delta=delta, accountant=accountant, trusting=trusting)
        ledger._file = Path(path).resolve()  # one lock, by whatever name
        with ledger._current():
            pass
        return ledger

    @property
    def releases(self) -> int:
        """How many releases were charged, by other users of the file too."""
        with self._current():
            return len(self._names)

    def spent(self) -> float:
        """The epsilon, at this ledger's delta, of everything charged so far."""
        with self._current():
            return self._epsilon(self._events)

    def check(self, plan: RoundPlan) -> None:
        """Raises `ParameterError` for a plan whose releases this ledger cannot price."""
        if plan.event is None:
            raise ParameterError(
                "this plan adds no noise, and no budget affords an exact sum: take a private plan, "
                "or no ledger"
            )
        if plan.trusts_server and not self.trusting:
            raise ParameterError(
                "this plan trusts the server, and its price is for everybody else: take another "
                "plan, or say so by PrivacyLedger(trusting=True)"
            )

    def require(self, event: Event, release: bytes | None = None) -> float:
        """What would be spent with `event`, which is not charged; raises as `charge` does.

        For a client, before it trains for nothing.
        """
        _check(release or b"any", event)
        with self._current():
            self._require_new(release)
            return self._with(event)

    def charge(self, release: bytes, event: Event) -> float:
        """Charge `event` to the release of this name; the epsilon that is spent with it.

        It is on the disk when this returns. Raises `BudgetExceeded`, with nothing charged, where
        the whole would exceed the budget; `LocalProtocolError` for a name that was charged before;
        `ParameterError` for a name that is not bytes or an event that is none or a composition;
        `dp.errors.UnknownEvent` for what the accountant has no bound for; `DecodeError` for a file
        that was damaged, cut or replaced meanwhile.
        """
        _check(release, event)
        with self._current():
            self._require_new(release)
            spent = self._with(event)
            if self._file is not None:
                self._append(self._file, release, event)
            self._note(release, event)
        return spent

    def _require_new(self, release: bytes | None) -> None:
        if release in self._names:
            raise LocalProtocolError("this release was charged before: it is not made again")

    def _with(self, event: Event) -> float:
        spent = self._epsilon(self._events + Counter([event]))
        if not spent <= self.epsilon:
            raise BudgetExceeded(
                f"epsilon <= {self.epsilon:g} at delta {self.delta:g} must hold: "
                f"{self._epsilon(self._events):.4g} is spent, and this release would make it "
                f"{spent:.4g}"
            )
        return spent

    def _epsilon(self, events: Counter[Event]) -> float:
        if not events:
            return 0.0
        return self._accountant.epsilon(Composed(tuple(events.items())), self.delta)

    def _note(self, release: bytes, event: Event) -> None:
        self._names.add(release)
        self._events[event] += 1

    # -- the file ---------------------------------------------------------------------------

    @contextmanager
    def _current(self) -> Iterator[None]:
        """Alone with the ledger, and with all that others have written since read."""
        with self._threads:
            if self._file is None:
                yield
                return
            with files.locked(self._file):
                self._read(self._file)
                yield

    def _read(self, path: Path) -> None:
        try:
            added = self._seen.added(path)
            rows = list(_rows(added, first=not self._seen.size))
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError, DPError):
            raise DecodeError(f"{path} is not a privacy ledger, or it is damaged") from None
        for name, event in rows:
            if name in self._names:
                raise DecodeError(f"{path} lists a release twice: it is damaged")
            self._note(name, event)
        self._seen.size += len(added)

    def _append(self, path: Path, release: bytes, event: Event) -> None:
        row = {"release": release.hex(), "event": event.document()}
        line = (json.dumps(row) + "\n").encode()
        data = line if self._seen.size else _HEADER + line
        files.append(path, self._seen.size, data)
        self._seen.grown(path, len(data))

    def __reduce__(self) -> str:
        raise TypeError("a ledger does not pickle and has no copies: two would spend one budget")

    def __repr__(self) -> str:
        budget = f"({self.epsilon:g}, {self.delta:g})"
        return f"<PrivacyLedger of {len(self._names)} releases, budget {budget}>"


class _Seen:
    """How far a file was read, and which file it was: it may only grow."""

    def __init__(self) -> None:
        self.size = 0
        self._inode = 0

    def added(self, path: Path) -> bytes:
        """The whole lines beyond what was read. `ValueError` for a file that is not the same.

        What follows the last line end was being written when the power went, and its charge never
        returned; but a whole row there counts, as editors take line ends away.
        """
        try:
            found = path.stat()
        except FileNotFoundError:
            if self.size:
                raise ValueError from None
            return b""
        if self.size and (found.st_ino != self._inode or found.st_size < self.size):
            raise ValueError
        self._inode = found.st_ino
        with path.open("rb") as file:
            file.seek(self.size)
            data = file.read()
        whole, torn = data[: data.rfind(b"\n") + 1], data[data.rfind(b"\n") + 1 :]
        if not self.size and not whole and not _HEADER.startswith(torn):
            raise ValueError
        if _is_row(torn):
            files.append(path, self.size + len(data), b"\n")
            return data + b"\n"
        return whole

    def grown(self, path: Path, by: int) -> None:
        self._inode = path.stat().st_ino
        self.size += by


def _rows(data: bytes, *, first: bool) -> Iterator[tuple[bytes, Event]]:
    lines = data.splitlines(keepends=True)
    if first and lines and lines.pop(0) != _HEADER:
        raise ValueError
    for line in lines:
        row: Any = json.loads(line)
        if row.keys() != {"release", "event"}:
            raise ValueError
        name, event = bytes.fromhex(row["release"]), event_of(row["event"])
        if name.hex() != row["release"] or isinstance(event, Composed):
            raise ValueError
        yield name, event


def _is_row(text: bytes) -> bool:
    try:
        return isinstance(json.loads(text), dict)
    except ValueError:
        return False


def _check(release: object, event: object) -> None:
    if not isinstance(release, bytes) or not release:
        raise ParameterError("the name of a release is a non-empty bytes")
    if not isinstance(event, Event) or isinstance(event, Composed):
        raise ParameterError("a release is charged as one event of dp.events, not a composition")


def _within(name: str, value: float, below: float) -> float:
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if not number or not 0 < value < below or value > 1e300:
        raise ParameterError(f"0 < {name} < {below:g} must hold, got {value!r:.40}")
    return float(value)
