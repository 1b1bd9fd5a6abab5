"""Every attack of the package passes the kit, and the kit fails for attacks that break a rule."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import pytest

from robust.attacks.adaptive_class_mimic import ClassMimic
from robust.attacks.adaptive_evidence import ShareEvidence
from robust.attacks.adaptive_null_space import NullSpace
from robust.attacks.adaptive_on_off import OnOff
from robust.attacks.attack import Access, Attack, Examples, Goal, Knowledge
from robust.attacks.backdoor import ModelReplacement
from robust.attacks.catalog import adaptive_backdoors, backdoors, free_riders, poisoners
from robust.attacks.free_rider_data import Copycat, Lazy
from robust.attacks.free_rider_mimic import Colluding
from robust.attacks.free_rider_noise import Disguised
from robust.attacks.free_rider_replay import Delta
from robust.attacks.poison_distance import Away, MinMax, MinSum
from robust.attacks.poison_mean import InnerProduct, LittleIsEnough
from robust.attacks.testing import AttackConformance
from robust.attacks.trigger import Trigger
from robust.errors import ObservationError
from robust.observe import Array

TRIGGER = Trigger(indices=(0, 3, 4, 11), value=3.0, target=7)


class TestFreeRiders(AttackConformance):
    def attacks(self) -> Sequence[Attack]:
        others = (
            Disguised(sigma=0.1, gamma=0.0),
            Colluding(shared=0.0),
            Colluding(shared=1.0),
            Lazy(examples=100),
            Copycat(noise=0.0),
            ShareEvidence(share=1.0, trainers=2),
            OnOff(attack=Delta(), off=2, on=2),
            OnOff(attack=Lazy(), off=1, on=None),
        )
        return (*free_riders(), *others)

    def test_they_are_what_the_catalog_says(self) -> None:
        assert {attack.goal for attack in self.attacks()} == {Goal.FREE_RIDE}


class TestPoisoners(AttackConformance):
    def attacks(self) -> Sequence[Attack]:
        ways = [kind(away=away) for kind in (MinMax, MinSum) for away in Away]
        blind = (MinMax(omniscient=False), InnerProduct(omniscient=False))
        return (*poisoners(), *ways, *blind, LittleIsEnough(z=0.0, omniscient=True))

    def test_they_are_what_the_catalog_says(self) -> None:
        assert {attack.goal for attack in self.attacks()} == {Goal.POISON}


class TestBackdoors(AttackConformance):
    def attacks(self) -> Sequence[Attack]:
        others = (
            ModelReplacement(trigger=TRIGGER, share=1.0, factor=2.0),
            ClassMimic(trigger=TRIGGER, residual=0.0),
            NullSpace(trigger=TRIGGER, boost=3.0),
        )
        return (*backdoors(TRIGGER), *adaptive_backdoors(TRIGGER), *others)

    def test_they_are_what_the_catalog_says(self) -> None:
        assert {attack.goal for attack in self.attacks()} == {Goal.BACKDOOR}


def test_names_in_the_catalog_are_distinct() -> None:
    everything = [*free_riders(), *poisoners(), *backdoors(TRIGGER), *adaptive_backdoors(TRIGGER)]
    assert len({attack.name for attack in everything}) == len(everything) == 34


# -- the kit catches what it is for --------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Zeros(Attack):
    name = "zeros"
    goal = Goal.FREE_RIDE

    def craft(self, knowledge: Knowledge, _: np.random.Generator, /) -> Array:
        return np.zeros(knowledge.shape)


class OneRow(Zeros):
    def craft(self, knowledge: Knowledge, _: np.random.Generator, /) -> Array:
        return np.zeros((1, knowledge.size))


class NotFinite(Zeros):
    def craft(self, knowledge: Knowledge, _: np.random.Generator, /) -> Array:
        return np.full(knowledge.shape, np.nan)


class OwnRandomness(Zeros):
    def craft(self, knowledge: Knowledge, _: np.random.Generator, /) -> Array:
        return np.random.default_rng().standard_normal(knowledge.shape)


class Peeking(Zeros):
    def craft(self, knowledge: Knowledge, _: np.random.Generator, /) -> Array:
        return np.zeros(knowledge.shape) + knowledge.private.get(Access.NORM, 0)


class Pretending(Zeros):
    needs = frozenset({Access.BENIGN})


class Writing(Zeros):
    def poison(self, cohort: Sequence[Examples], _: np.random.Generator, /) -> Sequence[Examples]:
        cohort[0].inputs[0] = 0
        return cohort


class Dropping(Zeros):
    def poison(self, cohort: Sequence[Examples], _: np.random.Generator, /) -> Sequence[Examples]:
        return cohort[1:]


def kit(attack: Attack) -> list[Callable[[], None]]:
    class Kit(AttackConformance):
        def attacks(self) -> Sequence[Attack]:
            return [attack]

    return [getattr(Kit(), name) for name in dir(Kit) if name.startswith("test_")]


def test_an_attack_that_keeps_the_rules_passes() -> None:
    for test in kit(Zeros()):
        test()


@pytest.mark.parametrize(
    ("attack", "test"),
    [
        (OneRow(), "updates_are_finite"),
        (NotFinite(), "updates_are_finite"),
        (OwnRandomness(), "generator_decides"),
        (Peeking(), "uses_what_it_needs"),
        (Pretending(), "uses_what_it_needs"),
        (Writing(), "stays_as_it_was"),
        (Dropping(), "can_be_trained_on"),
    ],
    ids=lambda value: value if isinstance(value, str) else type(value).__name__,
)
def test_an_attack_that_breaks_a_rule_fails(attack: Attack, test: str) -> None:
    (found,) = (one for one in kit(attack) if test in one.__name__)
    with pytest.raises((AssertionError, ObservationError)):
        found()
