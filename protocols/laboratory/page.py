"""Figures of attacks as JSON, and as one HTML file that loads nothing and runs nothing."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from html import escape
from typing import Any

import numpy as np

from dp.audit.measure import Interval
from protocols.html import whole_page
from protocols.laboratory.curves import Curve
from protocols.laboratory.exposure import Exposure, Row, Skipped
from protocols.laboratory.frontier import Detection, Point, advice
from protocols.laboratory.modes import Kind
from protocols.laboratory.plots import curve_svg, frontier_svg
from protocols.svg import NEEDED, can_plot
from robust.observe import Array

__all__ = ["HEAD", "POINT_HEAD", "document", "page", "shown", "shown_point"]

HEAD = ("seen", "attack", "figure", "found", "control", "bound", "result")
_ZOOM = 6  # CSS pixels for one of an image


def document(
    found: Sequence[Row | Skipped],
    curves: Sequence[Curve] = (),
    points: Sequence[Point] = (),
    *,
    late: bool = False,
) -> dict[str, Any]:
    """JSON types; every figure with its interval, its control, and its bound or null. late: whether
    time was over before all was run.
    """
    return {
        "format": "secagg-leakage-figures-2",
        "complete": not late,
        "rows": [_record(one) for one in found if isinstance(one, Row)],
        "skipped": [dataclasses.asdict(one) for one in found if isinstance(one, Skipped)],
        "curves": [one.document() for one in curves],
        "frontier": [one.document() for one in points],
        "advice": advice(points),
    }


def page(
    found: Sequence[Row | Skipped],
    *,
    title: str,
    command: str,
    whose: str = "Clients are simulated on scikit-learn's digits.",
    curves: Sequence[Curve] = (),
    points: Sequence[Point] = (),
    late: bool = False,
) -> str:
    """The whole page. command: what to type to get the figures again. whose: data and model of the
    rows; curves and points are of digits. late: whether time was over before all was run, which the
    page says, as that plots need matplotlib, where there is none.
    """
    rows = [one for one in found if isinstance(one, Row)]
    groups: dict[tuple[Exposure, str], list[Row]] = {}
    for row in rows:
        groups.setdefault((row.exposure, row.question), []).append(row)
    parts = [
        f"<p>{_LEAD}</p>",
        f"<p><strong>{_LATE}</strong></p>" if late else "",
        "" if can_plot() or not (curves or points) else f'<p class="note">{escape(NEEDED)}</p>',
        *(_frontier(points) if points else ()),
        *(_curves(curves) if curves else ()),
        *(_table(*what, each) for what, each in groups.items()),
        *_skipped([one for one in found if isinstance(one, Skipped)]),
        f"<footer>{escape(whose) if rows else ''} {_FOOTER} Again: <code>{escape(command)}</code>"
        "</footer>",
    ]
    return whole_page(title=title, body="\n".join(parts), style=_STYLE)


def shown(row: Row) -> tuple[str, ...]:
    """The cells of a table under `HEAD`, for people."""
    figure = row.figure
    bound = "-" if figure.bound is None else f"{figure.bound:.3f}"
    cells = (_interval(figure.found), _interval(figure.control), bound, _result(row))
    return (row.seen, figure.attack, figure.metric, *cells)


POINT_HEAD = ("opened", "a plan can", "told of a client", "most by")


def shown_point(point: Point) -> tuple[str, ...]:
    """The cells of a table under `POINT_HEAD` and two columns for each kind of attackers: left out,
    and honest clients ever left out.
    """
    seen = point.leakage.seen
    by = f"{seen.question} {seen.how or seen.figure.attack}"
    sides = (
        cell
        for side in point.sides.values()
        for cell in (_percent(side.recall), _wronged(point, side))
    )
    offered = "yes" if point.mode.offered else "no"
    return (point.mode.name, offered, _percent(point.leakage.advantage), by, *sides)


def _wronged(point: Point, side: Detection) -> str:
    return "the budget" if point.mode.kind is Kind.GROUPS else f"{side.wronged:.1%}"


def _record(row: Row) -> dict[str, Any]:
    figure = dataclasses.asdict(row.figure)
    judged = {"leaks": row.figure.leaks, "exceeds": row.figure.exceeds}
    mode = {**dataclasses.asdict(row.exposure.mode), "kind": row.exposure.mode.kind.value}
    exposure = {"clients": row.exposure.clients, "noise": row.exposure.noise, "mode": mode}
    return {"question": row.question, "seen": row.seen, "exposure": exposure, **figure, **judged}


def _interval(interval: Interval) -> str:
    return f"{interval.value:.3f} ({interval.low:.3f} to {interval.high:.3f})"


def _percent(interval: Interval) -> str:
    return f"{interval.value:.0%} ({interval.low:.0%} to {interval.high:.0%})"


def _result(row: Row) -> str:
    if row.figure.exceeds:
        return "beyond the bound"
    return "leaks" if row.figure.leaks else "not better than its control"


def _frontier(points: Sequence[Point]) -> Iterator[str]:
    yield "<section><h2>Detection against leakage</h2>"
    yield from (f"<p>{escape(line)}</p>" for line in advice(points).splitlines())
    if can_plot():
        label = "Detection against leakage, for each mode: the figures are in the table below"
        yield f"<figure>{frontier_svg(points, label=label)}"
        yield f"<figcaption>{_FRONTIER}</figcaption></figure>"
    else:
        yield f'<p class="note">{_FRONTIER}</p>'
    sides = (cell for name in points[0].sides for cell in (f"{name}: out", "honest ever out"))
    rows = [("", shown_point(one)) for one in points]
    yield f"{_cells((*POINT_HEAD, *sides), rows, kind='points')}</section>"


def _curves(curves: Sequence[Curve]) -> Iterator[str]:
    yield f'<section><h2>Against one thing at a time</h2><p class="note">{_CURVES}</p>'
    yield "<div class=pairs>"
    for curve in curves:
        names = ", ".join(line.name for line in curve.lines)
        label = f"{curve.title} {curve.metric} against {curve.along}: {names}, and the control"
        if can_plot():
            yield f"<figure>{curve_svg(curve, label=label)}</figure>"
    yield "</div>"
    for curve in curves:
        yield f"<details><summary>{escape(curve.title)} The figures</summary>"
        yield f"{_curve_table(curve)}</details>"
    yield "</section>"


def _curve_table(curve: Curve) -> str:
    rows = [
        (
            "",
            (f"{at:g}", line.name, _interval(one.found), _interval(one.control), _bound(one.bound)),
        )
        for line in curve.lines
        for at, one in line.figures
    ]
    return _cells((curve.along, "line", curve.metric, "control", "bound"), rows)


def _bound(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"


def _table(exposure: Exposure, question: str, rows: Sequence[Row]) -> str:
    table = _cells(HEAD, [(_kind(row), shown(row)) for row in rows])
    return (
        f"<section><h2>{escape(question)}</h2><p class=note>{escape(exposure.name)}</p>"
        f"{table}{''.join(_figure(row) for row in rows if row.pictures is not None)}</section>"
    )


def _skipped(skipped: Sequence[Skipped]) -> Iterator[str]:
    if skipped:
        yield "<section><h2>Not run</h2>"
        rows = [("", (one.question, one.attack, one.why)) for one in skipped]
        yield f"{_cells(('question', 'attack', 'why'), rows)}</section>"


def _cells(
    head: Sequence[str], rows: Sequence[tuple[str, Sequence[str]]], *, kind: str = "figures"
) -> str:
    """A table of any texts, of a class; each row with a class of its own, or none."""
    titles = "".join(f"<th scope=col>{escape(cell)}</th>" for cell in head)
    body = "\n".join(
        f"<tr{f' class={one}' if one else ''}>"
        f"{''.join(f'<td>{escape(cell)}</td>' for cell in cells)}</tr>"
        for one, cells in rows
    )
    return (
        f"<div class=wide><table class={kind}><thead><tr>{titles}</tr></thead>\n"
        f"<tbody>{body}</tbody></table></div>"
    )


def _figure(row: Row) -> str:
    """Images above what was found of them, as squares of gray, for print and screens alike."""
    assert row.pictures is not None, "rows without pictures have no figure"
    height, width = row.shape
    many = row.pictures.shape[1]
    squares = "".join(
        f'<g transform="translate({at * (width + 1)} {line * (height + 1)})">'
        f"{_squares(image, width)}</g>"
        for line, images in enumerate(row.pictures)
        for at, image in enumerate(images)
    )
    label = escape(f"{row.figure.attack}, from {row.seen}: true images, and below what was found")
    across, down = many * (width + 1) - 1, 2 * height + 1
    return (
        f'<figure><svg role="img" aria-label="{label}" viewBox="0 0 {across} {down}" '
        f'width="{across * _ZOOM}" height="{down * _ZOOM}" shape-rendering="crispEdges">'
        f"{squares}</svg><figcaption>{label}</figcaption></figure>"
    )


def _squares(image: Array, width: int) -> str:
    shades = np.rint(255 * (1 - np.clip(image, 0, 1))).astype(int).tolist()
    return "".join(
        f'<rect x="{at % width}" y="{at // width}" width="1" height="1" '
        f'fill="#{shade:02x}{shade:02x}{shade:02x}"/>'
        for at, shade in enumerate(shades)
    )


def _kind(row: Row) -> str:
    return "beyond" if row.figure.exceeds else "leaks" if row.figure.leaks else "holds"


_LEAD = (
    "Each figure stands between two lines: the control, which is what somebody achieves who saw "
    "nothing of any round, and the bound, which no attack exceeds where noise gives one. Intervals "
    "are of 95 %, each by itself: of many, some miss."
)
_LATE = (
    "Stopped before the end: the time that was given is over, some attacks were not run, and what "
    "they would find is not here."
)
_FRONTIER = (
    "Above: attackers left out of round 10, with 3 % of honest clients as the budget of a run; the "
    "rules that need a root set are not bound by it, and the table has what they cost. To the "
    "right: how far the strongest attack on labels and links goes from a guess (0) to certainty "
    "(1). Labels: numbers opened of each client, and the deviation of committed noise over the "
    "clip bound. *: more honest clients were left out than the budget allows. "
    "Groups have the best threshold in hindsight. Digits, 40 clients of whom 8 attack, "
    "labels by Dirichlet(0.3). The sum leaks beside all of these."
)
_CURVES = (
    "Solid lines: the strongest attack, with its interval. Dotted: the control. Dashed: the bound; "
    "without noise none is known but certainty. Digits."
)
_FOOTER = (
    "What is found is a lower bound on what leaks: a better attack may find more, and another "
    "model may leak more."
)
_STYLE = """
main { max-width: 72rem; }
table { font-size: .9rem; }
.figures td:nth-child(n+3), .points td { white-space: nowrap; }
.points td:nth-child(4) { white-space: normal; min-width: 9rem; }
.points td, .points th { padding-right: .6rem; }
tr.leaks td:last-child, tr.beyond td { color: var(--bad); font-weight: bold; }
.pairs { display: grid; grid-template-columns: repeat(auto-fit, minmax(26rem, 1fr)); gap: 0 1rem; }
.pairs figure svg { width: 100%; }
@media print {
  main { max-width: none; }
  table { font-size: .65rem; }
  .points td, .points th { white-space: normal; min-width: 0; padding-right: .4rem; }
  .points td:nth-child(4) { min-width: 0; }
  .pairs { grid-template-columns: 1fr 1fr; }
  figure, tr { break-inside: avoid; }
}
"""
