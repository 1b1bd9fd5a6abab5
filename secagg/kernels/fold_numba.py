"""`Folder`, compiled: needs the extra `fast`."""

from __future__ import annotations

from typing import Any

import numba
import numpy as np
from numpy.typing import NDArray

__all__ = ["FoldNumba"]


class FoldNumba:
    """A pass over the words for each table."""

    places: np.dtype[Any] = np.dtype(np.uint16)

    def fold(self, tables: NDArray[Any], places: NDArray[Any], part: NDArray[Any]) -> None:
        """See `secagg.kernels.Folder`."""
        if part.size and places.max() >= tables.shape[1]:
            raise IndexError("a place is outside its table")  # compiled code would write anywhere
        for table, place in zip(tables, places, strict=True):
            _fold(table, place, part)


@numba.njit(cache=True)
def _fold(table, places, part):  # type: ignore[no-untyped-def]
    for at in range(part.size):
        table[places[at]] += part[at]
