"""Evidence beyond the one direction that all share.

Two classes pull one way and the other. Off what is public, that one direction is nearly all that
updates have in common, and `robust.detect_evidence` sees little else: given the others, how much of
it a client without data has by chance is most of the law that it is compared with, and a client
with as many examples of either class has hardly more. But training leaves more than that. Gradients
of examples lie in few dimensions, so what batches and examples leave of two clients is correlated
too, with either sign, also where both are balanced. It shows when the common direction is taken
off.

Statistic. w_i is the leading direction of the others' unit residuals u_j, j != i: the first
eigenvector of the sum of u_j u_j'. The energy of client i is the trimmed mean of `detect_evidence`
over squared cosines with w_i taken off both sides. A residual that is nothing but w_i has cosine 0
with everybody.

Null law. w_i does not depend on client i. So a residual that is independent of the others still has
a uniform direction once w_i is given, and the table of directions is taken as there, each in place
of client i, with w_i taken off. That is exact where w_i is well defined, which it is where the
others have one direction in common and no second one of that size.

A clique with noise of its own in common drops out when the nearest are trimmed, but then fewer of
the others do than for a direction of the table: its members keep honest clients that are nearer.
Beside the common direction that hardly counts; without it, it does. So where a share t is trimmed,
the law trims only 1 - (1 - t)/(1 - c): what is left of the others to a member of a clique of a
share c. P-values then err upwards, and cliques of up to c gain nothing.

Whoever has nothing but the common direction, as a client of one class may, has nothing here: ask
for evidence there *or* here.

Cost: m n^2 operations for n clients and a table of m.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np

from robust.detect import Abstained, Detector, Reason, Scores
from robust.detect_evidence import EvidenceOfTraining, NullLaw, table_cosines, trimmed_mean
from robust.features import cosine_matrix, proportion
from robust.observe import Array, Sketches

__all__ = ["EvidenceBeyond", "leading"]

_SAME = 1e-6
"""Where 1 - c^2 is below this, a residual is the common direction but for rounding."""

_STEPS = 40
"""Of the power method. Where one direction has 0.8 of the squares, the second eigenvalue is at most
half of the first, and 40 steps leave 1e-12 of a start that knew client i."""


@dataclass(frozen=True, kw_only=True)
class EvidenceBeyond(Detector[Sketches]):
    """Energy that the residual of a client shares with the others, off their leading direction.

    p_values: the null hypothesis is that of `EvidenceOfTraining`; an honest client rejects it.

    suspicion is -excess. Figures, (n,): `energy`; `excess`, by how many standard deviations of its
    law it is above the mean.

    Abstains as `EvidenceOfTraining` does.

    Attributes
    ----------
    evidence: the statistic that is taken again: its trimming, and the size of its table.
    clique: share of the clients whose noise in common gains them nothing, 0 <= clique < 1; at most
        the share that is trimmed counts.
    """

    name: ClassVar[str] = "beyond"
    sees: ClassVar[type[Sketches]] = Sketches

    evidence: EvidenceOfTraining = field(default_factory=EvidenceOfTraining)
    clique: float = 1 / 7

    def __post_init__(self) -> None:
        proportion("clique", self.clique, 1.0)

    def score(self, seen: Sketches) -> Scores | Abstained:
        """Excess and p-values of every client."""
        found = self.evidence.prepared(seen)
        if isinstance(found, Reason):
            return self.abstain(found)
        rest, basis = found
        energy, law = self._compared(
            cosine_matrix(rest), table_cosines(rest, basis, self.evidence.directions)
        )
        excess = (energy - law.mean) / law.deviation
        return Scores(
            detector=self.name,
            clients=seen.clients,
            suspicion=-excess,
            p_values=law.p_values(energy),
            figures={"energy": energy, "excess": excess},
        )

    def _compared(self, cosines: Array, table: Array) -> tuple[Array, NullLaw]:
        """Energies (n,) by cosines (n, n); their law by those of the table with clients, (m, n)."""
        n, trim = len(cosines), self.evidence.trim
        milder = max(1.0 - (1.0 - trim) / (1.0 - self.clique), 0.0)
        rows, coefficients = np.vstack([cosines, table]), leading(cosines)
        along, theirs = rows @ coefficients.T, coefficients @ cosines
        energy, law = np.empty(n), np.empty((len(table), n))
        for i in range(n):
            squares = _off(rows, along[:, i], theirs[i])
            squares[:, i] = np.inf
            energy[i] = trimmed_mean(squares[i : i + 1], n - 1, trim)[0]
            law[:, i] = trimmed_mean(squares[n:], n - 1, milder)
        return energy, NullLaw(energies=law)


def leading(cosines: Array) -> Array:
    """(n, n) cosines -> (n, n): row i has the coefficients of w_i in unit residuals; 0 for i."""
    found = np.tile(np.linalg.eigh(cosines)[1][:, -1], (len(cosines), 1))
    for _ in range(_STEPS):
        found = found @ cosines
        np.fill_diagonal(found, 0.0)
        lengths = np.sqrt(np.maximum(((found @ cosines) * found).sum(axis=1), 0.0))
        found /= np.maximum(lengths, 1e-300)[:, None]
    return found


def _off(cosines: Array, along: Array, theirs: Array) -> Array:
    """Squared cosines (m, n) of directions with clients, one direction taken off both.

    along: (m,), cosines of the directions with that one. theirs: (n,), of the clients.
    """
    squares: Array = cosines - along[:, None] * theirs
    squares *= squares
    squares *= _reciprocal(1.0 - along**2)[:, None]
    squares *= _reciprocal(1.0 - theirs**2)
    return squares


def _reciprocal(left: Array) -> Array:
    """1 / left, and 0 where next to nothing is left."""
    found: Array = np.where(left > _SAME, 1.0 / np.maximum(left, _SAME), 0.0)
    return found
