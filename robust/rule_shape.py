"""Rules on single updates: clones, and norms far from the median."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from math import atanh
from statistics import NormalDist
from typing import ClassVar

import numpy as np

from robust.detect import Abstained
from robust.detect_clone import Clone
from robust.detect_norm import NormOutlier
from robust.features import between
from robust.observe import Array, Norms, Sketches
from robust.rule import Found, Rule
from robust.window import Past

__all__ = ["CloneRule", "NormRule"]

_NEAREST = 1.0 - 1e-12


@dataclass(frozen=True, kw_only=True)
class CloneRule(Rule[Sketches]):
    """Excludes clients whose residual nearly is that of another one.

    Honest model: the true cosine of two honest residuals is at most `honest`. Fisher's transform
    atanh(cosine) of a sketch deviates from the true one normally, by 1/sqrt(dof), so that

        threshold = tanh(atanh(honest) + z/sqrt(dof rounds))

    on the mean transform over the window is passed by one honest pair with at most the level, where
    z is its upper normal quantile at level/n: every client has n - 1 others to be near to.

    Attributes
    ----------
    detector: what is measured.
    honest: in (0, 1). Large clients with one class and no other in common agree to 0.997.
    """

    name: ClassVar[str] = "clone"
    sees: ClassVar[type[Sketches]] = Sketches

    detector: Clone = field(default_factory=Clone)
    honest: float = 0.998

    def __post_init__(self) -> None:
        between("honest", self.honest, 0.0, 1.0)

    def measure(self, seen: Sketches) -> Mapping[str, Array] | Abstained:
        """The transformed cosine, its deviation, and the neighbor."""
        scores = self.detector.score(seen)
        if isinstance(scores, Abstained):
            return scores
        figures = {name: scores.figures[name] for name in ("error", "neighbor")}
        nearest = np.clip(scores.figures["nearest"], -_NEAREST, _NEAREST)
        return {"transform": np.arctanh(nearest), **figures}

    def find(self, past: Past, level: float) -> Found:
        """Whom to exclude, both of a pair."""
        figure, rounds = past.mean("transform"), past.counts("transform")
        z = NormalDist().inv_cdf(1.0 - level / len(figure))
        threshold = atanh(self.honest) + z * past.mean("error") / np.sqrt(rounds)
        return Found(
            figure=np.tanh(figure),
            threshold=np.tanh(threshold),
            excludes=figure > threshold,
            neighbors=past.latest("neighbor"),
        )

    def words(self, found: Found, at: int) -> str:
        """How near to whom."""
        verdict = "The same work" if found.excludes[at] else "Not the same work"
        found_at, most = 100 * float(found.figure[at]), 100 * float(found.threshold[at])
        return (
            f"{verdict} as {found.neighbor_at(at)}: they agree to {found_at:.1f} % in all that is "
            f"not public; separate training agrees to {most:.1f} % at most."
        )


@dataclass(frozen=True, kw_only=True)
class NormRule(Rule[Norms]):
    """Excludes updates far longer or shorter than the median one, in this round alone.

    Honest model: a norm is within `factor` and `fraction` (of the detector) of the median, or its
    logarithm deviates from the median's normally, as the half of the clients on the other side
    does. Whichever bound is wider counts. With an agreed bound, who exceeds it is excluded.

    No window: one long update is enough to do harm.
    """

    name: ClassVar[str] = "norm"
    sees: ClassVar[type[Norms]] = Norms

    detector: NormOutlier = field(default_factory=NormOutlier)

    def measure(self, seen: Norms) -> Mapping[str, Array] | Abstained:
        """The ratio to the median, and how far ratios go on both sides."""
        scores = self.detector.score(seen)
        return scores if isinstance(scores, Abstained) else scores.figures

    def find(self, past: Past, level: float) -> Found:
        """Whom to exclude for a norm."""
        z = NormalDist().inv_cdf(1.0 - level / 2.0)
        wide, narrow = (np.minimum(z * past.latest(name), 690.0) for name in ("upper", "lower"))
        most = np.minimum(np.maximum(self.detector.factor, np.exp(wide)), past.latest("bound"))
        least = np.minimum(self.detector.fraction, np.exp(-narrow))
        ratio = past.latest("ratio")
        long = ratio > most * (1.0 + 1e-9)
        return Found(
            figure=ratio,
            threshold=np.where(ratio < 1.0, least, most),
            excludes=long | (ratio < least),
        )

    def words(self, found: Found, at: int) -> str:
        """How long, and how long it may be."""
        ratio, limit = float(found.figure[at]), float(found.threshold[at])
        verdict = "Unusual size" if found.excludes[at] else "Usual size"
        allowed = "least" if ratio < 1.0 else "most"
        return (
            f"{verdict}: the update is {ratio:.3g} times as long as the median one; "
            f"at {allowed} {limit:.3g} times is usual."
        )
