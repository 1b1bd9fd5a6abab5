"""Figures of attacks as JSON, and as one HTML file that loads nothing and runs nothing."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from html import escape
from itertools import groupby
from typing import Any

import numpy as np

from dp.audit.measure import Interval
from protocols.html import whole_page
from protocols.laboratory.images import SHAPE
from protocols.laboratory.suite import Exposure, Row
from robust.observe import Array

__all__ = ["HEAD", "described", "document", "page", "shown"]

_ZOOM = 6  # CSS pixels for one of an image
HEAD = ("seen", "attack", "figure", "found", "control", "bound", "result")


def document(rows: Sequence[Row]) -> dict[str, Any]:
    """JSON types; every figure with its interval, its control, and its bound or null."""
    return {"format": "secagg-leakage-figures-1", "rows": [_record(row) for row in rows]}


def page(rows: Sequence[Row], *, title: str, command: str) -> str:
    """The whole page. command: what to type to get the figures again."""
    groups = groupby(rows, key=lambda row: (row.exposure, row.question))
    tables = [_table(exposure, question, list(each)) for (exposure, question), each in groups]
    footer = f"<footer>{_FOOTER} Again: <code>{escape(command)}</code></footer>"
    return whole_page(
        title=title, body="\n".join([f"<p>{_LEAD}</p>", *tables, footer]), style=_STYLE
    )


def shown(row: Row) -> tuple[str, ...]:
    """The cells of a table under `HEAD`, for people."""
    figure = row.figure
    bound = "-" if figure.bound is None else f"{figure.bound:.3f}"
    cells = (_interval(figure.found), _interval(figure.control), bound, _result(row))
    return (row.seen, figure.attack, figure.metric, *cells)


def described(exposure: Exposure) -> str:
    """A line for people."""
    noise = f"noise {exposure.noise:.3g} times the clip bound" if exposure.noise else "no noise"
    opened = f"{exposure.opened} numbers opened" if exposure.opened else "nothing opened beside"
    many = "1 client" if exposure.clients == 1 else f"{exposure.clients} clients"
    return f"a sum of {many}, {noise}, {opened}"


def _record(row: Row) -> dict[str, Any]:
    figure = dataclasses.asdict(row.figure)
    judged = {"leaks": row.figure.leaks, "exceeds": row.figure.exceeds}
    exposure = dataclasses.asdict(row.exposure)
    return {"question": row.question, "seen": row.seen, "exposure": exposure, **figure, **judged}


def _interval(interval: Interval) -> str:
    return f"{interval.value:.3f} ({interval.low:.3f} to {interval.high:.3f})"


def _result(row: Row) -> str:
    if row.figure.exceeds:
        return "beyond the bound"
    return "leaks" if row.figure.leaks else "not better than its control"


def _table(exposure: Exposure, question: str, rows: Sequence[Row]) -> str:
    titles = "".join(f"<th scope=col>{escape(cell)}</th>" for cell in HEAD)
    body = "\n".join(
        f"<tr class={_kind(row)}>{''.join(f'<td>{escape(cell)}</td>' for cell in shown(row))}</tr>"
        for row in rows
    )
    return (
        f"<section><h2>{escape(question)}</h2><p class=note>{escape(described(exposure))}</p>"
        f"<div class=wide><table><thead><tr>{titles}</tr></thead>\n<tbody>{body}</tbody></table>"
        f"</div>{''.join(_figure(row) for row in rows if row.pictures is not None)}</section>"
    )


def _figure(row: Row) -> str:
    """Images above what was found of them, as squares of gray, for print and screens alike."""
    assert row.pictures is not None, "rows without pictures have no figure"
    height, width = SHAPE
    many = row.pictures.shape[1]
    squares = "".join(
        f'<g transform="translate({at * (width + 1)} {line * (height + 1)})">{_squares(image)}</g>'
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


def _squares(image: Array) -> str:
    shades = np.rint(255 * (1 - np.clip(image, 0, 1))).astype(int).tolist()
    return "".join(
        f'<rect x="{at % SHAPE[1]}" y="{at // SHAPE[1]}" width="1" height="1" '
        f'fill="#{shade:02x}{shade:02x}{shade:02x}"/>'
        for at, shade in enumerate(shades)
    )


def _kind(row: Row) -> str:
    return "beyond" if row.figure.exceeds else "leaks" if row.figure.leaks else "holds"


_LEAD = (
    "Each figure stands between two lines: the control, which is what somebody achieves who saw "
    "nothing of any round, and the bound, which no attack exceeds where noise gives one. Intervals "
    "are of 95 %."
)
_FOOTER = (
    "Clients are simulated on scikit-learn's digits. What is found is a lower bound on what leaks: "
    "a better attack may find more, and another model may leak more."
)
_STYLE = """
main { max-width: 72rem; }
table { font-size: .9rem; }
td:nth-child(n+3) { white-space: nowrap; }
tr.leaks td:last-child, tr.beyond td { color: var(--bad); font-weight: bold; }
"""
