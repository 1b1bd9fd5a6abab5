"""The leader as a server: it takes reports, and ends rounds in a thread beside.

A report is in the store before it is acknowledged. Nothing else has to survive a kill: what
aggregation computes follows from the stored reports, and is computed again.
"""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from protocols.serve import exchange
from protocols.serve.app import app_of
from protocols.serve.intake import Bounds, Intake
from protocols.serve.log import Log
from protocols.serve.problem import Problem, refusal
from protocols.serve.reports import Received, Reports
from protocols.serve.rounds import Rounds
from protocols.serve.task import Task, Tasks
from secagg.errors import DecodeError, LocalProtocolError
from secagg.frame import Endpoint
from secagg.identity import SERVER, Identity
from secagg.schemes.pine import HELPER
from secagg.schemes.pine.messages import Report

__all__ = ["LeaderService", "leader_app"]


class LeaderService:
    """Accepts reports. on_report: is called after each that was stored."""

    def __init__(
        self,
        tasks: Tasks,
        identity: Identity,
        reports: Reports,
        log: Log,
        on_report: Callable[[], None],
    ) -> None:
        self._tasks, self._identity, self._reports = tasks, identity, reports
        self._log, self._on_report = log, on_report
        self._endpoints: dict[str, Endpoint] = {}

    def task(self, name: str) -> Task:
        """The task of that id, its round opened; `RequestRefused` if there is none."""
        task = self._tasks.find(name)
        if task is None:
            raise refusal(
                Problem.UNKNOWN_TASK, "the leader has no such round: compare plan and roster"
            )
        if task.id not in self._endpoints:
            self._open(task)
        return task

    def _open(self, task: Task) -> None:
        for each in self._tasks.until(task):  # whoever asks first must not decide the order
            try:
                self._reports.begin(each)
            except LocalProtocolError as error:
                if each is task:
                    raise refusal(Problem.CLOSED, str(error)) from None
        self._endpoints[task.id] = task.endpoint(self._identity, SERVER, Report)

    def accept(self, task: Task, frame: bytes) -> dict[str, object]:
        """Store a report; what acknowledges it, the same for the very same report again.

        task: of `task`. Raises `DecodeError` for what no client of this round signed, and what
        `Reports.add` raises.
        """
        endpoint = self._endpoints[task.id]
        header = endpoint.authenticate(frame)
        if header.sender == HELPER:
            raise DecodeError("the helper has no input")
        report = endpoint.open(header, frame).message
        assert isinstance(report, Report), "the endpoint takes no other"
        digest = hashlib.sha256(frame).digest()
        received = Received(client=header.sender, nonce=report.nonce, digest=digest, frame=frame)
        event = "report stored" if self._reports.add(task, received) else "report repeated"
        self._log(event, task=task.id, client=header.sender, bytes=len(frame))
        self._on_report()
        return {"task": task.id, "client": header.sender, "report": digest.hex()}


def leader_app(service: LeaderService, rounds: Rounds, bounds: Bounds, log: Log) -> Starlette:
    """`reports`, as in [DAP]; `rounds` runs as long as the server does."""
    intake = Intake(bounds)

    async def reports(request: Request) -> Response:
        task = service.task(request.path_params["task"])

        def accepted(frame: bytes) -> dict[str, object]:
            return service.accept(task, frame)

        most = exchange.most_frame(task, Report)
        return JSONResponse(await intake.take(request, exchange.REPORT, most, accepted))

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        rounds.start()
        yield
        rounds.stop()
        log("stopped")

    return app_of({"reports": reports}, log, lifespan)
