"""What a server remembers: one SQLite file, used by one process, on the disk before any answer.

The file is in write-ahead mode with `synchronous=FULL`: once `changing` has ended, what was written
survives a kill and a loss of power. The process holds the exclusive lock of the file until it ends,
however it ends; a second one is refused.
"""

from __future__ import annotations

import os
import sqlite3
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from enum import StrEnum
from pathlib import Path
from typing import Any, ClassVar

from protocols import files
from protocols.serve.task import Task
from secagg.errors import LocalProtocolError, ParameterError, StoreFailed

__all__ = ["Stage", "Store"]

_FORMAT = 1
_PAGE = 4096
_LEAST_PAGES = 64
_ROUNDS = """
CREATE TABLE rounds (
    context BLOB PRIMARY KEY, session BLOB NOT NULL, number INTEGER NOT NULL,
    opened REAL NOT NULL, stage TEXT NOT NULL, failure TEXT NOT NULL DEFAULT ''
) STRICT, WITHOUT ROWID
"""


class Stage(StrEnum):
    """How far a round is. It only ever advances.

    OPEN: takes reports. CLOSED: takes no more; what is in the sum is decided by what is stored.
    DONE: its sum was given. FAILED: it ended without one.
    """

    OPEN = "open"
    CLOSED = "closed"
    DONE = "done"
    FAILED = "failed"


class Store:
    """Rounds, each opened once; a subclass has what belongs to a round.

    most_bytes: of the file, beyond which nothing is stored. Raises `StoreFailed` for a file that
    another process has open, that is not a store, or is another server's.
    """

    application: ClassVar[int]
    """Tells files of leaders and helpers apart."""
    tables: ClassVar[tuple[str, ...]]

    def __init__(self, path: Path, *, most_bytes: int = 1 << 40) -> None:
        if most_bytes < _LEAST_PAGES * _PAGE:
            raise ParameterError(f"most_bytes >= {_LEAST_PAGES * _PAGE} must hold")
        self.path = path
        self._lock = threading.RLock()
        try:
            _make(path)
            self._database = sqlite3.connect(
                path.absolute(), timeout=0, isolation_level=None, check_same_thread=False
            )
        except (OSError, sqlite3.Error) as error:
            raise _failed(path, error) from None
        try:
            self._prepare(most_bytes)
        except (sqlite3.Error, StoreFailed) as error:
            self._database.close()
            raise _failed(path, error) from None
        files.sync_folder(path.parent)

    def _prepare(self, most_bytes: int) -> None:
        for pragma in (
            "locking_mode = EXCLUSIVE",
            "journal_mode = WAL",
            "synchronous = FULL",
            f"max_page_count = {most_bytes // _PAGE}",
        ):
            self._database.execute(f"PRAGMA {pragma}").fetchall()
        self._database.execute("BEGIN EXCLUSIVE")  # from here on no other process gets in
        if not self._pragma("user_version"):
            for table in (_ROUNDS, *self.tables):
                self._database.execute(table)
            self._database.execute(f"PRAGMA application_id = {self.application}")
            self._database.execute(f"PRAGMA user_version = {_FORMAT}")
        self._database.execute("COMMIT")
        found = self._pragma("application_id"), self._pragma("user_version")
        if found != (self.application, _FORMAT):
            raise StoreFailed("not a store of this server and version: name another file")
        if self._pragma("journal_mode") != "wal":
            raise StoreFailed("what is written there would not outlive a crash: name another file")

    def close(self) -> None:
        """Give the file back."""
        with self._lock:
            self._database.close()

    @contextmanager
    def changing(self) -> Iterator[sqlite3.Connection]:
        """One transaction, on the disk when this ends; raises `StoreFailed` if it is not kept."""
        with self._lock:
            try:
                self._database.execute("BEGIN IMMEDIATE")
                yield self._database
                self._commit()
            except sqlite3.Error as error:
                raise _failed(self.path, error) from None
            finally:
                if self._database.in_transaction:
                    self._database.rollback()

    def _commit(self) -> None:
        """The moment at which a change is kept: before it nothing is answered, after it all is."""
        self._database.execute("COMMIT")

    def rows(self, query: str, *given: Any) -> list[tuple[Any, ...]]:
        """All rows of a query."""
        with self._lock:
            try:
                return self._database.execute(query, given).fetchall()
            except sqlite3.Error as error:
                raise _failed(self.path, error) from None

    def _pragma(self, name: str) -> Any:
        return self._database.execute(f"PRAGMA {name}").fetchone()[0]

    # -- rounds -----------------------------------------------------------------------------

    def begin(self, task: Task) -> None:
        """Open the round of a task, once.

        Raises `LocalProtocolError` where this or a later round of its session was opened with
        another plan, model or roster: two sums of almost the same inputs give the rest away.
        """
        if self.stage(task) is not None:
            return
        session, number = task.invitation.session, task.invitation.number
        with self.changing() as database:
            if self.stage(task) is not None:
                return  # another thread was faster
            query = "SELECT max(number) FROM rounds WHERE session = ?"
            (last,) = database.execute(query, (session,)).fetchone()
            if last is not None and number <= last:
                raise LocalProtocolError(
                    f"round {number} of this session is not after round {last}, which was opened "
                    "in another context: take a new number"
                )
            row = (task.context, session, number, time.time(), Stage.OPEN)
            database.execute("INSERT INTO rounds VALUES (?, ?, ?, ?, ?, '')", row)

    def stage(self, task: Task) -> Stage | None:
        """How far the round of a task is; None where it was not opened."""
        rows = self.rows("SELECT stage FROM rounds WHERE context = ?", task.context)
        return Stage(rows[0][0]) if rows else None

    def opened(self, task: Task) -> float:
        """When the round of a task was opened, in seconds since 1970."""
        ((since,),) = self.rows("SELECT opened FROM rounds WHERE context = ?", task.context)
        return float(since)

    def failure(self, task: Task) -> str:
        """Why the round of a task ended without a sum; "" where it did not."""
        rows = self.rows("SELECT failure FROM rounds WHERE context = ?", task.context)
        return str(rows[0][0]) if rows else ""

    def advance(self, task: Task, stage: Stage, failure: str = "") -> None:
        """Take the round of a task to a later stage."""
        with self.changing() as database:
            self._advance(database, task, stage, failure)

    def _advance(
        self, database: sqlite3.Connection, task: Task, stage: Stage, failure: str = ""
    ) -> None:
        database.execute(
            "UPDATE rounds SET stage = ?, failure = ? WHERE context = ?",
            (stage, failure, task.context),
        )


def _make(path: Path) -> None:
    """An empty file for its owner alone, unless there is one.

    SQLite gives its log the same mode. Who may read it may also lock it, and keep the server out.
    """
    with suppress(FileExistsError):  # closing one that is there would drop this process's locks
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600))


def _failed(path: Path, error: Exception) -> StoreFailed:
    """What to do next, by what SQLite says."""
    code = getattr(error, "sqlite_errorcode", None)
    if code == sqlite3.SQLITE_BUSY:
        return StoreFailed(f"{path} is open in another process: one server has one store")
    if code == sqlite3.SQLITE_FULL:
        return StoreFailed(f"{path} has no room left: make room, or allow it more")
    return StoreFailed(f"{path}: {error}")
