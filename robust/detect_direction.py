"""Direction: updates that point elsewhere than the sum of the others, or lie far from all.

Experimental. Both statistics prefer what lies near the middle: they miss, and even reward, clients
that replay the last global update (`EvidenceOfTraining` is for those).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from robust.detect import Abstained, Detector, Reason, Scores
from robust.features import (
    LOWER_PART,
    between,
    krum_scores,
    leave_one_out_cosines,
    proportion,
    standardized,
    vary,
)
from robust.observe import Sketches

__all__ = ["Direction"]


@dataclass(frozen=True, kw_only=True)
class Direction(Detector[Sketches]):
    """The worse of two standardized scores: minus the cosine with the others' sum, and Krum's.

    Figures, (n,): `cosine`, with the sum of the other updates; `krum`, of `krum_scores`, over the
    median squared norm.

    Abstains: TOO_FEW_CLIENTS below 4, NO_VARIATION where all rows are the same or most are zero.

    Attributes
    ----------
    corrupt: share of attackers that Krum allows for, in [0, 1/2).
    part: of the clients, the least suspicious first, that sets the scale; in (0, 1).
    """

    name: ClassVar[str] = "direction"
    sees: ClassVar[type[Sketches]] = Sketches

    corrupt: float = 0.2
    part: float = LOWER_PART

    def __post_init__(self) -> None:
        proportion("corrupt", self.corrupt, 0.5)
        between("part", self.part, 0.0, 1.0)

    def score(self, seen: Sketches) -> Scores | Abstained:
        """Both scores of every client."""
        if len(seen.clients) < 4:
            return self.abstain(Reason.TOO_FEW_CLIENTS)
        if not vary(seen.gram):
            return self.abstain(Reason.NO_VARIATION)
        cosine = leave_one_out_cosines(seen.rows)
        krum = krum_scores(seen.gram, self.corrupt) / float(np.median(seen.gram.diagonal()))
        return Scores(
            detector=self.name,
            clients=seen.clients,
            suspicion=np.maximum(standardized(-cosine, self.part), standardized(krum, self.part)),
            figures={"cosine": cosine, "krum": krum},
        )
