"""Figures by matplotlib as one <svg> element that takes the color of the page's text.

Ids are the element's own, so that a page can hold several; the same figure is the same bytes.
"""

from __future__ import annotations

import hashlib
import io
import re
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["INK", "NEEDED", "can_plot", "framed", "standalone", "svg_of"]

NEEDED = "plots need matplotlib: pip install 'secagg[report]'"

INK = "#010203"
"""What is drawn in this color has that of the page's text."""


def can_plot() -> bool:
    """Whether matplotlib is there."""
    try:
        import matplotlib  # noqa: F401, PLC0415 -- an extra, and slow to import
    except ImportError:
        return False
    return True


def svg_of(draw: Callable[[Figure], Any], *, size: tuple[float, float], label: str) -> str:
    """What `draw` puts on an empty figure of `size` inches.

    label: what it shows, for those who do not see it. Raises `ImportError`, naming the extra,
    without matplotlib.
    """
    try:
        import matplotlib as mpl  # noqa: PLC0415
        from matplotlib.backends.backend_svg import FigureCanvasSVG  # noqa: PLC0415
        from matplotlib.figure import Figure  # noqa: PLC0415
    except ImportError as error:
        raise ImportError(NEEDED) from error
    salt = hashlib.sha256(label.encode()).hexdigest()[:12]
    with mpl.rc_context({"svg.fonttype": "none", "svg.hashsalt": salt}):
        figure = Figure(figsize=size, layout="constrained")
        FigureCanvasSVG(figure)
        draw(figure)
        out = io.StringIO()
        plain = dict.fromkeys(("Date", "Creator", "Format", "Type"))
        figure.savefig(out, format="svg", transparent=True, metadata=plain)
    return _embedded(out.getvalue(), prefix=f"p{salt}-", label=label)


def standalone(svg: str) -> str:
    """The same element as a file of its own: dark on white, in whatever it is shown."""
    return svg.replace("<svg", '<svg style="background:#ffffff;color:#1b1e24"', 1) + "\n"


def framed(axes: Axes) -> None:
    """Ticks and two axes in the page's color, and nothing around them."""
    axes.tick_params(colors=INK, which="both")
    for name, spine in axes.spines.items():
        spine.set_color(INK)
        spine.set_visible(name in {"left", "bottom"})


def _embedded(svg: str, *, prefix: str, label: str) -> str:
    """The element alone, with ids of its own, in the color of the text, and with a name."""
    svg = svg[svg.index("<svg") :].strip()
    svg = re.sub(r'\bid="([^"]*)"', rf'id="{prefix}\1"', svg)
    svg = re.sub(r"url\(#([^)]*)\)", rf"url(#{prefix}\1)", svg)
    svg = re.sub(r'href="#([^"]*)"', rf'href="#{prefix}\1"', svg)
    svg = svg.replace(INK, "currentColor")
    quoted = label.replace("&", "&amp;").replace('"', "&quot;").replace("<", "&lt;")
    return svg.replace("<svg", f'<svg role="img" aria-label="{quoted}"', 1)
