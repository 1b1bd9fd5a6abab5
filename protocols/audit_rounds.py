"""Audit rounds: clients get a model with a public perturbation, and have to react to it.

    audit = AuditRounds(every=3)
    added = audit.perturbation(model, session, number)         # None in other rounds
    send out model + added; observed(..., known=[..., added]); and leave the model as it was

Near convergence honest updates are small and have little in common, so that free-riders are hard to
tell from them. A perturbation that is not small brings clients that train back to the same tasks:
what their updates then have in common grows, and who extrapolates from earlier rounds cannot have
it. The perturbation is a vector that everybody knows, so replaying it is seen as such.

Each parameter is moved by the fraction `relative` of its own size, up or down by a public coin: so
parameters that do little are not made to do much. The coins follow from session and round, so that
clients that know the model compute the perturbation themselves; a server chooses among those of the
sessions and numbers that it tries.

The mean of an audit round is for the most part a reaction to the perturbation, and applied to the
model without what was added it costs accuracy. So the round is spent: neither apply nor publish it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from protocols.invitation import round_name
from secagg.errors import ParameterError
from secagg.primitives import prg
from secagg.primitives.digest import Label, digest
from secagg.structure import flatten

__all__ = ["AuditRounds"]


@dataclass(frozen=True, kw_only=True)
class AuditRounds:
    """Which rounds are audit rounds, and what is added to the model in them.

    Attributes
    ----------
    every: >= 1; the rounds whose number it divides, but round 0.
    relative: of the perturbation's norm to that of the model, 0 < relative <= 1. Less than 1 shows
        little; with 1 each parameter is doubled or set to 0.

    Raises `ParameterError` with the inequality that fails.
    """

    every: int
    relative: float = 1.0

    def __post_init__(self) -> None:
        if type(self.every) is not int or self.every < 1:
            raise ParameterError(f"every >= 1, an int, must hold, got {self.every!r:.40}")
        number = isinstance(self.relative, int | float) and not isinstance(self.relative, bool)
        if not number or not 0 < self.relative <= 1:
            raise ParameterError(f"0 < relative <= 1 must hold, got {self.relative!r:.40}")

    def audits(self, number: int) -> bool:
        """Whether that round is one. Raises `ParameterError` for what is no number of a round."""
        if type(number) is not int or not 0 <= number < 1 << 64:
            raise ParameterError(f"0 <= number < 2**64, an int, must hold, got {number!r:.40}")
        return number > 0 and number % self.every == 0

    def perturbation(self, model: Any, session: bytes, number: int) -> Any | None:
        """A tree like `model`, to be added to it in round `number`; None where it is no audit.

        Raises `InputRefused` as `flatten` does, `ParameterError` as `audits` does, and
        `IntegrityError` for a leaf of unsigned integers, which cannot move down.
        """
        if not self.audits(number):
            return None
        vector, structure = flatten(model)
        key = digest(Label.PLAN, b"audit", round_name(session, number))
        coins = np.unpackbits(np.frombuffer(prg.stream(key, -(-vector.size // 8)), np.uint8))
        moved: NDArray[np.float64] = np.where(coins[: vector.size], vector, -vector)
        return structure.restore(self.relative * moved)
