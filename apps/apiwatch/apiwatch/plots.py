"""Pictures of the report: SVG without a script, readable in light and in dark.

Numbers are rounded to a tenth of a pixel, and everything that came from a request is escaped.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from html import escape

import numpy as np
from numpy.typing import NDArray

__all__ = ["curves", "misses", "scatter", "timeline"]

_WIDTH, _HEIGHT = 720, 240
_LEFT, _BOTTOM = 44, 24
_COLORS = ("#2b7bba", "#c22", "#3a9a4a", "#8a5bb8", "#d18a1f", "#607080")
_LEAST = 1e-3  # of a rate on the logarithmic axis
_TICKS = ((1e-3, "0.1%"), (1e-2, "1%"), (0.1, "10%"), (1.0, "100%"))
_Floats = NDArray[np.float64]


def curves(scores: Mapping[str, tuple[_Floats, _Floats]]) -> str:
    """Attacks found against false alarms, the latter on a logarithmic axis.

    scores: of usual requests and of attacks, by what the profile is called.
    """
    return _rates(scores, _share_y, _SHARES, "attacks found")


def misses(scores: Mapping[str, tuple[_Floats, _Floats]]) -> str:
    """Attacks missed against false alarms, both on logarithmic axes [Martin97]."""
    marks = [(_missed_y(1 - rate), name) for rate, name in (*_TICKS[1:], (_LEAST, "≤ 0.1%"))]
    return _rates(scores, _missed_y, marks, "attacks missed")


def _rates(
    scores: Mapping[str, tuple[_Floats, _Floats]],
    height: Callable[[float], float],
    beside: Sequence[tuple[float, str]],
    label: str,
) -> str:
    lines = [
        _curve(*parts, color(i), height, dashed=i > 0) for i, parts in enumerate(scores.values())
    ]
    below = [(_rate_x(rate), name) for rate, name in _TICKS]
    axes = [
        f'<text x="{_WIDTH - 130}" y="20" font-size="12" fill="currentColor">{label}</text>',
        f'<text x="{_rate_x(1.0) + 6:.1f}" y="{_HEIGHT - 6}" font-size="11" fill="currentColor">'
        "false alarms</text>",
    ]
    inside = [*axes, *_legend(list(scores), 44)]
    return _framed(inside, below, beside, label, end=_rate_x(1.0), above=lines)


def _curve(
    usual: _Floats,
    attacks: _Floats,
    stroke: str,
    height: Callable[[float], float],
    *,
    dashed: bool,
) -> str:
    """No point below one false alarm: what is left of it is not known."""
    levels = np.unique(usual)[::-1]
    false = 1.0 - np.searchsorted(np.sort(usual), levels, "left") / usual.size
    found = 1.0 - np.searchsorted(np.sort(attacks), levels, "left") / attacks.size
    points = " ".join(
        f"{_rate_x(x):.1f},{height(y):.1f}"
        for x, y in zip(false.tolist(), found.tolist(), strict=True)
    )
    dashes = ' stroke-dasharray="6 3"' if dashed else ""
    return (
        f'<polyline points="{points}" fill="none" stroke="{stroke}" stroke-width="1.8"{dashes} />'
    )


def timeline(above: NDArray[np.bool_], marks: Sequence[tuple[float, str]]) -> str:
    """The share of requests above the threshold along the log, in 60 parts.

    marks: where, from 0 to 1, traffic changed, and what is said of it.
    """
    parts = [part for part in np.array_split(above, 60) if part.size]
    shares = np.array([part.mean() for part in parts])
    most = max(float(shares.max(initial=0.0)), 0.01)
    width = (_WIDTH - _LEFT) / max(len(parts), 1)
    bars = [
        f'<rect class=bar x="{_LEFT + i * width:.1f}" y="{_share_y(share / most):.1f}" '
        f'width="{max(width - 1, 0.5):.1f}" height="{_HEIGHT - _share_y(share / most):.1f}">'
        f"<title>{share:.1%} of {part.size:,}</title></rect>"
        for i, (part, share) in enumerate(zip(parts, shares.tolist(), strict=True))
    ]
    changes = [
        f'<line x1="{(x := _LEFT + at * (_WIDTH - _LEFT)):.1f}" x2="{x:.1f}" y1="0" y2="{_HEIGHT}" '
        f'stroke="{_COLORS[1]}" stroke-dasharray="4 3"><title>{escape(told)}</title></line>'
        for at, told in marks
    ]
    shown = [(_share_y(share), f"{share * most:.1%}") for share in (0.0, 0.5, 1.0)]
    ends = [(_LEFT + 0.0, "first"), (_WIDTH - 30.0, "last")]
    return _framed([*bars, *changes], ends, shown, "above the threshold")


def scatter(points: _Floats, groups: Sequence[str], titles: Sequence[str]) -> str:
    """(n, 2) points in the color of their group; the axes mean nothing but nearness."""
    low, high = points.min(axis=0), points.max(axis=0)
    scaled = (points - low) / np.maximum(high - low, 1e-9)
    names = sorted(set(groups))
    dots = [
        f'<circle cx="{_LEFT + 8 + x * (_WIDTH - _LEFT - 170):.1f}" '
        f'cy="{10 + y * (_HEIGHT - 20):.1f}" r="4" fill="{color(names.index(group))}" '
        f'fill-opacity=".6"><title>{escape(title)}</title></circle>'
        for (x, y), group, title in zip(scaled.tolist(), groups, titles, strict=True)
    ]
    return _framed([*dots, *_legend(names)], [], [], "alerts without a name")


def color(number: int) -> str:
    """The same for the same number."""
    return _COLORS[number % len(_COLORS)]


def _legend(names: Sequence[str], top: int = 12) -> list[str]:
    return [
        f'<rect x="{_WIDTH - 130}" y="{top + 18 * i}" width="10" height="10" fill="{color(i)}" />'
        f'<text x="{_WIDTH - 115}" y="{top + 9 + 18 * i}" font-size="12" fill="currentColor">'
        f"{escape(name[:18])}</text>"
        for i, name in enumerate(names[:10])
    ]


def _rate_x(rate: float) -> float:
    return float(_LEFT + (_WIDTH - _LEFT - 145) * (1 - np.log(max(rate, _LEAST)) / np.log(_LEAST)))


def _share_y(share: float) -> float:
    return 10 + (_HEIGHT - 10) * (1 - share)


def _missed_y(found: float) -> float:
    """Of the share that is found, by the logarithm of what is missed; few missed are below."""
    return _share_y(float(1 - np.log(max(1 - found, _LEAST)) / np.log(_LEAST)))


_SHARES = [(_share_y(share), f"{share:.0%}") for share in (0.0, 0.5, 1.0)]


def _framed(
    inside: Sequence[str],
    below: Sequence[tuple[float, str]],
    beside: Sequence[tuple[float, str]],
    label: str,
    *,
    end: float = _WIDTH,
    above: Sequence[str] = (),
) -> str:
    """end: of the axis below. above: what the axes do not cross."""
    text = 'font-size="11" fill="currentColor"'
    axes = [
        f'<line x1="{_LEFT}" x2="{end:.1f}" y1="{_HEIGHT}" y2="{_HEIGHT}" stroke="currentColor" />',
        f'<line x1="{_LEFT}" x2="{_LEFT}" y1="6" y2="{_HEIGHT}" stroke="currentColor" />',
        *(f'<text x="{x:.1f}" y="{_HEIGHT + 15}" {text}>{told}</text>' for x, told in below),
        *(
            f'<text x="{_LEFT - 5}" y="{y + 4:.1f}" text-anchor="end" {text}>{told}</text>'
            for y, told in beside
        ),
    ]
    return (
        f'<svg viewBox="0 0 {_WIDTH} {_HEIGHT + _BOTTOM}" role="img" aria-label="{escape(label)}">'
        + "".join([*inside, *axes, *above])
        + "</svg>"
    )
