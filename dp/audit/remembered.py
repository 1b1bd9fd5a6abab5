"""What all trials of an experiment share is worked out once."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Generic, TypeVar

import numpy as np

__all__ = ["Remembered"]

T = TypeVar("T")


class Remembered(Generic[T]):
    """A function of arrays and numbers that keeps its last result, and a copy of what it is of.

    To compare large arrays is quicker than to hash them, as `lru_cache` would have to.
    """

    def __init__(self, make: Callable[..., T]) -> None:
        self._make = make
        self._last: tuple[tuple[Any, ...], T] | None = None

    def __call__(self, *given: Any) -> T:
        last = self._last
        if last is None or not all(map(np.array_equal, last[0], given)):
            kept = tuple(np.array(each) for each in given)
            last = self._last = kept, self._make(*given)
        return last[1]
