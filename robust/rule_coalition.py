"""A rule on coalitions: groups that have more in common than any imitation of honest clients shows.

Experimental. It needs no attack-free warm-up and no threshold of its own: the server trains made-up
honest clients on its root set, with label mixes of their own, and looks at them in the same way.

What training does to any client of such data, beyond single classes, those imitations tell too: the
directions in which they differ most are taken off before clients are compared, so that little but
noise and aims of their own is left. Each imitated population is explained by the others, and the
clients by as many, so that nobody is explained by itself.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np

from robust.detect import Abstained, Reason
from robust.detect_coalition import Coalition, Common, Group, common, find_group
from robust.features import orthonormal, proportion, residuals, unit_rows
from robust.observe import Array, Mask, Sketches
from robust.rule import Found, Rule
from robust.window import Past

__all__ = ["CoalitionRule"]

_PARTS = ("rest", "span")
_TINY = 1e-9


@dataclass(frozen=True, kw_only=True)
class CoalitionRule(Rule[Sketches]):
    """Excludes a group whose quotient is above that of every group in every imitated population.

    Quotients are of the means over the window; see `robust.detect_coalition`. When a group is out,
    the rest is looked at again, until nothing is above or half of the clients would be out.

    Honest model: the quotient of honest clients is no larger than those of b populations imitated
    from the root set. Were it distributed as theirs, it would exceed them all with a probability of
    1/(b + 1) in a round; that imitated clients share the few examples of the root set makes theirs
    larger, by how much depends on the data. So the level is *not* used and the budget of a cascade
    does not bound what this rule excludes.

    Remembers 2 n (b + 1) numbers for each client and round: for cohorts of up to a few hundred.

    Abstains as its detector does, and with NO_REFERENCE without imitations.

    Attributes
    ----------
    detector: what is measured, and how large a group may be.
    explained: share of the dimensions of a sketch that imitations explain, in [0, 1); as many of
        them as there are, and at most those that other populations span.
    """

    name: ClassVar[str] = "coalition"
    sees: ClassVar[type[Sketches]] = Sketches

    detector: Coalition = field(default_factory=Coalition)
    explained: float = 0.25

    def __post_init__(self) -> None:
        proportion("explained", self.explained, 1.0)

    def measure(self, seen: Sketches) -> Mapping[str, Array] | Abstained:
        """What each client has in common with each, of the clients and of each imitation."""
        found = self.detector.looked_at(seen)
        if isinstance(found, Abstained):
            return found
        if seen.imitations is None or seen.public.classes is None:
            return Abstained(detector=self.name, reason=Reason.NO_REFERENCE)
        populations = self._populations(seen.rows, seen.imitations, seen.public.classes)
        if not all(population.rest.any() for population in populations):
            return Abstained(detector=self.name, reason=Reason.NO_VARIATION)
        ids = np.array(seen.clients, dtype=np.float64)
        figures = {"id": ids, "imitations": np.full(len(ids), float(len(seen.imitations)))}
        for which, population in enumerate(populations):
            for part, matrix in zip(_PARTS, population, strict=True):
                for client, column in zip(seen.clients, matrix.T, strict=True):
                    figures[_key(part, which, client)] = column
        return figures

    def _populations(self, rows: Array, imitations: Array, classes: Array) -> list[Common]:
        """Of the clients, and of each imitation; see the module."""
        basis = orthonormal(classes)
        rest = np.array([residuals(unit_rows(one), basis) for one in imitations])
        count = int(self.explained * rows.shape[1])
        found = [common(rows, basis, _explained(rest[:-1], basis, count))]
        for which, one in enumerate(imitations):
            others = np.delete(rest, which, axis=0)
            found.append(common(one, basis, _explained(others, basis, count)))
        return found

    def find(self, past: Past, _: float) -> Found:
        """Whom to exclude, as part of which group; the level is not used."""
        ids = past.latest("id").astype(int).tolist()
        whole = np.ones(len(ids), dtype=bool)
        count = int(past.latest("imitations")[0])
        groups = [self._group(_common(past, ids, 1 + one), whole) for one in range(count)]
        # a quotient is below n - 1, the sum of all eigenvalues: without a group nobody is above
        threshold = max((group.quotient for group in groups if group), default=float(len(ids)))
        seen = _common(past, ids, 0)
        figure, excludes = np.zeros(len(ids)), np.zeros(len(ids), dtype=bool)
        while (group := self._group(seen, ~excludes)) is not None:
            figure[~excludes] = np.where(group.members, group.quotient, 0.0)
            members = np.zeros_like(excludes)
            members[~excludes] = group.members
            if group.quotient <= threshold or (excludes | members).sum() > len(ids) / 2:
                break
            excludes |= members
        return Found(figure=figure, threshold=np.full(len(ids), threshold), excludes=excludes)

    def words(self, found: Found, at: int) -> str:
        """How much a group has in common."""
        figure, most = float(found.figure[at]), float(found.threshold[at])
        if found.excludes[at]:
            return (
                f"One of a group of clients with a common aim: it shares {figure:.3g} times what "
                f"label mix and chance explain; honest clients share at most {most:.3g} times."
            )
        return f"Not one of a group that shares more than {most:.3g} times what is explained."

    def _group(self, found: Common, keep: Mask) -> Group | None:
        part = Common(*(matrix[np.ix_(keep, keep)] for matrix in found))
        if len(part.rest) < 3:
            return None
        return find_group(part, self.detector.vectors, self.detector.most)


def _explained(rest: Array, basis: Array, count: int) -> Array:
    """`basis` (r, k) and the `count` leading directions of populations `rest` (b, n, k) off it."""
    rows = rest.reshape(-1, basis.shape[1])
    _, values, leading = np.linalg.svd(rows, full_matrices=False)
    kept = values[:count] > _TINY
    return np.concatenate([basis, leading[:count][kept]])


def _key(part: str, population: int, client: int) -> str:
    return f"{part} {population} {client}"


def _common(past: Past, ids: list[int], population: int) -> Common:
    """Means over the rounds in which both clients were there; 0 where there are none."""
    return Common(*(_mean(past, part, population, ids) for part in _PARTS))


def _mean(past: Past, part: str, population: int, ids: list[int]) -> Array:
    names = [_key(part, population, client) for client in ids]
    tables = np.array([past.figures[name] for name in names])  # (n, rounds, n)
    seen = ~np.isnan(tables)
    total, count = np.where(seen, tables, 0.0).sum(axis=1), seen.sum(axis=1)
    # windows of two clients differ where one was absent: both windows count
    total, count = total + total.T, count + count.T
    mean: Array = np.divide(total, count, out=np.zeros_like(total), where=count > 0)
    return mean
