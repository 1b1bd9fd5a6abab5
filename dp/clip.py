"""STAGE float64 (d,) -> float64 (d,): an update into a ball, to bound what one client adds.

`Flat` bounds the L2 norm of the whole update, `PerLeaf` that of each of its parts, and
`AdaptiveBound` finds a bound round after round without looking at any one norm.

These are float64 norms, right to about (d + 16) 2**-53. What an accountant is told rests on none of
them: a mechanism checks the norm of the integers that leave it, exactly.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Self

import numpy as np
from numpy.typing import NDArray

from dp.errors import InputRefused, require
from dp.noise import real, shown

__all__ = ["AdaptiveBound", "Flat", "PerLeaf", "check_vector"]

LEAST, MOST = 2.0**-500, 2.0**500  # of a bound: its square is a normal float64
_CHUNK = 8192  # below 10,000 elements BLAS starts no threads

_Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Flat:
    """One bound for the L2 norm of the whole update, in its units.

    Raises `ParameterError` unless 2**-500 <= bound <= 2**500.
    """

    bound: float

    def __post_init__(self) -> None:
        object.__setattr__(self, "bound", _bound("bound", self.bound))

    def holds(self, vector: _Floats) -> bool:
        """Whether the norm is within the bound already. Raises `InputRefused` as `apply`."""
        check_vector(vector)
        return _excess(vector, self.bound) <= 1

    def apply(self, vector: _Floats) -> _Floats:
        """A copy of float64 (d,), d >= 0, scaled down to the bound if its norm is beyond it.

        Raises `InputRefused` for NaN, infinities and anything but a float64 array of shape (d,).
        """
        check_vector(vector)
        clipped = vector.copy()
        _shrink(clipped, self.bound)
        return clipped


@dataclass(frozen=True)
class PerLeaf:
    """A bound for each part of the update: (start, stop, bound), from 0 without a gap.

    It keeps a large layer from taking the whole norm. Together the parts are within `bound`, the
    root of the sum of the squared bounds. A mechanism that clips flatly at `bound` afterwards
    changes what this returned by float errors at most, and makes the joint bound certain.

    Raises `ParameterError` for no part, an empty one, a gap or an overlap, and for a bound that is
    not in [2**-500, 2**500].
    """

    leaves: tuple[tuple[int, int, float], ...]

    def __post_init__(self) -> None:
        some = type(self.leaves) is tuple and len(self.leaves) > 0
        require(some, "leaves: a tuple of at least one")
        for leaf in self.leaves:
            three = type(leaf) is tuple and len(leaf) == 3
            require(three, f"leaves: each (start, stop, bound), not {shown(leaf)},")
        stops = [0, *(stop for _, stop, _ in self.leaves)]
        for (start, stop, bound), last in zip(self.leaves, stops, strict=False):
            ordered = type(start) is type(stop) is int and last == start < stop
            name = f"leaf ({shown(start)}, {shown(stop)})"
            require(ordered, f"{name}: {last} = start < stop, integers,")
            _bound(f"bound of {name}", bound)

    @property
    def bound(self) -> float:
        """The L2 norm that the parts have together at most, rounded up."""
        return math.nextafter(math.hypot(*(bound for _, _, bound in self.leaves)), math.inf)

    def apply(self, vector: _Floats) -> _Floats:
        """A copy of float64 (d,), each part of it scaled down to its own bound.

        Raises `InputRefused` as `Flat`, and for a d that is not where the last part stops.
        """
        check_vector(vector)
        size = self.leaves[-1][1]
        if vector.size != size:
            raise InputRefused(f"the vector has {vector.size} coordinates, and the leaves {size}")
        clipped = vector.copy()
        for start, stop, bound in self.leaves:
            _shrink(clipped[start:stop], bound)
        return clipped


@dataclass(frozen=True, kw_only=True)
class AdaptiveBound:
    """A bound that follows a quantile of the clients' norms, geometrically [Andrew21, Alg. 1].

    bound <- bound * exp(-rate * (within - quantile)): it falls while more than `quantile` of the
    clients are within it. The bound of a round is public and part of its plan: no client computes
    it, so that it does not matter that exp differs by an ulp between platforms.

    Attributes
    ----------
    bound: of the next round, in [least, most].
    quantile: the share of the clients that shall be within the bound, in (0, 1).
    rate: the most that log(bound) moves in one round, in (0, 1].
    least, most: where it stops, so that no run of noise brings it to 0 or beyond float64.

    Raises `ParameterError` with the inequality that fails.
    """

    bound: float
    quantile: float = 0.5
    rate: float = 0.2
    least: float = LEAST
    most: float = MOST

    def __post_init__(self) -> None:
        for name in ("bound", "least", "most"):
            object.__setattr__(self, name, _bound(name, getattr(self, name)))
        require(self.least <= self.bound <= self.most, "least <= bound <= most")
        quantile = real("0 < quantile < 1", self.quantile, lambda value: 0 < value < 1)
        object.__setattr__(self, "quantile", quantile)
        object.__setattr__(self, "rate", real("0 < rate <= 1", self.rate, lambda x: 0 < x <= 1))

    def updated(self, within: float) -> Self:
        """The state after a round in which the share `within` of the clients was in the bound.

        `within` is noisy and may lie outside [0, 1]. It counts as the nearer end then: no bad luck
        moves the bound further than a round without noise could.

        Raises `ParameterError` for NaN, infinities and what is no real number.
        """
        share = min(max(real("within: finite", within, math.isfinite), 0.0), 1.0)
        moved = self.bound * math.exp(-self.rate * (share - self.quantile))
        return replace(self, bound=min(max(moved, self.least), self.most))


def check_vector(vector: object) -> None:
    """Raises `InputRefused` unless it is a float64 array of shape (d,) and every value is finite.

    The message has the position of a value, never the value.
    """
    if type(vector) is not np.ndarray or vector.ndim != 1 or vector.dtype != np.float64:
        raise InputRefused("the vector is not a float64 array of shape (d,)")
    # min and max carry a NaN, and make no temporary
    if vector.size and not (np.isfinite(vector.min()) and np.isfinite(vector.max())):
        raise InputRefused(f"not finite at position {int(np.argmin(np.isfinite(vector)))}")


def _shrink(vector: _Floats, bound: float) -> None:
    """In place: divided by how often the norm holds the bound, if that is more than once."""
    excess = _excess(vector, bound)
    if excess == math.inf:
        vector *= 2.0**-600  # of a norm beyond 2**524: what this loses is no part of it
        excess = _excess(vector, bound)
    if excess > 1:
        vector /= excess


def _excess(vector: _Floats, bound: float) -> float:
    """The L2 norm of float64 (d,), divided by `bound`; inf where that is beyond float64.

    The coordinates are scaled by a power of two first, so that neither 1e300 squared nor a
    subnormal squared is lost.
    """
    peak = max(float(vector.max()), -float(vector.min())) if vector.size else 0.0
    exponent = max(math.frexp(peak)[1], -1000)  # 2**1074 would be inf, and 2**1000 is enough
    scaled = (part * math.ldexp(1.0, -exponent) for part in _parts(vector))
    length = math.sqrt(sum(float(part @ part) for part in scaled))
    try:
        return math.ldexp(length / bound, exponent)
    except OverflowError:
        return math.inf


def _parts(vector: _Floats) -> Iterator[_Floats]:
    return (vector[start : start + _CHUNK] for start in range(0, vector.size, _CHUNK))


def _bound(name: str, value: object) -> float:
    return real(f"2**-500 <= {name} <= 2**500", value, lambda bound: LEAST <= bound <= MOST)
