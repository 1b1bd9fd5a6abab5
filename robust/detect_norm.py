"""Norms: updates much longer or much shorter than those of the others."""

from __future__ import annotations

from dataclasses import dataclass
from math import log
from typing import ClassVar

import numpy as np

from robust.detect import Abstained, Detector, Reason, Scores
from robust.features import between, one_sided
from robust.observe import Norms

__all__ = ["NormOutlier"]

_SMALLEST = 1e-9
"""A norm of zero counts as this part of the median, so that its logarithm is finite."""

_UNBOUNDED = 1e300


@dataclass(frozen=True, kw_only=True)
class NormOutlier(Detector[Norms]):
    """How far a norm is from the median, as a part of how far it may be.

    suspicion: 1 at `factor` times the median and at `fraction` of it, logarithmic in between and
    beyond, 0 at the median. Figures, (n,): `ratio`, norm over median; `upper` and `lower`,
    deviations of log norms above and below the median, each taken from the *other* side of it
    (`one_sided`), so that a minority of attackers on one side does not widen its own bound;
    `bound`, the agreed bound over the median, 1e300 where there is none.

    Abstains: TOO_FEW_CLIENTS below 3, NO_VARIATION where the median is 0.

    Attributes
    ----------
    factor: > 1. fraction: in (0, 1).
    """

    name: ClassVar[str] = "norm"
    sees: ClassVar[type[Norms]] = Norms

    factor: float = 4.0
    fraction: float = 0.1

    def __post_init__(self) -> None:
        between("factor", self.factor, 1.0, float("inf"))
        between("fraction", self.fraction, 0.0, 1.0)

    def score(self, seen: Norms) -> Scores | Abstained:
        """Deviations of log norms from their median."""
        n = len(seen.clients)
        if n < 3:
            return self.abstain(Reason.TOO_FEW_CLIENTS)
        median = float(np.median(seen.norms))
        if median == 0.0:
            return self.abstain(Reason.NO_VARIATION)
        ratio = np.minimum(seen.norms / median, _UNBOUNDED)
        logs = np.log(np.maximum(ratio, _SMALLEST))
        figures = {
            "ratio": ratio,
            "upper": np.full(n, one_sided(logs)[1]),
            "lower": np.full(n, one_sided(-logs)[1]),
            "bound": np.full(n, min((seen.bound or _UNBOUNDED) / median, _UNBOUNDED)),
        }
        suspicion = np.maximum(logs / log(self.factor), logs / log(self.fraction))
        return Scores(
            detector=self.name, clients=seen.clients, suspicion=suspicion, figures=figures
        )
