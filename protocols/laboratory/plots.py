"""The frontier and the curves as SVG. Series differ by marker as well as by color."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, NamedTuple

from dp.audit.measure import Interval
from protocols.laboratory.curves import Curve, Line
from protocols.laboratory.frontier import BUDGET, Point
from protocols.laboratory.modes import Kind, Mode
from protocols.laboratory.place import placed
from protocols.svg import INK, framed, svg_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["curve_svg", "frontier_svg"]

_BLUE, _ORANGE, _GREEN = "#2878c8", "#d06010", "#1f9460"
"""Told apart without red and green, with a contrast of at least 3 to white and to #16181c."""

_SMALL = 8.5


class _Series(NamedTuple):
    legend: str
    color: str
    marker: str


_SKETCH = _Series("k numbers of each update", _BLUE, "o")
_NOISY = _Series("the same, with committed noise: k ± deviation", _ORANGE, "s")
_GROUPS = _Series("128 numbers of sums over groups of g", _GREEN, "^")
_OTHER = _Series("no numbers, norms, cosines", INK, "D")
_ALL = (_SKETCH, _NOISY, _GROUPS, _OTHER)


def frontier_svg(points: Sequence[Point], *, label: str) -> str:
    """One panel for each kind of attackers: detection above, against leakage to the right.

    Raises `ImportError`, naming the extra, without matplotlib.
    """
    return svg_of(lambda figure: _frontier(figure, points), size=(10.2, 5.0), label=label)


def curve_svg(curve: Curve, *, label: str) -> str:
    """What attacks find, between the line of the control and that of the bound; raises likewise."""
    return svg_of(lambda figure: _curve(figure, curve), size=(5.4, 3.6), label=label)


def _frontier(figure: Figure, points: Sequence[Point]) -> None:
    names = list(points[0].sides)
    panels = figure.subplots(1, len(names), sharey=True, squeeze=False)[0]
    for axes, name in zip(panels, names, strict=True):
        _panel(axes, points, name)
    panels[0].set_ylabel("attackers left out of round 10", color=INK)
    handles, legends = panels[0].get_legend_handles_labels()
    handles.append(panels[0].plot([], [], "o", color=INK, markerfacecolor="none")[0])
    legends.append("hollow: too few numbers for a plan")
    figure.legend(
        handles, legends, loc="outside upper left", ncols=2, frameon=False, labelcolor=INK,
        fontsize=_SMALL,
    )  # fmt: skip
    figure.draw_without_rendering()  # labels go by places on the finished figure
    for axes, name in zip(panels, names, strict=True):
        placed(axes, _labels(points, name), color=INK, size=_SMALL - 1)


def _panel(axes: Axes, points: Sequence[Point], name: str) -> None:
    axes.set_title(name, color=INK, fontsize=10.5, loc="left")
    axes.set_xlabel("told of a client: 0 a guess, 1 certainty", color=INK)
    axes.set_xlim(-0.04, 1.06)
    axes.set_ylim(-0.06, 1.12)
    axes.set_yticks([0, 0.25, 0.5, 0.75, 1], ["0 %", "25 %", "50 %", "75 %", "100 %"])
    framed(axes)
    for series in _ALL:
        _draw(axes, [one for one in points if _series(one.mode) is series], name, series)


def _draw(axes: Axes, points: Sequence[Point], name: str, series: _Series) -> None:
    if not points:
        return
    across = [one.leakage.advantage for one in points]
    above = [one.sides[name].recall for one in points]
    x, y = [one.value for one in across], [one.value for one in above]
    if series is _SKETCH:
        axes.plot(x, y, "-", color=series.color, linewidth=1, alpha=0.6)
    axes.errorbar(
        x, y,
        xerr=_reaches(across), yerr=_reaches(above),
        fmt="none", ecolor=series.color, elinewidth=0.8, alpha=0.35,
    )  # fmt: skip
    for offered in (True, False):
        part = [at for at, one in enumerate(points) if one.mode.offered is offered]
        axes.plot(
            [x[at] for at in part], [y[at] for at in part], series.marker, color=series.color,
            markerfacecolor=series.color if offered else "none", markersize=5.5,
            label=series.legend if offered else None,
        )  # fmt: skip


def _reaches(intervals: Sequence[Interval]) -> list[list[float]]:
    """How far each reaches below and above its value."""
    below = [one.value - one.low for one in intervals]
    return [below, [one.high - one.value for one in intervals]]


def _labels(points: Sequence[Point], name: str) -> Iterable[tuple[float, float, str]]:
    for one in points:
        side = one.sides[name]
        mark = "*" if side.wronged > BUDGET else ""
        yield one.leakage.advantage.value, side.recall.value, _short(one.mode) + mark


def _series(mode: Mode) -> _Series:
    if mode.kind is Kind.GROUPS:
        return _GROUPS
    if mode.kind is Kind.SKETCH:
        return _NOISY if mode.noise else _SKETCH
    return _OTHER


def _short(mode: Mode) -> str:
    match mode.kind:
        case Kind.SKETCH:
            return f"{mode.numbers} ± {mode.noise:g}" if mode.noise else f"{mode.numbers}"
        case Kind.GROUPS:
            return f"g {mode.group}"
        case Kind.NORM:
            return f"norms, {mode.numbers}"
        case Kind.COSINE:
            return "norm, cosine"
        case Kind.PROOF:
            return f"cosine ≥ {mode.least:g}"
        case _:
            return mode.name


def _curve(figure: Figure, curve: Curve) -> None:
    axes = figure.add_subplot()
    _axes(axes, curve)
    for line, style in zip(curve.lines, ((_BLUE, "o"), (_ORANGE, "s")), strict=True):
        _line(axes, line, *style)
    first = curve.lines[0].figures
    control = [one.control.value for _, one in first]
    axes.plot([at for at, _ in first], control, ":", color=INK, linewidth=1.2, label="control")
    figure.legend(loc="outside lower left", ncols=3, frameon=False, labelcolor=INK, fontsize=_SMALL)


def _axes(axes: Axes, curve: Curve) -> None:
    axes.set_title(curve.title, color=INK, fontsize=10.5, loc="left")
    axes.set_xlabel(curve.along, color=INK)
    axes.set_ylabel(curve.metric, color=INK)
    axes.set_xscale("log")
    axes.set_xticks(curve.ticks, [f"{tick:g}" for tick in curve.ticks])
    axes.minorticks_off()
    axes.set_ylim(0 if curve.least < 0.4 else 0.4, 1.04)
    framed(axes)


def _line(axes: Axes, line: Line, color: str, marker: str) -> None:
    """What was found, with its intervals, and the bounds that there are."""
    x, found = [at for at, _ in line.figures], [one.found for _, one in line.figures]
    low, high = [one.low for one in found], [one.high for one in found]
    axes.fill_between(x, low, high, color=color, alpha=0.15, linewidth=0)
    axes.plot(
        x, [one.value for one in found], f"{marker}-", color=color, label=line.name,
        linewidth=1.4, markersize=4.5,
    )  # fmt: skip
    bounds = [(at, one.bound) for at, one in line.figures if one.bound is not None]
    if bounds:
        where, bound = zip(*bounds, strict=True)
        axes.plot(where, bound, "--", color=color, linewidth=1.2, label=f"bound, {line.name}")
