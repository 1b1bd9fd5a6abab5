"""The figures of one test over rounds, against its threshold: SVG that takes the page's colors."""

from __future__ import annotations

import hashlib
import io
import math
import re
from collections.abc import Sequence
from typing import TYPE_CHECKING

from robust.explain import Point

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["NEEDED", "can_plot", "history_svg"]

NEEDED = "plots need matplotlib: pip install 'secagg[report]'"

_INK = "#010203"  # replaced by the color of the page's text
_FIGURE, _THRESHOLD = "#2878c8", "#d06010"  # contrast of at least 3 with white and with #16181c
_FAR = 1e3


def can_plot() -> bool:
    """Whether matplotlib is there."""
    try:
        import matplotlib  # noqa: F401, PLC0415 -- an extra, and slow to import
    except ImportError:
        return False
    return True


def history_svg(
    points: Sequence[Point], *, test: str, label: str, span: tuple[int, int] | None = None
) -> str:
    """One <svg> element. label: what it shows, for those who do not see it. span: first and last
    round of the axis; by default those of `points`.

    Raises `ImportError`, naming the extra, without matplotlib.
    """
    try:
        import matplotlib as mpl  # noqa: PLC0415
        from matplotlib.backends.backend_svg import FigureCanvasSVG  # noqa: PLC0415
        from matplotlib.figure import Figure  # noqa: PLC0415
    except ImportError as error:
        raise ImportError(NEEDED) from error
    salt = hashlib.sha256(label.encode()).hexdigest()[:12]
    with mpl.rc_context({"svg.fonttype": "none", "svg.hashsalt": salt}):
        figure = Figure(figsize=(5.6, 2.1), layout="constrained")
        FigureCanvasSVG(figure)
        _draw(figure.add_subplot(), points, test, span or (points[0].number, points[-1].number))
        out = io.StringIO()
        plain = dict.fromkeys(("Date", "Creator", "Format", "Type"))
        figure.savefig(out, format="svg", transparent=True, metadata=plain)
    return _embedded(out.getvalue(), prefix=f"p{salt}-", label=label)


def _draw(axes: Axes, points: Sequence[Point], test: str, span: tuple[int, int]) -> None:
    numbers = [point.number for point in points]
    figures = [point.finding.figure for point in points]
    axes.plot(numbers, _shown(points), "--", color=_THRESHOLD, label="threshold", linewidth=1.6)
    axes.plot(numbers, figures, "o-", color=_FIGURE, label=test, linewidth=1.6, markersize=4)
    out = [point for point in points if point.finding.excludes]
    axes.plot(
        [point.number for point in out],
        [point.finding.figure for point in out],
        "X",
        color=_THRESHOLD,
        label="excludes",
        markersize=9,
    )
    axes.set_xlim(span[0] - 0.5, span[1] + 0.5)
    axes.set_xlabel("round", color=_INK)
    axes.locator_params(axis="x", integer=True)
    axes.tick_params(colors=_INK)
    for name, spine in axes.spines.items():
        spine.set_color(_INK)
        spine.set_visible(name in {"left", "bottom"})
    axes.legend(frameon=False, labelcolor=_INK, ncols=3, fontsize="small", loc="best")


def _shown(points: Sequence[Point]) -> list[float]:
    """Thresholds; a gap where one is so far from everything that it would hide the rest."""
    found = [point.finding.threshold for point in points]
    largest = max((abs(point.finding.figure) for point in points), default=0.0)
    room = _FAR * max(largest, min(map(abs, found), default=0.0))
    return [one if abs(one) <= room else math.nan for one in found]


def _embedded(svg: str, *, prefix: str, label: str) -> str:
    """The element alone, with ids of its own, in the color of the text, and with a name."""
    svg = svg[svg.index("<svg") :].strip()
    svg = re.sub(r'\bid="([^"]*)"', rf'id="{prefix}\1"', svg)
    svg = re.sub(r"url\(#([^)]*)\)", rf"url(#{prefix}\1)", svg)
    svg = re.sub(r'href="#([^"]*)"', rf'href="#{prefix}\1"', svg)
    svg = svg.replace(_INK, "currentColor")
    quoted = label.replace("&", "&amp;").replace('"', "&quot;").replace("<", "&lt;")
    return svg.replace("<svg", f'<svg role="img" aria-label="{quoted}"', 1)
