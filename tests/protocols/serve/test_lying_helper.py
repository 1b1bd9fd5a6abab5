"""What a helper, or whoever speaks in its place, can answer: the leader loses nothing by it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from hashlib import sha256
from typing import Any

import pytest

from protocols.enrollment import load_roster
from protocols.serve import exchange
from protocols.serve.aggregation import Aggregated, aggregate
from protocols.serve.answers import Answers
from protocols.serve.helper import HelperService
from protocols.serve.judge import all_within_bounds
from protocols.serve.log import Log
from protocols.serve.outcome import sum_digest
from protocols.serve.peer import json_of
from protocols.serve.problem import Problem, refusal_of
from protocols.serve.reports import Received, Reports
from protocols.serve.task import Tasks
from protocols.serve.upload import prepared
from secagg.errors import Unreachable

Lie = Callable[[list[bytes]], bytes]


class Between:
    """In the place of a `Peer`: a helper in this process, whose answers to jobs are changed."""

    def __init__(self, place: Any, answers: Answers) -> None:
        tasks = Tasks(place.plan, load_roster(place.roster), pytest.fail)
        self._task = place.task
        self._service = HelperService(tasks, place.keys["helper"], answers, Log("helper"))
        self.lie: Lie = exchange.packed

    def post(self, path: str, body: bytes, media: str, most: int) -> bytes:
        if path.endswith("aggregate_shares"):
            return self._service.answer(self._task, [body])[0]
        return self.lie(self._service.answer(self._task, exchange.unpacked(body)))


class Table:
    """A leader with the reports of clients 1, 2 and 3."""

    def __init__(self, place: Any, reports: Reports, answers: Answers) -> None:
        self.place, self._reports = place, reports
        self.helper = Between(place, answers)
        task = place.task
        reports.begin(task)
        for client in (1, 2, 3):
            key, spool = place.keys[f"client-{client}"], place.folder / f"spool-{client}"
            frame, _ = prepared(task, key, place.update(client), client, spool)
            nonce, digest = bytes([client]) * 16, sha256(frame).digest()
            reports.add(task, Received(client=client, nonce=nonce, digest=digest, frame=frame))

    def aggregated(self, lie: Lie = exchange.packed) -> Aggregated:
        self.helper.lie = lie
        key, task = self.place.keys["leader"], self.place.task
        return aggregate(task, key, self._reports, self.helper, all_within_bounds, lambda _: None)


@pytest.fixture
def table(deployment: Any) -> Iterator[Table]:
    reports, answers = (
        kind(deployment.folder / f"{kind.__name__}.db") for kind in (Reports, Answers)
    )
    yield Table(deployment, reports, answers)
    reports.close()
    answers.close()


@pytest.mark.parametrize(
    ("lie", "reason"),
    [
        (lambda replies: exchange.packed(replies[:-1]), "left reports without an answer"),
        (lambda replies: exchange.packed([replies[0], replies[0], replies[1]]), "left reports"),
        (lambda _: exchange.packed([]), "left reports without an answer"),
        (lambda replies: exchange.packed(replies)[:-1], "answer is not its own"),
        (lambda replies: exchange.packed([replies[0][:-1]]), "answer is not its own"),
        (lambda _: b"", "answer is not its own"),
    ],
)
def test_a_report_is_not_lost_between_the_aggregators(table: Table, lie: Lie, reason: str) -> None:
    """No client vanishes from the sum unnamed, and the round can be aggregated again."""
    with pytest.raises(Unreachable, match=reason):
        table.aggregated(lie)
    ended = table.aggregated()
    assert ended.result is not None
    assert sum_digest(ended.result.total) == table.place.expected([1, 2, 3])


@pytest.mark.parametrize("found", [{"type": []}, {"type": {}}, {"type": 1}, [], None, {}, "x"])
def test_what_is_no_problem_document_is_an_answer_nobody_expects(found: Any) -> None:
    uri = Problem.CLOSED.uri
    assert refusal_of(409, {"type": uri, "detail": "late"}).problem == "roundClosed"
    assert refusal_of(409, found).problem == "unexpectedAnswer"


def test_a_peers_text_does_not_steer_a_terminal() -> None:
    shown = refusal_of(409, {"type": Problem.CLOSED.uri, "detail": "\x1b[2J\r\nlate: ünd"})
    assert shown.detail == "?[2J??late: ünd"


@pytest.mark.parametrize("body", [b"[" * 60000, b'{"a":' * 10000, b"\xff", b"", b"1" * 5000])
def test_what_is_no_json_is_nothing(body: bytes) -> None:
    assert json_of(b'{"report": "00"}') == {"report": "00"}
    assert json_of(body) is None
