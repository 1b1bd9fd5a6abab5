"""Bytes that no honest client sends, over real connections: each is refused by name."""

from __future__ import annotations

import io
import json
import os
import signal
import socket
import threading
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import numpy as np
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response

from protocols.enrollment import load_identity
from protocols.serve import exchange
from protocols.serve.app import app_of
from protocols.serve.intake import Bounds
from protocols.serve.listen import Listening, server_of
from protocols.serve.log import Log
from protocols.serve.peer import Peer
from protocols.serve.upload import prepared
from secagg.errors import RequestRefused, Unreachable
from secagg.identity import SERVER, THIRD, Identity
from secagg.schemes.pine.messages import Collect, Report
from secagg.wire import ids

HEAD_SECONDS = 10
LARGE = 1 << 25


@pytest.fixture
def http() -> Iterator[httpx.Client]:
    with httpx.Client(timeout=10, trust_env=False) as client:
        yield client


def reports(place: Any) -> str:
    return f"http://127.0.0.1:{place.leader_port}/tasks/{place.task.id}/reports"


def jobs(place: Any, resource: str = "aggregation_jobs") -> str:
    return f"http://127.0.0.1:{place.helper_port}/tasks/{place.task.id}/{resource}"


def frame_of(place: Any, client: int, spool: str = "spool", **changes: Any) -> bytes:
    """A report as the client makes it; one from another spool is another report."""
    identity = load_identity(place.folder / f"client-{client}.key")
    task = changes.pop("task", place.task)
    folder = place.folder / f"{spool}-{client}"
    return prepared(task, identity, place.update(client), client, folder)[0]


def refused(answer: httpx.Response, status: int, name: str, detail: str) -> None:
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    shown = answer.json()
    assert shown["type"].endswith(f":{name}")
    assert shown["status"] == status
    assert detail in shown["detail"]


def test_an_honest_report_is_acknowledged_the_same_each_time(
    standing: Any, http: httpx.Client
) -> None:
    frame, headers = frame_of(standing, 1), {"content-type": exchange.REPORT}
    first, again = (http.post(reports(standing), content=frame, headers=headers) for _ in range(2))
    assert first.status_code == again.status_code == 200
    assert first.json() == again.json()
    assert first.json()["client"] == 1


def test_health_is_told_to_anybody(standing: Any, http: httpx.Client) -> None:
    for port in (standing.leader_port, standing.helper_port):
        answer = http.get(f"http://127.0.0.1:{port}/health")
        assert (answer.status_code, answer.json()) == (200, {"status": "ok"})


def test_another_report_of_a_client_is_refused(standing: Any, http: httpx.Client) -> None:
    headers = {"content-type": exchange.REPORT}
    first, other = frame_of(standing, 2), frame_of(standing, 2, "elsewhere")
    assert http.post(reports(standing), content=first, headers=headers).status_code == 200
    answer = http.post(reports(standing), content=other, headers=headers)
    refused(answer, 409, "reportReplayed", "client 2 has another report in this round")


@pytest.mark.parametrize(
    "place_of",
    [reports, jobs, lambda p: jobs(p, "aggregate_shares"), lambda p: jobs(p, "screens")],
)
def test_bodies_beyond_the_bound_are_refused_before_they_are_read(
    standing: Any, http: httpx.Client, place_of: Any
) -> None:
    url = httpx.URL(place_of(standing))
    singles = {each.path: each.request for each in (exchange.SCREENS, exchange.SHARES)}
    media = {"reports": exchange.REPORT, "aggregation_jobs": exchange.JOB, **singles}
    kind = media[url.path.rpartition("/")[2]]
    head = (
        f"POST {url.path} HTTP/1.1\r\nhost: x\r\ncontent-type: {kind}\r\n"
        "content-length: 99999999999\r\n\r\n"
    )
    with socket.create_connection((url.host, url.port), timeout=10) as raw:
        raw.sendall(head.encode())
        answer = raw.recv(65536).decode()
    assert answer.startswith("HTTP/1.1 413")


def test_a_body_without_a_length_is_cut_at_the_bound(standing: Any, http: httpx.Client) -> None:
    most = exchange.most_frame(standing.task, Report)
    sent = 0

    def endless() -> Iterator[bytes]:
        nonlocal sent
        while sent < 1 << 30:
            sent += 1 << 16
            yield bytes(1 << 16)

    headers = {"content-type": exchange.REPORT}
    answer = http.post(reports(standing), content=endless(), headers=headers)
    refused(answer, 413, "messageTooLarge", f"at most {most} bytes")
    assert sent < 1 << 28  # what the system holds between two processes, and not all of it


