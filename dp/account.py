"""From events to epsilon and delta: what every accountant offers.

Both figures are for neighbors by zero-out: all that one client adds is replaced by zeros.
"""

from __future__ import annotations

import sys
from abc import ABC, abstractmethod
from collections.abc import Iterable
from numbers import Real

import numpy as np

from dp.errors import UnknownEvent, require
from dp.events import Composed, Event

__all__ = ["Accountant", "check_delta", "check_epsilon", "leaves", "unknown"]


class Accountant(ABC):
    """Upper bounds on what events cost together.

    All methods raise `UnknownEvent` for an event that the accountant has no bound for, and
    `ParameterError` for figures out of range.
    """

    @abstractmethod
    def epsilon(self, event: Event, delta: float) -> float:
        """An epsilon for which `event` is (epsilon, delta)-DP; infinite if none is found.

        0 < delta < 1.
        """

    @abstractmethod
    def delta(self, event: Event, epsilon: float) -> float:
        """A delta for which `event` is (epsilon, delta)-DP, at most 1. 0 <= epsilon < infinity."""


def leaves(event: Event) -> Iterable[tuple[Event, int]]:
    """The single events, with their counts."""
    return event.events if isinstance(event, Composed) else ((event, 1),)


def unknown(event: Event) -> UnknownEvent:
    """To be raised."""
    return UnknownEvent(f"no bound is known for {type(event).__name__}")


def check_delta(delta: float) -> float:
    """`delta` as a float; `ParameterError` unless 0 < delta < 1."""
    require(_is_real(delta) and 0 < delta < 1, f"0 < delta < 1, not {delta!r:.40},")
    return float(delta)


def check_epsilon(epsilon: float) -> float:
    """`epsilon` as a float; `ParameterError` unless 0 <= epsilon < infinity."""
    holds = _is_real(epsilon) and 0 <= epsilon <= sys.float_info.max
    require(holds, f"0 <= epsilon < infinity, not {epsilon!r:.40},")
    return float(epsilon)


def _is_real(value: object) -> bool:
    # a narrower float of numpy would draw every comparison with a bound down to its own precision
    return isinstance(value, Real) and not isinstance(value, bool | np.bool_)
