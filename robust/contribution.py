"""What each client contributed, from the worth of groups alone.

A server that opens only sums over groups can still measure what a group's mean update is worth, for
instance how much it lowers the loss on a public validation set. Over rounds with fresh random
groups these values separate the clients, as pooled samples do in group testing. The model:

    utility(round t, group g) = level_t + (1/|g|) sum of score_i over i in g + error

with a level for every round, since what any update is worth falls as training goes on. Scores are
the least-squares solution, and sum to 0 over each set of clients that groups connect: only
differences between clients of one round are ever seen, so a score is *relative to the others*.

Needs: groups drawn at random after updates are committed, else a client chooses its company; at
least two groups in a round; for n clients in g groups about (n - 1) / (g - 1) rounds before
anything is determined, and several times that before errors are small. The model is linear: it is a
first-order view of a mean update, wrong where updates are worth more together.

Reveals: the sum of every group, or, if a utility is computed on shares, one number for each group
and round; and in the long run a score for every client, which tells something about its data (a
rare label is worth much). Groups below the threshold of the secure sum must not be opened.

Related: [FPEE26] has two scores with fairness guarantees from sums that leave one client out. This
is neither of them and comes without such guarantees.

[FPEE26]  Jaramillo Velez, Biczok, Graell i Amat, Ostman, Pejo: Private and Robust Contribution
          Evaluation in Federated Learning, arXiv 2602.21721.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from robust.errors import ObservationError
from robust.observe import Array

__all__ = ["Contributions", "GroupUtilities", "contributions", "leave_one_group_out"]

_RANK = 1e-9
"""Singular values below it, relative to the largest, are rounding."""


@dataclass(frozen=True, kw_only=True, eq=False)
class GroupUtilities:
    """What the groups of one round were worth.

    Attributes
    ----------
    number: of the round, >= 0.
    groups: at least two, disjoint, each strictly ascending and not empty.
    utilities: (g,), finite, one a group; larger is better; the unit is the caller's.
    """

    number: int
    groups: tuple[tuple[int, ...], ...]
    utilities: Array

    def __post_init__(self) -> None:
        if not isinstance(self.number, int) or isinstance(self.number, bool) or self.number < 0:
            raise ObservationError(f"number >= 0 must hold for an integer, got {self.number!r}")
        groups = tuple(tuple(group) for group in self.groups)
        if len(groups) < 2 or not all(groups):
            raise ObservationError("at least two groups must be given, none of them empty")
        if any(list(group) != sorted(set(group)) for group in groups):
            raise ObservationError("groups must be strictly ascending")
        together = [client for group in groups for client in group]
        if len(set(together)) < len(together):
            raise ObservationError("groups must be disjoint")
        utilities = np.array(self.utilities, dtype=np.float64)
        if utilities.shape != (len(groups),) or not bool(np.isfinite(utilities).all()):
            raise ObservationError(f"utilities must be {len(groups)} finite numbers")
        utilities.setflags(write=False)
        object.__setattr__(self, "groups", groups)
        object.__setattr__(self, "utilities", utilities)


@dataclass(frozen=True, kw_only=True, eq=False)
class Contributions:
    """Scores and how far to trust them.

    Attributes
    ----------
    clients: ids, strictly ascending.
    scores: (n,), in the unit of utilities, relative to the clients one was compared with; of all
        least-squares solutions the shortest.
    errors: (n,), standard errors if the errors of the model are independent with one variance;
        infinite for a client whose score the groups do not determine, and for all of them where
        `spare` is 0, so that nothing is left to estimate that variance from.
    rounds: (n,), in how many rounds each took part.
    spare: utilities beyond the unknowns that they determine, >= 0.
    """

    clients: tuple[int, ...]
    scores: Array
    errors: Array
    rounds: Array
    spare: int


def contributions(seen: Sequence[GroupUtilities]) -> Contributions:
    """Least-squares scores from the utilities of groups over rounds.

    Raises `ObservationError` where no round is given, or one twice.
    """
    numbers = [one.number for one in seen]
    if not numbers or len(set(numbers)) < len(numbers):
        raise ObservationError("rounds must be given, at least one, each once")
    clients = tuple(sorted({one for each in seen for group in each.groups for one in group}))
    column = {client: i for i, client in enumerate(clients)}
    parts = [_design(each, column) for each in seen]
    design = np.concatenate([part - part.mean(axis=0) for part in parts])  # takes off the levels
    utilities = np.concatenate([each.utilities - each.utilities.mean() for each in seen])
    scores, variances, rank = _solve(design, utilities)
    # each round spends one more unknown, its level
    spare = len(utilities) - len(seen) - rank
    residual = utilities - design @ scores
    noise = float(residual @ residual) / spare if spare else math.inf
    errors = np.sqrt(np.where(np.isfinite(variances), variances * noise, np.inf))
    rounds = np.sum([(part > 0).any(axis=0) for part in parts], axis=0).astype(np.float64)
    return Contributions(clients=clients, scores=scores, errors=errors, rounds=rounds, spare=spare)


def leave_one_group_out(
    sums: Array, counts: Sequence[int], utility: Callable[[Array], float]
) -> Array:
    """(g,), what the mean update loses in utility when a group is left out of it.

    `sums` (g, d) are the groups' sums over `counts` clients, g >= 2; `utility` values a mean update
    (d,) and is called g + 1 times. A first-order view: for groups of one size it is the utility of
    a group's mean over that of all, divided by g - 1, so it suits `GroupUtilities`; unlike a
    group's own utility it is taken near the update that is applied.

    Raises `ObservationError` for sums or utilities that are not finite, or another shape.
    """
    found, sizes = np.asarray(sums, dtype=np.float64), np.asarray(counts)
    if found.ndim != 2 or len(found) < 2 or sizes.shape != found.shape[:1]:
        raise ObservationError("sums must have shape (g, d) and counts (g,), g >= 2")
    if not bool(np.isfinite(found).all()) or not bool((sizes >= 1).all()):
        raise ObservationError("sums must be finite, and counts >= 1")
    total, clients = found.sum(axis=0), int(sizes.sum())
    without = [
        utility((total - one) / (clients - int(size)))
        for one, size in zip(found, sizes, strict=True)
    ]
    worth = utility(total / clients) - np.array(without, dtype=np.float64)
    if not bool(np.isfinite(worth).all()):
        raise ObservationError("utilities must be finite")
    return worth


def _design(seen: GroupUtilities, column: dict[int, int]) -> Array:
    """(g, n), 1/|g| for the members of each group."""
    rows = np.zeros((len(seen.groups), len(column)))
    for row, group in zip(rows, seen.groups, strict=True):
        row[[column[client] for client in group]] = 1.0 / len(group)
    return rows


def _solve(design: Array, utilities: Array) -> tuple[Array, Array, int]:
    """The shortest solution, its variances for errors of variance 1, and the rank.

    A shift of all scores of clients that groups connect changes nothing and is not counted as
    undetermined; a client that any other null vector touches gets an infinite variance.
    """
    # first to min(rows, n) rows: the full right factor is needed, a full left one would be large
    orthogonal, triangle = np.linalg.qr(design)
    left, values, right = np.linalg.svd(triangle, full_matrices=True)
    rank = int((values > _RANK * max(float(values[0]), 1.0)).sum())
    inverse = right[:rank].T / values[:rank]
    scores = inverse @ (left[:, :rank].T @ (orthogonal.T @ utilities))
    null = right[rank:]
    shifts = _shifts(design)
    # what is left of the null space once the shifts are taken out of it
    beyond = null - null @ shifts.T @ shifts
    touched = (beyond**2).sum(axis=0) > _RANK
    variances = np.where(touched, np.inf, (inverse**2).sum(axis=1))
    return scores, variances, rank


def _shifts(design: Array) -> Array:
    """(c, n), orthonormal: constant on each set of clients that groups connect, if that is null."""
    touched = np.abs(design) > 0
    labels = np.arange(design.shape[1])
    for row in np.unique(
        touched, axis=0
    ):  # union: all clients that a contrast compares belong together
        labels[np.isin(labels, labels[row])] = labels[row].min(initial=len(labels))
    indicators = (labels[:, None] == np.unique(labels)).T.astype(np.float64)
    indicators /= np.linalg.norm(indicators, axis=1)[:, None]
    null = np.abs(design @ indicators.T).max(axis=0) <= _RANK
    found: Array = indicators[null]
    return found
