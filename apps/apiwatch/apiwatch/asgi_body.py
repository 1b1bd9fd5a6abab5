"""What the middleware reads of a request, and how the application still gets every message."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any
from urllib.parse import quote

from apiwatch.event import Request

__all__ = ["Body", "Scope", "Tee", "has_body", "request_of"]

Scope = MutableMapping[str, Any]
_Message = MutableMapping[str, Any]
_Receive = Callable[[], Awaitable[_Message]]


def has_body(scope: Scope) -> bool:
    """Whether one may follow. In HTTP/1 a header says so; later versions need none."""
    if scope.get("http_version", "1.1") not in ("1.0", "1.1"):
        return True
    return any(name in (b"content-length", b"transfer-encoding") for name, _ in scope["headers"])


def request_of(scope: Scope, body: bytes, headers: frozenset[str] | None) -> Request:
    """The request as it came, nothing decoded; bytes that are no UTF-8 become U+FFFD as in logs.

    headers: those to take, all where it is None.
    """
    path = scope.get("raw_path") or quote(scope["path"]).encode()
    query = scope.get("query_string", b"")
    pairs = ((_text(name).lower(), _text(value)) for name, value in scope["headers"])
    client = scope.get("client")
    return Request(
        method=scope["method"],
        target=_text(path + b"?" + query if query else path),
        headers=tuple(pair for pair in pairs if headers is None or pair[0] in headers),
        body=_text(body),
        time=time.time(),
        source=client[0] if client else "",
    )


def _text(data: bytes) -> str:
    return data.decode("utf-8", "replace")


class Body:
    """The messages of a body, read up to a bound and given again, each once and in their order.

    refused: 413 or 408 where it was longer or slower than allowed, else None.
    """

    def __init__(self, receive: _Receive, most: int, seconds: float) -> None:
        self._receive = receive
        self._most, self._seconds = most, seconds
        self._kept: deque[_Message] = deque()
        self._pending: asyncio.Task[_Message] | None = None
        self.refused: int | None = None

    @property
    def data(self) -> bytes:
        """What was read."""
        return b"".join(message.get("body", b"") for message in self._kept)

    async def read(self) -> None:
        """To the end, the bound, or a disconnection, which the application will see."""
        loop = asyncio.get_running_loop()
        end, size = loop.time() + self._seconds, 0
        while True:
            message = await self._next(end - loop.time())
            if message is None:
                self.refused = 408
                return
            self._kept.append(message)
            size += len(message.get("body", b""))
            if size > self._most:
                self.refused = 413
                return
            if message["type"] != "http.request" or not message.get("more_body", False):
                return

    async def receive(self) -> _Message:
        """In the place of the server's own."""
        if self._kept:
            return self._kept.popleft()
        if self._pending is not None:
            task, self._pending = self._pending, None
            return await task
        return await self._receive()

    def close(self) -> None:
        """Nobody waits for more."""
        if self._pending is not None:
            self._pending.cancel()

    async def _next(self, seconds: float) -> _Message | None:
        """None after that time; what comes then is not lost but the application's."""
        self._pending = asyncio.ensure_future(self._receive())
        done, _ = await asyncio.wait({self._pending}, timeout=max(seconds, 0.0))
        if not done:
            return None
        task, self._pending = self._pending, None
        return task.result()


class Tee:
    """A copy of what the application reads of a body, up to a bound.

    whole: whether all of it was read and kept.
    """

    def __init__(self, receive: _Receive, most: int) -> None:
        self._receive = receive
        self._most = most
        self._parts: list[bytes] = []
        self._size = 0
        self._ended = False

    @property
    def data(self) -> bytes:
        """What was kept."""
        return b"".join(self._parts)

    @property
    def whole(self) -> bool:
        return self._ended and self._size <= self._most

    async def receive(self) -> _Message:
        """The server's own."""
        message = await self._receive()
        if message["type"] == "http.request" and not self._ended:
            part = message.get("body", b"")
            self._size += len(part)
            if self._size <= self._most:
                self._parts.append(part)
            self._ended = not message.get("more_body", False)
        return message
