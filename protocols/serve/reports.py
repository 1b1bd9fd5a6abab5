"""The leader's store: one report of each client in each round, until the sum is out."""

from __future__ import annotations

from dataclasses import dataclass, field

from protocols.serve.problem import Problem, refusal
from protocols.serve.store import Stage, Store
from protocols.serve.task import Task
from secagg.identity import PartyId

__all__ = ["Received", "Reports"]

_REPORTS = """
CREATE TABLE reports (
    context BLOB NOT NULL, client INTEGER NOT NULL, nonce BLOB NOT NULL, digest BLOB NOT NULL,
    size INTEGER NOT NULL, frame BLOB,
    PRIMARY KEY (context, client), UNIQUE (client, nonce)
) STRICT
"""
_DECISIONS = """
CREATE TABLE decisions (
    context BLOB PRIMARY KEY, session BLOB NOT NULL, number INTEGER NOT NULL,
    decision TEXT NOT NULL
) STRICT
"""


@dataclass(frozen=True, kw_only=True)
class Received:
    """A report whose signature was verified. digest: of the frame, 32 bytes."""

    client: PartyId
    nonce: bytes
    digest: bytes
    frame: bytes = field(repr=False)


class Reports(Store):
    """Reports on disk. What identifies one is kept when its frame is dropped."""

    application = 0x53414C32
    tables = (_REPORTS, _DECISIONS)

    def add(self, task: Task, report: Received) -> bool:
        """Keep a report; whether it was not there: the very same one again changes nothing.

        Raises `RequestRefused`: `REPLAYED` for a second, different report of a client in a round,
        and for one whose nonce the client used in another; `CLOSED` for one that is too late.
        """
        with self.changing() as database:
            query = "SELECT digest FROM reports WHERE context = ? AND client = ?"
            known = database.execute(query, (task.context, report.client)).fetchone()
            if known is not None:
                self._require_same(report, known[0])
                return False
            if self.stage(task) is not Stage.OPEN:
                raise refusal(Problem.CLOSED, "this round takes no more reports: join the next")
            query = "SELECT 1 FROM reports WHERE client = ? AND nonce = ?"
            if database.execute(query, (report.client, report.nonce)).fetchone() is not None:
                raise refusal(
                    Problem.REPLAYED,
                    f"client {report.client} used this nonce in another round: make a new report",
                )
            row = (
                task.context, report.client, report.nonce, report.digest, len(report.frame),
                report.frame,
            )  # fmt: skip
            database.execute("INSERT INTO reports VALUES (?, ?, ?, ?, ?, ?)", row)
        return True

    def _require_same(self, report: Received, digest: bytes) -> None:
        if report.digest != digest:
            raise refusal(
                Problem.REPLAYED,
                f"client {report.client} has another report in this round: the first one counts",
            )

    def count(self, task: Task) -> int:
        """How many clients have a report in the round."""
        query = "SELECT count(*) FROM reports WHERE context = ?"
        ((number,),) = self.rows(query, task.context)
        return int(number)

    def sizes(self, task: Task) -> dict[PartyId, int]:
        """Clients with a report in the round, ascending, and the bytes of it."""
        query = "SELECT client, size FROM reports WHERE context = ? ORDER BY client"
        return {int(client): int(size) for client, size in self.rows(query, task.context)}

    def frame(self, task: Task, client: PartyId) -> bytes:
        """One report, as long as its round has no sum."""
        query = "SELECT frame FROM reports WHERE context = ? AND client = ?"
        ((frame,),) = self.rows(query, task.context, client)
        assert isinstance(frame, bytes), "frames are dropped once the round is over"
        return frame

    def decide(self, task: Task, decision: str) -> None:
        """Keep what was decided of the round, for good."""
        with self.changing() as database:
            row = task.context, task.invitation.session, task.invitation.number, decision
            database.execute("INSERT INTO decisions VALUES (?, ?, ?, ?)", row)

    def decision(self, task: Task) -> str | None:
        """What was decided of the round; None where nothing was."""
        rows = self.rows("SELECT decision FROM decisions WHERE context = ?", task.context)
        return str(rows[0][0]) if rows else None

    def decision_before(self, task: Task) -> str | None:
        """What was decided last in an earlier round of its session."""
        query = (
            "SELECT decision FROM decisions WHERE session = ? AND number < ? "
            "ORDER BY number DESC LIMIT 1"
        )
        rows = self.rows(query, task.invitation.session, task.invitation.number)
        return str(rows[0][0]) if rows else None

    def finish(self, task: Task, failure: str = "") -> None:
        """End the round, for good, and drop the frames: their room is used again."""
        with self.changing() as database:
            self._advance(database, task, Stage.FAILED if failure else Stage.DONE, failure)
            query = "UPDATE reports SET frame = NULL WHERE context = ?"
            database.execute(query, (task.context,))
