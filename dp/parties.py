"""Who adds the noise of a round: every client its share, the server all, or two aggregators."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from dp.errors import require
from dp.noise import IntegerNoise, whole

__all__ = ["ByAggregators", "ByClients", "ByServer"]


@dataclass(frozen=True)
class ByClients:
    """Every client adds `noise` of its own, and the server never sees a sum without any.

    `parts` is the number of honest clients whose noise is certainly in a sum that is opened: those
    who may drop out or collude are not counted. It is the least number of clients of a total.

    Raises `ParameterError` unless parts >= 1 and `noise` is an `IntegerNoise`.
    """

    noise: IntegerNoise
    parts: int

    def __post_init__(self) -> None:
        _require_noise(self.noise)
        object.__setattr__(self, "parts", whole("parts", self.parts, 1))

    @property
    def most(self) -> int:
        """The most clients that the shares are made for: a mechanism has at least so many."""
        return self.parts


@dataclass(frozen=True)
class ByServer:
    """The server adds `noise` once, to the exact sum, and is trusted with that.

    The ring carries no noise, so that it can be smaller. Raises `ParameterError` unless `noise` is
    an `IntegerNoise`.
    """

    noise: IntegerNoise

    def __post_init__(self) -> None:
        _require_noise(self.noise)


@dataclass(frozen=True)
class ByAggregators:
    """Each of two aggregators adds `noise` of its own to its share of the sum, before it opens it.

    Either knows its own noise, and may leave it out, so that the other's alone is what is promised:
    a sum of two honest aggregators has `copies` times the variance. Raises `ParameterError` unless
    `noise` is an `IntegerNoise`.
    """

    noise: IntegerNoise
    copies: ClassVar[int] = 2

    def __post_init__(self) -> None:
        _require_noise(self.noise)


def _require_noise(noise: object) -> None:
    kind = type(noise).__name__
    require(isinstance(noise, IntegerNoise), f"noise: an IntegerNoise, not {kind},")
