"""An ASGI middleware: observes requests, and delays or refuses those that the policy convicts.

    watcher = Watcher(Path("apiwatch.profile"), policy=Policy(mode=Mode.BLOCK), meter=Metrics())
    app = Middleware(app, watcher=watcher, sink=AlertFile(Path("alerts.jsonl")))

Only HTTP requests are looked at; lifespan and websockets pass. In mode OBSERVE nothing is held up:
a copy of the body is judged once the application is done. Otherwise the body is read first, up to
a size and for a time, and replayed message by message. For asyncio.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from apiwatch.alerts import Alert
from apiwatch.asgi_body import Body, Scope, Tee, has_body, request_of
from apiwatch.contained import Contained
from apiwatch.event import Request
from apiwatch.policy import Action, Mode
from apiwatch.settings import require
from apiwatch.watch import Judgment, Seen, Sink, Watcher

__all__ = ["Middleware"]

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Application = Callable[[Scope, Receive, Send], Awaitable[None]]
Record = Callable[[Request, Alert | None], None]

_ASIDE = 1 << 12  # characters of a request, from which on another thread judges
_CHECK = 1.0  # seconds between looks at the profile's file
_REASONS = {403: "refused", 408: "body too slow", 413: "body too long", 503: "not judged"}


class Middleware:
    """Around `app`.

    body_bytes, body_seconds: how much of a body is read before the application sees it, and for
    how long. What is longer or slower is a stream: its request is judged without its body, and it
    goes through untouched. fail_closed: refuse what could not be judged, streams included; by
    default it passes, and is counted. headers: names in lower case of those that are judged and
    recorded; all by default. record: takes every request that is there as a
    whole, to learn from.

    Errors of the watcher, the sink or the record are counted, logged and never the application's.
    """

    def __init__(
        self,
        app: Application,
        *,
        watcher: Watcher,
        sink: Sink | None = None,
        record: Record | None = None,
        headers: frozenset[str] | None = None,
        body_bytes: int = 1 << 16,
        body_seconds: float = 2.0,
        fail_closed: bool = False,
    ) -> None:
        require(body_bytes >= 0, "body_bytes >= 0", body_bytes)
        require(body_seconds > 0, "body_seconds > 0", body_seconds)
        self.app = app
        self.watcher = watcher
        self._sink, self._record = sink, record
        self._headers = headers
        self._body_bytes, self._body_seconds = body_bytes, body_seconds
        self._fail_closed = fail_closed
        self._delayed = 0
        self._next_check = 0.0
        self._reloading: asyncio.Task[None] | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One connection of the server."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        self._check_profile()
        observed = self.watcher.policy.mode is Mode.OBSERVE and not self._fail_closed
        await (self._observed if observed else self._guarded)(scope, receive, send)

    async def _observed(self, scope: Scope, receive: Receive, send: Send) -> None:
        tee = Tee(receive, self._body_bytes)
        try:
            await self.app(scope, tee.receive, send)
        finally:
            await self._seen(scope, tee.data, whole=tee.whole or not has_body(scope))

    async def _guarded(self, scope: Scope, receive: Receive, send: Send) -> None:
        body = Body(receive, self._body_bytes, self._body_seconds)
        try:
            if has_body(scope):
                await body.read()
            seen = await self._seen(scope, body.data, whole=body.refused is None)
            status = self._refused(seen, body.refused)
            if status is not None:
                await _respond(send, status, seen)
                return
            if seen is not None and seen.action is Action.DELAY:
                await self._delay()
            await self.app(scope, body.receive, send)
        finally:
            body.close()

    def _refused(self, seen: Seen | None, unread: int | None) -> int | None:
        """The status of a refusal, or None."""
        if seen is not None and seen.action is Action.BLOCK:
            return 403
        if not self._fail_closed:
            return None
        return 503 if seen is None else unread

    async def _delay(self) -> None:
        if self._delayed >= self.watcher.policy.most_delayed:
            return
        self._delayed += 1
        try:
            await asyncio.sleep(self.watcher.policy.delay)
        finally:
            self._delayed -= 1

    async def _seen(self, scope: Scope, body: bytes, *, whole: bool) -> Seen | None:
        """What came of a request; None where it could not be judged."""
        meter = self.watcher.meter
        if not whole:
            meter.unjudged("body")
        seen: Seen | None = None
        with Contained("score", meter) as contained:
            request = request_of(scope, body if whole else b"", self._headers)
            judgment = await self._judged(request, partial=not whole)
            if judgment is not None:
                seen = self.watcher.decide(judgment)
                meter.seen(seen)
            self._report(request, seen, whole=whole)
        if seen is None:
            meter.unjudged("error" if contained.failed else "no profile")
        return seen

    async def _judged(self, request: Request, *, partial: bool) -> Judgment | None:
        if _size(request) < _ASIDE:
            return self.watcher.judge(request, partial=partial)
        return await asyncio.to_thread(self.watcher.judge_aside, request, partial=partial)

    def _report(self, request: Request, seen: Seen | None, *, whole: bool) -> None:
        alert = seen.alert if seen is not None else None
        if alert is not None and self._sink is not None:
            with Contained("sink", self.watcher.meter):
                self._sink(alert)
        if self._record is not None and whole:  # a part of a request would teach the wrong names
            with Contained("record", self.watcher.meter):
                self._record(request, alert)

    def _check_profile(self) -> None:
        """Once a second, whether there is a new profile; another thread loads it."""
        now = self.watcher.clock()
        if now < self._next_check or (self._reloading and not self._reloading.done()):
            return
        self._next_check = now + _CHECK
        with Contained("reload", self.watcher.meter):
            if self.watcher.is_stale:
                self._reloading = asyncio.create_task(self._reload())

    async def _reload(self) -> None:
        with Contained("reload", self.watcher.meter):
            await asyncio.to_thread(self.watcher.reload)


def _size(request: Request) -> int:
    """Its characters, headers included: thousands of cookies take as long as a long body."""
    headers = sum(len(name) + len(value) for name, value in request.headers)
    return len(request.body) + len(request.target) + headers


async def _respond(send: Send, status: int, seen: Seen | None) -> None:
    """A refusal. It names the group of the alert, for whoever asks why, and no reason."""
    answer = {"error": _REASONS[status]}
    if status == 403 and seen is not None and seen.alert is not None:
        answer["alert"] = seen.alert.id
    body = json.dumps(answer).encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(body))]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
