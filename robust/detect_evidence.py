"""Evidence of training: does an update share anything with the others that is not public?

A client without data submits public history (old updates, weights) plus noise that is independent
of this round's data. Off the span of everything public only the noise is left, and what it has in
common with the other clients follows a law that depends on nobody's data. Clients that train feel
the same data set family: their residuals are correlated, with either sign, also where their labels
differ. So the test needs no data of the server and no honest majority.

Statistic. r_i is the residual of client i, in dof = k - rank(public) dimensions. Its energy is

    e_i = mean over the kept others j of cos^2(r_i, r_j)

where the 40 % of the others nearest to i are not kept: a clique that shares its noise, of up to
about a third of the clients, cannot vouch for its members.

Null law. Given the others, a residual that is independent of them has a uniform direction g, since
the projection was drawn after the updates were committed. Without trimming, e_i (n - 1) = g' A g
with A the sum of u_j u_j' over the others' directions u_j, so that

    mean = tr(A)/dof,    variance = 2 (dof tr(A^2) - tr(A)^2) / (dof^2 (dof + 2)).

Trimming leaves no closed form, and the others are far from independent; therefore the law is taken
from a table of fixed directions, which stand where the client stood: a rotation test
[Langsrud05]. Each is compared with the same others, trimmed in the same way. The table is public
and the same in every round: a client's direction is independent of it for the reason above, and so
the observed energy and those of the table are exchangeable. The p-value is (r + 1)/(m + 1) for the
rank r; beyond the 64th largest of the table an exponential tail is put on, with 5/4 of its mean
excess as its scale. A quarter is added because mean excesses grow further out where the others all
but agree in one direction (by 8/7 for the square of one normal number), and because 64 excesses
give their mean to 1/8. So p-values below 64/m err upwards: less evidence is claimed.

What it cannot see. A client that trains on little, or copies one that trains, has evidence. A
clique beyond the trimmed part vouches for itself. In high dimension "independent noise" is almost
orthogonal to all updates; noise shaped like an update is less so: p-values of a long window then
reject, while the share of the typical energy stays near 0. Decide on the share, but not where all
that clients have in common is one direction, as where there are two classes: clients that have as
much of one class as of the other have next to nothing of it. `single` says when.

[Langsrud05]  Langsrud: Rotation tests, Statistics and Computing 15, 2005.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from math import ceil
from typing import ClassVar

import numpy as np

from robust.detect import Abstained, Detector, Reason, Scores
from robust.features import (
    between,
    cosine_matrix,
    orthonormal,
    proportion,
    residuals,
    unit_rows,
    whole_number,
)
from robust.observe import Array, Sketches

__all__ = [
    "EvidenceOfTraining",
    "NullLaw",
    "null_law",
    "shares",
    "single",
    "spread",
    "table_cosines",
    "trimmed_mean",
]

_TAIL = 64
_CAUTION = 1.25
_LEAST_DIMENSION = 8
_FITS = 50
_LEAST = 1e-12
_STREAM = 0x726F746174696F6E


@dataclass(frozen=True, kw_only=True)
class EvidenceOfTraining(Detector[Sketches]):
    """Energy that the residual of a client shares with those of the others.

    p_values: the null hypothesis is "this client sent public history plus noise of its own". An
    honest client *rejects* it: a small p-value is evidence of training.

    suspicion is -share. Figures, all (n,):

        energy    e_i, the trimmed mean of squared cosines
        expected  its mean under the null hypothesis
        share     (energy - expected) / typical, where typical is that excess at the upper quintile
                  of the clients: near 0 without data, near 1 for most clients that train
        error     deviation of the share under the null hypothesis
        spread    a client whose share is s > 0 in truth deviates by sqrt(error^2 + s spread);
                  one number for all, taken where `typical` is
        single    how much of what clients have in common is one direction, 0 to 1, the same for all

    Where even the upper quintile does not stand out, one null deviation stands for `typical`: the
    errors are then about 1, and nobody should be judged by the shares.

    Abstains: TOO_FEW_CLIENTS below 4, TOO_FEW_ROWS where dof < 8, NO_VARIATION where fewer than
    two residuals differ from zero.

    Attributes
    ----------
    trim: share of the others, the nearest first, that do not count; 0 <= trim < 0.9.
    directions: size of the table, >= 256; the null law is known to about 1/sqrt(directions).
    typical: quantile of the clients that counts as a typical one, in (0, 1).
    """

    name: ClassVar[str] = "evidence"
    sees: ClassVar[type[Sketches]] = Sketches

    trim: float = 0.4
    directions: int = 2048
    typical: float = 0.8

    def __post_init__(self) -> None:
        proportion("trim", self.trim, 0.9)
        whole_number("directions", self.directions, 256)
        between("typical", self.typical, 0.0, 1.0)

    def score(self, seen: Sketches) -> Scores | Abstained:
        """Shares and p-values of every client."""
        found = self.prepared(seen)
        if isinstance(found, Reason):
            return self.abstain(found)
        rest, basis = found
        cosines = cosine_matrix(rest)
        squares = cosines**2
        np.fill_diagonal(squares, np.inf)
        energy = trimmed_mean(squares, len(squares) - 1, self.trim)
        law = null_law(rest, basis, self.trim, self.directions)
        dof = rest.shape[1] - len(basis)
        wide = spread(squares, cosines, len(squares) - 1, self.trim, dof)
        figures = shares(energy, law, wide, self.typical)
        figures["single"] = np.full(len(energy), single(cosines, dof))
        return Scores(
            detector=self.name,
            clients=seen.clients,
            suspicion=-figures["share"],
            p_values=law.p_values(energy),
            figures=figures,
        )

    def prepared(self, seen: Sketches) -> tuple[Array, Array] | Reason:
        """Residuals (n, k) and the orthonormal basis (r, k) of what is public; or why not."""
        if len(seen.clients) < 4:
            return Reason.TOO_FEW_CLIENTS
        basis = orthonormal(seen.public.known)
        if seen.public.size - len(basis) < _LEAST_DIMENSION:
            return Reason.TOO_FEW_ROWS
        rest = residuals(seen.rows, basis)
        if np.count_nonzero(rest.any(axis=1)) < 2:
            return Reason.NO_VARIATION
        return rest, basis


@dataclass(frozen=True, kw_only=True, eq=False)
class NullLaw:
    """Energies of the table's directions, each standing where a client stood.

    Attributes
    ----------
    energies: (m, n): of direction f in place of client i, who is not among the others.
    """

    energies: Array

    @property
    def mean(self) -> Array:
        """(n,)."""
        found: Array = self.energies.mean(axis=0)
        return found

    @property
    def deviation(self) -> Array:
        """(n,), standard deviations; a tiny positive number where a law is a single point."""
        found: Array = np.maximum(self.energies.std(axis=0), 1e-12)
        return found

    def p_values(self, energy: Array) -> Array:
        """(n,) -> (n,), P[energy of an independent direction >= energy]."""
        m = len(self.energies)
        rank = (self.energies >= energy).sum(axis=0)
        top = np.partition(self.energies, m - _TAIL, axis=0)[m - _TAIL :]
        start = top.min(axis=0)
        slope = np.maximum(_CAUTION * (top.mean(axis=0) - start), 1e-300)
        beyond = np.exp(np.maximum((start - energy) / slope, -690.0))  # exp(-690) is about 1e-300
        tail = np.minimum(beyond, 1.0) * (_TAIL + 1) / (m + 1)
        found: Array = np.where(rank < _TAIL, tail, (rank + 1) / (m + 1))
        return found


def trimmed_mean(squares: Array, others: int, trim: float) -> Array:
    """(n, n) -> (n,), mean of the smallest (1 - trim) of the `others` that count in a row.

    What does not count is infinite: a client's own, at least.
    """
    kept = _kept(others, trim)
    found: Array = np.partition(squares, kept - 1, axis=1)[:, :kept].mean(axis=1)
    return found


def spread(squares: Array, cosines: Array, others: int, trim: float, dof: int) -> Array:
    """(n,), how much the variance of an energy grows with the energy itself.

    squares: (n, n) as for `trimmed_mean`. cosines: (n, n) between the directions it is about.

    The sum of the kept squares is m'Am for the client's direction m and A the sum of u_j u_j' over
    the kept. Noise of variance 1/dof in each dimension of m adds 4 m'A^2m/dof to the variance of
    the null law; so for their mean, with q = m'A^2m / m'Am, it is 4 q energy/(kept dof).
    """
    kept = _kept(others, trim)
    bound = np.partition(squares, kept - 1, axis=1)[:, kept - 1 : kept]
    size = np.sqrt(np.where(squares <= bound, squares, 0.0)) * np.sign(cosines)
    total = np.maximum((size**2).sum(axis=1), 1e-300)
    return np.asarray(4.0 * ((size @ cosines) * size).sum(axis=1) / (total * kept * dof))


def single(cosines: Array, dof: int) -> float:
    """How much of what residuals have in common lies along one direction, 0 to 1.

    cosines: (n, n). Along one direction, c_ij = a_i a_j for i != j. `a` is fitted by least squares,
    and the figure is the part of the squares that it explains, less what noise in dof dimensions
    adds to them. 0 where noise is as much as all that is common, since nothing can be said then.
    """
    n = len(cosines)
    apart = cosines - np.diag(np.diag(cosines))
    noise = n * (n - 1) / dof
    common = float((apart**2).sum()) - noise
    if common <= noise:
        return 0.0
    first = int((apart**2).sum(axis=1).argmax())
    along = np.where(np.arange(n) == first, 1.0, apart[first])
    for _ in range(_FITS):
        rest = np.maximum(along @ along - along**2, _LEAST)
        along = (along + apart @ along / rest) / 2  # half a step: whole ones can go to and fro
    left = float(((apart - np.outer(along, along)) ** 2).sum() - (along**4).sum()) - noise
    return float(np.clip(1.0 - left / common, 0.0, 1.0))


def shares(energy: Array, law: NullLaw, spread: Array, typical: float) -> dict[str, Array]:
    """The figures of `EvidenceOfTraining` for energies (n,)."""
    excess = energy - law.mean
    scale = max(float(np.quantile(excess, typical)), float(np.median(law.deviation)))
    return {
        "energy": energy,
        "expected": law.mean,
        "share": excess / scale,
        "error": law.deviation / scale,
        "spread": np.full(len(energy), max(float(np.quantile(spread, typical)), 0.0) / scale),
    }


def null_law(rest: Array, basis: Array, trim: float, directions: int) -> NullLaw:
    """The law of `trimmed_mean` for a direction that is independent of the others.

    rest: (n, k), orthogonal to the orthonormal `basis` (r, k). The directions are uniform in the
    space orthogonal to `basis`. Cost: m n k products, and a sort of m rows of n.
    """
    squares = table_cosines(rest, basis, directions) ** 2
    return NullLaw(energies=_leave_one_out(squares, _kept(len(rest) - 1, trim)))


def table_cosines(rest: Array, basis: Array, directions: int) -> Array:
    """(m, n), of the table's directions off `basis` with each of `rest`; see `null_law`."""
    table = _table(rest.shape[1], directions)
    # the table's part along `basis` meets nothing in `rest`, and counts in its norms only
    squared = (table**2).sum(axis=1) - ((table @ basis.T) ** 2).sum(axis=1)
    found: Array = table @ unit_rows(rest).T / np.sqrt(squared)[:, None]
    return found


def _leave_one_out(squares: Array, kept: int) -> Array:
    """(m, n) -> (m, n), mean of the `kept` smallest of each row without column i.

    If i is among them, the next takes its place; so the sum is one of two, up to its own value.
    """
    ranked = np.sort(squares, axis=1)
    few = ranked[:, :kept].sum(axis=1, keepdims=True)
    more = few + ranked[:, kept : kept + 1]
    among = squares <= ranked[:, kept : kept + 1]  # a tie makes both sums equal
    sums: Array = np.maximum(np.where(among, more - squares, few), 0.0)
    return sums / kept


@lru_cache(maxsize=4)
def _table(size: int, directions: int) -> Array:
    """(m, k) normal numbers; the same whenever they are asked for."""
    # a seed of its own: a caller's PCG64(size) must not draw its projection from the same stream
    seed = np.random.SeedSequence((_STREAM, size))
    table = np.random.Generator(np.random.PCG64(seed)).standard_normal((directions, size))
    table.setflags(write=False)
    return table


def _kept(others: int, trim: float) -> int:
    return max(ceil((1.0 - trim) * others - 1e-9), 1)
