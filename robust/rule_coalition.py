"""A rule on coalitions: groups that have more in common than imitations of honest clients show.

Experimental. It needs no attack-free warm-up and no threshold of its own: the server trains made-up
honest clients on its root set, with label mixes of their own, and looks at them in the same way.

Judged by the class updates of the examples that they were made of, such clients would miss nothing
of the classes, where real clients share what a root set misses of theirs. So the root set is split
in halves, and there are two kinds of populations. With r examples of a class in the root set, what
it misses has a variance of 1/r for real clients;

    narrow   clients of the whole root set, judged by one half: 2/r - 1/r = 1/r, as half of a
             sample differs from the sample [McCarthy69]
    wide     clients of one half, judged by the other: 2/r + 2/r = 4/r

Narrow ones have what real ones miss, but less of what is peculiar to real data: they have only a
few examples in all. Wide ones have too much. How far apart the two are says how much the quotient
depends on what is missed, on these data; the threshold is their geometric mean, what 2/r would give
if the logarithm of the quotient is linear in that of what is missed.

What training does to any client of such data, beyond single classes, imitations tell too: the
directions in which they differ most are taken off before clients are compared, so that little but
noise and aims of their own is left. For the clients these are of all imitations of the whole root
set, for those of the whole, of the other splits; for those of one half, of the other half.

[McCarthy69]  McCarthy: Pseudo-Replication: Half Samples, Review of the International Statistical
              Institute 37, 1969.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np

from robust.detect import Abstained, Reason
from robust.detect_coalition import Coalition, Common, Group, common, find_group
from robust.features import between, orthonormal, proportion, residuals, unit_rows
from robust.observe import Array, Imitated, Mask, Sketches
from robust.rule import Found, Rule
from robust.window import Past

__all__ = ["CoalitionRule"]

_TINY = 1e-9
_FOUND = "found"
_WHOLE = 2
"""Of the three populations of a split: that of the whole root set."""


@dataclass(frozen=True, kw_only=True)
class CoalitionRule(Rule[Sketches]):
    """Excludes a group whose quotient is above those of the groups in imitated populations.

    Quotients are of the means over the window; see `robust.detect_coalition`. The threshold is
    `margin` times the geometric mean of two: the largest quotient of the 2 b narrow populations,
    and the median of the 2 b wide ones; see the module. When a group is out, the rest is looked at
    again, until nothing is above or half of the clients would be out.

    Honest model: honest clients have no more in common than that. No level follows from it: it is
    *not* used, and the budget of a cascade does not bound what this rule excludes. Honest clients
    with something in common that no example of the root set has, a rare kind of record or a defect
    of a device, cannot be told from a coalition.

    A finding stands for the window: a group is most visible while the model does not do yet what
    it wants, and hardly where it does. Members come back when they are in no such group for as
    long.

    Remembers (2 n + c)(4 b + 1) numbers for each client and round: for cohorts of up to a few
    hundred.

    Abstains as its detector does, and with NO_REFERENCE without imitations.

    Attributes
    ----------
    detector: what is measured, and how large a group may be.
    explained: share of the dimensions of a sketch that imitations explain, in [0, 1); at most as
        many of them as there are clients.
    core: share of the median member's loading below which a member is not excluded, in (0, 1): the
        best cut may take clients along that have only some of what the group shares.
    margin: > 1. Quotients of populations of one law differ, by 4 % in tests.
    """

    name: ClassVar[str] = "coalition"
    sees: ClassVar[type[Sketches]] = Sketches

    detector: Coalition = field(default_factory=Coalition)
    explained: float = 0.25
    core: float = 0.6
    margin: float = 1.05

    def __post_init__(self) -> None:
        proportion("explained", self.explained, 1.0)
        between("core", self.core, 0.0, 1.0)
        between("margin", self.margin, 1.0, np.inf)

    def measure(self, seen: Sketches) -> Mapping[str, Array] | Abstained:
        """What each client has in common with each, of the clients and of each imitation."""
        found = self.detector.looked_at(seen)
        if isinstance(found, Abstained):
            return found
        if seen.imitations is None or seen.public.classes is None:
            return Abstained(detector=self.name, reason=Reason.NO_REFERENCE)
        populations = self._populations(seen.rows, seen.public.classes, seen.imitations)
        if not all(population.rest.any() for population in populations):
            return Abstained(detector=self.name, reason=Reason.NO_VARIATION)
        ids = np.array(seen.clients, dtype=np.float64)
        figures = {"id": ids, "populations": np.full(len(ids), float(len(populations)))}
        for which, population in enumerate(populations):
            figures |= _columns(which, population, seen.clients)
        return figures

    def _populations(self, rows: Array, classes: Array, made_up: Imitated) -> list[Common]:
        """Of the clients; then, by turns, a narrow and a wide one for each half; see the module."""
        count = min(int(self.explained * rows.shape[1]), len(rows))

        def seen(sent: Array, known: Array, others: Array) -> Common:
            rest = _explained(others.reshape(-1, rows.shape[1]), known, count)
            return common(sent, known, rest)

        whole = made_up.rows[:, _WHOLE]
        found = [seen(rows, classes, whole)]
        for split, (sent, known) in enumerate(zip(made_up.rows, made_up.classes, strict=True)):
            for one, other in ((0, 1), (1, 0)):
                found.append(seen(whole[split], known[other], np.delete(whole, split, axis=0)))
                found.append(seen(sent[one], known[other], sent[other]))
        return found

    def find(self, past: Past, _: float) -> Found:
        """Whom to exclude, as part of which group; the level is not used.

        The whole window shows what is weak and lasts; its last round alone, what has just begun.
        Earlier findings of the window stand, unless more than half of the clients would be out.
        """
        ids = past.latest("id").astype(int).tolist()
        found = self._find(past, np.zeros(len(ids), dtype=bool))
        earlier = (
            past.total(_FOUND) > 0 if _FOUND in past.figures else np.zeros_like(found.excludes)
        )
        out = found.excludes | earlier
        if out.sum() > len(ids) / 2:
            out = found.excludes
        latest = Past(figures={name: rows[-1:] for name, rows in past.figures.items()})
        last = self._find(latest, out)
        begun = last.excludes & ~out
        return Found(
            figure=np.where(begun, last.figure, found.figure),
            threshold=np.where(begun, last.threshold, found.threshold),
            excludes=last.excludes,
        )

    def remembered(self, found: Found) -> Mapping[str, Array]:
        """Who is in a group by this round's figures, not by earlier findings alone."""
        return {_FOUND: (found.excludes & (found.figure > found.threshold)).astype(np.float64)}

    def _find(self, past: Past, out: Mask) -> Found:
        """Groups among those that are not `out` (n,) yet, in addition to those that are."""
        ids = past.latest("id").astype(int).tolist()
        threshold = self._threshold(past, ids)
        seen = _common(past, ids, 0)
        figure, excludes = np.zeros(len(ids)), out.copy()
        while (group := self._group(seen, ~excludes)) is not None:
            members = np.zeros_like(excludes)
            members[~excludes] = self._core(group)
            figure[members] = group.quotient
            if group.quotient <= threshold or (excludes | members).sum() > len(ids) / 2:
                break
            excludes |= members
        return Found(figure=figure, threshold=np.full(len(ids), threshold), excludes=excludes)

    def _threshold(self, past: Past, ids: list[int]) -> float:
        """Between the largest of the narrow populations and the median of the wide ones."""
        narrow, wide = (self._quotients(past, ids, first) for first in (1, 2))
        # a quotient is below n - 1, the sum of all eigenvalues: without a group nobody is above
        if not (narrow and wide):
            return float(len(ids))
        return self.margin * float(np.sqrt(max(narrow) * np.median(wide)))

    def _quotients(self, past: Past, ids: list[int], first: int) -> list[float]:
        """Of every second imitated population, from `first`, where there is a group at all."""
        whole = np.ones(len(ids), dtype=bool)
        others = range(first, int(past.latest("populations")[0]), 2)
        groups = (self._group(_common(past, ids, one), whole) for one in others)
        return [group.quotient for group in groups if group]

    def _core(self, group: Group) -> Mask:
        """Members who have enough of what the group shares; half of them at least."""
        typical = np.median(group.loadings[group.members])
        return group.members & (group.loadings >= self.core * typical)

    def words(self, found: Found, at: int) -> str:
        """How much a group has in common."""
        figure, most = float(found.figure[at]), float(found.threshold[at])
        if found.excludes[at] and figure <= most:
            return "One of a group of clients with a common aim in an earlier round of the window."
        if found.excludes[at]:
            return (
                f"One of a group of clients with a common aim: it shares {figure:.3g} times what "
                f"label mix and chance explain, made-up honest clients {most:.3g} times."
            )
        return f"Not one of a group that shares more than {most:.3g} times what is explained."

    def _group(self, found: Common, keep: Mask) -> Group | None:
        square = np.ix_(keep, keep)
        part = Common(found.rest[square], found.span[square], found.loads[keep])
        if len(part.rest) < 3:
            return None
        return find_group(part, self.detector.vectors, self.detector.most)


