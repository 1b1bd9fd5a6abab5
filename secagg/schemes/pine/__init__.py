"""Two aggregators: a client speaks once, and no update exceeds the bound of its norm."""

from secagg.reference import Reference
from secagg.schemes.pine.noise import Noise
from secagg.schemes.pine.params import HELPER, TwoAggregators
from secagg.schemes.pine.screen import Angle, PineMap, PineScreen

__all__ = ["HELPER", "Angle", "Noise", "PineMap", "PineScreen", "Reference", "TwoAggregators"]