def test_other_media_types_are_refused(standing: Any, http: httpx.Client) -> None:
    for headers in ({}, {"content-type": "application/json"}, {"content-type": exchange.JOB}):
        answer = http.post(reports(standing), content=frame_of(standing, 1), headers=headers)
        refused(answer, 415, "unsupportedMediaType", exchange.REPORT)


@pytest.mark.parametrize("cut", [0, 50, 200, -1])
def test_truncated_frames_are_refused(standing: Any, http: httpx.Client, cut: int) -> None:
    frame = frame_of(standing, 3, "cut")
    answer = http.post(
        reports(standing), content=frame[:cut], headers={"content-type": exchange.REPORT}
    )
    refused(answer, 400, "invalidMessage", "")


@pytest.mark.parametrize("at", [0, 3, 10, 40, 44, 60, 500, -1])
def test_tampered_frames_are_refused(standing: Any, http: httpx.Client, at: int) -> None:
    frame = bytearray(frame_of(standing, 3, "tampered"))
    frame[at] ^= 1
    answer = http.post(
        reports(standing), content=bytes(frame), headers={"content-type": exchange.REPORT}
    )
    refused(answer, 400, "invalidMessage", "compare plan, roster and key")


def test_a_body_that_breaks_off_is_forgotten(standing: Any, http: httpx.Client) -> None:
    url, frame = httpx.URL(reports(standing)), frame_of(standing, 4)
    head = (
        f"POST {url.path} HTTP/1.1\r\nhost: x\r\ncontent-type: {exchange.REPORT}\r\n"
        f"content-length: {len(frame)}\r\n\r\n"
    )
    with socket.create_connection((url.host, url.port), timeout=10) as raw:
        raw.sendall(head.encode() + frame[:-1])
    headers = {"content-type": exchange.REPORT}
    assert http.post(reports(standing), content=frame, headers=headers).status_code == 200


def test_a_report_of_another_context_is_refused(standing: Any, http: httpx.Client) -> None:
    standing.write(7)
    other = frame_of(standing, 3, "other")
    standing.write(1)
    headers = {"content-type": exchange.REPORT}
    answer = http.post(reports(standing), content=other, headers=headers)
    refused(answer, 400, "invalidMessage", "its context is not this round's")


@pytest.mark.parametrize("party", [3, 77, THIRD])
def test_others_than_the_clients_are_refused(standing: Any, http: httpx.Client, party: int) -> None:
    """With a key of their own, and the helper with its own."""
    task = standing.task
    identity = standing.keys["helper"] if party == THIRD else Identity.generate(os.urandom)
    body = bytes(exchange.most_frame(task, Report) - 109)
    report = Report(
        nonce=bytes(16), public=bytes(128), for_leader=body[: task.scheme.limits.vector],
        for_helper=bytes(176), attested=bytes(64),
    )  # fmt: skip
    frame = task.endpoint(identity, party).seal(SERVER, report)
    headers = {"content-type": exchange.REPORT}
    answer = http.post(reports(standing), content=frame, headers=headers)
    reasons = {3: "does not verify", 77: "is not on the roster", THIRD: "has no input"}
    refused(answer, 400, "invalidMessage", reasons[party])


def test_the_helper_answers_the_leader_only(standing: Any, http: httpx.Client) -> None:
    task = standing.task
    accepted = Collect(accepted=ids([1, 2]))
    stranger = task.endpoint(Identity.generate(os.urandom), SERVER).seal(THIRD, accepted)
    headers = {"content-type": exchange.SHARES.request}
    url = jobs(standing, "aggregate_shares")
    refused(http.post(url, content=stranger, headers=headers), 400, "invalidMessage",
            "does not verify")  # fmt: skip
    garbage = exchange.packed([stranger])[:-1]
    answer = http.post(jobs(standing), content=garbage, headers={"content-type": exchange.JOB})
    refused(answer, 400, "invalidMessage", "")


def test_a_job_of_many_small_frames_is_refused(standing: Any, http: httpx.Client) -> None:
    """Each would be looked up in the store, and none has a signature yet."""
    most, headers = exchange.job_size(standing.task), {"content-type": exchange.JOB}
    answer = http.post(jobs(standing), content=exchange.packed([b""] * (most + 1)), headers=headers)
    refused(answer, 413, "messageTooLarge", f"at most {most} relays, not {most + 1}")
    answer = http.post(jobs(standing), content=exchange.packed([b""] * most), headers=headers)
    refused(answer, 400, "invalidMessage", "a frame has at least")