def _explained(rows: Array, classes: Array, count: int) -> Array:
    """A basis of `classes` (c, k) and of the `count` leading directions of `rows` (n, k) off it."""
    basis = orthonormal(classes)
    rest = residuals(unit_rows(rows), basis)
    _, values, leading = np.linalg.svd(rest, full_matrices=False)
    kept = values[:count] > _TINY
    return np.concatenate([basis, leading[:count][kept]])


def _columns(which: int, population: Common, clients: tuple[int, ...]) -> dict[str, Array]:
    """What is remembered of one population: figures (n,) by name."""
    found = {}
    for client, rest, span in zip(clients, population.rest.T, population.span.T, strict=True):
        found[f"rest {which} {client}"] = rest
        found[f"span {which} {client}"] = span
    for label, load in enumerate(population.loads.T):
        found[f"load {which} {label}"] = load
    return found


def _common(past: Past, ids: list[int], which: int) -> Common:
    """Means over the rounds in which both clients were there; 0 where there are none."""
    names = sorted(name for name in past.figures if name.startswith(f"load {which} "))
    loads = np.array([np.nan_to_num(past.mean(name)) for name in names]).T
    return Common(_mean(past, f"rest {which}", ids), _mean(past, f"span {which}", ids), loads)


def _mean(past: Past, part: str, ids: list[int]) -> Array:
    tables = np.array([past.figures[f"{part} {client}"] for client in ids])  # (n, rounds, n)
    seen = ~np.isnan(tables)
    total, count = np.where(seen, tables, 0.0).sum(axis=1), seen.sum(axis=1)
    # windows of two clients differ where one was absent: both windows count
    total, count = total + total.T, count + count.T
    mean: Array = np.divide(total, count, out=np.zeros_like(total), where=count > 0)
    return mean
