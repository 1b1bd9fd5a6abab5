"""The test kit: what every attack must satisfy, and knowledge to try it on.

An attack is tested by a class that inherits `AttackConformance` and gives examples of it.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterator, Sequence

import numpy as np

from robust.attacks.attack import Access, Attack, Examples, Goal, Knowledge
from robust.errors import ObservationError
from robust.observe import Array

__all__ = ["AttackConformance", "invented_cohort", "invented_knowledge", "refused", "rounds"]

_FEATURES, _CLASSES = 12, 10


class AttackConformance:
    """What every attack promises, whatever it is for."""

    @abstractmethod
    def attacks(self) -> Sequence[Attack]:
        """Examples, with several parameters; triggers within 12 features and 10 classes."""

    def test_it_says_what_it_is(self) -> None:
        for attack in self.attacks():
            assert attack.name.strip()
            assert isinstance(attack.goal, Goal)
            assert attack.needs <= set(Access)
            assert attack.trains == bool(attack.needs & {Access.CLEAN, Access.POISONED})
            assert hash(attack) == hash(attack)

    def test_updates_are_finite_in_every_round_for_every_number_of_clients(self) -> None:
        for attack in self.attacks():
            for knowledge in rounds():
                rows = attack.updates(knowledge, np.random.default_rng(1))
                assert rows.shape == knowledge.shape
                assert rows.dtype == np.float64
                assert np.isfinite(rows).all()

    def test_the_generator_decides_everything(self) -> None:
        for attack in self.attacks():
            for knowledge in rounds():
                first, again = (attack.updates(knowledge, np.random.default_rng(2)) for _ in "ab")
                np.testing.assert_array_equal(first, again)
            cohort = invented_cohort(3)
            pair = [attack.poison(cohort, np.random.default_rng(3)) for _ in "ab"]
            for one, other in zip(*pair, strict=True):
                np.testing.assert_array_equal(one.inputs, other.inputs)
                np.testing.assert_array_equal(one.labels, other.labels)

    def test_it_uses_what_it_needs_and_nothing_else(self) -> None:
        for attack in self.attacks():
            for knowledge in rounds():
                whole = attack.craft(knowledge, np.random.default_rng(4))
                seen = attack.updates(knowledge, np.random.default_rng(4))
                np.testing.assert_array_equal(seen, whole)
            for need in attack.needs:
                assert any(_misses(attack, knowledge, need) for knowledge in rounds()), need

    def test_what_it_is_given_stays_as_it_was(self) -> None:
        for attack in self.attacks():
            knowledge, cohort = invented_knowledge(number=5, malicious=3), invented_cohort(3)
            before = [array.copy() for array in _arrays(knowledge, cohort)]
            attack.updates(knowledge, np.random.default_rng(5))
            attack.poison(cohort, np.random.default_rng(5))
            for one, other in zip(before, _arrays(knowledge, cohort), strict=True):
                np.testing.assert_array_equal(one, other)

    def test_poisoned_data_can_be_trained_on(self) -> None:
        for attack in self.attacks():
            for members in (1, 3, 6):
                cohort = invented_cohort(members)
                poisoned = attack.poison(cohort, np.random.default_rng(6))
                assert len(poisoned) == members
                for one in poisoned:
                    assert one.classes == _CLASSES
                    assert one.inputs.shape == (len(one), _FEATURES)
                    assert np.isfinite(one.inputs).all()


def invented_knowledge(
    *, number: int, malicious: int, clients: int = 12, size: int = 60, seed: int = 0
) -> Knowledge:
    """Everything that can be known of round `number`: honest updates around a common direction.

    With `malicious` of `clients` clients, `size` parameters, and 7 rows of a projection.
    """
    rng = np.random.default_rng([seed, number, malicious])
    common = rng.standard_normal(size)
    honest = common + rng.standard_normal((clients - malicious, size))
    clean = common + rng.standard_normal((malicious, size))
    private = {
        Access.NORM: np.array(np.median(np.linalg.norm(honest, axis=1))),
        Access.COSINE: np.array(0.4),
        Access.CLEAN: clean,
        Access.POISONED: clean + rng.standard_normal(size) + rng.standard_normal(clean.shape),
        Access.BENIGN: honest,
        Access.CLASSES: rng.standard_normal((5, size)),
        Access.PROJECTION: rng.standard_normal((7, size)),
    }
    return Knowledge(
        number=number,
        clients=clients,
        malicious=malicious,
        weights=rng.standard_normal(size),
        history=common + rng.standard_normal((number, size)),
        private=private,
    )


def invented_cohort(members: int, *, least: int = 9, seed: int = 0) -> Sequence[Examples]:
    """Data of so many clients: 12 features, 10 classes, client i with least + i examples."""
    rng = np.random.default_rng([seed, members])
    return [
        Examples(
            rng.standard_normal((least + member, _FEATURES)),
            rng.integers(_CLASSES, size=least + member),
            _CLASSES,
        )
        for member in range(members)
    ]


def rounds() -> Iterator[Knowledge]:
    """Rounds without, with little and with some history, for one, some and most clients."""
    for number in (0, 1, 2, 5):
        for malicious in (1, 3, 9):
            yield invented_knowledge(number=number, malicious=malicious)


def refused(kind: type[Exception], call: Callable[[], object]) -> None:
    """`call()` raises `kind`."""
    try:
        call()
    except kind:
        return
    raise AssertionError(f"nothing was raised where {kind.__name__} was due")


def _misses(attack: Attack, knowledge: Knowledge, need: Access) -> bool:
    """Whether the attack of this round cannot do without that need."""
    try:
        attack.updates(knowledge.only(attack.needs - {need}), np.random.default_rng(4))
    except ObservationError:
        return True
    return False


def _arrays(knowledge: Knowledge, cohort: Sequence[Examples]) -> Iterator[Array]:
    yield from (knowledge.weights, knowledge.history, *knowledge.private.values())
    for one in cohort:
        yield from (one.inputs, one.labels.astype(np.float64))
