"""The figures of one test over rounds, against its threshold."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from protocols.svg import INK, framed, svg_of
from robust.explain import Point

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["history_svg"]

_FIGURE, _THRESHOLD = "#2878c8", "#d06010"  # contrast of at least 3 with white and with #16181c
_FAR = 1e3


def history_svg(
    points: Sequence[Point], *, test: str, label: str, span: tuple[int, int] | None = None
) -> str:
    """One <svg> element. label: what it shows, for those who do not see it. span: first and last
    round of the axis; by default those of `points`.

    Raises `ImportError`, naming the extra, without matplotlib.
    """
    shown = span or (points[0].number, points[-1].number)
    return svg_of(
        lambda figure: _draw(figure.add_subplot(), points, test, shown),
        size=(5.6, 2.1),
        label=label,
    )


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
    axes.set_xlabel("round", color=INK)
    axes.locator_params(axis="x", integer=True)
    framed(axes)
    axes.legend(frameon=False, labelcolor=INK, ncols=3, fontsize="small", loc="best")


def _shown(points: Sequence[Point]) -> list[float]:
    """Thresholds; a gap where one is so far from everything that it would hide the rest."""
    found = [point.finding.threshold for point in points]
    largest = max((abs(point.finding.figure) for point in points), default=0.0)
    room = _FAR * max(largest, min(map(abs, found), default=0.0))
    return [one if abs(one) <= room else math.nan for one in found]
