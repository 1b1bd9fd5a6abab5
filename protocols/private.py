"""A differentially private round: a `dp.Mechanism` in the ring of a scheme, as `FixedPoint` is.

    plan = RoundPlan.for_update(template, clients=100, clip=NormClip(1.0),
                                privacy=DistributedNoise(multiplier=1.0))

Every client counts as one. A secret weight would come out with the sum, exactly, and a weight
with noise would leave no precision to either [McMahan18, §3].
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

import dp.errors
from dp.choose import choose
from dp.clip import PerLeaf
from dp.events import Release
from dp.layers import ByLayers, spaced
from dp.mechanism import Mechanism
from dp.noise import DivisibleNoise, IntegerNoise, exact, real, shown, whole
from dp.noise_discrete_gaussian import DiscreteGaussian
from dp.noise_skellam import Skellam
from dp.parties import ByAggregators, ByClients, ByServer
from secagg.errors import InputRefused, IntegrityError, ParameterError
from secagg.primitives.digest import Label, digest
from secagg.primitives.ring import Words, centered, reduce, word
from secagg.quantize import Clip, NormClip
from secagg.rand import Rand
from secagg.scheme import Scheme
from secagg.schemes.pine import TwoAggregators
from secagg.schemes.secagg_plus import SecAggPlus, SecAggPlusSemiHonest
from secagg.structure import Structure

__all__ = ["AggregatorNoise", "CentralNoise", "DistributedNoise", "LeafClip", "Privacy", "Private"]

_LEAST_WRAP = 2.0**-100
_WIDEST = 62
_Floats = NDArray[np.float64]


# each party of a process asks for the same, and for every round
_chosen = lru_cache(maxsize=64, typed=True)(choose)


@dataclass(frozen=True, kw_only=True)
class _Noise:
    multiplier: float
    error: float = 1e-3
    wrap: float = 2.0**-40
    counts_clipped: bool = False

    def __post_init__(self) -> None:
        with _translated():
            multiplier = float(exact("noise_multiplier", self.multiplier))
            error = real("0 < error < 1", self.error, lambda value: 0 < value < 1)
            wrap = real("2**-100 <= wrap <= 0.5", self.wrap, lambda x: _LEAST_WRAP <= x <= 0.5)
        for name, value in (("multiplier", multiplier), ("error", error), ("wrap", wrap)):
            object.__setattr__(self, name, value)
        _require_bool("counts_clipped", self.counts_clipped)

    def _mechanism(
        self,
        noise: type[IntegerNoise],
        parts: int | None,
        size: int,
        clients: int,
        clip: Clip,
        width: int | None,
        levels: tuple[int, ...] | None = None,
    ) -> Mechanism:
        if not isinstance(clip, NormClip):
            raise ParameterError("a private plan needs a NormClip: noise is calibrated to L2 norms")
        with _translated():
            return _chosen(
                size=size,
                clients=clients,
                parts=parts,
                levels=levels,
                clip=clip.bound,
                noise_multiplier=self.multiplier,
                width=None if width is None else whole("width", width, 2),
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
    how many updates were within the bound. removal: whether clients make it possible to take off
    what those made up for who could have dropped out and did not; for a scheme whose clients know
    the sum's clients for certain before they say more. It costs time, not exchanges.

    Raises `ParameterError` with the inequality that fails.
    """

    noise: type[DivisibleNoise] = Skellam
    removal: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        _require_law(self.noise, DivisibleNoise)
        _require_bool("removal", self.removal)

    def mechanism(self, scheme: Scheme, size: int, clip: Clip, width: int | None) -> Mechanism:
        """The mechanism of a round of this scheme; its ring has `width` bits, or enough."""
        parts = scheme.honest_inputs
        levels = spaced(parts, _most_honest(scheme)) if self.removal else None
        return self._mechanism(self.noise, parts, size, scheme.clients, clip, width, levels)


@dataclass(frozen=True, kw_only=True)
class CentralNoise(_Noise):
    """The server adds the noise to the exact sum, and is trusted to do so and to forget the sum.

    The least noise for one accuracy. Attributes as for `DistributedNoise`.
    """

    noise: type[IntegerNoise] = DiscreteGaussian

    def __post_init__(self) -> None:
        super().__post_init__()
        _require_law(self.noise, IntegerNoise)

    def mechanism(self, scheme: Scheme, size: int, clip: Clip, width: int | None) -> Mechanism:
        """The mechanism of a round of this scheme; its ring has `width` bits, or enough."""
        return self._mechanism(self.noise, None, size, scheme.clients, clip, width)


@dataclass(frozen=True, kw_only=True)
class AggregatorNoise(_Noise):
    """Each of two aggregators adds noise to its share of the sum: nobody sees a sum without any.

    multiplier: standard deviation of one aggregator's noise over the L2 bound of one client. That
    is what is promised, even against the other aggregator, which knows its own noise; the sum of
    two that are honest has twice the variance. Other attributes as for `DistributedNoise`.
    """

    noise: type[IntegerNoise] = DiscreteGaussian

    def __post_init__(self) -> None:
        super().__post_init__()
        _require_law(self.noise, IntegerNoise)

    def mechanism(self, scheme: Scheme, size: int, clip: Clip, width: int | None) -> Mechanism:
        """The mechanism of a round of this scheme; a wide ring costs nothing here."""
        central = self._mechanism(self.noise, None, size, scheme.clients, clip, None)
        noise = ByAggregators(central.noise.noise)
        with _translated():
            return replace(central, noise=noise, width=width or _WIDEST)


Privacy = DistributedNoise | CentralNoise | AggregatorNoise


