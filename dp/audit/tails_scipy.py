"""Tails of the binomial law, bounds on a rate, and on a mean. Needs scipy, of the extra `audit`.

[Clopper34]  Clopper, Pearson: The Use of Confidence or Fiducial Limits Illustrated in the Case of
             the Binomial, Biometrika 26, 1934.
[Korn98]     Korn, Graubard: Confidence Intervals for Proportions With Small Expected Number of
             Positive Counts Estimated From Survey Data, Survey Methodology 24, 1998.
[Student08]  Student: The Probable Error of a Mean, Biometrika 6, 1908.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from dp.errors import require

try:
    from scipy import special
except ImportError as error:
    raise ImportError("audits by attack need scipy: pip install 'secagg[audit]'") from error

__all__ = ["at_least", "rate_above", "rate_below", "student"]


def at_least(successes: NDArray[np.int64] | int, trials: int, rate: float) -> NDArray[np.float64]:
    """P(Binomial(trials, rate) >= successes), for one number or an array of them, of any sign."""
    count = np.asarray(successes)
    inside = np.clip(count, 1, max(trials, 1))
    # the incomplete beta function keeps its relative precision in the far tail
    tail = special.betainc(inside, np.maximum(trials - inside + 1, 1), rate)
    found: NDArray[np.float64] = np.where(count <= 0, 1.0, np.where(count > trials, 0.0, tail))
    return found


def rate_above(successes: float, trials: float, error: float) -> float:
    """A bound below the rate, wrong with probability `error` at most [Clopper34].

    Trials that are not independent count as the number of those that would be [Korn98], a fraction.
    Raises `ParameterError` unless 0 <= successes <= trials, trials >= 1 and 0 < error < 1.
    """
    _check(successes, trials, error)
    if successes == 0:
        return 0.0
    return float(special.betaincinv(successes, trials - successes + 1, error))


def rate_below(successes: float, trials: float, error: float) -> float:
    """A bound above the rate, wrong with probability `error` at most; raises as `rate_above`."""
    return 1.0 - rate_above(trials - successes, trials, error)


def student(values: int, error: float) -> float:
    """How many of its own deviations the mean of some normal values is from theirs, at most, but
    with probability `error` on either side [Student08]. Infinite for one value.
    """
    return float(special.stdtrit(values - 1, 1 - error)) if values > 1 else np.inf


def _check(successes: float, trials: float, error: float) -> None:
    require(0 <= successes <= trials, f"0 <= successes <= trials, not {successes} and {trials},")
    require(trials >= 1, f"trials >= 1, not {trials},")
    require(0 < error < 1, f"0 < error < 1, not {error!r},")
