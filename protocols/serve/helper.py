"""The helper as a server: an answer to each frame of the leader, which a kill does not change.

Its machine follows from what is in the store: a new one that is given the requests again, in order,
makes the same answers to the byte. So a request is stored with its answer before the answer leaves,
and after a kill the machine is made again.
"""

from __future__ import annotations

import threading
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response

from protocols.serve import exchange
from protocols.serve.answers import Answers
from protocols.serve.app import Handler, app_of
from protocols.serve.intake import Bounds, Intake
from protocols.serve.log import Log
from protocols.serve.problem import Problem, refusal
from protocols.serve.store import Stage
from protocols.serve.task import Task, Tasks
from secagg.errors import (
    Aborted,
    LocalProtocolError,
    RemoteProtocolError,
    SecAggError,
    StoreFailed,
)
from secagg.identity import SERVER, Identity
from secagg.machine import Machine

__all__ = ["HelperService", "helper_app"]


class HelperService:
    """Answers requests of the leader, one after the other; safe to call from several threads.

    Memory: one vector for each round under way, and a seed for each report.
    """

    def __init__(self, tasks: Tasks, identity: Identity, answers: Answers, log: Log) -> None:
        self._tasks, self._identity, self._answers, self._log = tasks, identity, answers, log
        self._machines: dict[str, Machine[Any]] = {}
        self._alone = threading.Lock()

    def task(self, name: str) -> Task:
        """The task of that id; `RequestRefused` if the helper has no such plan file."""
        task = self._tasks.find(name)
        if task is None:
            raise refusal(Problem.UNKNOWN_TASK, "the helper has no plan file of this task")
        return task

    def answer(self, task: Task, requests: Sequence[bytes]) -> list[bytes]:
        """The answers to some frames, the same as before to those that were answered before.

        Raises `DecodeError` for a frame that is not the leader's in this round: it has no effect.
        `RequestRefused`: `ENDED` where the round is over, or the leader broke the protocol, which
        ends it. `StoreFailed` if the answers are not kept; they were then not made.
        """
        with self._alone:
            known = {asked: self._answers.known(task, asked) for asked in requests}
            fresh = [asked for asked, reply in known.items() if reply is None]
            replies = {asked: reply for asked, reply in known.items() if reply is not None}
            replies |= self._made(task, fresh) if fresh else ()
            return [replies[asked] for asked in requests]

    def _made(self, task: Task, requests: Sequence[bytes]) -> list[tuple[bytes, bytes]]:
        machine = self._machine(task)
        answered: list[tuple[bytes, bytes]] = []
        kept = False
        try:
            for asked in requests:
                answered += [(asked, _answer(machine, asked))]
            self._answers.begin(task)
            self._answers.add(task, answered, is_last=machine.ended)
            kept = True
        except (RemoteProtocolError, Aborted) as error:
            self._fail(task, str(error))
        except LocalProtocolError as error:
            raise refusal(Problem.ENDED, str(error)) from None
        finally:
            # the machine knows what the store does not: make it again from the store
            if machine.ended or (answered and not kept):
                self._machines.pop(task.id, None)
        self._log("answered frames", task=task.id, frames=len(answered), ended=machine.ended)
        return answered

    def _machine(self, task: Task) -> Machine[Any]:
        stage = self._answers.stage(task)
        if stage is Stage.DONE:
            raise refusal(Problem.ENDED, "the share of this round's sum was given: there is one")
        if stage is Stage.FAILED:
            raise refusal(Problem.ENDED, f"this round failed: {self._answers.failure(task)}")
        if task.id not in self._machines:
            self._machines[task.id] = self._again(task)
        return self._machines[task.id]

    def _again(self, task: Task) -> Machine[Any]:
        """The machine that the stored requests make of a new one."""
        machine = task.scheme.helper(task.invitation.round, self._identity)
        for asked, reply in self._answers.log(task):
            if self._repeated(machine, asked) != reply:
                raise self._changed()
        return machine

    def _repeated(self, machine: Machine[Any], asked: bytes) -> bytes:
        try:
            return _answer(machine, asked)
        except SecAggError:  # what is in the store was answered once
            raise self._changed() from None

    def _changed(self) -> StoreFailed:
        return StoreFailed(f"{self._answers.path} is of another key, or was changed")

    def _fail(self, task: Task, why: str) -> None:
        self._machines.pop(task.id, None)
        try:
            self._answers.begin(task)
        except LocalProtocolError as error:
            raise refusal(Problem.ENDED, str(error)) from None
        self._answers.advance(task, Stage.FAILED, why)
        self._log("round failed", task=task.id, reason=why)
        raise refusal(Problem.ENDED, f"this round failed: {why}")


def _answer(machine: Machine[Any], request: bytes) -> bytes:
    """The one frame that the machine answers with."""
    machine.receive(SERVER, request)
    frames = machine.to_send()
    if len(frames) != 1:
        raise LocalProtocolError("there is one answer to each frame, and this one had it")
    return frames[0][1]


def _relays(task: Task, body: bytes) -> list[bytes]:
    """No more than a leader sends: each is looked up before anything of it is verified."""
    frames, most = exchange.unpacked(body), exchange.job_size(task)
    if len(frames) > most:
        raise refusal(Problem.TOO_LARGE, f"a job has at most {most} relays, not {len(frames)}")
    return frames


def helper_app(service: HelperService, bounds: Bounds, log: Log) -> Starlette:
    """`aggregation_jobs` and `aggregate_shares`, as in [DAP], and `screens`."""
    intake = Intake(bounds)

    async def jobs(request: Request) -> Response:
        task = service.task(request.path_params["task"])

        def answered(body: bytes) -> bytes:
            return exchange.packed(service.answer(task, _relays(task, body)))

        most = exchange.most_job(task)
        found = await intake.take(request, exchange.JOB, most, answered)
        return Response(found, media_type=exchange.JOB_ANSWER)

    def single(resource: exchange.Single) -> Handler:
        async def taken(request: Request) -> Response:
            task = service.task(request.path_params["task"])

            def answered(frame: bytes) -> bytes:
                return service.answer(task, [frame])[0]

            most = resource.most_request(task)
            found = await intake.take(request, resource.request, most, answered)
            return Response(found, media_type=resource.answer)

        return taken

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        yield
        log("stopped")

    singles = {each.path: single(each) for each in (exchange.SCREENS, exchange.SHARES)}
    return app_of({"aggregation_jobs": jobs, **singles}, log, lifespan)
