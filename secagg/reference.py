"""A public vector whose inner products with updates are opened."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from secagg.errors import ParameterError
from secagg.primitives.digest import Label, digest

__all__ = ["Reference"]

_FLATNESS = 64


@dataclass(frozen=True, eq=False, repr=False)
class Reference:
    """A public vector (d,), int64, of -1, 0 and 1: its inner product with each update is opened.

    Both sides need it before the round; its digest is in the plan. At least 64 entries are not
    zero, or half of them where there are fewer than 128: one of a single entry would read that
    coordinate of every client, and so would one whose entries differ in size.
    """

    vector: NDArray[np.int64]
    digest: bytes = field(init=False)

    def __post_init__(self) -> None:
        found = self.vector
        fits = type(found) is np.ndarray and found.dtype == np.int64 and found.ndim == 1
        if not (fits and found.size):
            raise ParameterError("a reference is an int64 array of shape (d,), d >= 1")
        if not bool(((found >= -1) & (found <= 1)).all()):  # the least int64 has no absolute value
            raise ParameterError("a reference has no entries but -1, 0 and 1")
        least = min(_FLATNESS, found.size / 2)
        if not self.norm**2 >= least:
            raise ParameterError(
                f"at least {least:g} entries of a reference must not be zero, got {self.norm**2:g}:"
                " it would read single coordinates"
            )
        kept = found.astype("<i8")
        kept.flags.writeable = False
        object.__setattr__(self, "vector", kept)
        object.__setattr__(self, "digest", digest(Label.REFERENCE, kept.data.cast("B")))

    @cached_property
    def norm(self) -> float:
        """Its L2 norm: the root of how many entries are not zero."""
        return math.sqrt(np.count_nonzero(self.vector))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Reference) and self.digest == other.digest

    def __hash__(self) -> int:
        return hash(self.digest)

    def __repr__(self) -> str:
        return f"Reference({self.digest.hex()})"
