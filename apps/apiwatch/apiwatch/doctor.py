"""What is wrong with a profile, and which extra is missing for which command."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import numpy as np

from apiwatch.errors import ProfileUnreadable
from apiwatch.store import Profile

__all__ = ["Finding", "findings"]

_CROWDED = 0.4  # share of cells in use, from which on chance hides too much
_FEW = 3000  # fields
_EXTRAS = (
    ("river", "drift", "drift"),
    ("torch", "bench … neural", "neural"),
    ("libmodsecurity", "bench … crs", "crs"),
    ("prometheus_client", "tail --metrics", "serve"),
    ("uvicorn", "demo", "demo"),
)


@dataclass(frozen=True)
class Finding:
    """One line, and whether it is an error or a remark."""

    line: str
    is_error: bool = False


def findings(path: Path) -> list[Finding]:
    """All of them; no error means that `score` will work."""
    extras = [
        Finding(f"{module} is not installed: `apiwatch {command}` needs apiwatch[{extra}]")
        for module, command, extra in _EXTRAS
        if find_spec(module) is None
    ]
    if not path.is_file():
        return [Finding(f"{path} is not there: `apiwatch learn LOG` makes it", True), *extras]
    try:
        profile = Profile.load(path)
    except ProfileUnreadable as error:
        return [Finding(str(error), True), *extras]
    return [*_about(path, profile), *extras]


def _about(path: Path, profile: Profile) -> list[Finding]:
    share = np.count_nonzero(profile.table.counts) / profile.table.counts.size
    fields = int(profile.calibration.sums[:, 0].sum())
    lines = [
        Finding(f"{path}: {profile.detector.digest[:16]}, {fields:,} fields calibrated"),
        Finding(f"{share:.1%} of the cells in use, threshold {profile.threshold:.2f}"),
    ]
    if share > _CROWDED:
        lines.append(Finding(f"over {_CROWDED:.0%} of the cells: learn with more of them", True))
    if fields < _FEW:
        lines.append(Finding(f"fewer than {_FEW:,} fields: expect false alarms"))
    if path.stat().st_mode & 0o077:
        lines.append(Finding(f"{path} holds a salt and is readable by others: chmod 600", True))
    if profile.classes is None:
        lines.append(Finding("no classes: alerts have no name until `apiwatch label`"))
    return lines
