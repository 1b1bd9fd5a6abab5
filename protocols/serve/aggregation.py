"""The sum of one round, from the stored reports and the helper's answers.

Everything here follows from the reports: after a kill it is done again, the helper is asked the
same to the byte, and gives the answers it gave before.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

from protocols.result import Result
from protocols.round import ServerRound
from protocols.serve import exchange
from protocols.serve.peer import Peer
from protocols.serve.problem import Problem
from protocols.serve.reports import Reports
from protocols.serve.task import Task
from secagg.errors import DecodeError, RequestRefused, Unreachable
from secagg.event import Discarded, Failed, PeerRejected
from secagg.frame import parse_header
from secagg.identity import THIRD, Identity, PartyId
from secagg.schemes.pine.messages import Relay, Sum

__all__ = ["Aggregated", "aggregate"]

Watcher = Callable[[int], None]


@dataclass(frozen=True, kw_only=True)
class Aggregated:
    """How a round ended.

    result: the sum, or None; failure says why. refused: clients whose reports do not verify, and
    what is wrong with them. sizes: bytes of the reports of all that sent one. between: bytes that
    the aggregators exchanged. seconds, cpu: of the aggregation, the latter of this process.
    """

    result: Result | None
    failure: str
    refused: dict[PartyId, str]
    sizes: dict[PartyId, int]
    between: int
    seconds: float
    cpu: float


def aggregate(
    task: Task, identity: Identity, reports: Reports, helper: Peer, watch: Watcher
) -> Aggregated:
    """Verify every stored report together with the helper, and open the sum of the valid ones.

    watch: is told how many reports are verified. Reports are read one by one; while the helper
    works on some, the next are verified here.

    Raises `Unreachable` where the helper gives no answer in time, `RequestRefused` where it does
    not know the task or this leader, and `StoreFailed`: the round can be aggregated again.
    """
    with ThreadPoolExecutor(1) as pool:
        return _Aggregation(task, identity, reports, helper, watch, pool).run()


class _Aggregation:
    def __init__(
        self,
        task: Task,
        identity: Identity,
        reports: Reports,
        helper: Peer,
        watch: Watcher,
        pool: ThreadPoolExecutor,
    ) -> None:
        self._task, self._reports, self._helper = task, reports, helper
        self._watch, self._pool = watch, pool
        self._leader = ServerRound(task.invitation, identity)
        self._sizes = reports.sizes(task)
        self._between = self._verified = 0
        self._result: Result | None = None
        self._failure = ""
        self._refused: dict[PartyId, str] = {}
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
            refused=self._refused,
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
        self._later += self._relays()
        while self._later and not self._leader.ended:
            frame = self._later.pop(0)
            self._leader.receive(THIRD, self._pool.submit(self._share, frame).result())
            self._later += self._relays()
        self._drain()
        if self._result is None and not self._failure:
            raise Unreachable("the helper's share of the sum is not one: start the leader again")

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

    def _share(self, frame: bytes) -> bytes:
        most = exchange.most_frame(self._task, Sum)
        answer = self._helper.post(self._path("aggregate_shares"), frame, exchange.SHARE, most)
        self._between += len(frame) + len(answer)
        return answer

    def _path(self, resource: str) -> str:
        return f"/tasks/{self._task.id}/{resource}"
