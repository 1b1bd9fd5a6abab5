"""What a round may open of its clients beside the sum: every mode that a plan can declare.

    nothing    no screen: the sum alone
    bit        a proof that the norm is within the bound, or that it is not: `TwoAggregators`
    proof      `CosineProof`: the same of the norm and of the cosine with a public reference
    exact      `ExactNormScreen`: the norm that was proven, and no sketch beside it
    cosine     `CosineScreen`: that norm, and the cosine with a public reference
    norm       `NormScreen`: detectors see norms, and the server the numbers they are made from
    sketch     `SketchScreen`: numbers of each update, by a map drawn anew in each round
    groups     `GroupScreen`: the same of sums over groups, drawn anew in each round

Numbers are made here in the clear, by a Gaussian map in place of the scheme's: rows estimate inner
products in either, with the same error. Honest clients clip.
"""

from __future__ import annotations

import enum
import math
from dataclasses import dataclass
from typing import Self

import numpy as np

from protocols.plan import RoundPlan
from protocols.screening import (
    CosineProof,
    CosineScreen,
    ExactNormScreen,
    GroupScreen,
    MaskedScreen,
    NormScreen,
    PlanScreen,
    SketchScreen,
)
from robust.attacks.vectors import lengths, units
from robust.observe import Array, Mask
from secagg.checks import require
from secagg.errors import ParameterError
from secagg.schemes.pine import TwoAggregators
from secagg.schemes.secagg_plus.verified import Screen
from secagg.sketch import slack

__all__ = ["NOTHING", "Kind", "Mode", "clipped"]

_MOST_NUMBERS = 1 << 14
_HAIR = 1 + 1e-9  # a clipped update may be a rounding error beyond its bound


class Kind(enum.Enum):
    """Of what is opened; the value is its name in figures and files."""

    NOTHING = "nothing"
    BIT = "bit"
    PROOF = "proof"
    EXACT = "exact"
    COSINE = "cosine"
    NORM = "norm"
    SKETCH = "sketch"
    GROUPS = "groups"

    @property
    def is_linear(self) -> bool:
        """Whether the server gets numbers of a linear map."""
        return self in (Kind.NORM, Kind.SKETCH, Kind.GROUPS)

    @property
    def has_reference(self) -> bool:
        """Whether updates are compared with a public vector."""
        return self in (Kind.PROOF, Kind.COSINE)


_WORDS = {
    Kind.NOTHING: "nothing",
    Kind.BIT: "pass or fail",
    Kind.EXACT: "exact norm",
    Kind.COSINE: "exact norm and cosine",
}


