"""Each backdoor is what its source or its docstring defines."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray

from robust.attacks.adaptive_class_mimic import ClassMimic
from robust.attacks.adaptive_null_space import NullSpace
from robust.attacks.adaptive_scattered import Scattered
from robust.attacks.attack import Access, Attack, Examples, Knowledge
from robust.attacks.backdoor import Backdoor, ModelReplacement, NormMatched, Sybil
from robust.attacks.backdoor_blend import Blend, DecorrelatedBlend
from robust.attacks.backdoor_dba import Distributed
from robust.attacks.backdoor_neurotoxin import Neurotoxin
from robust.attacks.catalog import backdoors
from robust.attacks.testing import invented_cohort, invented_knowledge, refused
from robust.attacks.trigger import Trigger
from robust.attacks.vectors import lengths, units
from robust.errors import ParameterError
from robust.observe import Array

TRIGGER = Trigger(indices=(0, 3, 4, 11), value=3.0, target=7)
KNOWLEDGE = invented_knowledge(number=6, malicious=4, size=2000)
CLEAN, POISONED = KNOWLEDGE[Access.CLEAN], KNOWLEDGE[Access.POISONED]


def sent(attack: Attack, knowledge: Knowledge = KNOWLEDGE) -> Array:
    return attack.updates(knowledge, np.random.default_rng(1))


@pytest.mark.parametrize("attack", backdoors(TRIGGER), ids=lambda attack: attack.name)
def test_each_plants_its_trigger(attack: Backdoor) -> None:
    cohort = invented_cohort(4, least=20)
    poisoned = attack.poison(cohort, np.random.default_rng(1))
    for one, before in zip(poisoned, cohort, strict=True):
        changed = (one.inputs != before.inputs).any(axis=1)
        assert changed.sum() == np.ceil(0.5 * len(before))
        assert (one.labels[changed] == 7).all()
        np.testing.assert_array_equal(one.labels[~changed], before.labels[~changed])


def test_scattered_clients_share_one_trigger_and_each_has_one_of_its_own() -> None:
    attack = Scattered(trigger=TRIGGER, own=0.5)
    cohort = invented_cohort(3, least=40)
    first, again = (attack.poison(cohort, np.random.default_rng(seed)) for seed in (1, 2))
    for member, (one, other, before) in enumerate(zip(first, again, cohort, strict=True)):
        changed = (one.inputs != before.inputs).any(axis=1)
        common = (one.inputs[:, TRIGGER.indices] == 3.0).all(axis=1)
        assert changed.sum() == np.ceil(0.5 * len(before))
        assert common.sum() >= np.ceil(0.25 * len(before))
        assert (one.labels[common] == 7).all()
        np.testing.assert_array_equal(one.labels[~changed], before.labels[~changed])
        own = _marks(one, changed & ~common)
        assert own == _marks(other, (other.inputs != before.inputs).any(axis=1) & ~_common(other))
        assert len(own) == 4
        assert all(own != _marks(rest, _marked(rest)) for rest in first[member + 1 :])


def _common(one: Examples) -> NDArray[np.bool_]:
    return (one.inputs[:, TRIGGER.indices] == 3.0).all(axis=1)


def _marked(one: Examples) -> NDArray[np.bool_]:
    """Rows that have a mark of a client's own."""
    return ((one.inputs == 3.0).sum(axis=1) >= 4) & ~_common(one)


def _marks(one: Examples, rows: NDArray[np.bool_]) -> set[int]:
    """Features that all of these rows have at the value of the trigger."""
    return set(np.flatnonzero((one.inputs[rows] == 3.0).all(axis=0)).tolist())


def test_replacement_survives_the_mean() -> None:
    np.testing.assert_allclose(sent(ModelReplacement(trigger=TRIGGER)), 12 / 4 * POISONED)
    np.testing.assert_allclose(sent(ModelReplacement(trigger=TRIGGER, factor=0.5)), POISONED / 2)


@pytest.mark.parametrize(
    "kind", [NormMatched, Sybil, Neurotoxin, Distributed, ClassMimic, Scattered]
)
def test_a_matched_norm_is_honest(kind: Callable[..., Backdoor]) -> None:
    rows = sent(kind(trigger=TRIGGER))
    np.testing.assert_allclose(lengths(rows), KNOWLEDGE[Access.NORM], rtol=1e-9)


def test_a_matched_norm_keeps_the_direction() -> None:
    np.testing.assert_allclose(units(sent(NormMatched(trigger=TRIGGER))), units(POISONED))


def test_sybils_are_copies_of_the_mean() -> None:
    rows = sent(Sybil(trigger=TRIGGER))
    assert (rows == rows[0]).all()
    np.testing.assert_allclose(units(rows[:1]), units(POISONED.mean(axis=0)[None]))


def test_a_blend_is_between_the_two_updates() -> None:
    np.testing.assert_allclose(sent(Blend(trigger=TRIGGER, weight=1.0)), POISONED)
    rows = sent(Blend(trigger=TRIGGER, weight=0.25))
    np.testing.assert_allclose(rows, 0.75 * CLEAN + 0.25 * POISONED)


def test_a_decorrelated_blend_is_the_blend_along_its_change() -> None:
    change = POISONED - CLEAN
    rows = sent(DecorrelatedBlend(trigger=TRIGGER, weight=0.25, noise=2.0))
    np.testing.assert_allclose(
        ((rows - CLEAN) * change).sum(axis=1), 0.25 * np.square(change).sum(axis=1)
    )
    noise = rows - CLEAN - 0.25 * change
    np.testing.assert_allclose(lengths(noise), 0.5 * lengths(change))
    without = sent(DecorrelatedBlend(trigger=TRIGGER, weight=0.25, noise=0.0))
    np.testing.assert_allclose(without, sent(Blend(trigger=TRIGGER, weight=0.25)))
    plain, apart = (units(x) @ units(x).T for x in (change, rows - CLEAN))
    assert apart[0, 1:] == pytest.approx(plain[0, 1:] / 5, abs=0.06)


