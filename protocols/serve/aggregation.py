"""The sum of one round, from the stored reports and the helper's answers.

Everything here follows from the reports: after a kill it is done again, the helper is asked the
same to the byte, and gives the answers it gave before.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from protocols.result import Result
from protocols.round import ServerRound
from protocols.serve import exchange
from protocols.serve.judge import Judge
from protocols.serve.peer import Peer
from protocols.serve.problem import Problem
from protocols.serve.reports import Reports
from protocols.serve.task import Task
from secagg.errors import DecodeError, InputRefused, RequestRefused, Unreachable
from secagg.event import Discarded, Failed, GroupStatistics, PeerRejected, Statistics
from secagg.frame import parse_header
from secagg.identity import THIRD, Identity, PartyId
from secagg.schemes.pine.messages import Relay
from secagg.schemes.pine.states import Deciding

__all__ = ["Aggregated", "aggregate"]

Watcher = Callable[[int], None]


@dataclass(frozen=True, kw_only=True)
class Aggregated:
    """How a round ended.

    result: the sum, or None; failure says why. refused: clients whose reports do not verify, or
    that were not accepted, and why. statistics, groups: what was opened, in a plan with a screen.
    judged: what the judge found, as JSON knows it, where there is one. sizes: bytes of the reports
    of all that sent one. between: bytes that the aggregators exchanged. seconds, cpu: of the
    aggregation, the latter of this process.
    """

    result: Result | None
    failure: str
    refused: dict[PartyId, str]
    statistics: Statistics | None
    groups: GroupStatistics | None
    judged: dict[str, Any] | None
    sizes: dict[PartyId, int]
    between: int
    seconds: float
    cpu: float


def aggregate(
    task: Task,
    identity: Identity,
    reports: Reports,
    helper: Peer,
    judge: Judge,
    watch: Watcher,
) -> Aggregated:
    """Verify every stored report together with the helper, and open the sum of the valid ones that
    `judge` accepts.

    watch: is told how many reports are verified. Reports are read one by one; while the helper
    works on some, the next are verified here.

    Raises `Unreachable` where the helper gives no answer in time, `RequestRefused` where it does
    not know the task or this leader, and `StoreFailed`: the round can be aggregated again.
    """
    with ThreadPoolExecutor(1) as pool:
        return _Aggregation(task, identity, reports, helper, judge, watch, pool).run()


class _Aggregation:
    def __init__(
        self,
        task: Task,
        identity: Identity,
        reports: Reports,
        helper: Peer,
        judge: Judge,
        watch: Watcher,
        pool: ThreadPoolExecutor,
    ) -> None:
        self._task, self._reports, self._helper = task, reports, helper
        self._judge, self._watch, self._pool = judge, watch, pool
        self._leader = ServerRound(task.invitation, identity)
        self._sizes = reports.sizes(task)
        self._between = self._verified = 0
        self._result: Result | None = None
        self._failure = ""
        self._refused: dict[PartyId, str] = {}
        self._statistics: Statistics | None = None
        self._groups: GroupStatistics | None = None
        self._judged: dict[str, Any] | None = None
        self._later: list[bytes] = []

    def run(self) -> Aggregated:
        start, cpu = time.perf_counter(), time.process_time()
        try:
            self._verify()
            self._open()
        except RequestRefused as error:
            if error.problem != Problem.ENDED.token:
                raise
            self._failure = f"the helper gives no sum: {error.detail}"
        return Aggregated(
            result=self._result,
            failure=self._failure,
            refused=self._refused | self._left_out(),
            statistics=self._statistics,
            groups=self._groups,
            judged=self._judged,
            sizes=self._sizes,
            between=self._between,
            seconds=time.perf_counter() - start,
            cpu=time.process_time() - cpu,
        )

    def _verify(self) -> None:
        clients, size = list(self._sizes), exchange.job_size(self._task)
        due: Future[list[bytes]] | None = None
        for at in range(0, len(clients), size):
            for client in clients[at : at + size]:
                self._leader.receive(client, self._reports.frame(self._task, client))
            job = self._relays()
            self._settle(due)
            due = self._pool.submit(self._job, job) if job else None
            self._watch(min(at + size, len(clients)))
        self._settle(due)

    def _open(self) -> None:
        """What follows the reports: frame by frame, until the leader has the sum or gives up."""
        if self._leader.phase == Relay.phase:
            if THIRD in self._leader.expected:
                raise Unreachable("the helper left reports without an answer: ask it again")
            self._leader.deadline()
        while not self._leader.ended and not self._failure:
            self._later += self._relays()
            self._drain()
            if self._later:
                frame = self._later.pop(0)
                self._leader.receive(THIRD, self._pool.submit(self._asked, frame).result())
            elif self._leader.phase == Deciding.phase:
                self._decide()
            else:
                break
        self._drain()
        if self._result is None and not self._failure:
            raise Unreachable("the helper's share of the sum is not one: start the leader again")

    def _decide(self) -> None:
        """Whoever is accepted is accepted for good: the judge decides once for each context."""
        assert self._statistics is not None, "the event comes with the phase"
        found = self._judge(self._task, self._statistics)
        self._judged = found.document
        try:
            self._leader.accept(found.accepted)
        except InputRefused as error:
            self._failure = str(error)

    def _left_out(self) -> dict[PartyId, str]:
        """Of whom statistics were opened, and who is not in the sum."""
        if self._statistics is None or self._result is None:
            return {}
        eligible = self._statistics.eligible
        return {
            client: "not accepted" if client in eligible else "beyond the bounds of the plan"
            for client in set(self._statistics.clients) - self._result.included
        }

    def _relays(self) -> list[bytes]:
        """The relays that the leader has to send; other frames are for later."""
        frames = [frame for _, frame in self._leader.to_send()]
        self._later += [frame for frame in frames if parse_header(frame).code != Relay.code]
        return [frame for frame in frames if parse_header(frame).code == Relay.code]

    def _settle(self, due: Future[list[bytes]] | None) -> None:
        for reply in due.result() if due is not None else ():
            self._leader.receive(THIRD, reply)
        self._drain()

    def _drain(self) -> None:
        while (event := self._leader.next_event()) is not None:
            match event:
                case Result():
                    self._result = event
                case Failed():
                    self._failure = str(event.error)
                case Statistics():
                    self._statistics = event
                case GroupStatistics():
                    self._groups = event
                case Discarded(sender=sender) if sender == THIRD:
                    raise Unreachable(f"the helper's answer is not its own: {event.reason}")
                case PeerRejected() | Discarded():
                    client = event.peer if isinstance(event, PeerRejected) else event.sender
                    self._refused[client] = event.reason

    def _job(self, relays: list[bytes]) -> list[bytes]:
        most = exchange.most_job(self._task)
        body = exchange.packed(relays)
        answer = self._helper.post(self._path("aggregation_jobs"), body, exchange.JOB, most)
        self._between += len(body) + len(answer)
        try:
            return exchange.unpacked(answer)
        except DecodeError as error:
            raise Unreachable(f"the helper's answer is not its own: {error}") from None

    def _asked(self, frame: bytes) -> bytes:
        resource = exchange.single_of(frame)
        most = resource.most_answer(self._task)
        answer = self._helper.post(self._path(resource.path), frame, resource.request, most)
        self._between += len(frame) + len(answer)
        return answer

    def _path(self, resource: str) -> str:
        return f"/tasks/{self._task.id}/{resource}"
