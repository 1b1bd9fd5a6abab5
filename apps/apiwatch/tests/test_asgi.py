"""The middleware: what the application gets, what happens to attacks, and what no error does."""

from __future__ import annotations

import asyncio
import json
import logging
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from traffic import usual

from apiwatch import Settings, gather
from apiwatch.asgi import Middleware
from apiwatch.asgi_body import request_of
from apiwatch.errors import ParameterError, ProfileUnreadable
from apiwatch.logs import Log
from apiwatch.policy import Mode, Policy
from apiwatch.sinks import AlertFile, Recorder
from apiwatch.watch import Silent, Watcher
from apiwatch.work import learnt, taught

SETTINGS = Settings(cells=14, slots=8, salt=b"0123456789abcdef")
SQLI = "/items/1?sort=asc'%20or%201=1--"
STRANGE = "/items/1?sort=%7B%7B~%7C%7C~%7D%7D"
SECRET = "what a request held"
HEADERS = [(b"user-agent", b"shop/1"), (b"cookie", b"sid=000001")]


LOADED: dict[Path, Watcher] = {}
"""Profiles that were loaded before: solving for the classes takes long."""


class Counted(Silent):
    def __init__(self) -> None:
        self.errors: list[str] = []
        self.reasons: list[str] = []
        self.judged = 0

    def seen(self, seen) -> None:
        self.judged += 1

    def unjudged(self, reason: str) -> None:
        self.reasons.append(reason)

    def failed(self, where: str) -> None:
        self.errors.append(where)


@pytest.fixture(scope="module")
def profile(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("asgi") / "profile"
    made = learnt(gather(usual(600)), SETTINGS, None)
    words = ("asc", "b", "9")
    pairs = [(f"{word}' or {i}={i}--", "sqli") for i in range(9) for word in words]
    pairs += [(f"anna {i}", "benign") for i in range(20)] + [("asc", "benign"), ("desc", "benign")]
    taught(made, pairs)
    made.save(path)
    return path


class Stage:
    """An application behind the middleware, and what it got."""

    def __init__(self, path: Path, *, mode: Mode = Mode.BLOCK, now: float = 0.0, **options) -> None:
        self.now = now
        self.meter = Counted()
        self.got: list[dict[str, Any]] = []
        policy = Policy(mode=mode, window=300.0, delay=0.05)
        self.watcher = Watcher(path, policy=policy, meter=self.meter, clock=lambda: self.now)
        self.alerts: list[Any] = []
        judged = frozenset({"user-agent", "cookie"})
        options = {"sink": self.alerts.append, "headers": judged} | options
        self.middleware = Middleware(self.app, watcher=self.watcher, **options)
        if path.is_file():
            before = LOADED.setdefault(path, Watcher(path))
            if before.is_stale:
                before.reload()
            self.watcher.loaded, self.watcher._stamp = before.loaded, before._stamp

    async def app(self, scope, receive, send) -> None:
        more = True
        while more:
            self.got.append(await receive())
            more = self.got[-1].get("more_body", False)
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"ok"})

    async def ask(self, target: str, messages=None, method: str = "GET", **scope) -> int:
        path, _, query = target.partition("?")
        remaining = iter(messages or [{"type": "http.request", "body": b"", "more_body": False}])
        sent: list[dict[str, Any]] = []

        async def receive() -> dict[str, Any]:
            step = next(remaining, None)
            if step is None or step == "wait":
                await asyncio.sleep(60)
            return step

        async def send(message) -> None:
            sent.append(message)

        asked = {
            "type": "http",
            "http_version": "1.1",
            "method": method,
            "path": path,
            "raw_path": path.encode(),
            "query_string": query.encode(),
            "headers": HEADERS if messages is None else [*HEADERS, (b"content-length", b"1")],
            "client": ("192.0.2.1", 5),
        }
        await self.middleware(asked | scope, receive, send)
        self.body = b"".join(m.get("body", b"") for m in sent)
        return sent[0]["status"]


