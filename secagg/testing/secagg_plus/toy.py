"""A screen too small to be sound, so that tests are fast and failures can be counted; and groups
that a test can name.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from secagg.groups import Groups
from secagg.identity import PartyId
from secagg.schemes.secagg_plus.verified import Screen, SecAggPlusVerified

__all__ = ["FixedGroups", "ToyScreen"]


@dataclass(frozen=True, kw_only=True)
class ToyScreen(Screen):
    """INSECURE: opens as many numbers as there are, and lets spikes pass now and then."""

    rows: int = 16
    buckets: int = 16

    least_bits: ClassVar[int] = 0
    least_rows: ClassVar[int] = 0
    least_ratio: ClassVar[int] = 0


class FixedGroups(SecAggPlusVerified):
    """INSECURE: everybody knows the groups beforehand. Of m = clients // group, they are the ids
    with the same remainder by m, the first that of 0.

    Drawn ones differ between rounds from one seed, as sealed parcels do, and all that is hashed
    after them.
    """

    def groups(self, screen: bytes, uploads: Sequence[PartyId]) -> Groups:
        count = self.clients // self.screen.group
        parts = (tuple(p for p in uploads if p % count == rest) for rest in range(count))
        return Groups(tuple(parts), self.group_floor)