def test_what_is_not_there_is_said_to_be_so(standing: Any, http: httpx.Client) -> None:
    root = f"http://127.0.0.1:{standing.leader_port}"
    headers = {"content-type": exchange.REPORT}
    refused(http.post(f"{root}/tasks/{'A' * 43}/reports", headers=headers), 404,
            "unrecognizedTask", "compare plan and roster")  # fmt: skip
    refused(http.get(f"{root}/reports"), 404, "unrecognizedResource", "")
    refused(http.get(reports(standing)), 405, "methodNotAllowed", "")


# -- slowly ---------------------------------------------------------------------------------------


def test_a_slow_body_is_given_up(standing: Any) -> None:
    url = httpx.URL(reports(standing))
    head = (
        f"POST {url.path} HTTP/1.1\r\nhost: x\r\ncontent-type: {exchange.REPORT}\r\n"
        "content-length: 2000\r\n\r\n"
    )
    with socket.create_connection((url.host, url.port), timeout=10) as raw:
        raw.sendall(head.encode() + b"x")
        start = time.monotonic()
        answer = raw.recv(65536).decode()
        assert answer.startswith("HTTP/1.1 408")
        assert 0.5 < time.monotonic() - start < 8


def test_connections_beyond_the_bound_are_cut_and_honest_ones_return(
    standing: Any, http: httpx.Client
) -> None:
    """Many that say nothing: they are cut, or hold a place until their time is over."""
    address = ("127.0.0.1", standing.leader_port)
    held = [socket.create_connection(address, timeout=10) for _ in range(30)]
    time.sleep(0.5)
    for one in held:
        one.setblocking(False)
    cut = 0
    for one in held:
        try:
            cut += not one.recv(1)
        except ConnectionResetError:
            cut += 1
        except BlockingIOError:
            continue
    assert cut >= 10
    for one in held:
        one.close()
    time.sleep(0.3)
    assert http.get(f"http://127.0.0.1:{standing.leader_port}/health").status_code == 200


@pytest.mark.parametrize("connections", [1, 2])
def test_as_many_connections_as_allowed_are_served(deployment: Any, connections: int) -> None:
    server = deployment.helper(connections=connections)
    health = server.url + "/health"
    held = [httpx.Client(timeout=10, trust_env=False) for _ in range(connections)]
    assert [one.get(health).status_code for one in held] == [200] * connections
    with pytest.raises(httpx.TransportError), httpx.Client(trust_env=False) as more:
        more.get(health)
    for one in held:
        one.close()


@pytest.fixture
def large() -> Iterator[tuple[str, int]]:
    """Where a server listens whose answers no buffer takes, and which gives 1 s to read on."""

    async def answered(_: Request) -> Response:
        return Response(bytes(LARGE))

    listening = Listening(address="127.0.0.1:0")
    log = Log("helper", io.StringIO())
    server = server_of(app_of({"large": answered}, log, quiet), listening, Bounds(head_seconds=1))
    with listening.bound() as bound:
        thread = threading.Thread(target=server.run, kwargs={"sockets": [bound]})
        thread.start()
        yield bound.getsockname()
        server.should_exit = True
        thread.join()


@asynccontextmanager
async def quiet(_: Starlette) -> AsyncIterator[None]:
    yield


@pytest.mark.parametrize("requests", [1, 2])
@pytest.mark.parametrize("pause", [0.1, 2.5])
def test_who_does_not_read_is_given_up(large: tuple[str, int], pause: float, requests: int) -> None:
    """And who does, has as long as it takes. With two requests the second waits for the first."""
    asked = b"POST /tasks/x/large HTTP/1.1\r\nhost: x\r\ncontent-length: 0\r\n\r\n"
    with socket.create_connection(large, timeout=10) as raw:
        raw.sendall(asked * requests)
        start, found = time.monotonic(), len(raw.recv(1000))
        time.sleep(pause)
        while found < requests * LARGE and (more := len(raw.recv(1 << 20))):
            found += more
            if pause < 1 and time.monotonic() < start + 1.5:
                time.sleep(pause)
    assert (found >= requests * LARGE) == (pause < 1)


