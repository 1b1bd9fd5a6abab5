"""Coalition: clients that share, round after round, what neither label mix nor chance explains.

Experimental. Off the directions in which single classes pull, honest clients still resemble each
other, for two reasons. Nearly as much as their label mixes do: what is left of two clients is
correlated as their parts *along* the class directions are. And class by class: what a root set
misses of a class, everybody misses who has it, and it misses more of some classes than of others.
So over n clients the residuals follow a linear mixed model with components of variance, as traits
of related individuals do [Kang08],

    E[rest] = s I + r K + sum over classes c of t_c m_c m_c',      s, r, t_c >= 0,

with `rest` (n, n) the mean Gram matrix of unit residuals, K that of the parts that the classes
explain, m_c (n,) how much of class c each client has, all of them centered; s, r and t_c have the
largest likelihood. In the basis in which this is the identity, a coalition with a
common hidden aim (a backdoor, however well its norms and labels fit in) is a large eigenvalue whose
eigenvector is nearly an indicator: the same for each of its members, the same for everybody else.
Both together are the quotient of a set A of clients, for c its centered indicator in that basis,

    q(A) = c' rest c / c'c,

at most the largest eigenvalue, reached where the eigenvector is such an indicator. Sets that one
threshold on one of the first eigenvectors cuts off are looked at, which takes O(n^3).

Averages over rounds, each with a projection of its own, make the noise of sketches and of SGD fade
and leave what persists. One number cannot say how large q is among honest clients; the server's own
imitations of honest clients can (`robust.rule_coalition`).

[Kang08]  Kang et al.: Efficient Control of Population Structure in Model Organism Association
          Mapping, Genetics 178, 2008.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import numpy as np

from robust.detect import Abstained, Detector, Reason, Scores
from robust.features import between, orthonormal, residuals, unit_rows, whole_number
from robust.observe import Array, Mask, Sketches

__all__ = ["Coalition", "Common", "Group", "common", "find_group"]

_LEAST_CLIENTS = 8
_STEPS = 30
"""Of the fit; twice as many change quotients of the development sets by less than 2 %."""

_TINY = 1e-12
_RIDGE = 1e-6


class Common(NamedTuple):
    """What clients have in common in a round.

    rest: (n, n), Gram matrix of unit residuals off the classes. span: (n, n), of the parts of unit
    updates along them. loads: (n, c), how much of each class an update has, by least squares.
    """

    rest: Array
    span: Array
    loads: Array


class Group(NamedTuple):
    """quotient: q of the group. members: (n,). loadings: (n,), of everybody; members are higher."""

    quotient: float
    members: Mask
    loadings: Array


@dataclass(frozen=True, kw_only=True)
class Coalition(Detector[Sketches]):
    """The group with the largest quotient in one round.

    suspicion: how much each client has of what the group shares. Figures, (n,): `member`, 1 or 0;
    `quotient`, of the group, the same for all.

    Abstains: NO_REFERENCE without classes, TOO_FEW_CLIENTS below 8, TOO_FEW_ROWS where fewer than 8
    dimensions are left, NO_VARIATION where residuals of most clients are zero, or all are alike.

    Attributes
    ----------
    vectors: first eigenvectors that are looked at, >= 1.
    most: share of the clients that a group may have, in (0, 1/2).
    """

    name: ClassVar[str] = "coalition"
    sees: ClassVar[type[Sketches]] = Sketches

    vectors: int = 3
    most: float = 0.4

    def __post_init__(self) -> None:
        whole_number("vectors", self.vectors, 1)
        between("most", self.most, 0.0, 0.5)

    def score(self, seen: Sketches) -> Scores | Abstained:
        """Of every client, what it has of what the group shares."""
        found = self.looked_at(seen)
        if isinstance(found, Abstained):
            return found
        group = find_group(found, self.vectors, self.most)
        if group is None:
            return self.abstain(Reason.NO_VARIATION)
        quotient = np.full(len(seen.clients), group.quotient)
        return Scores(
            detector=self.name,
            clients=seen.clients,
            suspicion=group.loadings,
            figures={"member": group.members.astype(np.float64), "quotient": quotient},
        )

    def looked_at(self, seen: Sketches) -> Common | Abstained:
        """What the clients have in common, or why that cannot be told."""
        if seen.public.classes is None:
            return self.abstain(Reason.NO_REFERENCE)
        if len(seen.clients) < _LEAST_CLIENTS:
            return self.abstain(Reason.TOO_FEW_CLIENTS)
        basis = orthonormal(seen.public.classes)
        if seen.public.size - len(basis) < 8:
            return self.abstain(Reason.TOO_FEW_ROWS)
        found = common(seen.rows, seen.public.classes)
        if np.count_nonzero(found.rest.diagonal()) <= len(seen.clients) / 2:
            return self.abstain(Reason.NO_VARIATION)
        return found


def common(rows: Array, classes: Array, known: Array | None = None) -> Common:
    """Of `rows` (n, k), with one update (c, k) for each class.

    known: (s, k), an orthonormal basis, off which the residuals are taken; None for the classes'.
    """
    basis = orthonormal(classes)
    unit = unit_rows(rows)
    rest = unit_rows(residuals(rows, basis if known is None else known))
    span = unit @ basis.T
    return Common(rest @ rest.T, span @ span.T, unit @ np.linalg.pinv(unit_rows(classes)))


def find_group(found: Common, vectors: int, most: float) -> Group | None:
    """The group of 2 ... most * n clients with the largest quotient; None where nothing varies."""
    n = len(found.rest)
    basis = _centered(n)
    rest, span = (_positive(basis.T @ part @ basis) for part in (found.rest, found.span))
    if np.trace(rest) <= _TINY * n or int(most * n) < 2:
        return None
    inverse, root = _roots(_fitted(rest, span, basis.T @ found.loads))
    white = inverse @ rest @ inverse
    largest = np.linalg.eigh(white)[1][:, : -vectors - 1 : -1]
    loadings = np.einsum("nv,s->nvs", basis @ root @ largest, [1.0, -1.0]).reshape(n, -1)
    return _best(loadings, basis @ inverse, white, int(most * n))


def _best(loadings: Array, white_basis: Array, white: Array, most: int) -> Group:
    """The best of the groups of the 2 ... most highest in a column of `loadings` (n, v)."""
    order = np.argsort(-loadings, axis=0, kind="stable")
    # row m of a running sum over clients in order is the image of the indicator of the first m
    images = np.cumsum(white_basis[order.T], axis=1)[:, 1:most]
    quotients = ((images @ white) * images).sum(axis=2)
    quotients /= np.maximum(np.square(images).sum(axis=2), _TINY)
    column, size = np.unravel_index(int(quotients.argmax()), quotients.shape)
    members = np.zeros(len(loadings), dtype=bool)
    members[order[: size + 2, column]] = True
    return Group(float(quotients[column, size]), members, loadings[:, column])


def _fitted(rest: Array, span: Array, loads: Array) -> Array:
    """The model of the module with the largest likelihood; s is at least a small ridge.

    Each step multiplies each component by the root of the ratio that is 1 where the likelihood has
    its maximum: components stay >= 0, and those of no use fade.
    """
    n = len(rest)
    scale = float(np.trace(rest)) / n
    # every component of trace n, so that they are of one order
    factors = loads * np.sqrt(n / np.maximum(np.square(loads).sum(axis=0), _TINY))
    spread = span * n / max(float(np.trace(span)), _TINY)
    sizes = np.full(2 + loads.shape[1], scale / 4 / max(loads.shape[1], 1))
    sizes[:2] = scale / 2, scale / 4
    for _ in range(_STEPS):
        inverse = np.asarray(np.linalg.inv(_model(sizes, spread, factors)), np.float64)
        seen = _moments(inverse @ rest @ inverse, spread, factors)
        expected = _moments(inverse, spread, factors)
        sizes *= np.sqrt(np.maximum(seen, 0.0) / np.maximum(expected, _TINY))
        sizes[0] = max(sizes[0], _RIDGE * scale)
    return _model(sizes, spread, factors)


def _positive(matrix: Array) -> Array:
    """The nearest matrix without negative eigenvalues.

    Where clients come and go, means over the rounds that two were both there are no Gram matrix.
    """
    values, vectors = np.linalg.eigh(matrix)
    found: Array = (vectors * np.maximum(values, 0.0)) @ vectors.T
    return found


def _model(sizes: Array, spread: Array, factors: Array) -> Array:
    """The sum of the module's components, (n, n), of which `sizes` are s, r, t_1, ..."""
    found: Array = sizes[0] * np.eye(len(spread)) + sizes[1] * spread
    return found + (factors * sizes[2:]) @ factors.T


def _moments(matrix: Array, spread: Array, factors: Array) -> Array:
    """The inner products of `matrix` (n, n) with every component."""
    forms = ((matrix @ factors) * factors).sum(axis=0)
    return np.concatenate([[np.trace(matrix), (matrix * spread).sum()], forms])


def _roots(model: Array) -> tuple[Array, Array]:
    """Inverse root and root of a positive definite matrix."""
    values, vectors = np.linalg.eigh(model)
    root = np.sqrt(values)
    return (vectors / root) @ vectors.T, (vectors * root) @ vectors.T


def _centered(n: int) -> Array:
    """(n, n - 1), an orthonormal basis of the vectors whose entries sum to zero."""
    away = np.ones(n)
    away[0] -= np.sqrt(n)
    reflection = np.eye(n) - 2.0 * np.outer(away, away) / (away @ away)
    found: Array = reflection[:, 1:]
    return found