def chunks(*parts: bytes) -> list[dict[str, Any]]:
    last = len(parts) - 1
    return [
        {"type": "http.request", "body": part, "more_body": i < last}
        for i, part in enumerate(parts)
    ]


def test_usual_requests_pass_and_a_known_class_is_refused(profile: Path) -> None:
    stage = Stage(profile)
    assert asyncio.run(stage.ask("/items/7?sort=asc")) == 200
    assert (len(stage.got), stage.alerts) == (1, [])
    assert asyncio.run(stage.ask(SQLI)) == 403
    assert len(stage.got) == 1
    assert stage.alerts[0].name.label == "sqli"
    assert json.loads(stage.body)["alert"] == stage.alerts[0].id


def test_an_unknown_attack_is_refused_from_the_second_on_within_the_window(profile: Path) -> None:
    stage = Stage(profile)
    assert asyncio.run(stage.ask(STRANGE)) == 200
    assert stage.alerts[0].name.label == "unknown"
    assert asyncio.run(stage.ask(STRANGE, client=("192.0.2.9", 5))) == 200
    stage.now = 299.0
    assert asyncio.run(stage.ask(STRANGE)) == 403
    stage.now = 700.0
    assert asyncio.run(stage.ask(STRANGE)) == 200
    assert asyncio.run(stage.ask("/items/7?sort=asc")) == 200


@pytest.mark.parametrize("mode", [Mode.OBSERVE, Mode.DELAY])
def test_other_modes_refuse_nothing_and_alert(profile: Path, mode: Mode) -> None:
    stage = Stage(profile, mode=mode)
    assert asyncio.run(stage.ask(SQLI)) == 200
    assert len(stage.alerts) == len(stage.got) == 1


def test_delays_are_bounded_in_number(profile: Path) -> None:
    stage = Stage(profile, mode=Mode.DELAY)

    async def timed() -> float:
        start = asyncio.get_running_loop().time()
        await stage.ask(SQLI)
        return asyncio.get_running_loop().time() - start

    assert asyncio.run(timed()) >= 0.05
    stage.middleware._delayed = stage.watcher.policy.most_delayed
    assert asyncio.run(timed()) < 0.05


@given(parts=st.lists(st.binary(max_size=40), min_size=1, max_size=6), mode=st.sampled_from(Mode))
def test_the_application_gets_every_message_as_it_was(profile, parts, mode) -> None:
    stage = Stage(profile, mode=mode, body_bytes=60)
    messages = chunks(*parts)
    assert asyncio.run(stage.ask("/items/7?sort=asc", messages, "GET")) in (200, 403)
    assert stage.got in ([], messages)
    assert stage.meter.errors == []
    if mode is Mode.OBSERVE or not stage.alerts:
        assert stage.got == messages


@pytest.mark.parametrize("mode", [Mode.OBSERVE, Mode.BLOCK])
def test_attacks_in_bodies_are_seen_across_messages(profile: Path, mode: Mode) -> None:
    stage = Stage(profile, mode=mode)
    body = b'{"user": "anna1\' or 1=1--", "amount": 1}'
    asyncio.run(stage.ask("/orders", chunks(body[:15], body[15:], b""), "POST"))
    assert [alert.first.field.label for alert in stage.alerts] == ["json:$.user"]


@pytest.mark.parametrize(("closed", "status"), [(False, 200), (True, 413)])
def test_a_long_body_streams_through(profile: Path, closed: bool, status: int) -> None:
    stage = Stage(profile, body_bytes=100, fail_closed=closed)
    messages = chunks(b"a" * 80, b"b" * 80, b"c" * 80)
    assert asyncio.run(stage.ask("/items/7?sort=asc", messages)) == status
    assert stage.got == ([] if closed else messages)
    assert (stage.meter.reasons, stage.alerts) == (["body"], [])


