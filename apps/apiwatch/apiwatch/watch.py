"""Requests judged one by one as they come: what `tail` and the middleware share.

    watcher = Watcher(Path("apiwatch.profile"), policy=Policy(mode=Mode.BLOCK), sink=to_stream())
    watcher.reload()
    seen = watcher.decide(watcher.judge(request))

No input and output but the profile's file, and no clock but the one that is given. A new profile
takes the place of the old in one assignment: a request is judged by the one or by the other.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from time import monotonic, thread_time
from typing import NamedTuple, Protocol

from apiwatch.alerts import Alert
from apiwatch.classes import ClassSums
from apiwatch.detector import Detector, Judged
from apiwatch.event import Field, Place, Request
from apiwatch.naming import Name
from apiwatch.policy import Action, Level, Policy, Sources
from apiwatch.store import Profile
from apiwatch.work import namer_of

__all__ = ["Judgment", "Loaded", "Meter", "Seen", "Silent", "Sink", "Watcher"]

Sink = Callable[[Alert], None]
"""Takes an alert away: to a file, a stream, a queue."""

_Stamp = tuple[int, int, int]


class Meter(Protocol):
    """What is counted. `Silent` counts nothing; `apiwatch.metrics` counts for Prometheus."""

    def seen(self, seen: Seen) -> None:
        """A request was judged."""

    def unjudged(self, reason: str) -> None:
        """A request, or its body, was not judged."""

    def failed(self, where: str) -> None:
        """Something of the watcher's own failed: score, sink, record or reload."""

    def loaded(self, loaded: Loaded) -> None:
        """A profile is in use from now on."""


class Silent:
    """Counts nothing."""

    def seen(self, seen: Seen) -> None:
        """Not counted."""

    def unjudged(self, reason: str) -> None:
        """Not counted."""

    def failed(self, where: str) -> None:
        """Not counted."""

    def loaded(self, loaded: Loaded) -> None:
        """Not counted."""


@dataclass(frozen=True, kw_only=True)
class Loaded:
    """A profile in use. aside: a second detector for another thread, under `lock`."""

    profile: Profile
    detector: Detector
    aside: Detector
    names: Callable[[Sequence[Judged]], list[Name]]
    digest: str
    lock: threading.Lock

    @classmethod
    def of(cls, profile: Profile) -> Loaded:
        """Everything that takes long is done here: no request waits for it."""
        if profile.classes is not None:
            profile.classes = _shared(profile.classes)
        detector, names = profile.detector, namer_of(profile)
        field = Field(Place.QUERY, "", "", "")
        names([Judged(Request(method="GET", target="/"), "", 0.0, field, "whole")])
        return cls(
            profile=profile,
            detector=detector,
            aside=profile.detector,
            names=names,
            digest=detector.digest,
            lock=threading.Lock(),
        )


class Judgment(NamedTuple):
    """A judged request, and under which profile.

    level: of its endpoint. seconds: of this thread's processor time.
    """

    judged: Judged
    loaded: Loaded
    level: Level
    seconds: float


class Seen(NamedTuple):
    """What came of a request.

    level: of its endpoint. seconds: of processor time, for judging and naming. alert: None where
    its score is not above the threshold.
    """

    judged: Judged
    level: Level
    seconds: float
    alert: Alert | None = None
    action: Action = Action.PASS


class Watcher:
    """Judges requests under the profile in `path`; without one it judges none.

    Not thread-safe, but for `judge_aside` and `reload`, which any thread may call.
    """

    def __init__(
        self,
        path: Path,
        *,
        policy: Policy | None = None,
        meter: Meter | None = None,
        clock: Callable[[], float] = monotonic,
    ) -> None:
        self.path = path
        self.policy = policy or Policy()
        self.meter: Meter = meter or Silent()
        self.clock = clock
        self.loaded: Loaded | None = None
        self._stamp: _Stamp | None = None
        self._sources = Sources(self.policy.sources)

    @property
    def is_stale(self) -> bool:
        """Whether the file is another than the one that was tried last. One that is gone is not:
        what was loaded stays in use.
        """
        return _stamp(self.path) not in (None, self._stamp)

    def reload(self) -> None:
        """Load the file. What cannot be read raises its error and leaves the old profile in use."""
        self._stamp = _stamp(self.path)
        loaded = Loaded.of(Profile.load(self.path))
        self.loaded = loaded
        self.meter.loaded(loaded)

    def judge(self, request: Request, *, partial: bool = False) -> Judgment | None:
        """Under the profile of this moment; None without one. partial: it has more than this."""
        loaded = self.loaded
        return None if loaded is None else _judged(loaded, loaded.detector, request, partial)

    def judge_aside(self, request: Request, *, partial: bool = False) -> Judgment | None:
        """`judge` for another thread: for requests so long that others should not wait for them."""
        loaded = self.loaded
        if loaded is None:
            return None
        with loaded.lock:
            return _judged(loaded, loaded.aside, request, partial)

    def decide(self, judgment: Judgment) -> Seen:
        """What happens to the request, its source remembered."""
        judged, loaded = judgment.judged, judgment.loaded
        if judged.score <= loaded.profile.threshold:
            return Seen(judged, judgment.level, judgment.seconds)
        start = thread_time()
        (name,) = loaded.names([judged])
        known = Level.of(loaded.detector.seen_at(judged.field))
        alert = Alert.of(judged, name)
        repeated = self._sources.alerted(judged.request.source, self.clock(), self.policy.window)
        action = self.policy.action(name.label, known, repeated=repeated)
        seconds = judgment.seconds + thread_time() - start
        return Seen(judged, judgment.level, seconds, alert, action)


_CLASSES: OrderedDict[str, ClassSums] = OrderedDict()


def _shared(classes: ClassSums) -> ClassSums:
    """One object for equal class sums: they are large, and sites of a federation have the same."""
    found = _CLASSES.setdefault(classes.digest, classes)
    while len(_CLASSES) > 2:
        _CLASSES.popitem(last=False)
    return found


def _judged(loaded: Loaded, detector: Detector, request: Request, partial: bool) -> Judgment:
    start = thread_time()
    judged = detector.judge_one(request, partial=partial)
    level = Level.of(detector.seen_at(Field(Place.METHOD, judged.endpoint, "", "")))
    return Judgment(judged, loaded, level, thread_time() - start)


def _stamp(path: Path) -> _Stamp | None:
    try:
        found = path.stat()
    except FileNotFoundError:
        return None
    return found.st_mtime_ns, found.st_ino, found.st_size
