"""What the server has at the end of a round."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from secagg.identity import PartyId
from secagg.primitives.ring import Words

__all__ = ["Result"]


@dataclass(frozen=True, kw_only=True)
class Result:
    """What a round releases.

    Attributes
    ----------
    mean: tree of the plan's structure, the weighted mean of the included updates.
    total_weight: the sum of their weights.
    included: the clients whose updates are in the mean.
    dropped: per phase, the clients lost in it. One lost after its input arrived is in both.
    total: ring vector (length,), the exact sum that `mean` was decoded from. In a private plan the
        integers of it, int64 (length,), with the server's noise where it is the server that adds
        noise.
    within: in a private plan that counts it, the part of the updates that was within the bound;
        it has noise too, and may leave [0, 1].
    removed: the clients whose excess noise was taken off `total`, in a plan with `removal`.
    refused: in a plan with a screen, the clients of which statistics were opened, and whose updates
        are not in the mean: beyond the bounds, not accepted, or convicted of a lie. With two
        aggregators, the clients whose reports do not verify.
    """

    mean: Any
    total_weight: int
    included: frozenset[PartyId]
    dropped: Mapping[str, frozenset[PartyId]]
    total: Words | NDArray[np.int64] = field(repr=False)
    within: float | None = None
    removed: frozenset[PartyId] = frozenset()
    refused: frozenset[PartyId] = frozenset()
