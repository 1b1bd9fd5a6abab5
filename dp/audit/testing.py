"""The test kit: what every attack on privacy must satisfy.

An attack is tested by a class that inherits `AttackConformance` and gives examples of it, with
trials in which it must succeed: those of an unprotected update. From them the kit makes trials in
which it must fail, by showing it in each what was observed in another one.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence

import numpy as np

from dp.audit.attack import Access, Attack, Goal, Trial, View
from dp.audit.measure import Figure, measure
from dp.errors import ParameterError

__all__ = ["AttackConformance", "assert_leakage_below", "exchanged"]


class AttackConformance:
    """What every attack promises."""

    @abstractmethod
    def attacks(self) -> Sequence[Attack]:
        """Examples, with several parameters."""

    @abstractmethod
    def exposed(self, attack: Attack) -> Sequence[Trial]:
        """Trials, the same at each call, in which nothing protects what the attack is after."""

    def figures(self, attack: Attack, trials: Sequence[Trial]) -> Sequence[Figure]:
        """What is measured; the first of them decides."""
        return measure(attack, trials, np.random.default_rng(1))

    def test_it_says_what_it_is(self) -> None:
        for attack in self.attacks():
            assert attack.name.strip()
            assert isinstance(attack.goal, Goal)
            assert attack.needs <= set(Access)
            assert hash(attack) == hash(attack)

    def test_it_observes_something_and_its_control_does_not(self) -> None:
        for attack in self.attacks():
            assert any(need.observed for need in attack.needs)
            assert not any(need.observed for need in attack.control.needs)
            assert attack.control.goal is attack.goal
            assert attack.control.control == attack.control

    def test_it_succeeds_where_nothing_is_protected(self) -> None:
        for attack in self.attacks():
            figure = self.figures(attack, self.exposed(attack))[0]
            assert figure.leaks, figure

    def test_it_fails_where_nothing_can_be_found(self) -> None:
        for attack in self.attacks():
            figure = self.figures(attack, exchanged(self.exposed(attack)))[0]
            assert not figure.leaks, figure

    def test_the_generator_decides_everything(self) -> None:
        for attack in self.attacks():
            view = self.exposed(attack)[0].view
            first, again = (attack.run(view, np.random.default_rng(2)) for _ in "ab")
            np.testing.assert_array_equal(first, again)

    def test_it_uses_what_it_needs_and_nothing_else(self) -> None:
        for attack in self.attacks():
            view = self.exposed(attack)[0].view
            whole = attack.conclude(view, np.random.default_rng(3))
            np.testing.assert_array_equal(attack.run(view, np.random.default_rng(3)), whole)
            for need in attack.needs:
                assert _misses(attack, view.only(attack.needs - {need})), need

    def test_what_it_is_given_stays_as_it_was(self) -> None:
        for attack in self.attacks():
            view = self.exposed(attack)[0].view
            before = {access: array.copy() for access, array in view.given.items()}
            attack.run(view, np.random.default_rng(4))
            for access, array in view.given.items():
                np.testing.assert_array_equal(array, before[access])


def assert_leakage_below(
    attack: Attack,
    trials: Sequence[Trial],
    limit: float,
    *,
    exposed: Sequence[Trial],
    seed: int = 1,
) -> Figure:
    """For the tests of a project: the attack's first figure stays below `limit`, with confidence.

    exposed: trials without the protection that is tested. The attack must succeed there, and beyond
    the limit, or that it stays below on `trials` would say nothing of the protection.

    Raises `AssertionError` where the upper end of the interval is not below the limit, and where
    the lower end on `exposed` is not above it and above the control.
    """
    positive = measure(attack, exposed, np.random.default_rng(seed))[0]
    if not (positive.leaks and positive.found.low > limit):
        raise AssertionError(
            f"{attack.name} must find more than {limit} where nothing is protected, got {positive}"
        )
    figure = measure(attack, trials, np.random.default_rng(seed))[0]
    if not figure.found.high < limit:
        raise AssertionError(f"{attack.name}: {figure.metric} < {limit} must hold, got {figure}")
    return figure


def exchanged(trials: Sequence[Trial]) -> Sequence[Trial]:
    """Each trial with what was observed in the next, so that it tells nothing of its truth.

    The order is drawn anew first: trials may come with alternating truths.
    """
    order = np.random.default_rng(5).permutation(len(trials))
    pairs = zip(order, np.roll(order, 1), strict=True)
    return [_observing(trials[mine], trials[other]) for mine, other in pairs]


def _observing(mine: Trial, other: Trial) -> Trial:
    given = {
        access: other.view[access] if access.observed else array
        for access, array in mine.view.given.items()
    }
    return Trial(View(given, mine.view.extra), mine.truth)


def _misses(attack: Attack, view: View) -> bool:
    try:
        attack.run(view, np.random.default_rng(3))
    except ParameterError:
        return True
    return False
