"""Labels beside points, where no other label or point is. Needs matplotlib."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["Box", "placed", "spot"]

_POINT = 4.5  # half of a marker, in points
_RADII = (11, 17, 24, 32, 41, 51, 62, 74, 87, 101)
_ANGLES = (0, 90, 180, 270, 45, 135, 315, 225, 22, 67, 112, 157, 202, 247, 292, 337)
_NEAR = 12  # points: farther away, a line leads from a label to its point


class Box(NamedTuple):
    """A rectangle: left, bottom, right, top."""

    left: float
    bottom: float
    right: float
    top: float

    @classmethod
    def around(cls, x: float, y: float, width: float, height: float) -> Box:
        """The rectangle of this size with this middle."""
        return cls(x - width / 2, y - height / 2, x + width / 2, y + height / 2)

    def apart(self, other: Box) -> bool:
        """Whether they have no area in common."""
        across = self.right <= other.left or other.right <= self.left
        return across or self.top <= other.bottom or other.top <= self.bottom

    def inside(self, other: Box) -> bool:
        """Whether all of it is in the other."""
        across = other.left <= self.left and self.right <= other.right
        return across and other.bottom <= self.bottom and self.top <= other.top


def spot(
    x: float, y: float, size: tuple[float, float], taken: Iterable[Box], room: Box
) -> tuple[float, float] | None:
    """The middle of the first rectangle around (x, y), from near to far, that is inside of `room`
    and apart from all that is taken; None where there is none.
    """
    others = list(taken)
    for middle in _candidates(x, y, size):
        box = Box.around(*middle, *size)
        if box.inside(room) and all(box.apart(other) for other in others):
            return middle
    return None


def placed(
    axes: Axes, labels: Iterable[tuple[float, float, str]], *, color: str, size: float
) -> None:
    """Writes labels at (x, y) in data, one for all points that are at one place. The layout of the
    figure must be done. A label without a place is left out.
    """
    scale = axes.get_figure(root=True).dpi / 72  # type: ignore[union-attr]
    together: dict[tuple[int, int], list[str]] = {}
    where: dict[tuple[int, int], tuple[float, float]] = {}
    for x, y, text in labels:
        left, up = axes.transData.transform((x, y)) / scale
        key = round(float(left) / _POINT), round(float(up) / _POINT)
        together.setdefault(key, []).append(text)
        where.setdefault(key, (float(left), float(up)))
    taken = [Box.around(*point, 2 * _POINT, 2 * _POINT) for point in where.values()]
    room = Box(*(float(edge) / scale for edge in axes.get_window_extent().extents))
    for key, texts in together.items():
        text = ", ".join(texts)
        extent = 0.62 * size * len(text) + 2, 1.25 * size
        at = spot(*where[key], extent, taken, room)
        if at is not None:
            taken.append(Box.around(*at, *extent))
            _write(axes, text, where[key], at, color=color, size=size)


def _write(
    axes: Axes,
    text: str,
    point: tuple[float, float],
    at: tuple[float, float],
    *,
    color: str,
    size: float,
) -> None:
    apart = at[0] - point[0], at[1] - point[1]
    line = {"arrowstyle": "-", "color": color, "linewidth": 0.5, "alpha": 0.6, "shrinkB": 3}
    far = max(abs(apart[1]), abs(apart[0]) - 0.31 * size * len(text)) > _NEAR
    scale = axes.get_figure(root=True).dpi / 72  # type: ignore[union-attr]
    axes.annotate(
        text, (point[0] * scale, point[1] * scale), xycoords="figure pixels", xytext=apart,
        textcoords="offset points", ha="center", va="center", color=color, fontsize=size,
        arrowprops=line if far else None, annotation_clip=False,
    ).set_in_layout(False)  # fmt: skip


def _candidates(x: float, y: float, size: tuple[float, float]) -> Iterator[tuple[float, float]]:
    for radius in _RADII:
        for angle in _ANGLES:
            across, up = math.cos(math.radians(angle)), math.sin(math.radians(angle))
            yield x + across * (radius + size[0] / 2 - 4), y + up * radius
