"""Rules on evidence of training: a client's own, and what it has beyond its nearest neighbor."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from math import sqrt
from statistics import NormalDist
from typing import ClassVar

import numpy as np

from robust.detect import Abstained, Scores
from robust.detect_beyond import EvidenceBeyond
from robust.detect_copy import CopiedTraining
from robust.detect_evidence import EvidenceOfTraining
from robust.errors import require
from robust.features import between, proportion, whole_number
from robust.observe import Array, Mask, Sketches
from robust.rule import Found, Rule
from robust.window import Past

__all__ = ["SINGLE", "CopyRule", "TrainingRule", "fisher", "mean_share", "share_threshold"]

SINGLE = 0.8
"""Of what clients have in common, how much may be one direction for shares to be compared."""

_ONE_ROUND = np.log(1e-3)
"""No p-value counts for less, where they decide: whoever trains once in a while has not trained."""

_KEPT = ("share", "error", "spread", "single")


@dataclass(frozen=True, kw_only=True)
class _ShareRule(Rule[Sketches]):
    """What rules on shares of the typical energy have in common: an honest model."""

    sees: ClassVar[type[Sketches]] = Sketches

    floor: float
    honest: float = 0.5
    wander: float = 0.15
    single: float = SINGLE
    patience: int = 8
    least: int = 5

    def __post_init__(self) -> None:
        between("honest", self.honest, 0.0, 1.0 + 1e-12)
        between("single", self.single, 0.0, 1.0 + 1e-12)
        proportion("floor", self.floor, self.honest)
        proportion("wander", self.wander, 1.0)
        whole_number("least", self.least, 1)
        whole_number("patience", self.patience, self.least)

    def check(self, level: float, window: int) -> None:  # noqa: ARG002 -- of all rules
        """`patience` rounds must be in a window."""
        require(self.patience <= window, f"patience <= window, got {self.patience} and {window},")

    def threshold(self, past: Past, level: float) -> Array:
        """(n,), see `share_threshold`."""
        return share_threshold(past, level, self.floor, self.honest, self.wander)

    def early(self, past: Past) -> Mask:
        """(n,), whether fewer than `patience` rounds were judged, or `least` of a client.

        Both, as who was out by an earlier rule for some rounds would win as many.
        """
        rounds = len(past.figures["share"])
        return np.asarray((past.counts("share") < self.least) | (rounds < self.patience))

    def apart(self, past: Past) -> Mask:
        """(n,), whether all that clients have in common is one direction."""
        return np.asarray(past.mean("single") > self.single)


@dataclass(frozen=True, kw_only=True)
class TrainingRule(_ShareRule):
    """Excludes clients whose mean share of the typical energy is near 0.

    Honest model: the true root share of an honest client is at least sqrt(honest) in the mean, and
    deviates from that mean by `wander` in a round, independently of other rounds: batches, and what
    the others do, differ. To that the sketch adds sqrt(error^2/honest + spread)/2. So the mean root
    over the window falls below the root of the threshold,

        min(sqrt(floor), sqrt(honest) - z sqrt(((error^2/honest + spread)/4 + wander^2)/rounds)),

    with at most the level, for z its upper normal quantile. In the first rounds the threshold is 0
    or near it, which excludes hardly anybody; it rises to `floor` as rounds add up.

    Where the model does not hold: a client whose labels nobody else has may share less than
    `honest` in every round, and one round's deviation may persist to the next. Such a client is
    protected by its p-value alone: from `poor` to `floor` nobody is excluded who rejects "public
    history and noise of its own" at `plausible`. Below `poor` an honest client is not protected.
    These five numbers were set by looking at label-skewed digits and letters, not derived.

    Where clients have one direction in common and no other (`single` in the mean over the window),
    as with two classes, an honest client may share nothing of it. Then p-values alone decide, and
    there are two: that of the energy, and that of what is shared beyond this direction
    (`robust.detect_beyond`). After `patience` rounds, and `least` of its own, who has rejected
    neither at `doubt` / 2 is excluded. A client without data gets by with probability `doubt` at
    most, as p-values below 1e-3 count as 1e-3, so that one round does not speak for the others.
    `doubt`, `patience`, `least` and `single` were set by looking at two data sets of two classes
    and eight of more.

    p_value of a finding: Fisher's, over the window, of that hypothesis. It is exact for rounds that
    are independent, which the projections are; where p-values decide, it is an upper bound.

    Attributes
    ----------
    detector: what is measured.
    floor, honest: 0 <= floor < honest <= 1.
    wander: in [0, 1).
    plausible: excludes only where the p-value is above it: the client must look like one without
        data, and not only less typical than others. In [0, 1); 0 switches this off.
    poor: a share below which `plausible` does not count, 0 <= poor <= floor. Noise that is shaped
        like updates rejects in a long window, and shares little all the same.
    single: how much of what clients have in common may be one direction, in (0, 1].
    doubt: below 1, and not below what clients can reach in `least` rounds.
    least, patience: 1 <= least <= patience <= window.
    """

    name: ClassVar[str] = "training"

    detector: EvidenceOfTraining = field(default_factory=EvidenceOfTraining)
    floor: float = 0.19
    plausible: float = 1e-12
    poor: float = 0.1
    doubt: float = 1e-7

    def __post_init__(self) -> None:
        super().__post_init__()
        reached = float(_either(np.full((2, self.least, 1), _ONE_ROUND))[0])
        between("doubt", self.doubt, reached, 1.0)
        proportion("plausible", self.plausible, 1.0)
        between("poor", self.poor, -1e-12, self.floor + 1e-12)

    def measure(self, seen: Sketches) -> Mapping[str, Array] | Abstained:
        """share, error, spread, single, and the logarithms of both p-values."""
        scores = self.detector.score(seen)
        beyond = EvidenceBeyond(evidence=self.detector).score(seen)
        if isinstance(scores, Abstained):
            return scores
        figures = {name: scores.figures[name] for name in _KEPT}
        return figures | _logarithm("log_p", scores) | _logarithm("log_beyond", beyond)

    def find(self, past: Past, level: float) -> Found:
        """Whom to exclude for lack of evidence."""
        share = mean_share(past)
        threshold, apart = self.threshold(past, level), self.apart(past)
        p = fisher(past.figures["log_p"])
        typical = (share < self.poor) | (p > self.plausible)
        both = np.array([past.figures["log_p"], past.figures["log_beyond"]])
        p = np.where(apart, _either(np.maximum(both, _ONE_ROUND)), p)
        threshold[apart & self.early(past)] = 0.0  # excludes nobody, as a share is never below
        excludes = (share < threshold) & np.where(apart, p > self.doubt, typical)
        return Found(figure=share, threshold=threshold, excludes=excludes, p_values=p)

    def words(self, found: Found, at: int) -> str:
        """Shares, and how a client without data would look."""
        share, p = max(float(found.figure[at]), 0.0), found.p_at(at) or 0.0
        verdict = "No evidence of training" if found.excludes[at] else "Evidence of training"
        if not found.excludes[at] and found.threshold[at] <= 0:
            verdict = "Too little seen to judge the training"
        return (
            f"{verdict}: shares {100 * share:.0f} % of the typical client's energy with the "
            f"others; a client without data looks like this, or better, with probability {p:.2g}."
        )


@dataclass(frozen=True, kw_only=True)
class CopyRule(_ShareRule):
    """Excludes clients that share nothing beyond what one other client, their nearest, shares.

    Threshold and honest model are those of `TrainingRule`, for shares beyond the neighbor. In
    addition the mean cosine with the neighbor must be at least `near`: a copy is near its original.
    Clients that have one class each, the same, share hardly more beyond each other: `floor` is low,
    and nobody is excluded before `patience` rounds, `least` of its own. They are not told apart
    from a copy for sure.

    Who copies with little noise (below about a third of the norm) leaves nothing beyond itself to
    the original either: both are excluded. So who can read another client's update can frame it;
    under secure aggregation that takes the other client's help.

    Where clients have one direction in common and no other, beyond a neighbor nobody shares
    anything: nobody is excluded.

    Attributes
    ----------
    detector: what is measured.
    floor, honest: 0 <= floor < honest <= 1.
    wander, near: in [0, 1).
    least, patience: 1 <= least <= patience <= window.
    single: how much of what clients have in common may be one direction, in (0, 1].
    """

    name: ClassVar[str] = "copy"

    detector: CopiedTraining = field(default_factory=CopiedTraining)
    floor: float = 0.05
    near: float = 0.3

    def __post_init__(self) -> None:
        super().__post_init__()
        proportion("near", self.near, 1.0)

    def measure(self, seen: Sketches) -> Mapping[str, Array] | Abstained:
        """share, error and spread beyond the neighbor; single; the neighbor and its cosine."""
        scores = self.detector.score(seen)
        if isinstance(scores, Abstained):
            return scores
        return {name: scores.figures[name] for name in (*_KEPT, "nearest", "neighbor")}

    def find(self, past: Past, level: float) -> Found:
        """Whom to exclude for lack of anything of its own."""
        share = mean_share(past)
        threshold = self.threshold(past, level)
        threshold[self.apart(past) | self.early(past)] = 0.0  # excludes nobody
        return Found(
            figure=share,
            threshold=threshold,
            excludes=(share < threshold) & (past.mean("nearest") >= self.near),
            neighbors=past.latest("neighbor"),
        )

    def words(self, found: Found, at: int) -> str:
        """What is left beyond whom."""
        share = max(float(found.figure[at]), 0.0)
        verdict = "Nothing of its own" if found.excludes[at] else "Work of its own"
        if found.threshold[at] <= 0:
            verdict = "Nothing is concluded on copies"
        return (
            f"{verdict}: beyond what {found.neighbor_at(at)} sends as well, shares "
            f"{100 * share:.0f} % of what is typical; a copy with noise added would share nothing."
        )


def _logarithm(name: str, scores: Scores | Abstained) -> dict[str, Array]:
    """The logarithms of p-values (n,) under a name; nothing where there are none."""
    if isinstance(scores, Abstained) or scores.p_values is None:
        return {}
    return {name: np.log(np.maximum(scores.p_values, 1e-300))}


def _either(log_p: Array) -> Array:
    """(2, rounds, n) logarithms -> (n,): of two tests over the rounds, the better, and its price.

    One hypothesis is tested twice, so the smaller p-value counts double.
    """
    found: Array = np.minimum(2.0 * np.minimum(*map(fisher, log_p)), 1.0)
    return found


def mean_share(past: Past) -> Array:
    """(n,), square of the mean root of shares, negative ones as 0."""
    roots = np.sqrt(np.maximum(past.figures["share"], 0.0))
    return Past(figures={"root": roots}).mean("root") ** 2


def share_threshold(past: Past, level: float, floor: float, honest: float, wander: float) -> Array:
    """(n,), the mean share below which clients are excluded; see `TrainingRule`. Never negative."""
    rounds = np.maximum(past.counts("share"), 1.0)
    variance = np.nansum(past.figures["error"] ** 2, axis=0) / honest + past.total("spread")
    deviation = np.sqrt(variance / 4.0 + rounds * wander**2) / rounds
    root = sqrt(honest) - NormalDist().inv_cdf(1.0 - level) * deviation
    found: Array = np.clip(root, 0.0, sqrt(floor)) ** 2
    return found


def fisher(log_p: Array) -> Array:
    """(rounds, n) logarithms, NaN for none -> (n,): P[a product of so many p-values <= this one].

    Minus twice the sum of w logarithms of uniform numbers has the chi-square law of 2w degrees,
    whose upper tail at 2x is exp(-x) sum_{j<w} x^j/j!.
    """
    x = -np.nansum(log_p, axis=0)
    rounds = (~np.isnan(log_p)).sum(axis=0)
    term, total = np.ones_like(x), np.zeros_like(x)
    for j in range(len(log_p)):
        total += np.where(j < rounds, term, 0.0)
        term = term * x / (j + 1)
    found: Array = np.minimum(np.where(rounds > 0, np.exp(-x) * total, 1.0), 1.0)
    return found
