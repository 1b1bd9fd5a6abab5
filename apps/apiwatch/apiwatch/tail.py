"""A log judged as it is written, until it is told to stop."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType

from apiwatch.contained import Contained
from apiwatch.errors import LogUnreadable, ParameterError
from apiwatch.event import Request
from apiwatch.follow import Followed, follow
from apiwatch.logs import Format, Log, detect
from apiwatch.watch import Sink, Watcher

__all__ = ["Tail", "until_signaled"]

_CHECK = 1.0  # seconds between looks at the profile's file
_WRITTEN = (Format.JSON, Format.COMBINED)


class _Stopped(Exception):
    """Out of a pause of `follow`, which never ends by itself."""


@dataclass(kw_only=True)
class Tail:
    """Judges what is added to `log`, under the watcher's profile as it is at that moment.

    kind: its format, that of the first line that has one if None; JSON or combined. requests,
    skipped: so far, and lines that could not be read.
    """

    log: Path
    watcher: Watcher
    sink: Sink
    kind: Format | None = None
    from_start: bool = False
    requests: int = 0
    skipped: int = 0
    alerts: int = 0
    followed: Followed = field(default_factory=Followed)

    def __post_init__(self) -> None:
        if self.kind not in (None, *_WRITTEN):
            raise ParameterError(f"log format in (json, combined) must hold, got {self.kind}")

    def run(self, stop: threading.Event) -> None:
        """Until `stop` is set; a request that has begun is finished."""
        check = self.watcher.clock() + _CHECK
        for request in self._requests(self._batches(stop)):
            self._judge(request)
            if stop.is_set():
                return
            if self.watcher.clock() >= check:
                check = self.watcher.clock() + _CHECK
                self._reload()

    def _judge(self, request: Request) -> None:
        judgment = self.watcher.judge(request)
        if judgment is None:
            self.watcher.meter.unjudged("no profile")
            return
        seen = self.watcher.decide(judgment)
        self.requests += 1
        self.watcher.meter.seen(seen)
        if seen.alert is not None:
            self.alerts += 1
            self.sink(seen.alert)

    def _reload(self) -> None:
        with Contained("reload", self.watcher.meter):
            if self.watcher.is_stale:
                self.watcher.reload()

    def _batches(self, stop: threading.Event) -> Iterator[list[bytes]]:
        def pause(seconds: float) -> None:
            if stop.wait(seconds):
                raise _Stopped

        try:
            yield from follow(self.log, pause=pause, from_start=self.from_start, told=self.followed)
        except _Stopped:
            return

    def _requests(self, batches: Iterable[list[bytes]]) -> Iterator[Request]:
        for lines in batches:
            self.kind = self.kind or _kind_of(lines)
            if self.kind is None:
                self.skipped += len(lines)
                continue
            log = Log(lines, self.kind)
            yield from log
            self.skipped += log.skipped


def _kind_of(lines: Iterable[bytes]) -> Format | None:
    """Of the first line that shows one that is written line by line.

    Raises `ParameterError` where the first of all shows another.
    """
    for number, line in enumerate(lines):
        try:
            kind = detect(line.decode("utf-8", "replace"))
        except LogUnreadable:
            continue
        if kind in _WRITTEN:
            return kind
        if number == 0:
            raise ParameterError(f"log format in (json, combined) must hold, got {kind}")
    return None


@contextmanager
def until_signaled() -> Iterator[threading.Event]:
    """An event that SIGTERM or SIGINT sets, in place of ending the process."""
    stop = threading.Event()

    def told(_number: int, _frame: FrameType | None) -> None:
        stop.set()

    before: dict[int, Callable[[int, FrameType | None], object] | int | None] = {
        number: signal.signal(number, told) for number in (signal.SIGTERM, signal.SIGINT)
    }
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
