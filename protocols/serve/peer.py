"""Requests to a server: again until there is an answer, for a time that is bounded.

Every request of this protocol has its effect once however often it arrives: asking again is safe.
"""

from __future__ import annotations

import json
import os
import ssl
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Self
from urllib.parse import SplitResult, urlsplit

import httpx

from protocols.serve.listen import is_loopback
from protocols.serve.problem import refusal_of
from secagg.errors import ParameterError, Unreachable

__all__ = ["Peer", "json_of"]

_FIRST_PAUSE, _LONGEST_PAUSE = 0.1, 10.0
_PASSING = frozenset({408, 425, 429, 500, 502, 503, 504, 507})
"""Answers that another try may change."""


class Peer:
    """A server that is asked.

    url: `https://…`, or `http://…` of this machine. authority: PEM file of who signed its
    certificate; by default those that the system trusts. patience: seconds after which it is given
    up. seconds: without a byte of an answer. Raises `ParameterError`.
    """

    def __init__(
        self,
        url: str,
        *,
        authority: Path | None = None,
        patience: float = 120.0,
        seconds: float = 60.0,
        sleep: Callable[[float], object] | None = None,
    ) -> None:
        _require_url(url)
        if not 0 <= patience <= 1e6 or not 0 < seconds <= 1e6:
            raise ParameterError("0 <= patience <= 10**6 and 0 < seconds <= 10**6 must hold")
        self.url = url.rstrip("/")
        self._closing = threading.Event()
        self._patience, self._sleep = patience, sleep or self._closing.wait
        self._client = httpx.Client(verify=_trust(url, authority), timeout=seconds, trust_env=False)

    def close(self) -> None:
        """Close its connections; who waits for an answer in another thread gives up."""
        self._closing.set()
        self._client.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def post(self, path: str, body: bytes, media: str, most: int) -> bytes:
        """The body of the answer, of at most `most` bytes.

        Raises `RequestRefused`, and `Unreachable` if the time is over without an answer.
        """
        until, pause = time.monotonic() + self._patience, _FIRST_PAUSE
        while True:
            try:
                return self._asked(path, body, media, most)
            except Unreachable:
                if self._closing.is_set() or time.monotonic() + pause > until:
                    raise
            self._sleep(pause * (1 + os.urandom(1)[0] / 256))  # many clients, not all at once
            pause = min(2 * pause, _LONGEST_PAUSE)

    def _asked(self, path: str, body: bytes, media: str, most: int) -> bytes:
        if self._closing.is_set():
            raise Unreachable(f"{self.url} is not asked any more")
        try:
            headers = {"content-type": media}
            with self._client.stream(
                "POST", self.url + path, content=body, headers=headers
            ) as answer:
                found = _read(answer, most)
        except httpx.TransportError as error:
            raise Unreachable(f"{self.url} gave no answer: {_why(error)}") from None
        if answer.status_code in _PASSING:
            raise Unreachable(f"{self.url} cannot answer now: {_detail(answer, found)}")
        if answer.status_code != 200:
            raise refusal_of(answer.status_code, json_of(found))
        return found


def _trust(url: str, authority: Path | None) -> ssl.SSLContext | bool:
    """What a certificate is checked against; nothing is where there is none."""
    if urlsplit(url).scheme == "http":
        return False
    return ssl.create_default_context(cafile=authority)


def _read(answer: httpx.Response, most: int) -> bytes:
    """The body, and no more than `most` bytes of it: a peer may be anybody."""
    bound = most if answer.status_code == 200 else 1 << 16
    found = bytearray()
    for chunk in answer.iter_raw():
        found += chunk
        if len(found) > bound:
            raise httpx.ReadError("an answer beyond all bounds")
    return bytes(found)


def json_of(found: bytes) -> object:
    """What a peer sent as JSON; None for anything else."""
    try:
        return json.loads(found)
    except (ValueError, RecursionError):  # the latter for brackets in brackets
        return None


def _detail(answer: httpx.Response, found: bytes) -> str:
    return str(refusal_of(answer.status_code, json_of(found)))


def _why(error: httpx.TransportError) -> str:
    return str(error) or type(error).__name__


def _require_url(url: str) -> None:
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname, parts.port
    except ValueError:
        host = None
    if not host or parts.scheme not in ("http", "https") or _has_more(parts):
        raise ParameterError("a server is named by https://HOST:PORT and nothing more")
    if parts.scheme == "http" and not is_loopback(host):
        raise ParameterError(f"TLS is needed beyond this machine: https://{parts.netloc}")


def _has_more(parts: SplitResult) -> bool:
    """Such as a name and a password, which errors would show."""
    return "@" in parts.netloc or bool(parts.query or parts.fragment)
