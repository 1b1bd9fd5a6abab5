"""The interface of attacks: shapes that must agree, and a kit that catches what breaks a rule."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

from dp.audit.attack import Access, Array, Attack, Coin, Goal, Guess, Trial, View
from dp.audit.testing import AttackConformance, exchanged
from dp.errors import ParameterError

TRIALS, SIZE = 400, 8


@dataclass(frozen=True, kw_only=True)
class Projected(Attack):
    """The sum's coordinate along the target."""

    name = "projected"
    goal = Goal.MEMBERSHIP
    needs = frozenset({Access.TARGET, Access.SUM})

    @property
    def control(self) -> Attack:
        return Coin()

    def conclude(self, view: View, _: np.random.Generator, /) -> Array:
        return np.asarray(view[Access.TARGET] @ view[Access.SUM])


@dataclass(frozen=True, kw_only=True)
class Nearest(Attack):
    """The class whose update is likest."""

    name = "nearest"
    goal = Goal.CHOICE
    needs = frozenset({Access.CLASSES, Access.SUM, Access.SHARES})

    @property
    def control(self) -> Attack:
        return Guess()

    def conclude(self, view: View, _: np.random.Generator, /) -> Array:
        return view[Access.CLASSES] @ view[Access.SUM] + 0 * view[Access.SHARES]


def membership() -> list[Trial]:
    rng = np.random.default_rng(1)
    found = []
    for at in range(TRIALS):
        target, others = rng.standard_normal((2, SIZE))
        inside = at % 2
        found.append(
            Trial(
                View({Access.TARGET: target, Access.SUM: others + inside * target}),
                np.array(inside),
            )
        )
    return found


def choices() -> list[Trial]:
    rng = np.random.default_rng(2)
    classes = np.eye(4, SIZE)
    shares = np.full(4, 0.25)
    found = []
    for label in rng.integers(4, size=TRIALS):
        total = classes[label] + 0.2 * rng.standard_normal(SIZE)
        given = {Access.CLASSES: classes, Access.SUM: total, Access.SHARES: shares}
        found.append(Trial(View(given), np.array(label)))
    return found


class TestMembership(AttackConformance):
    def attacks(self) -> Sequence[Attack]:
        return [Projected()]

    def exposed(self, attack: Attack) -> Sequence[Trial]:
        return membership()


class TestChoice(AttackConformance):
    def attacks(self) -> Sequence[Attack]:
        return [Nearest()]

    def exposed(self, attack: Attack) -> Sequence[Trial]:
        return choices()


# -- the kit catches what it is for --------------------------------------------------------------


class Blind(Projected):
    """Needs what it does not use, so it tells nothing."""

    def conclude(self, view: View, rng: np.random.Generator, /) -> Array:
        return np.array(rng.random() + 0 * view[Access.SUM].sum() * view[Access.TARGET].sum())


class Peeking(Projected):
    """Uses what it did not declare."""

    needs = frozenset({Access.SUM})

    def conclude(self, view: View, _: np.random.Generator, /) -> Array:
        target = view.given.get(Access.TARGET, np.ones(SIZE))
        return np.asarray(target @ view[Access.SUM])


class Pretending(Projected):
    """Declares what it does without."""

    needs = Projected.needs | {Access.LOSS}


class OwnRandomness(Projected):
    def conclude(self, view: View, _: np.random.Generator, /) -> Array:
        noise = np.random.default_rng().random()
        return np.asarray(view[Access.TARGET] @ view[Access.SUM] + noise)


class KnowsTheAnswer(Projected):
    """Its prior holds the answer, so it succeeds where nothing was observed."""

    def conclude(self, view: View, _: np.random.Generator, /) -> Array:
        view[Access.SUM]
        return np.asarray(view[Access.TARGET][0])


class NoControl(Projected):
    @property
    def control(self) -> Attack:
        return self


def leaking_prior() -> list[Trial]:
    rng = np.random.default_rng(3)
    found = []
    for at in range(TRIALS):
        target = np.append(float(at % 2), rng.standard_normal(SIZE - 1))
        given = {Access.TARGET: target, Access.SUM: rng.standard_normal(SIZE)}
        found.append(Trial(View(given), np.array(at % 2)))
    return found