@pytest.mark.parametrize(("closed", "status"), [(False, 200), (True, 408)])
def test_a_slow_body_is_not_waited_for(profile: Path, closed: bool, status: int) -> None:
    async def scene() -> int:
        late = asyncio.Event()
        messages = chunks(b"a", b"b")
        first = iter([messages[0]])

        async def receive():
            return next(first, None) or (await late.wait() and messages[1])

        stage.middleware.app = app
        asking = stage.middleware(
            stage_scope | {"headers": [(b"transfer-encoding", b"chunked")]}, receive, send
        )
        task = asyncio.create_task(asking)
        await asyncio.sleep(0.1)
        late.set()
        await task
        return sent[0]["status"]

    stage = Stage(profile, body_seconds=0.03, fail_closed=closed)
    stage_scope = {"type": "http", "http_version": "1.1", "method": "GET", "path": "/items/7"}
    stage_scope |= {"raw_path": b"/items/7", "query_string": b"sort=asc", "client": None}
    sent: list[dict[str, Any]] = []
    app = stage.app

    async def send(message) -> None:
        sent.append(message)

    assert asyncio.run(scene()) == status
    assert stage.got == ([] if closed else chunks(b"a", b"b"))


def test_a_disconnection_reaches_the_application(profile: Path) -> None:
    stage = Stage(profile)
    gone = [{"type": "http.request", "body": b"a", "more_body": True}, {"type": "http.disconnect"}]
    asyncio.run(stage.ask("/items/7?sort=asc", gone))
    assert stage.got == gone


@pytest.mark.parametrize("kind", ["lifespan", "websocket"])
def test_all_but_http_passes_untouched(profile: Path, kind: str) -> None:
    stage = Stage(profile)
    seen = []

    async def app(*given) -> None:
        seen.extend(given)

    stage.middleware.app = app
    given = ({"type": kind}, object(), object())
    asyncio.run(stage.middleware(*given))
    assert [id(part) for part in seen] == [id(part) for part in given]
    assert stage.meter.judged == 0


def broken(*_: object, **__: object) -> None:
    raise ZeroDivisionError(SECRET)


@pytest.mark.parametrize(("closed", "status"), [(False, 200), (True, 503)])
def test_an_error_of_the_scorer_is_not_the_application_s(
    profile: Path, closed: bool, status: int, caplog: pytest.LogCaptureFixture
) -> None:
    stage = Stage(profile, fail_closed=closed)
    stage.watcher.judge = broken
    with caplog.at_level(logging.ERROR, "apiwatch"):
        assert asyncio.run(stage.ask("/items/7?sort=asc")) == status
    assert (stage.meter.errors, stage.meter.reasons) == (["score"], ["error"])
    assert "ZeroDivisionError" in caplog.text
    assert SECRET not in caplog.text


@pytest.mark.parametrize("part", ["sink", "record"])
def test_nor_is_one_of_sink_or_record(profile: Path, part: str) -> None:
    stage = Stage(profile, **{part: broken})
    assert asyncio.run(stage.ask(SQLI)) == 403
    assert asyncio.run(stage.ask("/items/7?sort=asc")) == 200
    assert set(stage.meter.errors) == {part}


def test_errors_of_the_application_are_its_own(profile: Path) -> None:
    for mode in Mode:
        stage = Stage(profile, mode=mode)
        stage.middleware.app = broken
        with pytest.raises(ZeroDivisionError):
            asyncio.run(stage.ask("/items/7?sort=asc"))
        assert stage.meter.errors == []


