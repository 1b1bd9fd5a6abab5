"""Clones: updates that agree, off everything public, more than independent training explains."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from robust.detect import Abstained, Detector, Reason, Scores
from robust.features import cosine_matrix, nearest_clients, orthonormal, residuals
from robust.observe import Sketches

__all__ = ["Clone"]


@dataclass(frozen=True, kw_only=True)
class Clone(Detector[Sketches]):
    """Cosine of a residual with the nearest of another client.

    Colluders that send one update, as in [Baruch19], have cosine 1; so do a client and who copies
    it without noise, and the test cannot tell them apart. `CopiedTraining` looks through noise.

    suspicion: that cosine. Figures, (n,): `nearest`, the same; `neighbor`, whose id; `error`,
    1/sqrt(dof), the deviation of its inverse hyperbolic tangent that the sketch causes.

    Abstains: TOO_FEW_CLIENTS below 2, TOO_FEW_ROWS where fewer than 8 dimensions are left,
    NO_VARIATION where fewer than two residuals differ from zero.

    [Baruch19]  Baruch, Baruch, Goldberg: A Little Is Enough, NeurIPS 2019.
    """

    name: ClassVar[str] = "clone"
    sees: ClassVar[type[Sketches]] = Sketches

    def score(self, seen: Sketches) -> Scores | Abstained:
        """The nearest cosine of every client."""
        n = len(seen.clients)
        if n < 2:
            return self.abstain(Reason.TOO_FEW_CLIENTS)
        basis = orthonormal(seen.public.known)
        dof = seen.public.size - len(basis)
        if dof < 8:
            return self.abstain(Reason.TOO_FEW_ROWS)
        rest = residuals(seen.rows, basis)
        if np.count_nonzero(rest.any(axis=1)) < 2:
            return self.abstain(Reason.NO_VARIATION)
        cosines = cosine_matrix(rest)
        neighbor = nearest_clients(cosines)
        nearest = cosines[np.arange(n), neighbor]
        figures = {
            "nearest": nearest,
            "neighbor": np.array(seen.clients, dtype=np.float64)[neighbor],
            "error": np.full(n, dof**-0.5),
        }
        return Scores(detector=self.name, clients=seen.clients, suspicion=nearest, figures=figures)