@pytest.mark.slow
def test_a_head_that_never_ends_is_given_up(standing: Any) -> None:
    address = ("127.0.0.1", standing.leader_port)
    with socket.create_connection(address, timeout=2 * HEAD_SECONDS) as raw:
        start, cut = time.monotonic(), False
        while not cut and time.monotonic() - start < 2 * HEAD_SECONDS:
            try:
                raw.sendall(b"P" if time.monotonic() - start < 1 else b"")
                raw.settimeout(1)
                cut = not raw.recv(1)
            except TimeoutError:
                continue
            except (ConnectionResetError, BrokenPipeError):
                cut = True
        assert cut
        assert time.monotonic() - start < HEAD_SECONDS + 5


# -- across restarts ------------------------------------------------------------------------------


def test_replays_are_refused_across_restarts_and_rounds(
    deployment: Any, http: httpx.Client
) -> None:
    deployment.helper()
    leader = deployment.leader(after=5)
    first, other = frame_of(deployment, 1), frame_of(deployment, 1, "other")
    headers = {"content-type": exchange.REPORT}
    url = reports(deployment)
    assert http.post(url, content=first, headers=headers).status_code == 200
    leader.kill(signal.SIGTERM)
    deployment.leader(after=5).saw("listening")
    assert http.post(url, content=first, headers=headers).status_code == 200
    answer = http.post(url, content=other, headers=headers)
    refused(answer, 409, "reportReplayed", "the first one counts")


def test_a_leader_that_stops_in_order_says_so(deployment: Any) -> None:
    deployment.helper()
    leader = deployment.leader()
    assert leader.saw("listening")
    leader.kill(signal.SIGTERM)
    assert leader.saw("stopped")
    assert "Traceback" not in leader.text()


@pytest.mark.slow
def test_a_helper_that_is_down_is_waited_for_and_then_named(deployment: Any) -> None:
    helper = deployment.helper()
    helper.kill()
    leader = deployment.leader(after=2, patience=0.5)
    for client in (1, 2):
        assert deployment.upload(client).client == client
    assert leader.ended() == 2
    last = leader.text().splitlines()[-1]
    assert last.startswith("secagg leader: http://127.0.0.1:")
    assert "gave no answer" in last
    deployment.helper()
    assert deployment.leader(after=2).ended() == 0
    assert deployment.outcome()["sum"] == deployment.expected([1, 2])


def test_two_leaders_on_one_store_are_one_too_many(deployment: Any) -> None:
    deployment.leader()
    second = deployment._server("leader", {"helper": "http://127.0.0.1:1", "listen": "127.0.0.1:0"})
    assert second.ended() == 2
    assert "leader.db is open in another process: one server has one store" in second.text()
    assert deployment.upload(1).client == 1


# -- a full disk ----------------------------------------------------------------------------------


@pytest.mark.parametrize("full", ["quota", pytest.param("file size", marks=pytest.mark.slow)])
def test_a_report_that_cannot_be_stored_is_not_acknowledged(deployment: Any, full: str) -> None:
    """The first ones fit; whoever was acknowledged is in the sum once there is room again."""
    deployment.write(1, size=30000)
    deployment.update = lambda client: np.full(30000, client / 1000)
    deployment.helper()
    small = {"store_mb": 1} if full == "quota" else {"options": {"file_bytes": 1 << 20}}
    leader = deployment.leader(after=5, **small)
    taken = [client for client in (1, 2, 3, 4, 5) if deployment.uploaded(client)]
    assert 2 <= len(taken) < 5
    with pytest.raises(Unreachable, match="storeFailed: nothing could be stored"):
        deployment.upload(5)
    assert leader.ended(0.0) is None
    leader.kill()
    assert deployment.leader(after=len(taken)).ended(60) == 0
    assert deployment.outcome()["included"] == taken
    assert deployment.outcome()["sum"] == deployment.expected(taken)


# -- at the client --------------------------------------------------------------------------------


def test_a_client_is_told_why_it_was_refused(standing: Any) -> None:
    frame = frame_of(standing, 5)
    with Peer(f"http://127.0.0.1:{standing.leader_port}", patience=5) as leader:
        path = f"/tasks/{standing.task.id}/reports"
        with pytest.raises(RequestRefused, match=r"invalidMessage: .*does not verify") as caught:
            leader.post(path, frame[:-1] + bytes([frame[-1] ^ 1]), exchange.REPORT, 4096)
        assert caught.value.problem == "invalidMessage"
        assert json.loads(leader.post(path, frame, exchange.REPORT, 4096))["client"] == 5
