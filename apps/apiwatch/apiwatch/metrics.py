"""What is counted for Prometheus. Needs `pip install 'apiwatch[serve]'`.

No label can be made up by who sends requests: classes come from the profile, and endpoints are
named only where usual traffic was learnt.
"""

from __future__ import annotations

import time

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, Info

from apiwatch.policy import Action, Level
from apiwatch.watch import Loaded, Seen

__all__ = ["Metrics"]

_BUCKETS = (25e-6, 50e-6, 1e-4, 2e-4, 4e-4, 1e-3, 2e-3, 5e-3, 2e-2, 0.1, 1.0)
_MOST_ENDPOINTS = 200


class Metrics:
    """Counters of one watcher, in a registry of its own unless one is given."""

    def __init__(self, registry: CollectorRegistry | None = None) -> None:
        self.registry = registry = registry or CollectorRegistry()
        self._requests = Counter(
            "apiwatch_requests",
            "Judged, by the learning level of the endpoint",
            ["level"],
            registry=registry,
        )
        self._alerts = Counter(
            "apiwatch_alerts", "Above the threshold, by name", ["name"], registry=registry
        )
        self._actions = Counter(
            "apiwatch_actions", "Delayed or blocked", ["action"], registry=registry
        )
        self._unjudged = Counter(
            "apiwatch_unjudged",
            "Requests or bodies not judged, by reason",
            ["reason"],
            registry=registry,
        )
        self._errors = Counter(
            "apiwatch_errors", "Errors of the watcher itself", ["where"], registry=registry
        )
        self._seconds = Histogram(
            "apiwatch_scoring_seconds",
            "Processor time of judging one request",
            buckets=_BUCKETS,
            registry=registry,
        )
        self._levels = Gauge(
            "apiwatch_endpoint_level",
            "Of known endpoints: 1 few, 2 some, 3 many",
            ["endpoint"],
            registry=registry,
        )
        self._profile = Info("apiwatch_profile", "The profile in use", registry=registry)
        self._loaded = Gauge(
            "apiwatch_profile_loaded_seconds", "When it was loaded", registry=registry
        )
        self._endpoints: set[str] = set()
        for action in (Action.DELAY, Action.BLOCK):
            self._actions.labels(action.value)
        for where in ("score", "sink", "record", "reload"):
            self._errors.labels(where)

    def seen(self, seen: Seen) -> None:
        """A request was judged."""
        self._requests.labels(seen.level.name.lower()).inc()
        self._seconds.observe(seen.seconds)
        if seen.alert is not None:
            self._alerts.labels(seen.alert.name.label).inc()
        if seen.action is not Action.PASS:
            self._actions.labels(seen.action.value).inc()
        endpoint = seen.judged.endpoint
        if endpoint not in self._endpoints and seen.level > Level.NEW:
            self._name(endpoint, seen.level)

    def unjudged(self, reason: str) -> None:
        """A request, or its body, was not judged."""
        self._unjudged.labels(reason).inc()

    def failed(self, where: str) -> None:
        """Something of the watcher's own failed."""
        self._errors.labels(where).inc()

    def loaded(self, loaded: Loaded) -> None:
        """A profile is in use from now on; levels are those of the new one."""
        self._profile.info({"digest": loaded.digest})
        self._loaded.set(time.time())
        self._endpoints.clear()
        self._levels.clear()

    def _name(self, endpoint: str, level: Level) -> None:
        if len(self._endpoints) < _MOST_ENDPOINTS:
            self._endpoints.add(endpoint)
            self._levels.labels(endpoint or "/").set(level)
