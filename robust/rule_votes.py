"""Votes: detectors without a null law, calibrated by the deployment itself. Experimental."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from robust.calibrate import Calibration, standard_score
from robust.detect import Abstained, Detector, Reason
from robust.errors import require
from robust.observe import Array, Sketches
from robust.rule import Found, Rule
from robust.window import Past

__all__ = ["VoteRule"]


@dataclass(frozen=True, kw_only=True)
class VoteRule(Rule[Sketches]):
    """Excludes clients that some detector finds less usual than the level, against the warm-up.

    Each detector's standardized suspicion is averaged over the window and ranked in the warm-up
    (`Calibration`); the smallest of the p-values, times their number, is the client's: Bonferroni's
    bound, which no dependence between detectors breaks. No threshold is set by hand.

    Honest model: scores are distributed as in the warm-up.

    Attributes
    ----------
    detectors: at least one; of different names.
    calibration: holds the name of each.
    """

    name: ClassVar[str] = "votes"
    sees: ClassVar[type[Sketches]] = Sketches

    detectors: tuple[Detector[Sketches], ...]
    calibration: Calibration

    def __post_init__(self) -> None:
        names = [detector.name for detector in self.detectors]
        require(len(names) >= 1 and len(set(names)) == len(names), "detectors: different, >= 1,")
        require(set(names) <= set(self.calibration.values), "detectors: each calibrated")

    def check(self, level: float, window: int) -> None:
        """Raises `ParameterError` unless a warm-up of this size reaches the level."""
        require(window == self.calibration.window, "window = calibration.window")
        least = min(self.calibration.smallest(detector.name) for detector in self.detectors)
        reached = len(self.detectors) * least
        require(
            reached <= level,
            f"detectors/(warm-up scores + 1) <= level, got {reached:.2g} > {level:.2g}: "
            f"a longer warm-up, or a larger budget,",
        )

    def measure(self, seen: Sketches) -> Mapping[str, Array] | Abstained:
        """The standard score of each detector that does not abstain."""
        figures: dict[str, Array] = {}
        reason = Reason.NO_VARIATION
        for detector in self.detectors:
            score = standard_score(detector, seen)
            if isinstance(score, Abstained):
                reason = score.reason
            else:
                figures[detector.name] = score
        return figures or Abstained(detector=self.name, reason=reason)

    def find(self, past: Past, level: float) -> Found:
        """Whom to exclude as unusual."""
        votes = [
            self.calibration.p_values(name, past.mean(name), past.counts(name))
            for name in past.figures
        ]
        p = np.minimum(np.min(votes, axis=0) * len(votes), 1.0)
        return Found(figure=p, threshold=np.full_like(p, level), excludes=p <= level, p_values=p)

    def words(self, found: Found, at: int) -> str:
        """How unusual."""
        verdict = "Unusual" if found.excludes[at] else "Within the usual"
        return (
            f"{verdict}: while nobody attacked, scores like these had a probability of at most "
            f"{float(found.figure[at]):.2g}; below {float(found.threshold[at]):.2g} excludes."
        )
