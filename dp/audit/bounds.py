"""The most that any attack can achieve against Gaussian differential privacy.

A release that is mu-GDP lets nobody tell whether a client sent its update or zeros better than a
test of N(0, 1) against N(mu, 1) [Dong22]. All figures follow from that, for every attack, known or
not, whatever it knows beside the release. A release of noise multiplier z is 1/z-GDP, and T of them
sqrt(T)/z-GDP.

[Dong22]   Dong, Roth, Su: Gaussian Differential Privacy, J. R. Statist. Soc. B 84, 2022.
[Hayes23]  Hayes, Mahloujifar, Balle: Bounding Training Data Reconstruction in DP-SGD, NeurIPS 2023.
"""

from __future__ import annotations

import math
from statistics import NormalDist

from dp.errors import require

__all__ = ["most_auc", "most_success"]

_NORMAL = NormalDist()


def most_auc(mu: float) -> float:
    """The area under the curve of the best test, Phi(mu / sqrt(2)). mu >= 0."""
    return _NORMAL.cdf(_checked(mu) / math.sqrt(2))


def most_success(mu: float, control: float) -> float:
    """How often an attack succeeds that does with probability `control` if it sees nothing.

    Phi(Phi^-1(control) + mu): the rate of true positives at a rate `control` of false ones
    [Dong22, §2], and the success of a guess of anything about the client's data, where `control` is
    that of the best guess before the release [Hayes23, Theorem 2]. Rates of 0 … 1.
    """
    _checked(mu)
    require(0 <= control <= 1, f"0 <= rate <= 1, not {control!r},")
    if control in (0.0, 1.0):
        return float(control)
    return _NORMAL.cdf(_NORMAL.inv_cdf(control) + mu)


def _checked(mu: float) -> float:
    require(0 <= mu < math.inf, f"0 <= mu < infinity, not {mu!r},")
    return mu