@dataclass(frozen=True)
class LeafClip:
    """A bound for each leaf of the update, so that a large layer does not take the whole norm.

    bounds: the L2 bound of each leaf, by its path as `Structure.describe` has it. Together they are
    within the root of the sum of their squares, which is what noise is calibrated to.
    """

    bounds: Mapping[str, float]

    def leaves(self, structure: Structure) -> PerLeaf:
        """For this structure. `ParameterError` for a leaf without a bound, or a bound for none."""
        rows = [leaf for leaf in structure.describe() if leaf.size]
        if self.bounds.keys() != {leaf.path for leaf in rows}:
            names = sorted(self.bounds.keys() ^ {leaf.path for leaf in rows})
            raise ParameterError(f"a bound for each leaf must be given; wrong are {names[:5]}")
        with _translated():
            return PerLeaf(
                tuple((leaf.start, leaf.start + leaf.size, self.bounds[leaf.path]) for leaf in rows)
            )


@dataclass(frozen=True)
class Private:
    """The encoding of a private round. `FixedPoint` is that of an exact one.

    leaves: what each part of an update is cut to before the whole is.

    Raises `ParameterError` for what is no `Mechanism`.
    """

    mechanism: Mechanism
    leaves: PerLeaf | None = None
    max_weight: ClassVar[int] = 1

    def __post_init__(self) -> None:
        if not isinstance(self.mechanism, Mechanism):
            raise ParameterError(f"mechanism: a dp.Mechanism, not {shown(self.mechanism)}")

    @property
    def width(self) -> int:
        """Bits of the ring."""
        return self.mechanism.width

    @property
    def cohort(self) -> int:
        """The most clients that one sum can have."""
        return self.mechanism.clients

    @property
    def is_central(self) -> bool:
        """Whether the server adds the noise."""
        return isinstance(self.mechanism.noise, ByServer)

    @property
    def is_split(self) -> bool:
        """Whether each of two aggregators adds noise of its own."""
        return isinstance(self.mechanism.noise, ByAggregators)

    @property
    def event(self) -> Release:
        """What one release costs, for an accountant."""
        return self.mechanism.event

    def clipped(self, bound: float) -> Private:
        """The same with another clip bound, of the whole update."""
        if self.leaves is not None:
            raise ParameterError("each leaf has a bound of its own in this plan")
        with _translated():
            return replace(self, mechanism=replace(self.mechanism, clip=bound))

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
        if self.is_split != isinstance(scheme, TwoAggregators):
            raise ParameterError(
                f"AggregatorNoise is that of TwoAggregators, and of no other scheme, got "
                f"{type(noise).__name__} and {type(scheme).__name__}"
            )
        if isinstance(noise, ByLayers) and noise.most > _most_honest(scheme):
            raise ParameterError(
                "noise.parts + noise.levels[-1] <= scheme.clients - scheme.corrupt_count must "
                f"hold, got {noise.most} and {_most_honest(scheme)}: more would be removed than "
                "honest clients make up for"
            )
        if isinstance(noise, ByClients) and noise.parts > honest:
            raise ParameterError(
                f"noise.parts <= scheme.honest_inputs must hold, got {noise.parts} and {honest}: "
                "a sum could hold less noise than was promised"
            )

    def encode(
        self, vector: _Floats, rand: Rand, context: bytes, layer_key: bytes | None = None
    ) -> Words:
        """float64 (d,) -> residues (length,), noise included where clients add it.

        layer_key: what the removable layers of it are drawn from; see `dp.Mechanism.encode`.
        """
        with _translated():
            if self.leaves is not None:
                vector = self.leaves.apply(vector)
            integers = self.mechanism.encode(
                vector, seed=_seed(context), rand=rand, layer_key=layer_key
            )
        return reduce(integers.astype(word(self.width)), self.width)

    def relieved(self, total: Words, disclosed: Iterable[bytes], clients: int) -> Words:
        """The sum (length,) of `clients` clients, without the excess that some disclosed."""
        with _translated():
            excess = self.mechanism.excess(disclosed, clients)
        # in the ring: what would wrap with the excess and does not without it comes out right
        return reduce(total - excess.astype(total.dtype), self.width)

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
        variance = event.parts * event.noise.variance
        return math.sqrt(variance) * mechanism.clip / mechanism.units


def _most_honest(scheme: Scheme) -> int:
    """Honest clients if all are in the sum, of a scheme whose clients know for certain who is.

    Elsewhere a server could show each client another set, and have noise removed that is needed.
    """
    if not isinstance(scheme, SecAggPlus | SecAggPlusSemiHonest):
        raise ParameterError(
            f"removal of noise needs a scheme whose clients agree on who is in the sum before it "
            f"is opened, such as SecAggPlus, not {type(scheme).__name__}: its server could tell "
            "each client another set"
        )
    return scheme.clients - scheme.corrupt_count


def _require_law(noise: object, kind: type) -> None:
    fits = isinstance(noise, type) and issubclass(noise, kind) and not inspect.isabstract(noise)
    if not fits:
        raise ParameterError(f"noise: a law that is a {kind.__name__}, not {shown(noise)}")


def _require_bool(name: str, value: object) -> None:
    if type(value) is not bool:
        raise ParameterError(f"{name}: a bool, not {shown(value)}")


def _seed(context: bytes) -> bytes:
    return digest(Label.ROTATION, context)


@contextmanager
def _translated() -> Iterator[None]:
    """Errors of `dp` as those that a round's users know, where there is one of the same meaning.

    The others come as they are: `RandomnessError`, of which `secagg` has no like, and with a ledger
    `BudgetExceeded` and `UnknownEvent`.
    """
    try:
        yield
    except dp.errors.InputRefused as error:
        raise InputRefused(str(error)) from None
    except dp.errors.IntegrityError as error:
        raise IntegrityError(str(error)) from None
    except dp.errors.ParameterError as error:
        raise ParameterError(str(error)) from None
