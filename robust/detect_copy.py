"""Copied work: does a client share with the others what its nearest neighbor does not?

A client that copies another one's update and adds noise of its own has the evidence of training of
its original. Take the original's residual r_j off everybody's, and of the copy only its own noise
is left, which is independent of this round's data; of the original much is left, since a noisy copy
explains only a part of it. So the thief stands out and not its victim, however much noise it adds.
Of two exact copies nothing is left of either: both stand out.

Off r_j, cosines become partial ones:

    c_il.j = (c_il - c_ij c_jl) / sqrt((1 - c_ij^2) (1 - c_jl^2)),   0 where a factor vanishes

and the statistic is the trimmed energy of `robust.detect_evidence` over l other than i and j, which
takes O(n^2) beside the cosine matrix. Its null law is taken from there too, for n - 1 others in
one dimension more: an approximation of relative order 1/n + 1/dof, so there are no p-values.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np

from robust.detect import Abstained, Detector, Reason, Scores
from robust.detect_evidence import (
    EvidenceOfTraining,
    null_law,
    shares,
    single,
    spread,
    trimmed_mean,
)
from robust.features import cosine_matrix, nearest_clients
from robust.observe import Array, Index, Sketches

__all__ = ["CopiedTraining", "partial_squares"]

_SAME = 1e-6
"""Where 1 - c^2 is below this, two residuals are the same but for rounding."""


@dataclass(frozen=True, kw_only=True)
class CopiedTraining(Detector[Sketches]):
    """Energy shared with the others beyond the nearest neighbor.

    suspicion is -share. Figures, all (n,): those of `EvidenceOfTraining`, with the energies of
    partial cosines; `nearest`, the cosine with the nearest neighbor; `neighbor`, its id.

    Abstains: TOO_FEW_CLIENTS below 5, TOO_FEW_ROWS and NO_VARIATION as `EvidenceOfTraining` does.

    Attributes
    ----------
    evidence: the statistic that is taken again beyond the neighbor.
    """

    name: ClassVar[str] = "copy"
    sees: ClassVar[type[Sketches]] = Sketches

    evidence: EvidenceOfTraining = field(default_factory=EvidenceOfTraining)

    def score(self, seen: Sketches) -> Scores | Abstained:
        """Shares of every client, and who its nearest neighbor is."""
        if len(seen.clients) < 5:
            return self.abstain(Reason.TOO_FEW_CLIENTS)
        found = self.evidence.prepared(seen)
        if isinstance(found, Reason):
            return self.abstain(found)
        rest, basis = found
        cosines = cosine_matrix(rest)
        neighbor = nearest_clients(cosines)
        squares = partial_squares(cosines, neighbor)
        others, trim = len(squares) - 2, self.evidence.trim
        energy = trimmed_mean(squares, others, trim)
        law = null_law(rest, basis, trim, self.evidence.directions)
        wide = spread(squares, cosines, others, trim, rest.shape[1] - len(basis) - 1)
        figures = shares(energy, law, wide, self.evidence.typical)
        figures["single"] = np.full(len(energy), single(cosines, rest.shape[1] - len(basis)))
        figures["nearest"] = cosines[np.arange(len(cosines)), neighbor]
        figures["neighbor"] = np.array(seen.clients, dtype=np.float64)[neighbor]
        return Scores(
            detector=self.name,
            clients=seen.clients,
            suspicion=-figures["share"],
            figures=figures,
        )


def partial_squares(cosines: Array, neighbor: Index) -> Array:
    """(n, n) cosines -> (n, n): c_il.j^2 with j = neighbor[i]; infinite for l = i and l = j."""
    own = np.arange(len(cosines))
    theirs = cosines[neighbor]  # row i: cosines of i's neighbor with everybody
    to_neighbor = cosines[own, neighbor][:, None]
    left = (1.0 - to_neighbor**2) * (1.0 - theirs**2)
    square = (cosines - to_neighbor * theirs) ** 2
    partial = np.zeros_like(left)
    np.divide(square, left, out=partial, where=left > _SAME)
    np.minimum(partial, 1.0, out=partial)
    partial[own, own] = np.inf
    partial[own, neighbor] = np.inf
    return partial
