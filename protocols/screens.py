"""What a plan opens of each update before the sum: the choice, and what each scheme makes of it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np

from dp.noise_discrete_gaussian import DiscreteGaussian
from protocols import bounded
from secagg.errors import ParameterError
from secagg.primitives.field64 import MODULUS
from secagg.primitives.ring import Words, reduce
from secagg.quantize import FixedPoint, RangeClip
from secagg.rand import Rand
from secagg.schemes.ckks import SlotScreen
from secagg.schemes.pine import Angle, PineScreen, Reference, TwoAggregators
from secagg.schemes.secagg_plus import SecAggPlus
from secagg.schemes.secagg_plus.verified import Screen, SecAggPlusVerified
from secagg.sketch import check_shape

__all__ = [
    "CosineProof",
    "CosineScreen",
    "ExactNormScreen",
    "GroupScreen",
    "MaskedScreen",
    "NormScreen",
    "PlanScreen",
    "SketchScreen",
    "check_choice",
    "screen_of",
]

_TABLE_BITS = 16  # of a standard deviation that is drawn from a table of some 10^6 entries


@dataclass(frozen=True, kw_only=True)
class _Screening:
    """What is opened of each update: `rows` numbers, and the weight where the plan has weights.

    noise, tables and buckets are for plans with pairwise masks; with a key authority rows are a
    multiple of 64.

    rows: of the sketch; an inner product or a norm is known to about 1 / sqrt(rows). noise:
    standard deviation of noise that clients commit to before the sketch is drawn, in each number,
    over the clip bound: numbers are scaled so that their squares add up to that of the norm.
    tables, buckets: see `secagg.sketch`.

    Raises `ParameterError` with the inequality that fails.
    """

    rows: int
    noise: float = 0.0
    tables: int = 3
    buckets: int = 1 << 13

    def __post_init__(self) -> None:
        check_shape(rows=self.rows, tables=self.tables, buckets=self.buckets)
        if type(self.noise) not in (int, float) or not 0 <= self.noise <= 100:
            raise ParameterError(f"0 <= noise <= 100 must hold, got {self.noise!r:.40}")

    def of(self, quantize: FixedPoint) -> Screen:
        """What the scheme opens of updates in this encoding."""
        if isinstance(quantize.clip, RangeClip):
            raise ParameterError(
                "a screen bounds norms: take a NormClip, as no sketch can hold each coordinate to "
                "a range"
            )
        return self._of(quantize.bound, quantize.max_weight)

    def of_slots(self, quantize: FixedPoint) -> SlotScreen:
        """What an encrypted scheme opens of updates in this encoding."""
        if isinstance(quantize.clip, RangeClip):
            raise ParameterError("a screen bounds norms: take a NormClip")
        if self._group:
            raise ParameterError("no groups are opened with a key authority: take another screen")
        if self.noise or (self.tables, self.buckets) != (3, 1 << 13):
            raise ParameterError("noise, tables and buckets are not for plans with a key authority")
        return SlotScreen(bound=quantize.bound, rows=self.rows, max_weight=quantize.max_weight)

    def headroom(self, clients: int, corrupt: int) -> int:
        """How many updates at the bound the ring must hold, so that cheaters up to the soft bound
        do not wrap it and none passes by wrapping, alone or together with `corrupt` in all.
        """
        unit = 1 << 20
        screen = self._of(unit, 0)
        rows = max(screen.row_bound, screen.together(clients, corrupt) * screen.root)
        return -(-max(clients * screen.most_norm, 4 * rows) // unit) + 1

    def extended(self, vector: Words, screen: Screen, width: int, rand: Rand) -> Words:
        """`vector` with the noise of each row after it."""
        if not screen.noise:
            return vector
        # steps where its table would be huge, and uniform bits below, or rows would show theirs
        step = 1 << max(0, math.frexp(screen.noise)[1] - _TABLE_BITS)
        drawn = DiscreteGaussian(Fraction(screen.noise / step) ** 2).sample(screen.rows, rand)
        below = np.frombuffer(rand(8 * screen.rows), "<u8") & np.uint64(step - 1)
        noise = drawn * step + below.astype(np.int64) - step // 2
        return np.concatenate([vector, reduce(noise.astype(vector.dtype), width)])

    def _of(self, bound: int, max_weight: int) -> Screen:
        return Screen(
            bound=bound,
            rows=self.rows,
            tables=self.tables,
            buckets=self.buckets,
            max_weight=max_weight,
            noise=self.noise * bound * math.sqrt(self.rows * self.tables / 2),
            group=self._group,
        )

    def of_shares(self, quantize: FixedPoint) -> PineScreen:
        """What two aggregators open of updates in this encoding: sketches of shares."""
        if self.noise:
            raise ParameterError("two aggregators open sketches without noise: noise = 0")
        shape = {"rows": self.rows, "tables": self.tables, "buckets": self.buckets}
        return _of_shares(quantize, **shape, group=self._group)

    @property
    def _group(self) -> int:
        return 0


@dataclass(frozen=True, kw_only=True)
class NormScreen(_Screening):
    """Detectors see an estimate of each norm. The server has the numbers that it is made from."""

    rows: int = 64


@dataclass(frozen=True, kw_only=True)
class SketchScreen(_Screening):
    """Detectors see the sketches: norms, and the angles between updates and to public vectors."""

    rows: int = 256


@dataclass(frozen=True, kw_only=True)
class GroupScreen(_Screening):
    """Detectors see sketches of sums over groups, drawn anew in each round, and nothing of one
    update alone; nor does the server. They come with the sum, too late to leave anybody out of it;
    a sum of which a group is beyond the bounds is withheld.

    size: clients in a group at least, two more than may collude.
    """

    rows: int = 256
    size: int

    def __post_init__(self) -> None:
        super().__post_init__()
        if type(self.size) is not int or not 2 <= self.size <= 1 << 20:
            raise ParameterError(f"2 <= size <= 2**20, an int, must hold, got {self.size!r:.40}")

    @property
    def _group(self) -> int:
        return self.size


@dataclass(frozen=True)
class ExactNormScreen:
    """Two aggregators only: detectors see the exact norm of each update, which its client proved.
    That is one number of each, and the weight; an estimate takes more.
    """

    def of_shares(self, quantize: FixedPoint) -> PineScreen:
        """What two aggregators open of updates in this encoding."""
        return _of_shares(quantize, norm=True)


@dataclass(frozen=True, kw_only=True)
class CosineScreen:
    """Two aggregators only: the exact norm of each update, and its exact inner product with a
    public vector of -1, 0 and 1; see `cosines`. Its digest is in the plan.
    """

    reference: Reference

    def __post_init__(self) -> None:
        _require_reference(self.reference)

    def of_shares(self, quantize: FixedPoint) -> PineScreen:
        """What two aggregators open of updates in this encoding."""
        return _of_shares(quantize, norm=True, reference=self.reference)


@dataclass(frozen=True, kw_only=True)
class CosineProof:
    """Two aggregators only: a client proves that the cosine of its update and a public vector of
    -1, 0 and 1 is `least` or more, and nothing is opened. Who cannot prove it cannot take part.

    least: a `Fraction` in (0, 1] with a denominator below 256. Raises `ParameterError`.
    """

    reference: Reference
    least: Fraction

    def __post_init__(self) -> None:
        _require_reference(self.reference)
        if not isinstance(self.least, Fraction) or not 0 < self.least <= 1:
            raise ParameterError(f"0 < least <= 1, a Fraction, must hold, got {self.least!r:.40}")
        if self.least.denominator > 255:
            raise ParameterError(f"denominator of least < 256 must hold, got {self.least}")

    def of_shares(self, quantize: FixedPoint) -> Angle:
        """What clients prove of updates in this encoding: they come behind a weight."""
        square, size = self.least**2, self.reference.vector.size
        return Angle(
            reference=self.reference,
            numerator=square.numerator,
            denominator=square.denominator,
            head=quantize.length(size) - size,
        )

    @property
    def most(self) -> int:
        """The largest norm of an update, in units, of which it can be proven."""
        weight = np.count_nonzero(self.reference.vector)
        bound = math.isqrt((MODULUS - 3) // (3 * self.least.denominator**2 * int(weight)))
        return max(1, math.isqrt(bound**2 // 2) - 1)


MaskedScreen = NormScreen | SketchScreen | GroupScreen
PlanScreen = MaskedScreen | ExactNormScreen | CosineScreen | CosineProof


def _require_reference(reference: object) -> None:
    """Without one, `PineScreen` would open norms alone, and nobody would notice."""
    if not isinstance(reference, Reference):
        raise ParameterError(f"reference is a Reference, got {type(reference).__name__}")


def _of_shares(quantize: FixedPoint, **opened: Any) -> PineScreen:
    return PineScreen(max_weight=quantize.max_weight, unit=bounded.scale(quantize), **opened)


def screen_of(
    screen: PlanScreen, quantize: FixedPoint, scheme: object
) -> Screen | SlotScreen | PineScreen | Angle:
    """What a scheme of this class opens of updates in this encoding; `ParameterError` if it cannot
    open that. Any other maker of schemes is that of a key authority.
    """
    if scheme is TwoAggregators:
        if isinstance(screen, NormScreen):
            raise ParameterError("two aggregators open exact norms: ExactNormScreen()")
        return screen.of_shares(quantize)
    if not isinstance(screen, MaskedScreen):
        raise ParameterError("only two aggregators open exact norms: take TwoAggregators")
    if scheme is SecAggPlus or scheme is SecAggPlusVerified:
        return screen.of(quantize)
    return screen.of_slots(quantize)


def check_choice(screen: object, scheme: object, privacy: object) -> None:
    """Raise `ParameterError` unless this is a screen, and the scheme can open what it says."""
    if not isinstance(screen, PlanScreen):
        raise ParameterError(f"screen must be a PlanScreen, got {type(screen).__name__}")
    if isinstance(scheme, type) and scheme is not SecAggPlus and scheme is not TwoAggregators:
        raise ParameterError(
            "a screen needs SecAggPlus, TwoAggregators or the scheme of a key authority: no other "
            "can open statistics"
        )
    if privacy is not None:
        raise ParameterError(
            "a screen opens numbers of each update, and no budget counts them: take one of the two"
        )
