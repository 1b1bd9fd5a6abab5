"""Two aggregators: a client speaks once, and no update exceeds the bounds that it proves."""

from secagg.reference import Reference
from secagg.schemes.pine.noise import Noise
from secagg.schemes.pine.params import HELPER, TwoAggregators
from secagg.schemes.pine.screen import Angle, Entries, PineMap, PineScreen

__all__ = [
    "HELPER",
    "Angle",
    "Entries",
    "Noise",
    "PineMap",
    "PineScreen",
    "Reference",
    "TwoAggregators",
]
