"""A defense that sees what one mode opens, and no more, at work in a trial: `protocols.trial`.

Bounds leave out whoever is beyond them, where the mode has any. Of numbers of single clients the
cascade of `robust` judges, and of norms its rule on norms. Of a cosine with the reference the
judge is that of docs/how-to/two-aggregators.md: it must be above 0. The reference has the signs of
the server's own update, where there is a root set, else of the last mean; no attacker here makes
use of it. Of groups nobody can be judged: what is kept is a ranking.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from protocols.federation.federation import RoundData
from protocols.federation.observe import gaussian, sketched
from protocols.laboratory.modes import Kind, Mode, clipped
from protocols.laboratory.references import signs
from protocols.trial.methods import Defense, Taken
from robust.decide import Cascade, Screening, rooted
from robust.detect_direction import Direction
from robust.detect_evidence import EvidenceOfTraining
from robust.group_suspicion import GroupSuspicion
from robust.observe import Array, GroupSketches, Index, Mask, Norms, Sketches
from robust.rule_shape import NormRule
from secagg.parameters import dropout_bound

__all__ = ["CLIP_FACTOR", "Ranked", "Screened", "defense_of"]

CLIP_FACTOR = 4.0
"""The bound over the norm of the server's first update on its root set, as in `protocols.trial`."""

_BUDGET = 0.03
_DROPOUT = 0.3
"""The scheme's default: where more are left out, it releases nothing."""


class Screened(Defense):
    """Bounds, and the cascade on what is opened of each client, with a budget of 3 % for the run.

    root: whether the rules that need a root set come last, and the reference is of it. The budget
    bounds neither them nor what is asked of cosines.
    """

    def __init__(self, mode: Mode, *, rounds: int, seed: int, root: bool = False) -> None:
        self.mode, self._seed, self._root = mode, seed, root
        self._screening = Screening(_cascade(mode, rounds, root=root))
        self._bound: float | None = None

    def take(self, data: RoundData) -> Taken:
        rng = np.random.default_rng([self._seed, data.number])
        bound = self._bound = self._bound or CLIP_FACTOR * float(np.linalg.norm(data.root))
        honest = data.honest[:, None]
        sent = replace(data, updates=np.where(honest, clipped(data.updates, bound), data.updates))
        return _taken(sent, self._accepted(sent, bound, rng))

    def _accepted(self, sent: RoundData, bound: float, rng: np.random.Generator) -> Mask:
        """Who of the round is in the sum, (n,)."""
        mode = self.mode
        public = self._public(sent, rng)
        if mode.kind.has_reference and public is None:
            mode = replace(mode, kind=Kind.EXACT if mode.kind is Kind.COSINE else Kind.BIT, least=0)
        opened = mode.opened(sent.updates, public, bound, rng)
        if mode.kind is Kind.NOTHING:
            return np.ones(len(opened), dtype=bool)
        if mode.kind in (Kind.BIT, Kind.PROOF):
            passed: Mask = opened[:, 0] > 0
            return passed
        squares = (opened**2).sum(axis=1) if mode.kind.is_linear else (bound * opened[:, 0]) ** 2
        accepted = mode.within(squares, bound)
        if mode.kind is Kind.COSINE:
            accepted &= opened[:, 1] > 0
        if accepted.any():
            told = self._told(sent, public, opened, bound).only(accepted)
            accepted &= ~np.isin(sent.clients, self._screening.judge(told).excluded)
        return accepted

    def _public(self, sent: RoundData, rng: np.random.Generator) -> Array | None:
        """Map or reference of the round; None where there is none, or nothing to make it from."""
        if self.mode.kind.is_linear:
            return gaussian(self.mode.numbers, sent.updates.shape[1], rng)
        if not self.mode.kind.has_reference:
            return None
        if self._root:
            return signs(sent.root)
        return signs(sent.history[-1]) if len(sent.history) else None

    def _seen(self, sent: RoundData, projection: Array, rows: Array) -> Sketches:
        imitated = None
        if self._root:
            imitated = sent.imitate(sent.clients).through(lambda rows: rows @ projection.T)
        noise = self.mode.deviation(self._bound or 0.0)
        return replace(sketched(sent, projection), rows=rows, noise=noise, imitations=imitated)

    def _told(
        self, sent: RoundData, public: Array | None, opened: Array, bound: float
    ) -> Sketches | Norms:
        """What detectors are shown."""
        kind = self.mode.kind
        if kind is Kind.SKETCH and public is not None:
            return self._seen(sent, public, opened)
        norms = bound * opened[:, 0]
        if kind is Kind.NORM:
            scatter = self.mode.numbers * self.mode.deviation(bound) ** 2
            norms = np.sqrt(np.maximum((opened**2).sum(axis=1) - scatter, 0))
        return Norms(number=sent.number, clients=sent.clients, norms=norms, bound=bound)


