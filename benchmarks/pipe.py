"""A server in a process of its own, so that its memory is its own: `python -m benchmarks.pipe`.

The parent runs the clients and streams their frames to the child's standard input one by one. A
record is kind u8, party u32, size u64 and so many bytes. The parent sends START once, any number
of FRAME, CLOSE at the end of each exchange, and RESULT. The child answers CLOSE with its frames
and an END whose party field is 1 once the round is over, and RESULT with the mean and a report.
"""

from __future__ import annotations

import enum
import json
import struct
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType
from typing import IO

import numpy as np
from numpy.typing import NDArray

from benchmarks.memory import Watermark
from benchmarks.secagg_round import LocalServer, Parties, name_round
from benchmarks.workload import Workload
from secagg import Identity, Roster

__all__ = ["RemoteServer", "Report"]


class Kind(enum.IntEnum):
    """What a record says."""

    START = 0
    FRAME = 1
    CLOSE = 2
    END = 3
    RESULT = 4


_HEAD = struct.Struct("<BIQ")
_ROOT = Path(__file__).resolve().parent.parent


@dataclass(frozen=True, kw_only=True)
class Report:
    """What the child measured of itself: seconds by phase, bytes before the round and at most."""

    cpu: dict[str, float]
    memory_before: int
    memory_peak: int


class RemoteServer:
    """The parent's end; a `ServerSide`. Use as a context manager."""

    def __init__(self, workload: Workload, parties: Parties) -> None:
        self.ended = False
        command = [sys.executable, "-m", "benchmarks.pipe"]
        self._child = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=_ROOT
        )
        assert self._child.stdin is not None
        assert self._child.stdout is not None
        self._to, self._from = self._child.stdin, self._child.stdout
        _write(self._to, Kind.START, 0, _describe(workload, parties))

    def receive(self, sender: int, frame: bytes) -> None:
        _write(self._to, Kind.FRAME, sender, frame)

    def close_phase(self) -> Iterator[tuple[int, bytes]]:
        _write(self._to, Kind.CLOSE, 0)
        while True:
            kind, party, data = _read(self._from)
            if kind is Kind.END:
                self.ended = party == 1
                return
            yield party, data

    def result(self) -> tuple[NDArray[np.float64], Report]:
        """The released mean, and what it cost."""
        _write(self._to, Kind.RESULT, 0)
        mean = np.frombuffer(_read(self._from)[2], "<f8")
        return mean, Report(**json.loads(_read(self._from)[2]))

    def __enter__(self) -> RemoteServer:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if error is not None:
            self._child.kill()
        self._child.communicate()


def _describe(workload: Workload, parties: Parties) -> bytes:
    description = {
        "workload": asdict(workload),
        "session": parties.session.hex(),
        "identity": parties.server.to_bytes().hex(),
        "clients": {peer: identity.public.hex() for peer, identity in parties.clients.items()},
    }
    return json.dumps(description).encode()


def serve(source: IO[bytes], sink: IO[bytes]) -> None:
    """The child's end: host the server until the result is asked for."""
    watermark = Watermark()
    server = _hosted(_read(source)[2])
    while True:
        kind, party, data = _read(source)
        match kind:
            case Kind.FRAME:
                server.receive(party, data)
            case Kind.CLOSE:
                for to, frame in server.close_phase():
                    _write(sink, Kind.FRAME, to, frame)
                _write(sink, Kind.END, int(server.ended))
            case Kind.RESULT:
                _deliver(server, watermark, sink)
                return


def _hosted(description: bytes) -> LocalServer:
    said = json.loads(description)
    identity = Identity.from_bytes(bytes.fromhex(said["identity"]))
    public = {int(peer): bytes.fromhex(key) for peer, key in said["clients"].items()}
    named = name_round(Roster(identity.public, public), bytes.fromhex(said["session"]))
    return LocalServer(Workload(**said["workload"]), named, identity)


def _deliver(server: LocalServer, watermark: Watermark, sink: IO[bytes]) -> None:
    mean = server.mean()
    report = Report(
        cpu={phase: meter.seconds for phase, meter in server.meters.items()},
        memory_before=watermark.before,
        memory_peak=watermark.peak(),
    )
    _write(sink, Kind.RESULT, 0, mean.astype("<f8").tobytes())
    _write(sink, Kind.RESULT, 0, json.dumps(asdict(report)).encode())


def _write(sink: IO[bytes], kind: Kind, party: int, data: bytes = b"") -> None:
    sink.write(_HEAD.pack(kind, party, len(data)))
    sink.write(data)
    sink.flush()


def _read(source: IO[bytes]) -> tuple[Kind, int, bytes]:
    head = source.read(_HEAD.size)
    if len(head) < _HEAD.size:
        raise EOFError("the other process has ended")
    kind, party, size = _HEAD.unpack(head)
    return Kind(kind), party, source.read(size)


if __name__ == "__main__":
    serve(sys.stdin.buffer, sys.stdout.buffer)
