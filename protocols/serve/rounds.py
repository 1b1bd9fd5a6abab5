"""When rounds end: enough reports or enough time, then the sum, in a thread beside the server."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from protocols.serve import outcome
from protocols.serve.aggregation import aggregate
from protocols.serve.judge import Judge
from protocols.serve.log import Log
from protocols.serve.peer import Peer
from protocols.serve.reports import Reports
from protocols.serve.store import Stage
from protocols.serve.task import Task, Tasks
from secagg.errors import (
    LocalProtocolError,
    ParameterError,
    RequestRefused,
    SecAggError,
    Unreachable,
)
from secagg.identity import Identity

__all__ = ["Ending", "Rounds"]

_TICK = 0.1  # seconds between looks at the clock and at the folder of plans
_AGAIN = 5.0  # seconds until a helper that was down, or without the plan, is asked again


@dataclass(frozen=True, kw_only=True)
class Ending:
    """When a round takes no more reports: after so many, or so many seconds after it was opened.

    after: 0 for all that are invited; never fewer than the plan's minimum. Reports count before
    they are verified.
    """

    after: int = 0
    seconds: float = 3600.0

    def __post_init__(self) -> None:
        if self.after < 0:
            raise ParameterError(f"after >= 0 must hold, got {self.after}")
        if not 0 < self.seconds <= 1e8:
            raise ParameterError(f"0 < seconds <= 10**8 must hold, got {self.seconds}")

    def is_due(self, task: Task, count: int, opened: float) -> bool:
        """Whether a round with so many reports, opened then, is to end now."""
        clients, fewest = task.scheme.clients, task.scheme.minimum
        enough = min(max(self.after or clients, fewest), clients)
        return count >= enough or time.time() >= opened + self.seconds


class Rounds:
    """Ends every round of the tasks, one after the other, those of a session by number.

    done: is called when none is left and none can come, or when going on has no use; `error` then
    has the reason. judge: whom it accepts is summed. watch: is told of a round, its reports, and
    how many are verified.
    outcomes: of the rounds that ended since the start. in_order: whether the thread has ended as it
    should; where it `broke_off`, its traceback is on the standard error.
    """

    def __init__(
        self,
        tasks: Tasks,
        identity: Identity,
        reports: Reports,
        helper: Peer,
        *,
        judge: Judge,
        ending: Ending,
        folder: Path,
        log: Log,
        watch: Callable[[Task, int, int], None],
        done: Callable[[], None],
    ) -> None:
        self._tasks, self._identity, self._reports = tasks, identity, reports
        self._helper, self._ending, self._folder = helper, ending, folder
        self._judge = judge
        self._log, self._watch, self._done = log, watch, done
        self._wake, self._stop = threading.Event(), threading.Event()
        self._refused: set[str] = set()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self.error: SecAggError | OSError | None = None
        self.in_order = False
        self.outcomes: list[dict[str, Any]] = []

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self) -> None:
        """End soon; a round that is being aggregated is aggregated again after the next start."""
        self._stop.set()
        self._wake.set()
        self._thread.join(timeout=1.0)

    @property
    def broke_off(self) -> bool:
        """Whether the thread ended otherwise than it should; not while it is being stopped."""
        return not self.in_order and not self._thread.is_alive()

    def wake(self) -> None:
        """Look now: there is one report more."""
        self._wake.set()

    def _run(self) -> None:
        try:
            self._tell_old()
            while not self._stop.is_set() and self._step():
                self._wake.wait(_TICK)
                self._wake.clear()
            self.in_order = True
        except (SecAggError, OSError) as error:
            self._log("stopping", reason=str(error))
            self.error, self.in_order = error, True
        finally:
            self._done()

    def _tell_old(self) -> None:
        for task in self._tasks.all():
            if self._reports.stage(task) in (Stage.DONE, Stage.FAILED):
                self._log("round is over", task=task.id, files=outcome.stem(task),
                          failure=self._reports.failure(task))  # fmt: skip

    def _step(self) -> bool:
        """End what is due; whether anything is left to wait for.

        A round waits for those before it in its session: the helper would not take them after it.
        """
        left = [task for task in self._tasks.all() if self._is_open(task)]
        waited: set[bytes] = set()
        for task in left:
            if self._is_closed(task) and task.invitation.session not in waited:
                self._end(task)
            waited.add(task.invitation.session)
        return self._tasks.is_open or any(self._is_open(task) for task in left)

    def _is_open(self, task: Task) -> bool:
        if task.id in self._refused:
            return False
        try:
            self._reports.begin(task)
        except LocalProtocolError as error:
            if not self._tasks.is_open:
                raise
            self._refused.add(task.id)
            self._log("task refused", task=task.id, reason=str(error))
            return False
        return self._reports.stage(task) in (Stage.OPEN, Stage.CLOSED)

    def _is_closed(self, task: Task) -> bool:
        """Whether it takes no more reports; closes it if that is due."""
        if self._reports.stage(task) is Stage.CLOSED:
            return True
        count = self._reports.count(task)
        self._watch(task, count, 0)
        if not self._ending.is_due(task, count, self._reports.opened(task)):
            return False
        self._reports.advance(task, Stage.CLOSED)
        return True

    def _end(self, task: Task) -> None:
        count = self._reports.count(task)
        self._log("round closed", task=task.id, reports=count)
        try:
            ended = aggregate(
                task,
                self._identity,
                self._reports,
                self._helper,
                self._judge,
                lambda verified: self._watch(task, count, verified),
            )
        except (Unreachable, RequestRefused) as error:
            if not self._tasks.is_open:
                raise
            self._log("no sum yet", task=task.id, reason=str(error))
            self._stop.wait(_AGAIN)
            return
        shown = outcome.save(self._folder, task, ended)
        self._reports.finish(task, ended.failure)
        self.outcomes.append(shown)
        self._log("round ended", task=task.id, included=len(shown["included"]),
                  refused=len(shown["refused"]), failure=ended.failure,
                  seconds=shown["seconds"])  # fmt: skip
