"""Where alerts and recorded requests go: files, streams, or whatever is callable."""

from __future__ import annotations

import json
import os
import sys
import time
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Self, TextIO

from apiwatch.alerts import Alert, Output, render
from apiwatch.event import Request
from apiwatch.logs import request_to_json
from apiwatch.settings import require
from apiwatch.watch import Sink

__all__ = ["AlertFile", "LineFile", "Recorder", "throttled", "to_stream"]

_GROUPS = 1 << 12


class LineFile:
    """Appends lines to a file that others may rotate away; only its owner can read it.

    Every line is handed to the system at once. `OSError` is for the caller.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file: TextIO | None = None

    def write(self, line: str) -> None:
        """One line, without its end."""
        file = self._current()
        file.write(f"{line}\n")
        file.flush()

    def close(self) -> None:
        """The next line opens it again."""
        if self._file is not None:
            self._file.close()
            self._file = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _current(self) -> TextIO:
        if self._file is not None and not self._is_there(self._file):
            self.close()
        if self._file is None:
            handle = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
            self._file = os.fdopen(handle, "a", encoding="utf-8", errors="backslashreplace")
        return self._file

    def _is_there(self, file: TextIO) -> bool:
        try:
            return os.path.samestat(os.fstat(file.fileno()), self.path.stat())
        except FileNotFoundError:
            return False


def to_stream(
    output: Output = Output.OCSF, *, stream: TextIO | None = None, redact: bool = True
) -> Sink:
    """A sink of lines on `stream`, by default standard output as it is when an alert comes."""

    def write(alert: Alert) -> None:
        for line in render([alert], output, redact=redact, now=time.time()):
            print(line, file=stream or sys.stdout, flush=True)

    return write


class AlertFile(LineFile):
    """A sink of lines at the end of a file."""

    def __init__(self, path: Path, output: Output = Output.OCSF, *, redact: bool = True) -> None:
        super().__init__(path)
        self._output, self._redact = output, redact

    def __call__(self, alert: Alert) -> None:
        """Write one alert."""
        for line in render([alert], self._output, redact=self._redact, now=time.time()):
            self.write(line)


class Recorder(LineFile):
    """Writes requests as JSON lines, to learn from; the id of an alert is in its line.

    The file holds bodies, cookies and authorizations.
    """

    def __call__(self, request: Request, alert: Alert | None) -> None:
        """Write one request."""
        entry = request_to_json(request)
        if alert is not None:
            entry["alert"] = alert.id
        self.write(json.dumps(entry))


def throttled(
    sink: Sink, seconds: float = 60.0, *, clock: Callable[[], float] = time.monotonic
) -> Sink:
    """`sink` once per group of alerts and `seconds`; what came in between is in the next count.

    A flood of one kind of request is then no flood of lines. The latest 4,096 groups are known.
    """
    require(seconds > 0, "seconds > 0", seconds)
    last: OrderedDict[str, float] = OrderedDict()
    waiting: dict[str, int] = {}

    def write(alert: Alert) -> None:
        now = clock()
        if now - last.get(alert.id, -seconds) < seconds and alert.id in last:
            waiting[alert.id] = waiting.get(alert.id, 0) + alert.count
            return
        alert.count += waiting.pop(alert.id, 0)
        last.pop(alert.id, None)
        last[alert.id] = now
        while len(last) > _GROUPS:
            waiting.pop(last.popitem(last=False)[0], None)
        sink(alert)

    return write
