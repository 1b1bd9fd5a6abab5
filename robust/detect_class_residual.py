"""Class residual: what label skew does not explain of an update.

Experimental. Under label skew, honest clients differ mostly along the directions in which single
classes pull. The server knows those from its root set; off them, a common hidden aim of a few
clients (a backdoor) shows as crowding, as a lone outlier, or as opposition to the rest.

Measured on data sets that were held out, it ranks better than Krum or FLTrust and still misses
backdoors of honest norm on some: take it as one vote among several.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from robust.detect import Abstained, Detector, Reason, Scores
from robust.features import (
    LOWER_PART,
    between,
    cosine_matrix,
    krum_scores,
    leave_one_out_cosines,
    nearest_cosines,
    orthonormal,
    proportion,
    residuals,
    standardized,
    vary,
    whole_number,
)
from robust.observe import Sketches

__all__ = ["ClassResidual"]


@dataclass(frozen=True, kw_only=True)
class ClassResidual(Detector[Sketches]):
    """The worst of three standardized scores of residuals off the span of `public.classes`.

    Figures, (n,): `crowding`, the mean of the `nearest` largest cosines between deviations from the
    mean residual; `krum`, over the median squared norm of the residuals; `cosine`, with the sum of
    the other residuals, of which less is worse.

    Abstains: NO_REFERENCE without classes, TOO_FEW_CLIENTS below 5, TOO_FEW_ROWS where fewer than 8
    dimensions are left, NO_VARIATION where all residuals are the same or most are zero.

    Attributes
    ----------
    nearest: neighbors that make a crowd, >= 1.
    corrupt, part: as in `Direction`.
    """

    name: ClassVar[str] = "class-residual"
    sees: ClassVar[type[Sketches]] = Sketches

    nearest: int = 3
    corrupt: float = 0.2
    part: float = LOWER_PART

    def __post_init__(self) -> None:
        whole_number("nearest", self.nearest, 1)
        proportion("corrupt", self.corrupt, 0.5)
        between("part", self.part, 0.0, 1.0)

    def score(self, seen: Sketches) -> Scores | Abstained:
        """The three scores of every client."""
        if seen.public.classes is None:
            return self.abstain(Reason.NO_REFERENCE)
        if len(seen.clients) < 5:
            return self.abstain(Reason.TOO_FEW_CLIENTS)
        basis = orthonormal(seen.public.classes)
        if seen.public.size - len(basis) < 8:
            return self.abstain(Reason.TOO_FEW_ROWS)
        rest = residuals(seen.rows, basis)
        gram = rest @ rest.T
        if not vary(gram):
            return self.abstain(Reason.NO_VARIATION)
        crowding = nearest_cosines(cosine_matrix(rest - rest.mean(axis=0)), self.nearest)
        krum = krum_scores(gram, self.corrupt) / float(np.median(gram.diagonal()))
        cosine = leave_one_out_cosines(rest)
        worst = [standardized(score, self.part) for score in (crowding, krum, -cosine)]
        return Scores(
            detector=self.name,
            clients=seen.clients,
            suspicion=np.max(worst, axis=0),
            figures={"crowding": crowding, "krum": krum, "cosine": cosine},
        )
