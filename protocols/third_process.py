"""A third party in a process of its own: its keys are made there, and never are in this one.

For demos and tests on one machine: `protocols.authority_process`.
"""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import weakref
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, ClassVar, Self

from secagg.context import Round
from secagg.errors import (
    CipherFailed,
    DecodeError,
    LocalProtocolError,
    ParameterError,
    RemoteProtocolError,
    SecAggError,
)

__all__ = ["ThirdProcess", "described"]

_MOST_ANSWER = 1 << 30
_ERRORS: dict[str, type[SecAggError]] = {
    kind.__name__: kind
    for kind in (
        CipherFailed, DecodeError, LocalProtocolError, ParameterError, RemoteProtocolError,
    )
}  # fmt: skip


class ThirdProcess(ABC):
    """Starts the module `worker`, and ends it with `close` or as a context manager.

    seconds: what one request may take before the process is killed, its keys with it.
    """

    worker: ClassVar[str]

    def __init__(self, *, seconds: float = 120, command: Sequence[str] | None = None) -> None:
        if not 0 < seconds < 86_400:
            raise ParameterError(f"0 < seconds < 86400 must hold, got {seconds}")
        self._seconds = seconds
        self._child = subprocess.Popen(  # noqa: S603  the caller's own command
            tuple(command or (sys.executable, "-m", self.worker)),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )
        self._end = weakref.finalize(self, _end, self._child)

    @abstractmethod
    def _failed(self, how: str) -> SecAggError:
        """The error for a process that died, hung or answered nonsense."""

    def close(self) -> None:
        """End the process; its keys are gone."""
        self._end()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _ask(self, request: dict[str, Any], body: bytes) -> tuple[dict[str, Any], bytes]:
        clock = threading.Timer(self._seconds, self._child.kill)
        clock.start()
        try:
            head, answer = self._exchanged(request, body)
        except (OSError, ValueError):
            self._child.kill()
            raise self._failed("gave no answer") from None
        finally:
            clock.cancel()
        if "error" not in head:
            return head, answer
        kind = _ERRORS.get(head["error"])
        raise self._failed("gave no answer") if kind is None else kind(head.get("text", ""))

    def _key(self, head: dict[str, Any], name: str) -> bytes:
        """A key that the process states in hex."""
        try:
            return bytes.fromhex(head.get(name, ""))
        except ValueError:
            raise self._failed("stated no keys") from None

    def _exchanged(self, request: dict[str, Any], body: bytes) -> tuple[dict[str, Any], bytes]:
        """One request, one answer; `OSError` or `ValueError` if there is none."""
        pipe, out = self._child.stdin, self._child.stdout
        assert pipe is not None
        assert out is not None
        pipe.write(json.dumps({**request, "size": len(body)}).encode() + b"\n" + body)
        pipe.flush()
        head = _head(out.readline(1 << 16))
        answer = out.read(head["size"])
        if len(answer) != head["size"]:
            raise ValueError("the answer breaks off")
        return head, answer


def _end(child: subprocess.Popen[bytes]) -> None:
    child.kill()
    child.communicate()


def _head(line: bytes) -> dict[str, Any]:
    """The first line of an answer: a size within bounds, and texts; else `ValueError`."""
    head = json.loads(line)
    if not isinstance(head, dict) or type(head.get("size")) is not int:
        raise ValueError("not the head of an answer")
    if any(type(value) is not str for name, value in head.items() if name != "size"):
        raise ValueError("not the head of an answer")
    if not 0 <= head["size"] <= _MOST_ANSWER:
        raise ValueError("an answer beyond all bounds")
    return head


def described(round: Round) -> dict[str, Any]:
    """What `protocols.third_worker.round_of` makes the same round from."""
    roster = round.roster
    return {
        "session": round.session.hex(),
        "number": round.number,
        "model": round.model.hex(),
        "server": roster.server.hex(),
        "server_share_key": roster.server_share_key.hex(),
        "clients": {str(party): key.hex() for party, key in roster.clients.items()},
        "share_keys": {str(party): key.hex() for party, key in roster.share_keys.items()},
    }