def kit(attack: Attack, trials: list[Trial] | None = None) -> list[Callable[[], None]]:
    class Kit(AttackConformance):
        def attacks(self) -> Sequence[Attack]:
            return [attack]

        def exposed(self, _: Attack) -> Sequence[Trial]:
            return trials or membership()

    return [getattr(Kit(), name) for name in dir(Kit) if name.startswith("test_")]


@pytest.mark.parametrize(
    ("attack", "trials", "test"),
    [
        (Blind(), None, "succeeds_where_nothing_is_protected"),
        (Peeking(), None, "uses_what_it_needs"),
        (Pretending(), None, "uses_what_it_needs"),
        (OwnRandomness(), None, "generator_decides"),
        (KnowsTheAnswer(), leaking_prior(), "fails_where_nothing_can_be_found"),
        (NoControl(), None, "its_control_does_not"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Attack) else "",
)
def test_an_attack_that_breaks_a_rule_fails(attack: Attack, trials: Any, test: str) -> None:
    (found,) = (one for one in kit(attack, trials) if test in one.__name__)
    with pytest.raises((AssertionError, ParameterError)):
        found()


def test_an_attack_that_keeps_the_rules_passes() -> None:
    for test in kit(Projected()):
        test()


# -- views ---------------------------------------------------------------------------------------


def test_axes_of_one_name_have_one_size() -> None:
    View({Access.TARGET: np.zeros(3), Access.SHADOWS: np.zeros((5, 3))})
    with pytest.raises(ParameterError, match=r"SHADOWS: axes \(s, d\) of the sizes of the others"):
        View({Access.TARGET: np.zeros(3), Access.SHADOWS: np.zeros((5, 4))})


@pytest.mark.parametrize("bad", [np.zeros((2, 2)), np.array(1.0)])
def test_a_wrong_number_of_axes_is_refused(bad: Any) -> None:
    with pytest.raises(ParameterError, match=r"SUM: axes \(d\)"):
        View({Access.SUM: bad})


def test_what_is_not_finite_is_refused() -> None:
    with pytest.raises(ParameterError, match="SUM: finite"):
        View({Access.SUM: np.array([1.0, np.nan])})


def test_what_is_seen_cannot_be_written() -> None:
    mine = np.ones(3)
    view = View({Access.SUM: mine})
    with pytest.raises(ValueError, match="read-only"):
        view[Access.SUM][0] = 2
    mine[0] = 5  # the caller's own array stays writable
    assert view[Access.SUM][0] == 5


def test_sizes_are_public_and_arrays_are_not() -> None:
    view = View({Access.SUM: np.zeros(3), Access.LOSS: np.array(1.0)}, {"m": 7})
    seen = view.only({Access.LOSS})
    assert seen.size("d") == 3
    assert seen.size("m") == 7
    with pytest.raises(ParameterError, match="needs SUM, which it was not given"):
        seen[Access.SUM]
    with pytest.raises(ParameterError, match="no array has the axis 'k'"):
        seen.size("k")


@pytest.mark.parametrize("conclusion", [np.zeros(2), np.array(np.inf)])
def test_a_conclusion_has_the_axes_of_its_goal(conclusion: Any) -> None:
    class Strange(Projected):
        def conclude(self, view: View, _: np.random.Generator, /) -> Array:
            return np.asarray(conclusion)

    with pytest.raises(ParameterError, match="MEMBERSHIP: "):
        Strange().run(membership()[0].view, np.random.default_rng(0))


def test_an_exchange_keeps_what_is_known_before() -> None:
    trials = membership()
    mixed = exchanged(trials)
    by_target = {trial.view[Access.TARGET].tobytes(): trial for trial in trials}
    for trial in mixed:
        mine = by_target[trial.view[Access.TARGET].tobytes()]
        assert trial.truth == mine.truth
        assert (trial.view[Access.SUM] != mine.view[Access.SUM]).all()


def test_accesses_say_what_they_are() -> None:
    assert Access.SHADOWS.axes == ("s", "d")
    assert Access.LOSS.axes == ()
    assert Access.SUM.observed
    assert not Access.TARGET.observed
    assert len({access.meaning for access in Access}) == len(Access)
