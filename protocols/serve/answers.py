"""The helper's store: every request that it answered, with the answer, in order."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence

from protocols.serve.store import Stage, Store
from protocols.serve.task import Task

__all__ = ["Answers"]

_ANSWERS = """
CREATE TABLE answers (
    position INTEGER PRIMARY KEY, context BLOB NOT NULL, digest BLOB NOT NULL,
    request BLOB NOT NULL, reply BLOB NOT NULL, UNIQUE (context, digest)
) STRICT
"""


class Answers(Store):
    """A log. The helper's machine is what the requests of a round make of a new one."""

    application = 0x53414831
    tables = (_ANSWERS,)

    def known(self, task: Task, request: bytes) -> bytes | None:
        """The answer that this very request had; None where it had none."""
        query = "SELECT reply FROM answers WHERE context = ? AND digest = ?"
        rows = self.rows(query, task.context, _named(request))
        return rows[0][0] if rows else None

    def add(self, task: Task, answered: Sequence[tuple[bytes, bytes]], *, is_last: bool) -> None:
        """Keep requests with their answers. is_last: whether the round's sum is among these."""
        with self.changing() as database:
            query = "INSERT INTO answers (context, digest, request, reply) VALUES (?, ?, ?, ?)"
            rows = [(task.context, _named(asked), asked, reply) for asked, reply in answered]
            database.executemany(query, rows)
            if is_last:
                self._advance(database, task, Stage.DONE)

    def log(self, task: Task) -> Iterator[tuple[bytes, bytes]]:
        """Requests and answers of the round, in order, one at a time."""
        query = "SELECT position FROM answers WHERE context = ? ORDER BY position"
        for (position,) in self.rows(query, task.context):
            query = "SELECT request, reply FROM answers WHERE position = ?"
            ((request, reply),) = self.rows(query, position)
            yield request, reply


def _named(request: bytes) -> bytes:
    return hashlib.sha256(request).digest()
