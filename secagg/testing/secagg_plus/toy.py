"""A screen too small to be sound, so that tests are fast and failures can be counted."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from secagg.schemes.secagg_plus.verified import Screen

__all__ = ["ToyScreen"]


@dataclass(frozen=True, kw_only=True)
class ToyScreen(Screen):
    """INSECURE: opens as many numbers as there are, and lets spikes pass now and then."""

    rows: int = 16
    buckets: int = 16

    least_bits: ClassVar[int] = 0
    least_rows: ClassVar[int] = 0
    least_ratio: ClassVar[int] = 0