class Ranked(Defense):
    """Groups: a sum is withheld where one is beyond its bounds, and suspicion adds up over rounds.

    After the last round, `rankings` has the suspicion (n,) of each client by each detector, and
    `honest` who was.
    """

    def __init__(self, mode: Mode, *, seed: int) -> None:
        self.mode, self._seed = mode, seed
        self._suspicions = [GroupSuspicion(Direction()), GroupSuspicion(EvidenceOfTraining())]
        self._bound: float | None = None
        self.honest = np.zeros(0, dtype=bool)

    @property
    def rankings(self) -> list[Array]:
        """Of detectors that did not abstain in every round."""
        return [one.suspects().fitted for one in self._suspicions if one.export()["clients"]]

    def take(self, data: RoundData) -> Taken:
        rng = np.random.default_rng([self._seed, data.number])
        bound = self._bound = self._bound or CLIP_FACTOR * float(np.linalg.norm(data.root))
        self.honest = data.honest
        honest = data.honest[:, None]
        sent = replace(data, updates=np.where(honest, clipped(data.updates, bound), data.updates))
        order = rng.permutation(len(data.clients))
        groups = np.array_split(order, max(len(order) // self.mode.group, 1))
        projection = gaussian(self.mode.numbers, data.updates.shape[1], rng)
        sums = np.stack([sent.updates[group].sum(axis=0) for group in groups])
        rows = self.mode.opened(sums, projection, bound, rng)
        if not self.mode.within((rows**2).sum(axis=1), bound).all():
            return _taken(sent, np.zeros(len(order), dtype=bool))
        self._remember(sent, groups, rows, projection)
        return _taken(sent, np.ones(len(order), dtype=bool))

    def _remember(
        self, sent: RoundData, groups: list[Index], rows: Array, projection: Array
    ) -> None:
        members = [tuple(sorted(np.array(sent.clients)[group].tolist())) for group in groups]
        seen = GroupSketches(
            number=sent.number,
            clients=sent.clients,
            groups=tuple(members),
            rows=rows,
            public=sketched(sent, projection).public,
            noise=self.mode.deviation(self._bound or 0.0),
        )
        for suspicion in self._suspicions:
            suspicion.add(seen)


def defense_of(mode: Mode, *, rounds: int, seed: int, root: bool = False) -> Screened | Ranked:
    """What can be done with what this mode opens."""
    if mode.kind is Kind.GROUPS:
        return Ranked(mode, seed=seed)
    return Screened(mode, rounds=rounds, seed=seed, root=root)


def _cascade(mode: Mode, rounds: int, *, root: bool) -> Cascade:
    """The rules that can do something with what is opened."""
    if mode.kind is not Kind.SKETCH:
        return Cascade(rules=(NormRule(),), rounds=rounds, budget=_BUDGET)
    return rooted(rounds) if root else Cascade(rounds=rounds, budget=_BUDGET)


def _taken(sent: RoundData, accepted: Mask) -> Taken:
    out = np.array(sent.clients)[~accepted].tolist()
    fewest = len(accepted) - dropout_bound(len(accepted), _DROPOUT)
    mean = sent.mean(accepted.astype(np.float64)) if accepted.any() else np.zeros_like(sent.weights)
    return Taken(update=mean, left_out=frozenset(out), short=int(accepted.sum()) < fewest)
