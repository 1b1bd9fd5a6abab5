"""A differentially private round: a `dp.Mechanism` in the ring of a scheme, as `FixedPoint` is.

    plan = RoundPlan.for_update(template, clients=100, clip=NormClip(1.0),
                                privacy=DistributedNoise(multiplier=1.0))

Every client counts as one. A secret weight would come out with the sum, exactly, and a weight
with noise would leave no precision to either [McMahan18, §3].
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

import dp.errors
from dp.choose import choose
from dp.events import Release
from dp.mechanism import ByClients, Mechanism
from dp.noise import DivisibleNoise, IntegerNoise
from dp.noise_discrete_gaussian import DiscreteGaussian
from dp.noise_skellam import Skellam
from secagg.errors import InputRefused, IntegrityError, ParameterError
from secagg.primitives.digest import Label, digest
from secagg.primitives.ring import Words, centered, reduce, word
from secagg.quantize import Clip, NormClip
from secagg.rand import Rand
from secagg.scheme import Scheme

__all__ = ["CentralNoise", "DistributedNoise", "Privacy", "Private"]

_Floats = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class _Noise:
    multiplier: float
    error: float = 1e-3
    wrap: float = 2.0**-40
    counts_clipped: bool = False

    def _mechanism(
        self,
        noise: type[IntegerNoise],
        parts: int | None,
        size: int,
        clients: int,
        clip: Clip,
        width: int | None,
    ) -> Mechanism:
        if not isinstance(clip, NormClip):
            raise ParameterError("a private plan needs a NormClip: noise is calibrated to L2 norms")
        with _translated():
            return choose(
                size=size,
                clients=clients,
                parts=parts,
                clip=clip.bound,
                noise_multiplier=self.multiplier,
                width=width,
                error=self.error,
                noise=noise,
                flag=self.counts_clipped,
                wrap=self.wrap,
            ).mechanism


@dataclass(frozen=True, kw_only=True)
class DistributedNoise(_Noise):
    """Each client adds a share of the noise before it masks: nobody has to be trusted with a sum.

    multiplier: standard deviation of the noise that is certainly in the sum, over the L2 bound of
    one client. The shares of `Scheme.honest_inputs` clients make it up: those that neither dropped
    out nor collude, at the worst that the scheme lets happen. noise: any that divides. error: how
    much rounding may add to the bound, relatively. wrap: the probability, at most, that a
    coordinate of the sum leaves the ring. counts_clipped: whether the sum tells, under noise too,
    how many updates were within the bound.
    """

    noise: type[DivisibleNoise] = Skellam

    def mechanism(self, scheme: Scheme, size: int, clip: Clip, width: int | None) -> Mechanism:
        """The mechanism of a round of this scheme; its ring has `width` bits, or enough."""
        parts = scheme.honest_inputs
        return self._mechanism(self.noise, parts, size, scheme.clients, clip, width)


@dataclass(frozen=True, kw_only=True)
class CentralNoise(_Noise):
    """The server adds the noise to the exact sum, and is trusted to do so and to forget the sum.

    The least noise for one accuracy. Attributes as for `DistributedNoise`.
    """

    noise: type[IntegerNoise] = DiscreteGaussian

    def mechanism(self, scheme: Scheme, size: int, clip: Clip, width: int | None) -> Mechanism:
        """The mechanism of a round of this scheme; its ring has `width` bits, or enough."""
        return self._mechanism(self.noise, None, size, scheme.clients, clip, width)


Privacy = DistributedNoise | CentralNoise


@dataclass(frozen=True)
class Private:
    """The encoding of a private round. `FixedPoint` is that of an exact one."""

    mechanism: Mechanism
    max_weight: ClassVar[int] = 1

    @property
    def width(self) -> int:
        """Bits of the ring."""
        return self.mechanism.width

    @property
    def cohort(self) -> int:
        """The most clients that one sum can have."""
        return self.mechanism.clients

    @property
    def event(self) -> Release:
        """What one release costs, for an accountant."""
        return self.mechanism.event

    def length(self, size: int) -> int:
        """Residues of an update of `size` coordinates; `ParameterError` for another size."""
        if size != self.mechanism.size:
            raise ParameterError(
                f"mechanism.size == structure.size must hold, got {self.mechanism.size} and {size}"
            )
        return self.mechanism.length

    def check(self, scheme: Scheme) -> None:
        """`ParameterError` where honest clients may be fewer than the shares of the noise."""
        noise, honest = self.mechanism.noise, scheme.honest_inputs
        if isinstance(noise, ByClients) and noise.parts > honest:
            raise ParameterError(
                f"noise.parts <= scheme.honest_inputs must hold, got {noise.parts} and {honest}: "
                "a sum could hold less noise than was promised"
            )

    def encode(self, vector: _Floats, rand: Rand, context: bytes) -> Words:
        """float64 (d,) -> residues (length,), noise included where clients add it."""
        with _translated():
            integers = self.mechanism.encode(vector, seed=_seed(context), rand=rand)
        return reduce(integers.astype(word(self.width)), self.width)

    def release(self, total: Words, rand: Rand) -> NDArray[np.int64]:
        """The integers of the sum, int64 (length,), with the server's noise where it adds it."""
        with _translated():
            return self.mechanism.aggregate(centered(total, self.width), rand=rand)

    def decode(
        self, released: NDArray[np.int64], clients: int, context: bytes
    ) -> tuple[_Floats, float | None]:
        """The mean, float64 (d,), and which part of the updates was within the bound, if counted.

        Raises `IntegrityError` for what that many honest clients cannot sum to.
        """
        with _translated():
            decoded = self.mechanism.decode(released, clients, seed=_seed(context))
        return decoded.mean, decoded.within

    @property
    def noise_deviation(self) -> float:
        """Standard deviation, in units of an update, of a coordinate of the promised noise."""
        event, mechanism = self.event, self.mechanism
        variance = event.noise.summed(event.parts)[0].variance
        return math.sqrt(variance) * mechanism.clip / mechanism.units


def _seed(context: bytes) -> bytes:
    return digest(Label.ROTATION, context)


@contextmanager
def _translated() -> Iterator[None]:
    """Errors of `dp` as those that a round's users know."""
    try:
        yield
    except dp.errors.InputRefused as error:
        raise InputRefused(str(error)) from None
    except dp.errors.IntegrityError as error:
        raise IntegrityError(str(error)) from None
    except dp.errors.ParameterError as error:
        raise ParameterError(str(error)) from None
