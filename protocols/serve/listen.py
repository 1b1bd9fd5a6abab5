"""A socket, TLS and an application as a server that stops in order."""

from __future__ import annotations

import asyncio
import ipaddress
import socket
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import uvicorn
from starlette.applications import Starlette
from uvicorn.protocols.http.h11_impl import H11Protocol

from protocols.serve.intake import Bounds
from secagg.errors import ParameterError

__all__ = ["Listening", "Server", "is_loopback", "server_of"]


@dataclass(frozen=True, kw_only=True)
class Listening:
    """Where a server listens, and with what certificate.

    address: HOST:PORT, port 0 for any. certificate, key: PEM files; both, or neither on a
    loopback address. Raises `ParameterError`.
    """

    address: str
    certificate: Path | None = None
    key: Path | None = None

    def __post_init__(self) -> None:
        _ = self.port
        if (self.certificate is None) != (self.key is None):
            raise ParameterError("--certificate and --certificate-key go together")
        if self.certificate is None and not is_loopback(self.host):
            raise ParameterError(
                f"TLS is needed on {self.host}: give --certificate and --certificate-key, or "
                "listen on 127.0.0.1 behind a proxy that has them"
            )

    @property
    def host(self) -> str:
        """Without the port, and without brackets."""
        return self.address.rpartition(":")[0].strip("[]")

    @property
    def port(self) -> int:
        """0 to 65535."""
        text = self.address.rpartition(":")[2]
        if not (self.host and text.isdecimal() and int(text) < 1 << 16):
            raise ParameterError(f"--listen must be HOST:PORT, got {self.address!r}")
        return int(text)

    def bound(self) -> socket.socket:
        """A socket that takes connections there; `OSError` if there is none to be had."""
        family = socket.AF_INET6 if ":" in self.host else socket.AF_INET
        found = socket.socket(family)
        try:
            found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            found.bind((self.host, self.port))
            found.listen()
        except OSError as error:
            found.close()
            raise OSError(error.errno, error.strerror, self.address) from None
        return found

    def url(self, found: socket.socket) -> str:
        """How a client on this machine addresses the server."""
        scheme = "http" if self.certificate is None else "https"
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{scheme}://{host}:{found.getsockname()[1]}"


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches that host."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


class _Timed(H11Protocol):
    """One connection. uvicorn bounds the time between requests; here also that of a request head,
    and of answers that are not read.

    Connections beyond the bound are cut at once.
    """

    _head: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        if len(self.connections) >= (self.limit_concurrency or 0):
            transport.abort()
        self._watch()

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        self._watch()

    def on_response_complete(self) -> None:
        super().on_response_complete()
        self._watch()

    def pause_writing(self) -> None:
        super().pause_writing()
        self._watch()

    def resume_writing(self) -> None:
        super().resume_writing()
        self._watch()

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self._rest()

    def _watch(self) -> None:
        """The clock runs while a head is due or answers wait to be read, and not for a body."""
        is_answering = self.cycle is not None and not self.cycle.response_complete
        if is_answering and not self.flow.write_paused:
            self._rest()
        elif self._head is None:
            self._expect(self.transport.get_write_buffer_size())

    def _expect(self, unread: int) -> None:
        seconds = self.config.timeout_keep_alive
        self._head = self.loop.call_later(seconds, self._look, unread)

    def _look(self, before: int) -> None:
        """Cut, unless some of the answers was read: a long one on a slow line takes its time."""
        unread = self.transport.get_write_buffer_size()
        if unread < before:
            self._expect(unread)
        else:
            self.transport.abort()

    def _rest(self) -> None:
        if self._head is not None:
            self._head.cancel()
            self._head = None


class Server(uvicorn.Server):
    """Calls `ready` when it listens: from then on a signal stops it in order, and not before."""

    ready: Callable[[], None] | None = None

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self.ready is not None:
            self.ready()


def server_of(app: Starlette, listening: Listening, bounds: Bounds) -> Server:
    """The server; `run(sockets=[listening.bound()])` returns when it was told to stop.

    On SIGTERM or SIGINT it takes no more requests, finishes those under way, and ends.
    """
    tls: dict[str, Any] = {}
    if listening.certificate is not None:
        tls = {"ssl_certfile": listening.certificate, "ssl_keyfile": listening.key}
    config = uvicorn.Config(
        app,
        http=_Timed,
        ws="none",
        loop="asyncio",
        lifespan="on",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        limit_concurrency=bounds.connections + 1,  # uvicorn answers 503 from this one on
        timeout_keep_alive=bounds.head_seconds,
        timeout_graceful_shutdown=10,
        **tls,
    )
    return Server(config)
