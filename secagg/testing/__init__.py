"""The test kit: a whole round in one process, with a network that fails and parties that lie.

`run` tells the story of a round. `secagg.testing.conformance.SchemeConformance` is the test suite
that every scheme inherits; it and `secagg.testing.strategies` need pytest and Hypothesis, the rest
only what the library needs.
"""

from secagg.testing.adversaries import Hostile, Lie
from secagg.testing.faults import (
    Corrupt,
    Crash,
    Delay,
    Drop,
    Duplicate,
    Late,
    Moment,
    Partition,
    Reorder,
    Tardy,
    Truncate,
    Vanish,
)
from secagg.testing.network import Frame, Network, RunResult, plain_sum, run
from secagg.testing.parties import Parties, make_round
from secagg.testing.rand import SeededRand

__all__ = [
    "Corrupt",
    "Crash",
    "Delay",
    "Drop",
    "Duplicate",
    "Frame",
    "Hostile",
    "Late",
    "Lie",
    "Moment",
    "Network",
    "Parties",
    "Partition",
    "Reorder",
    "RunResult",
    "SeededRand",
    "Tardy",
    "Truncate",
    "Vanish",
    "make_round",
    "plain_sum",
    "run",
]