def test_attackers_have_parts_that_make_up_the_trigger() -> None:
    cohort = invented_cohort(5, least=20)
    poisoned = Distributed(trigger=TRIGGER, share=1.0).poison(cohort, np.random.default_rng(1))
    parts = [
        set(np.flatnonzero((one.inputs != before.inputs).all(axis=0)))
        for one, before in zip(poisoned, cohort, strict=True)
    ]
    assert set.union(*parts) == set(TRIGGER.indices)
    assert sum(map(len, parts[:4])) == len(TRIGGER.indices)
    assert parts[4] == parts[0]


def test_two_attackers_still_make_up_the_trigger() -> None:
    cohort = invented_cohort(2, least=20)
    poisoned = Distributed(trigger=TRIGGER, share=1.0).poison(cohort, np.random.default_rng(1))
    parts = [
        set(np.flatnonzero((one.inputs != before.inputs).all(axis=0)))
        for one, before in zip(poisoned, cohort, strict=True)
    ]
    assert set.union(*parts) == set(TRIGGER.indices)
    assert not set.intersection(*parts)


def test_neurotoxin_keeps_off_what_training_moves() -> None:
    attack = Neurotoxin(trigger=TRIGGER, protected=0.25)
    rows = sent(attack)
    still = (rows == 0).all(axis=0)
    size = np.abs(KNOWLEDGE.last)
    assert still.sum() == 500
    assert size[still].min() >= size[~still].max()
    np.testing.assert_allclose(units(rows)[:, ~still], units(POISONED[:, ~still]))
    first = invented_knowledge(number=0, malicious=4)
    assert sent(attack, first).all()


def test_a_mimic_leaves_the_span_of_classes_as_little_as_it_says() -> None:
    classes = KNOWLEDGE[Access.CLASSES]
    basis = np.linalg.qr(classes.T)[0]

    def outside(rows: Array) -> Array:
        return np.asarray(rows - rows @ basis @ basis.T)

    change = POISONED - CLEAN
    for residual in (0.0, 0.3, 1.0):
        rows = sent(ClassMimic(trigger=TRIGGER, residual=residual))
        unscaled = CLEAN + change - (1 - residual) * outside(change)
        np.testing.assert_allclose(units(rows), units(unscaled), atol=1e-12)
    hidden = sent(ClassMimic(trigger=TRIGGER, residual=0.0))
    np.testing.assert_allclose(units(outside(hidden)), units(outside(CLEAN)), atol=1e-9)


@pytest.mark.parametrize("rank", [7, 5])
def test_the_projection_sees_a_clean_update(rank: int) -> None:
    projection = KNOWLEDGE[Access.PROJECTION].copy()
    projection[rank:] = 0  # as the rows of a count-sketch that no coordinate fell into
    private = {**KNOWLEDGE.private, Access.PROJECTION: projection}
    knowledge = Knowledge(
        number=6,
        clients=12,
        malicious=4,
        weights=KNOWLEDGE.weights,
        history=KNOWLEDGE.history,
        private=private,
    )
    rows = sent(NullSpace(trigger=TRIGGER, boost=3.0), knowledge)
    np.testing.assert_allclose(rows @ projection.T, CLEAN @ projection.T, atol=1e-9)
    assert (lengths(rows - CLEAN) > 2.9 * lengths(POISONED - CLEAN)).all()


def test_a_whole_projection_leaves_an_honest_update() -> None:
    small = invented_knowledge(number=1, malicious=2, size=6)
    rows = sent(NullSpace(trigger=TRIGGER), small)
    np.testing.assert_allclose(rows, small[Access.CLEAN], atol=1e-9)


@pytest.mark.parametrize(
    ("right", "wrong"),
    [
        (
            lambda: NormMatched(trigger=TRIGGER, share=1),
            lambda: NormMatched(trigger=TRIGGER, share=0),
        ),
        (
            lambda: ModelReplacement(trigger=TRIGGER),
            lambda: ModelReplacement(trigger=TRIGGER, factor=0),
        ),
        (lambda: Blend(trigger=TRIGGER, weight=1), lambda: Blend(trigger=TRIGGER, weight=1.1)),
        (
            lambda: DecorrelatedBlend(trigger=TRIGGER, noise=0),
            lambda: DecorrelatedBlend(trigger=TRIGGER, noise=-1),
        ),
        (lambda: Distributed(trigger=TRIGGER), lambda: Distributed(trigger=TRIGGER, parts=5)),
        (
            lambda: Neurotoxin(trigger=TRIGGER, protected=0.9),
            lambda: Neurotoxin(trigger=TRIGGER, protected=1),
        ),
        (
            lambda: ClassMimic(trigger=TRIGGER, residual=1),
            lambda: ClassMimic(trigger=TRIGGER, residual=1.1),
        ),
        (lambda: NullSpace(trigger=TRIGGER), lambda: NullSpace(trigger=TRIGGER, boost=0)),
        (lambda: Scattered(trigger=TRIGGER), lambda: Scattered(trigger=TRIGGER, own=1)),
        (lambda: Scattered(trigger=TRIGGER), lambda: Scattered(trigger=TRIGGER, seed=-1)),
    ],
)
def test_parameters_are_checked(right: Callable[[], Attack], wrong: Callable[[], Attack]) -> None:
    assert right().name
    refused(ParameterError, wrong)
