"""Suspicion of clients of whom only sums over groups were ever seen.

A detector looks at the groups of a round as if each were one client. Its standardized score is a
number for the group; over rounds with freshly drawn groups, a client in suspicious groups again and
again becomes suspicious itself. Ridge regression of the scores on the memberships says how much of
them each client accounts for.

What it can tell, honestly: little, and slowly. A client in groups of m is hidden among m - 1
others: per round its trace in the score is about 1/m of what it would be alone, or much less where
the detector's figure is not additive. To separate n clients takes at least n/g rounds of g groups,
and in practice many times that. Clients that are always in one group together cannot be told apart
at all: they get equal suspicion. So: a ranking for whom to look at, never a reason to exclude.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from robust.detect import Abstained, Detector, Reason
from robust.errors import ObservationError
from robust.features import LOWER_PART, between, standardized
from robust.observe import Array, GroupSketches, Sketches

__all__ = ["GroupSuspicion", "Suspects"]

_MOST_DEVIATIONS = 10.0
"""One round of one group cannot outvote all others."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Suspects:
    """A ranking of all clients ever seen.

    Attributes
    ----------
    clients: ids, ascending.
    mean: (n,), mean standardized score of the groups that a client was in.
    fitted: (n,), its own part of them by ridge regression.
    told: (n,) in [0, 1), how much of `fitted` comes from the data; the rest is the ridge's 0.
    """

    clients: tuple[int, ...]
    mean: Array
    fitted: Array
    told: Array


class GroupSuspicion:
    """Accumulates scores of groups, in n^2 numbers for n clients.

    detector: what looks at groups. It must not need more clients than there are groups.
    ridge: > 0; rounds of one client's membership that count as much as the assumption that it is
        like all others.
    """

    def __init__(self, detector: Detector[Sketches], ridge: float = 1.0) -> None:
        between("ridge", ridge, 0.0, float("inf"))
        self.detector = detector
        self.ridge = ridge
        self._ids: list[int] = []
        self._normal = np.zeros((0, 0))
        self._moment = np.zeros(0)

    def add(self, seen: GroupSketches) -> Array | Abstained:
        """Standardized scores (g,) of the groups of a round; remembered unless it abstains."""
        if len(seen.groups) < 2:
            return Abstained(detector=self.detector.name, reason=Reason.TOO_FEW_CLIENTS)
        groups = Sketches(
            number=seen.number,
            clients=tuple(range(len(seen.groups))),
            rows=seen.rows,
            public=seen.public,
            noise=seen.noise,
        )
        scores = self.detector.score(groups)
        if isinstance(scores, Abstained):
            return scores
        part = standardized(scores.suspicion, LOWER_PART)
        centered = np.clip(part - np.median(part), -_MOST_DEVIATIONS, _MOST_DEVIATIONS)
        self._grow(seen.clients)
        members = self._members(seen.groups)
        self._normal += members.T @ members
        self._moment += members.T @ centered
        return np.asarray(centered)

    def suspects(self) -> Suspects:
        """What is known so far. Raises `ObservationError` before the first round."""
        if not self._ids:
            raise ObservationError("add a round first")
        order = np.argsort(self._ids)
        matrix = self._normal + self.ridge * np.eye(len(self._ids))
        inverse = np.asarray(np.linalg.inv(matrix), dtype=np.float64)
        fitted, seen = inverse @ self._moment, self._normal.diagonal()
        return Suspects(
            clients=tuple(np.array(self._ids)[order].tolist()),
            mean=(self._moment / seen)[order],
            fitted=fitted[order],
            told=np.asarray(1.0 - self.ridge * inverse.diagonal())[order],
        )

    def _grow(self, clients: tuple[int, ...]) -> None:
        new = sorted(set(clients) - set(self._ids))
        self._ids += new
        self._normal = np.pad(self._normal, (0, len(new)))
        self._moment = np.pad(self._moment, (0, len(new)))

    def _members(self, groups: tuple[tuple[int, ...], ...]) -> Array:
        """(g, n), 1 where a client is in a group."""
        at = {client: place for place, client in enumerate(self._ids)}
        members = np.zeros((len(groups), len(self._ids)))
        rows = np.repeat(np.arange(len(groups)), [len(group) for group in groups])
        members[rows, [at[client] for group in groups for client in group]] = 1.0
        return members

    def export(self) -> dict[str, object]:
        """The state as lists and numbers, fit for JSON."""
        return {
            "clients": list(self._ids),
            "normal": self._normal.tolist(),
            "moment": self._moment.tolist(),
        }

    @classmethod
    def load(
        cls, detector: Detector[Sketches], document: object, ridge: float = 1.0
    ) -> GroupSuspicion:
        """What `export` gave. Raises `ObservationError` for anything else."""
        if not isinstance(document, Mapping) or set(document) != {"clients", "normal", "moment"}:
            raise ObservationError("a state must have clients, normal and moment")
        found, ids = cls(detector, ridge), document["clients"]
        whole = isinstance(ids, list) and all(type(one) is int and one >= 0 for one in ids)
        if not whole or len(set(ids)) != len(ids):
            raise ObservationError("clients of a state must be different integers >= 0")
        found._ids = list(ids)
        found._normal = _matrix(document["normal"], (len(ids), len(ids)))
        found._moment = _matrix(document["moment"], (len(ids),))
        own = found._normal.diagonal()
        if not (found._normal == found._normal.T).all() or not (own >= 1).all():
            raise ObservationError("normal must be symmetric, with counts >= 1 on its diagonal")
        return found


def _matrix(value: object, shape: tuple[int, ...]) -> Array:
    try:
        found = np.array(value, dtype=np.float64).reshape(shape)
    except (TypeError, ValueError) as wrong:
        raise ObservationError(f"an array of shape {shape} must hold") from wrong
    if not bool(np.isfinite(found).all()):
        raise ObservationError("entries of a state must be finite")
    return found
