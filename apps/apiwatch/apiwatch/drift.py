"""Where usual traffic has changed: ADWIN over the scores of each endpoint [Bifet07].

Needs `pip install 'apiwatch[drift]'`.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from river.drift import ADWIN

from apiwatch.detector import Judged

__all__ = ["Change", "changes"]

_DELTA = 0.002
_CAP = 50.0  # of a score: one attack must not look like a change of traffic


@dataclass(frozen=True, kw_only=True)
class Change:
    """An endpoint's scores are not what they were.

    after: at which of its requests it was noticed, counted from 1. share_before, share_now: of
    requests above the threshold, until and from then.
    """

    endpoint: str
    after: int
    requests: int
    share_before: float
    share_now: float


@dataclass
class _Watched:
    detector: ADWIN = field(default_factory=lambda: ADWIN(delta=_DELTA))
    above: list[bool] = field(default_factory=list)
    after: int | None = None


def changes(judged: Iterable[Judged], threshold: float) -> list[Change]:
    """The first change of each endpoint, the endpoint with most requests first."""
    watched: dict[str, _Watched] = {}
    for one in judged:
        state = watched.setdefault(one.endpoint, _Watched())
        state.above.append(one.score > threshold)
        state.detector.update(min(one.score, _CAP))
        if state.detector.drift_detected and state.after is None:
            state.after = len(state.above)
    found = [
        Change(
            endpoint=endpoint,
            after=state.after,
            requests=len(state.above),
            share_before=sum(state.above[: state.after]) / state.after,
            share_now=sum(state.above[state.after :]) / max(len(state.above) - state.after, 1),
        )
        for endpoint, state in watched.items()
        if state.after is not None
    ]
    return sorted(found, key=lambda change: -change.requests)