@dataclass(frozen=True, kw_only=True)
class Mode:
    """What is opened of each update, or of each group.

    Attributes
    ----------
    kind: of what there are `numbers`.
    numbers: k, of a linear map; 0 where there is none.
    noise: standard deviation of what clients commit to, in each number, over the clip bound.
    group: clients in a group; 1 where there are none.
    least: the cosine that a client proves; 0 where it proves none.

    Raises `ParameterError` unless 1 <= numbers <= 2**14 for a linear map, 0 <= noise <= 100,
    2 <= group <= 2**20 for groups, 0 < least <= 1 for a proof, and each is 0, 0, 1 and 0 where it
    has no meaning.
    """

    kind: Kind
    numbers: int = 0
    noise: float = 0.0
    group: int = 1
    least: float = 0.0

    def __post_init__(self) -> None:
        linear, grouped = self.kind.is_linear, self.kind is Kind.GROUPS
        require(
            1 <= self.numbers <= _MOST_NUMBERS if linear else self.numbers == 0,
            f"1 <= numbers <= {_MOST_NUMBERS}" if linear else "numbers = 0",
            self.numbers,
        )
        require(
            0 <= self.noise <= 100 if linear else self.noise == 0,
            "0 <= noise <= 100" if linear else "noise = 0",
            self.noise,
        )
        require(
            2 <= self.group <= 1 << 20 if grouped else self.group == 1,
            "2 <= group <= 2**20" if grouped else "group = 1",
            self.group,
        )
        require(
            0 < self.least <= 1 if self.kind is Kind.PROOF else self.least == 0,
            "0 < least <= 1" if self.kind is Kind.PROOF else "least = 0",
            self.least,
        )

    @classmethod
    def of(cls, plan: RoundPlan) -> Self:
        """What this plan opens. Raises `ParameterError` for what no mode here stands for: attacks
        on the rest of it would say that it tells nothing.

        Ranges that entries are proven to be in are `Kind.BIT` too: honest clients pass them.
        """
        if plan.screen is not None:
            return cls._of(plan.screen)
        if plan.scheme.opened:
            raise _unknown(plan.scheme)
        bits = isinstance(plan.scheme, TwoAggregators)
        return cls(kind=Kind.BIT if bits else Kind.NOTHING)

    @classmethod
    def _of(cls, screen: PlanScreen) -> Self:
        match screen:
            case ExactNormScreen():
                return cls(kind=Kind.EXACT)
            case CosineScreen():
                return cls(kind=Kind.COSINE)
            case CosineProof():
                return cls(kind=Kind.PROOF, least=float(screen.least))
            case NormScreen():
                return cls._masked(Kind.NORM, screen)
            case GroupScreen():
                return cls._masked(Kind.GROUPS, screen, group=screen.size)
            case SketchScreen():
                return cls._masked(Kind.SKETCH, screen)
            case _:
                raise _unknown(screen)

    @classmethod
    def _masked(cls, kind: Kind, screen: MaskedScreen, group: int = 1) -> Self:
        return cls(kind=kind, numbers=screen.rows, noise=float(screen.noise), group=group)

    @property
    def offered(self) -> bool:
        """Whether a plan can declare it: fewer numbers would not hold a norm to its bound."""
        return not self.kind.is_linear or self.numbers >= Screen.least_rows

    @property
    def name(self) -> str:
        """A few words, for tables and plots."""
        noise = f", noise {self.noise:g}" if self.noise else ""
        match self.kind:
            case Kind.GROUPS:
                return f"groups of {self.group}, {self.numbers} numbers{noise}"
            case Kind.NORM | Kind.SKETCH:
                return f"{self.kind.value}, {_counted(self.numbers)}{noise}"
            case Kind.PROOF:
                return f"pass or fail, cosine {self.least:g}"
            case _:
                return _WORDS[self.kind]

    def deviation(self, bound: float) -> float:
        """Of the noise in each number, for updates of at most this norm."""
        return self.noise * bound * math.sqrt(self.group)

    def mu(self, rounds: int = 1) -> float | None:
        """The Gaussian differential privacy of what so many rounds open of one client, against a
        server that knows all others; None without noise, which bounds nothing.

        A sketch of an update of norm B is longer than (1 + slack) B with probability 2**-32.
        """
        if not self.noise:
            return None
        return math.sqrt(rounds) * (1 + slack(self.numbers)) / (self.noise * math.sqrt(self.group))

    def opened(
        self, rows: Array, projection: Array | None, bound: float, rng: np.random.Generator
    ) -> Array:
        """What the server sees (n, k) of clipped updates (n, d), or of sums over groups of them.

        projection: (k, d), of a linear map; the reference (1, d), where there is one; None for any
        other. bound: the norm of one update. Raises `ParameterError` for one that is missing.
        """
        if self.kind is Kind.NOTHING:
            return np.zeros((len(rows), 1))
        if self.kind.is_linear:
            projection = _given(projection)
            numbers: Array = rows @ projection.T
            return numbers + self.deviation(bound) * rng.standard_normal(numbers.shape)
        return self._proven(rows, projection, bound)

    def _proven(self, rows: Array, reference: Array | None, bound: float) -> Array:
        """What comes with the proofs of two aggregators' clients; norms are over the bound, so that
        all numbers are of one size.
        """
        norms = lengths(rows)
        short = self.within(norms**2, bound)
        if self.kind is Kind.EXACT or self.kind is Kind.BIT:
            return norms / bound if self.kind is Kind.EXACT else short.astype(np.float64)
        cosines = units(rows) @ units(_given(reference)).T
        if self.kind is Kind.COSINE:
            return np.concatenate([norms / bound, cosines], axis=1)
        found: Array = (short & (cosines >= self.least)).astype(np.float64)
        return found

    def within(self, squares: Array, bound: float) -> Mask:
        """Whether honest clients, or groups, may have this (n,): the squared norms of the numbers
        of a linear map, and of updates where there is none.
        """
        if not self.kind.is_linear:
            short: Mask = squares <= (bound * _HAIR) ** 2
            return short
        honest = (self.group * bound) ** 2 + self.numbers * self.deviation(bound) ** 2
        found: Mask = squares <= (1 + slack(self.numbers)) ** 2 * honest
        return found


def clipped(rows: Array, bound: float) -> Array:
    """Updates (n, d), those longer than the bound made as long."""
    scaled: Array = rows * np.minimum(1.0, bound / np.maximum(lengths(rows), 1e-300))
    return scaled


def _unknown(opening: object) -> ParameterError:
    return ParameterError(f"no mode says what {type(opening).__name__} opens")


def _given(public: Array | None) -> Array:
    if public is None:
        raise ParameterError("this mode needs a map or a reference")
    return public


def _counted(numbers: int) -> str:
    return "1 number" if numbers == 1 else f"{numbers} numbers"


NOTHING = Mode(kind=Kind.NOTHING)
"""No screen, and no proof."""
