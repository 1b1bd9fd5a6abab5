"""How well scores tell attacks from usual requests, in the figures that all benchmarks share."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import roc_auc_score

__all__ = ["Figures"]

_Floats = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class Figures:
    """How well scores tell attacks from usual requests.

    at_1, at_01: attacks found at 1 % and 0.1 % of false alarms, by the test itself. found,
    false_alarms: at the threshold that separate usual requests set to 1 %; few_found, few_false: to
    0.3 %. per_million: false alarms at the first.
    """

    name: str
    auroc: float
    at_1: float
    at_01: float
    found: float
    false_alarms: float
    per_million: int
    few_found: float
    few_false: float

    @classmethod
    def of(cls, name: str, calibration: _Floats, usual: _Floats, attacks: _Floats) -> Figures:
        threshold = np.quantile(calibration, 0.99, method="higher")
        few = np.quantile(calibration, 0.997, method="higher")
        false_alarms = float((usual > threshold).mean())
        ranked = np.sort(usual)[::-1]
        truth = np.repeat([0, 1], [usual.size, attacks.size])
        return cls(
            name=name,
            auroc=float(roc_auc_score(truth, np.concatenate([usual, attacks]))),
            at_1=float((attacks > ranked[int(0.01 * usual.size)]).mean()),
            at_01=float((attacks > ranked[int(0.001 * usual.size)]).mean()),
            found=float((attacks > threshold).mean()),
            false_alarms=false_alarms,
            per_million=round(1e6 * false_alarms),
            few_found=float((attacks > few).mean()),
            few_false=float((usual > few).mean()),
        )
