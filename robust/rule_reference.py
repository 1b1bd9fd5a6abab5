"""A rule on the server's own update: whoever works against it is left out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from statistics import NormalDist
from typing import ClassVar

import numpy as np

from robust.detect import Abstained
from robust.detect_reference import Reference
from robust.features import between
from robust.observe import Array, Sketches
from robust.rule import Found, Rule
from robust.window import Past

__all__ = ["ReferenceRule"]


@dataclass(frozen=True, kw_only=True)
class ReferenceRule(Rule[Sketches]):
    """Excludes clients whose update points away from that of the server's root set.

    Honest model: the true cosine of an honest update with the root's is at least `honest`, -0.2
    unless said otherwise: labels that the root set has and a client lacks may turn it away, most so
    when the model has learned what the root set can teach. (With -0.1, 6 of 240 honest clients of
    satimage were excluded within twelve rounds, with -0.2 three.) A cosine of two sketches of k
    numbers deviates normally, by 1/sqrt(k) at most, so that the mean over a window of w rounds is
    below

        honest - z / sqrt(k w)

    with at most the level, for z its upper normal quantile. In a first round that may be below
    every cosine that an attacker has; it rises as rounds add up.

    Needs a root set: abstains without one. EXPERIMENTAL: a root set of other data than the clients'
    accuses the honest.

    Attributes
    ----------
    detector: what is measured.
    honest: in (-1, 1).
    """

    name: ClassVar[str] = "reference"
    sees: ClassVar[type[Sketches]] = Sketches

    detector: Reference = field(default_factory=Reference)
    honest: float = -0.2

    def __post_init__(self) -> None:
        between("honest", self.honest, -1.0, 1.0)

    def measure(self, seen: Sketches) -> Mapping[str, Array] | Abstained:
        """The cosine, and the variance of its error."""
        scores = self.detector.score(seen)
        if isinstance(scores, Abstained):
            return scores
        cosine = scores.figures["cosine"]
        return {"cosine": cosine, "variance": np.full_like(cosine, 1.0 / seen.rows.shape[1])}

    def find(self, past: Past, level: float) -> Found:
        """Whom to exclude for working against the server's update."""
        rounds = np.maximum(past.counts("cosine"), 1.0)
        deviation = np.sqrt(past.total("variance")) / rounds
        threshold = self.honest - NormalDist().inv_cdf(1.0 - level) * deviation
        figure = past.mean("cosine")
        return Found(figure=figure, threshold=threshold, excludes=figure < threshold)

    def words(self, found: Found, at: int) -> str:
        """Which way it points."""
        verdict = "Works against" if found.excludes[at] else "Does not work against"
        return (
            f"{verdict} the server's own update: their directions agree to "
            f"{100 * float(found.figure[at]):.0f} %, where below "
            f"{100 * float(found.threshold[at]):.0f} % is no chance."
        )
