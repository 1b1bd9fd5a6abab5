"""A backdoor that knows that clients with a common aim are looked for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from robust.attacks.attack import Examples
from robust.attacks.backdoor import NormMatched
from robust.attacks.trigger import Trigger
from robust.errors import require

__all__ = ["Scattered"]


@dataclass(frozen=True, kw_only=True)
class Scattered(NormMatched):
    """Each client also plants triggers that nobody else has, so that what they share is less. Ours.

    Of the examples that a backdoor poisons, the share `own` gets a trigger of the client's own:
    as many features, drawn at random, the same value, and a label drawn at random. At a given norm
    that turns a part of each update to directions in which no two clients agree. Knows its own data
    and an honest norm.

    Attributes
    ----------
    own: in (0, 1), of the poisoned examples.
    seed: of the clients' own triggers, which stay the same from round to round; >= 0.

    Raises `ParameterError` for anything else.
    """

    name = "scattered"
    own: float = 0.5
    seed: int = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        require(0 < self.own < 1, "0 < own < 1")
        require(self.seed >= 0, "seed >= 0")

    def poison(self, cohort: Sequence[Examples], rng: np.random.Generator, /) -> Sequence[Examples]:
        return [self._poisoned(one, member, rng) for member, one in enumerate(cohort)]

    def _poisoned(self, one: Examples, member: int, rng: np.random.Generator) -> Examples:
        order = rng.permutation(len(one))
        # the common part first, so that it is there in the smallest data set too
        common = int(np.ceil(self.share * (1 - self.own) * len(one)))
        marked = int(np.ceil(self.share * len(one)))
        inputs, labels = one.inputs.copy(), one.labels.copy()
        for rows, trigger in (
            (order[:common], self.trigger),
            (order[common:marked], self._own(member, one)),
        ):
            inputs[rows] = trigger.stamped(inputs[rows])
            labels[rows] = trigger.target
        return Examples(inputs, labels, one.classes)

    def _own(self, member: int, one: Examples) -> Trigger:
        rng = np.random.default_rng([self.seed, member])
        marked = rng.choice(one.inputs.shape[1], len(self.trigger.indices), replace=False)
        target = int(rng.integers(one.classes))
        return replace(self.trigger, indices=tuple(marked.tolist()), target=target)
