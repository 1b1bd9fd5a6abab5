"""Every attack by a name, fitted to a data set by fixed rules that look at its shape only.

Trigger: `min(4, f)` features at the positions 0, f//4, f//2, 3f//4 of f take the value 6, in
standard deviations of the training data, and the label becomes the class c//2 of c. Targeted flips
turn class 1 into class 7, or into the last class where there is no seventh; of two classes, the
first into the second.

Not in the list: the attack that knows the projection beforehand. The scheme draws it after all
updates are committed; what an early draw costs is in the tests of the attack.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache

from robust.attacks.attack import Access, Attack, Goal
from robust.attacks.catalog import adaptive_backdoors, backdoors, free_riders, poisoners
from robust.attacks.trigger import Trigger
from secagg.errors import ParameterError

__all__ = ["attack_names", "attacks", "first_names", "is_dataless", "trigger_of"]

_MARKED = 4
_VALUE = 6.0


def trigger_of(features: int, classes: int) -> Trigger:
    """The trigger for a data set of this shape."""
    marked = min(_MARKED, features)
    return Trigger(
        indices=tuple(at * features // marked for at in range(marked)),
        value=_VALUE,
        target=classes // 2,
    )


def attacks(features: int, classes: int) -> Mapping[str, Attack]:
    """Name -> attack. Raises `ParameterError` unless features >= 4 and classes >= 2."""
    if features < _MARKED or classes < 2:
        raise ParameterError(
            f"features >= {_MARKED} and classes >= 2 must hold, got {features}, {classes}"
        )
    families = (
        ("fr", free_riders()),
        ("po", poisoners(source=min(1, classes - 2), target=min(7, classes - 1))),
        ("bd", backdoors(trigger_of(features, classes))),
        ("bd", adaptive_backdoors(trigger_of(features, classes))),
    )
    return {
        f"{prefix}_{_dashed(attack.name)}": attack
        for prefix, family in families
        for attack in family
        if Access.PROJECTION not in attack.needs
    }


@cache  # grids of thousands of cases ask for each case
def attack_names() -> tuple[str, ...]:
    """The same names for every data set, in the order of tables."""
    return tuple(attacks(_MARKED, 3))


def first_names() -> tuple[str, ...]:
    """Those of the first trials, before the attacks that adapt to the rule on coalitions."""
    later = len(adaptive_backdoors(trigger_of(_MARKED, 3)))
    return attack_names()[:-later]


def is_dataless(attack: Attack) -> bool:
    """Whether it is a free-rider that trains on nothing, alone or with others."""
    return attack.goal is Goal.FREE_RIDE and not attack.trains


def _dashed(name: str) -> str:
    return name.replace(", ", "-").replace(" ", "-")
