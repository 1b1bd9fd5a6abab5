"""From events to epsilon and delta: what every accountant offers.

Both figures are for neighbors by zero-out: all that one client adds is replaced by zeros.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Iterable

from dp.errors import UnknownEvent
from dp.events import Composed, Event
from dp.noise import real

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
    return real("0 < delta < 1", delta, lambda value: 0 < value < 1)


def check_epsilon(epsilon: float) -> float:
    """`epsilon` as a float; `ParameterError` unless 0 <= epsilon < infinity."""
    return real("0 <= epsilon < infinity", epsilon, lambda value: 0 <= value < math.inf)
