"""The few loops that are worth a compiler: numpy always, numba with the extra `fast`.

Both give the same bits. Which one runs is decided at the first use, so that nobody waits for a
compiler who has no use for it.
"""

from __future__ import annotations

from functools import cache
from importlib.util import find_spec
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

__all__ = ["FoldNumpy", "Folder", "folder"]

Words = NDArray[Any]
Places = NDArray[Any]


class Folder(Protocol):
    """Adds words to tables, at places of the dtype that it is fastest with."""

    places: np.dtype[Any]

    def fold(self, tables: Words, places: Places, part: Words) -> None:
        """Add each of `part` (c,) to row r of `tables` (t, b) at `places[r]` (c,), for every row r.

        Words of one unsigned dtype, modulo its size. Raises `IndexError` unless places are below b.
        """
        ...


class FoldNumpy:
    """Without a compiler."""

    places: np.dtype[Any] = np.dtype(np.intp)

    def fold(self, tables: Words, places: Places, part: Words) -> None:
        """See `Folder`."""
        for table, place in zip(tables, places, strict=True):
            np.add.at(table, place, part)


@cache
def folder() -> Folder:
    """The fastest there is."""
    if find_spec("numba") is None:
        return FoldNumpy()
    from secagg.kernels.fold_numba import FoldNumba  # noqa: PLC0415 -- seconds to import

    return FoldNumba()
