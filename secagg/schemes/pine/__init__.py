"""Two aggregators: a client speaks once, and no update exceeds the bound of its norm."""

from secagg.schemes.pine.params import HELPER, TwoAggregators

__all__ = ["HELPER", "TwoAggregators"]