@pytest.mark.parametrize(("closed", "status"), [(False, 200), (True, 503)])
def test_without_a_profile_requests_pass_and_are_recorded(
    tmp_path: Path, closed: bool, status: int
) -> None:
    with Recorder(tmp_path / "record") as record:
        stage = Stage(tmp_path / "none", fail_closed=closed, record=record)
        assert asyncio.run(stage.ask(SQLI)) == status
    assert stage.meter.reasons == ["no profile"]
    (request,) = Log((tmp_path / "record").read_bytes().splitlines())
    assert (request.target, request.source) == (SQLI, "192.0.2.1")
    assert (tmp_path / "record").stat().st_mode & 0o777 == 0o600


def test_a_new_profile_is_taken_without_a_restart(profile: Path, tmp_path: Path) -> None:
    path = tmp_path / "profile"
    stage = Stage(path)

    async def scene() -> list[int]:
        statuses = [await stage.ask(SQLI)]
        path.write_bytes(profile.read_bytes())
        stage.now += 2
        await stage.ask("/items/7?sort=asc")
        await stage.middleware._reloading
        statuses.append(await stage.ask(SQLI))
        path.write_bytes(b"no profile")
        stage.now += 2
        await stage.ask("/items/7?sort=asc")
        await stage.middleware._reloading
        path.unlink()
        stage.now += 2
        return [*statuses, await stage.ask(SQLI)]

    assert asyncio.run(scene()) == [200, 403, 403]
    assert stage.meter.errors == ["reload"]
    with pytest.raises(FileNotFoundError):
        stage.watcher.reload()
    path.write_bytes(b"x")
    with pytest.raises(ProfileUnreadable):
        stage.watcher.reload()


def test_a_long_request_is_judged_aside_with_the_same_score(profile: Path) -> None:
    stage = Stage(profile)
    target = "/items/7?sort=" + "a" * 5000
    assert asyncio.run(stage.ask(target)) == 200
    request = stage.alerts[0].first.request
    assert stage.watcher.judge(request).judged.score == stage.alerts[0].first.score


@pytest.mark.parametrize(("cookies", "aside"), [(1, 0), (2000, 1)])
def test_many_cookies_hold_up_nobody(profile: Path, cookies: int, aside: int) -> None:
    stage = Stage(profile)
    judge, seen = stage.watcher.judge_aside, []

    def judged(request, *, partial: bool):
        seen.append(request)
        return judge(request, partial=partial)

    stage.watcher.judge_aside = judged
    crumbs = b"; ".join(b"c%d=1" % i for i in range(cookies))
    headers = [(b"user-agent", b"shop/1"), (b"cookie", crumbs)]
    asyncio.run(stage.ask("/items/1?sort=asc", headers=headers))
    assert (len(seen), stage.meter.judged, stage.meter.errors) == (aside, 1, [])


def test_alerts_go_to_a_file(profile: Path, tmp_path: Path) -> None:
    path = tmp_path / "alerts"
    with AlertFile(path) as sink:
        stage = Stage(profile, sink=sink)
        asyncio.run(stage.ask(SQLI))
        path.rename(tmp_path / "rotated")
        asyncio.run(stage.ask(SQLI))
    for file in (path, tmp_path / "rotated"):
        (line,) = file.read_text().splitlines()
        assert json.loads(line)["class_uid"] == 2004


def test_only_the_named_headers_are_taken() -> None:
    scope = {"type": "http", "method": "GET", "path": "/a b", "client": None}
    scope |= {"headers": [(b"Host", b"h"), (b"X-Id", b"\xff1")], "query_string": b"q=%27"}
    everything = request_of(scope, b"\xff", None)
    assert everything.target == "/a%20b?q=%27"
    assert everything.headers == (("host", "h"), ("x-id", "\ufffd1"))
    assert request_of(scope, b"", frozenset({"host"})).headers == (("host", "h"),)


@pytest.mark.parametrize("wrong", [{"body_bytes": -1}, {"body_seconds": 0}])
def test_parameters_are_checked(profile: Path, wrong) -> None:
    Stage(profile, body_bytes=0, body_seconds=1)
    with pytest.raises(ParameterError, match="must hold"):
        Stage(profile, **wrong)
