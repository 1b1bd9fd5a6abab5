"""One page without a script or a link to anywhere: alerts, scores, endpoints, what left the site.

Everything that came from a request is escaped; values are shapes unless the caller says otherwise.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape

import numpy as np
from numpy.typing import NDArray

from apiwatch.alerts import Alert, group
from apiwatch.detector import Judged
from apiwatch.explain import explain
from apiwatch.report_compared import compared
from apiwatch.report_sections import (
    drifted,
    endpoints,
    ledger,
    mapped,
    per_day,
    shown_text,
)
from apiwatch.store import Profile
from apiwatch.work import names_of

__all__ = ["page"]

_MOST_ALERTS = 200
_MOST_SHOWN = 400  # characters of one value: a page, not a log
_BINS = 60
_STYLE = """
:root { color-scheme: light dark; --line: #8886; --bad: #c22; }
body { font: 15px/1.5 system-ui, sans-serif; max-width: 70rem; margin: 2rem auto; padding: 0 1rem }
h1 { font-size: 1.5rem } h2 { font-size: 1.15rem; margin-top: 2.2rem }
table { border-collapse: collapse; width: 100% }
th, td { text-align: left; padding: .3rem .6rem; border-bottom: 1px solid var(--line);
         vertical-align: top }
.alerts td:nth-child(4) { width: 16rem } th.n { text-align: right }
td.n { text-align: right; font-variant-numeric: tabular-nums }
code { font: 13px/1.6 ui-monospace, monospace; overflow-wrap: anywhere }
.m { background: #fc06; border-radius: 2px } .h { background: #f449; border-radius: 2px }
.note { color: #888; font-size: .9rem } svg { width: 100%; height: auto }
.bar { fill: #48c } .over { fill: var(--bad) }
"""


def page(
    profile: Profile,
    judged: Sequence[Judged],
    *,
    redact: bool,
    attacks: Sequence[Judged] = (),
    usual: Sequence[Judged] | None = None,
    others: Mapping[str, Profile] | None = None,
    alone: Profile | None = None,
) -> str:
    """The whole page. attacks: known ones, against which this profile and `others` are compared,
    with `usual`, or else `judged`, as usual traffic. alone: what this site has learned alone.
    """
    above = [one for one in judged if one.score > profile.threshold]
    alerts = group(above, names_of(profile, above))
    parts = [
        f"<h1>apiwatch: {len(alerts):,} alerts in {len(judged):,} requests</h1>",
        f"<p class=note>profile {profile.detector.digest[:16]}, threshold "
        f"{profile.threshold:.2f}; {len(above):,} requests are above it"
        f"{per_day(judged, len(above))}. "
        f"{'Values are shown as shapes.' if redact else 'Values are shown.'}</p>",
        "<h2>Scores</h2>",
        _histogram(np.array([one.score for one in judged]), profile.threshold),
        "<h2>Alerts</h2>",
        _alerts(profile, alerts[:_MOST_ALERTS], redact),
        "<h2>Endpoints</h2>",
        endpoints(profile, judged),
        "<h2>Unknown attacks</h2>",
        mapped(profile, alerts, redact=redact),
        "<h2>Over time</h2>",
        drifted(judged, profile.threshold),
        "<h2>What left this site</h2>",
        ledger(profile.ledger),
    ]
    clean = judged if usual is None else usual
    if attacks and clean:
        parts += ["<h2>Known attacks</h2>", compared(profile, alone, others or {}, clean, attacks)]
    body = "\n".join(parts)
    return (
        '<!doctype html><html lang="en"><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width"><title>apiwatch</title>'
        f"<style>{_STYLE}</style><body>{body}</body></html>\n"
    )


def _histogram(scores: NDArray[np.float64], threshold: float) -> str:
    """Counts by score on a log axis of counts, beyond the threshold in another color."""
    if not scores.size:
        return "<p>No requests.</p>"
    scaled = np.log1p(np.maximum(scores, 0.0))
    end = max(float(scaled.max()), np.log1p(2 * threshold))
    counts, edges = np.histogram(scaled, _BINS, (0.0, end))
    heights = 120 * np.log1p(counts) / max(float(np.log1p(counts.max())), 1.0)
    width = 720 / _BINS
    at = float(np.log1p(max(threshold, 0.0)))
    bars = (
        f'<rect class="{"over" if edge >= at else "bar"}" x="{i * width:.1f}" '
        f'y="{130 - height:.1f}" width="{width - 1:.1f}" height="{height:.1f}">'
        f"<title>{np.expm1(edge):.1f}: {count:,}</title></rect>"
        for i, (edge, count, height) in enumerate(zip(edges, counts, heights, strict=False))
    )
    marks = [(0.0, "0"), (at, f"{threshold:.1f}"), (end, f"{np.expm1(end):,.0f}")]
    labels = (
        f'<text x="{690 * where / end:.1f}" y="146" font-size="11" fill="currentColor">'
        f"{text}</text>"
        for where, text in marks
    )
    x = 720 * at / end
    return (
        '<svg viewBox="0 0 720 150" role="img" aria-label="requests by score">'
        + "".join([*bars, *labels])
        + f'<line x1="{x:.1f}" x2="{x:.1f}" y1="0" y2="132" stroke="currentColor" /></svg>'
        + "<p class=note>Standard deviations above what is usual; both axes are logarithmic.</p>"
    )


def _alerts(profile: Profile, alerts: Sequence[Alert], redact: bool) -> str:
    if not alerts:
        return "<p>None.</p>"
    rows = "".join(_row(profile, alert, redact) for alert in alerts)
    head = (
        "<tr><th class=n>score<th class=n>count<th>name<th>where<th>what<th>usual there"
        "<th class=n>if it were usual</tr>"
    )
    return f"<table class=alerts>{head}{rows}</table>"


def _row(profile: Profile, alert: Alert, redact: bool) -> str:
    told = explain(
        alert.first,
        profile.detector,
        profile.usual,
        sites=profile.sites,
        threshold=profile.threshold,
    )
    judged = alert.first
    shown = escape(shown_text(alert.shown(redact=True))) if redact else _colored(judged, told.bits)
    usual = "<br>".join(escape(shown_text(shape)) for shape in told.usual)
    return (
        f"<tr id=a{alert.id}><td class=n>{judged.score:.1f}<td class=n>{alert.count:,}"
        f"<td>{escape(alert.name.label)}<td><code>{escape(judged.request.method)} "
        f"{escape(shown_text(judged.endpoint or '/'))}<br>"
        f"{escape(shown_text(judged.field.label))}</code>"
        f"<td><code>{shown}</code><br><span class=note>{escape(told.reason.rpartition(': ')[2])}"
        f"</span><td><code>{usual}</code><td class=n>{told.cleared:.1f}</tr>"
    )


def _colored(judged: Judged, bits: NDArray[np.float64]) -> str:
    value = judged.field.value
    marks = ["h" if b > 6 else "m" if b > 3 else "" for b in bits[:_MOST_SHOWN].tolist()]
    pieces = (
        f"<span class={mark}>{escape(shown_text(char))}</span>"
        if mark
        else escape(shown_text(char))
        for char, mark in zip(value, marks, strict=False)
    )
    return "".join(pieces) + ("…" if len(value) > _MOST_SHOWN else "")
