"""Messages over TCP, with TLS from files: a byte for the kind, four for the length, the content.

The library's frames authenticate themselves. TLS keeps strangers from listening to who takes part,
and from taking a site's connection; beyond this machine there is no round without it.
"""

from __future__ import annotations

import asyncio
import ssl
from contextlib import suppress
from dataclasses import dataclass
from enum import IntEnum
from ipaddress import ip_address
from pathlib import Path

from apiwatch.errors import ParameterError, RoundFailed

__all__ = ["Address", "Channel", "Kind", "client_tls", "server_tls"]

_CLOSING = 2.0  # seconds


class Kind(IntEnum):
    """HELLO: a site's id. SESSION: the server's `Opening`. FRAME: of the protocol. SUM: what
    came out. CLASSES: the class sums, for members.
    """

    HELLO = 0
    SESSION = 1
    FRAME = 2
    SUM = 3
    CLASSES = 4


@dataclass(frozen=True)
class Address:
    """Where the server listens."""

    host: str
    port: int

    @classmethod
    def parse(cls, text: str) -> Address:
        """Of `host:port`, or `[host]:port` for IPv6."""
        host, _, port = text.rpartition(":")
        if not host or not port.isdecimal() or int(port) > 65535:
            raise ParameterError(f"host:port with port <= 65535 must hold, got {text!r}")
        return cls(host.strip("[]"), int(port))

    @property
    def is_here(self) -> bool:
        """Whether nothing leaves this machine."""
        try:
            return ip_address(self.host).is_loopback
        except ValueError:
            return self.host == "localhost"

    def check(self, tls: ssl.SSLContext | None) -> None:
        """Raise `ParameterError` where TLS is needed and missing."""
        if tls is None and not self.is_here:
            raise ParameterError(f"TLS or a loopback address must hold, got {self.host}")


class Channel:
    """One connection. `send` queues: a slow peer holds up nobody."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer

    def send(self, kind: Kind, content: bytes) -> None:
        """Queue a message."""
        if not self._writer.is_closing():
            head = bytes((kind,)) + len(content).to_bytes(4, "big")
            self._writer.writelines((head, content))

    async def receive(self, most: int) -> tuple[Kind, bytes]:
        """The next. `EOFError` or `ConnectionError` where the peer is gone, or sends what is none:
        a length beyond `most` is refused unread.
        """
        head = await self._reader.readexactly(5)
        size = int.from_bytes(head[1:], "big")
        if head[0] not in set(Kind) or size > most:
            raise ConnectionError(f"message of kind {head[0]} and {size} bytes, at most {most}")
        return Kind(head[0]), await self._reader.readexactly(size)

    async def expect(self, kind: Kind, most: int) -> bytes:
        """The next, of this kind."""
        found, content = await self.receive(most)
        if found is not kind:
            raise ConnectionError(f"{kind.name} was due, and {found.name} came")
        return content

    async def drained(self) -> None:
        """Once all that was queued has left."""
        await self._writer.drain()

    async def close(self) -> None:
        """Whoever waits for more learns that nothing comes; a peer that does not listen is cut."""
        self._writer.close()
        with suppress(OSError, TimeoutError):
            await asyncio.wait_for(self._writer.wait_closed(), _CLOSING)
        self._writer.transport.abort()


def server_tls(certificate: Path, key: Path, sites: Path | None = None) -> ssl.SSLContext:
    """TLS 1.3 as a server. sites: who signs the certificates that sites must show, if any."""
    context = _loaded(ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), certificate, key)
    if sites is not None:
        context.verify_mode = ssl.CERT_REQUIRED
        context.load_verify_locations(sites)
    return context


def client_tls(
    authority: Path, certificate: Path | None = None, key: Path | None = None
) -> ssl.SSLContext:
    """TLS 1.3 as a site. authority: who signs the server's certificate, and nobody else."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.load_verify_locations(authority)
    return _loaded(context, certificate, key)


def _loaded(context: ssl.SSLContext, certificate: Path | None, key: Path | None) -> ssl.SSLContext:
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    if certificate is not None:
        try:
            context.load_cert_chain(certificate, key)
        except ssl.SSLError as error:
            raise RoundFailed(f"{certificate}: {error.reason or 'no certificate'}") from None
    return context
