"""What there is to attack in a round, and what an attack on it gives: the rows of the suite."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Self

import numpy as np

from dp.account_reduction import gaussian_multiplier
from dp.audit.measure import Figure
from protocols.laboratory.images import SHAPE
from protocols.laboratory.modes import NOTHING, Mode
from protocols.plan import RoundPlan
from protocols.private import Private
from robust.observe import Array
from secagg.errors import ParameterError
from secagg.quantize import FixedPoint
from secagg.schemes.plain import PlainInsecure

__all__ = ["MOST_CLIENTS", "Exposure", "Row", "Skipped"]

MOST_CLIENTS = 400


@dataclass(frozen=True, kw_only=True)
class Exposure:
    """What there is to attack in a round.

    Attributes
    ----------
    clients: whose updates a sum adds up.
    noise: standard deviation of the noise in a sum over the clip bound; 0 without any.
    mode: what is opened of each update, or of groups, beside the sum.

    Raises `ParameterError` unless 1 <= clients <= 400 and 0 <= noise < infinity.
    """

    clients: int
    noise: float = 0.0
    mode: Mode = NOTHING

    def __post_init__(self) -> None:
        if not (1 <= self.clients <= MOST_CLIENTS and 0 <= self.noise < np.inf):
            raise ParameterError(
                f"1 <= clients <= {MOST_CLIENTS} and 0 <= noise < infinity must hold, got "
                f"{self.clients}, {self.noise}"
            )

    @classmethod
    def of(cls, plan: RoundPlan) -> Self:
        """What a plan exposes to its server, at its worst: the smallest sum, and the noise that is
        certain to be in it.

        Larger sums count as of 400 clients. The noise is that of the Gaussian whose price the
        release has. What the server adds itself is none to it. Where it reads each update, a sum is
        of one client, with the noise of one.
        """
        alone = isinstance(plan.scheme, PlainInsecure)
        return cls(
            clients=1 if alone else min(plan.scheme.honest_inputs, MOST_CLIENTS),
            noise=_noise(plan.quantize, alone=alone),
            mode=Mode.of(plan),
        )

    @property
    def name(self) -> str:
        """A line for people."""
        noise = f"noise {self.noise:.3g} times the clip bound" if self.noise else "no noise"
        many = "1 client" if self.clients == 1 else f"{self.clients} clients"
        return f"a sum of {many}, {noise}; opened beside it: {self.mode.name}"


@dataclass(frozen=True, kw_only=True)
class Row:
    """One figure: what is asked, who sees what, and how well they do.

    pictures: of the first trial, up to eight, the true ones and what was found, (2, m, h * w).
    shape: (h, w).
    """

    question: str
    seen: str
    exposure: Exposure
    figure: Figure
    pictures: Array | None = field(default=None, repr=False, compare=False)
    shape: tuple[int, int] = SHAPE


@dataclass(frozen=True, kw_only=True)
class Skipped:
    """An attack that was not run, and why: one that does not apply says nothing of a plan."""

    question: str
    attack: str
    why: str


def _noise(encoding: FixedPoint | Private, *, alone: bool) -> float:
    """What the server finds in a sum, or in an update, over the clip bound."""
    if not isinstance(encoding, Private) or encoding.is_central:
        return 0.0
    event = encoding.event
    return gaussian_multiplier(replace(event, parts=1) if alone else event)
