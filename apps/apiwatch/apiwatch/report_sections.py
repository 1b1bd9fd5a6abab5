"""Sections of the report beside its alerts: how well traffic is known, and what left the site."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from html import escape
from importlib.util import find_spec

import numpy as np

from apiwatch.alerts import Alert
from apiwatch.classes import ClassModel
from apiwatch.detector import Detector, Judged
from apiwatch.event import Field, Place
from apiwatch.features import events
from apiwatch.ledger import Ledger
from apiwatch.naming import text_of
from apiwatch.plots import scatter, timeline
from apiwatch.store import Profile
from apiwatch.table import cells_of
from apiwatch.unknown import clusters

__all__ = ["drifted", "endpoints", "ledger", "mapped", "per_day", "shown_text"]

_MOST_SHOWN = 400  # characters of one value: a page, not a log
_MOST_MAPPED = 500
_DELTA = 1e-5
_LEVELS = ((1000, "well known"), (100, "known"), (10, "learning"), (1, "new"), (0, "never seen"))
_DAY = 86_400.0


def shown_text(text: str) -> str:
    """Without what a browser or a terminal would act on; not escaped."""
    return "".join(char if char.isprintable() else "␀" for char in text)[:_MOST_SHOWN]


def endpoints(profile: Profile, judged: Sequence[Judged]) -> str:
    """By requests: how many of each were learned, and how many alert."""
    total = Counter(one.endpoint for one in judged)
    above = Counter(one.endpoint for one in judged if one.score > profile.threshold)
    shown = total.most_common(100)
    learned = _learned(profile.detector, [endpoint for endpoint, _ in shown])
    rows = "".join(
        f"<tr><td><code>{escape(shown_text(endpoint or '/'))}</code><td>{_level(known)}"
        f"<td class=n>{known:,}<td class=n>{count:,}"
        f"<td class=n>{above[endpoint]:,}<td class=n>{above[endpoint] / count:.1%}</tr>"
        for (endpoint, count), known in zip(shown, learned, strict=True)
    )
    names = "".join(f"<th class=n>{name}" for name in ("learned", "requests", "above", "share"))
    head = f"<tr><th>endpoint<th>level{names}</tr>"
    return f"<table>{head}{rows}</table>"


def _learned(detector: Detector, names: Sequence[str]) -> list[int]:
    """Requests that the profile has of each endpoint."""
    if not names:
        return []
    settings = detector.table.settings
    methods = [Field(Place.METHOD, name, "", "") for name in names]
    cells = cells_of(events(methods, settings.salt), settings).total[0]
    return [int(count) for count in detector.table.counts[cells]]


def _level(count: int) -> str:
    return next(name for least, name in _LEVELS if count >= least)


def per_day(judged: Sequence[Judged], above: int) -> str:
    """Alerts a day, where the log tells times, of an hour or more: a burst of minutes is no day."""
    times = [one.request.time for one in judged if not math.isnan(one.request.time)]
    span = max(times) - min(times) if len(times) > 1 else 0.0
    return f", {above * _DAY / span:,.1f} a day" if span >= _DAY / 24 else ""


def mapped(profile: Profile, alerts: Sequence[Alert], *, redact: bool) -> str:
    """Alerts that no class responds to: near each other where they are alike."""
    unknown = [a for a in alerts if a.name.label in ("unknown", "anomaly")][:_MOST_MAPPED]
    texts = [text_of(alert.first.request, alert.first.field) for alert in unknown]
    if profile.classes is None or len(set(texts)) < 3:
        return "<p class=note>Needs names from `apiwatch teach`, and three alerts without one.</p>"
    model = ClassModel(profile.classes)
    embedded = model.embed(texts)
    centered = embedded - embedded.mean(axis=0)
    axes = np.linalg.svd(centered, full_matrices=False)[2][:2]
    groups = ["alone" if n < 0 else f"cluster {n}" for n in clusters(model, texts).tolist()]
    titles = [shown_text(alert.shown(redact=redact)) for alert in unknown]
    return scatter(centered @ axes.T, groups, titles)


def drifted(judged: Sequence[Judged], threshold: float) -> str:
    """Alerts along the log, and where ADWIN sees that an endpoint's traffic has changed."""
    if not judged:
        return "<p>No requests.</p>"
    above = np.array([one.score > threshold for one in judged])
    marks = _changes(judged, threshold) if find_spec("river") else []
    told = "".join(f"<br>{escape(text)}" for _, text in marks)
    note = "" if marks else " Within no endpoint the scores have changed."
    if not find_spec("river"):
        note = " Changes are marked with apiwatch[drift] installed."
    return timeline(above, marks) + f"<p class=note>Along the log.{note}{told}</p>"


def _changes(judged: Sequence[Judged], threshold: float) -> list[tuple[float, str]]:
    from apiwatch.drift import changes  # noqa: PLC0415 -- an extra

    places: dict[str, list[int]] = {}
    for number, one in enumerate(judged):
        places.setdefault(one.endpoint, []).append(number)
    return [
        (
            places[change.endpoint][change.after - 1] / len(judged),
            f"{shown_text(change.endpoint or '/')}: alerts {change.share_before:.1%} before, "
            f"{change.share_now:.1%} since",
        )
        for change in changes(judged, threshold)
    ]


def ledger(found: Ledger) -> str:
    """What left this site, and what it costs."""
    if not found.sent:
        return "<p>Nothing has left this site: the profile was learned here alone.</p>"
    rows = "".join(
        f"<tr><td>{escape(entry.what)}<td class=n>{entry.coordinates:,}"
        f"<td class=n>{entry.bytes_up:,}<td class=n>{entry.sites}<td class=n>{entry.lost}"
        f"<td>{'noisy' if entry.event else 'exact'}</tr>"
        for entry in found.sent
    )
    names = ("integers", "bytes sent", "sites in it", "lost")
    head = f"<tr><th>sum{''.join(f'<th class=n>{name}' for name in names)}<th>opened</tr>"
    epsilon = found.epsilon(_DELTA)
    told = (
        f"All sums together: epsilon {epsilon:.3f} at delta {_DELTA:g}."
        if math.isfinite(epsilon)
        else "A sum was opened exactly: no epsilon."
    )
    note = "No request, value or name has left, but sums of counters under a keyed hash."
    return f"<table>{head}{rows}</table><p class=note>{told} {note}</p>"
