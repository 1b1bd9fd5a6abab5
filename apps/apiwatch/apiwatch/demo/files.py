"""Names of the demonstration's files."""

from __future__ import annotations

from pathlib import Path

__all__ = ["METRICS", "SITES", "site_file"]

SITES = 20
METRICS = "/-/metrics"
"""Where a gateway shows its counts."""


def site_file(folder: Path, site: int, suffix: str) -> Path:
    """Where a site keeps its profile, log or alerts."""
    return folder / f"site{site:02d}.{suffix}"
