"""Each free-rider is what its source or its docstring defines."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from robust.attacks.adaptive_evidence import ShareEvidence
from robust.attacks.adaptive_on_off import OnOff
from robust.attacks.attack import Access, Attack, Knowledge
from robust.attacks.free_rider_data import Copycat, Lazy, SyntheticData
from robust.attacks.free_rider_mimic import Colluding, CosineMatched, Extrapolating, Shaped
from robust.attacks.free_rider_noise import Disguised, Noise, RandomWeights
from robust.attacks.free_rider_replay import AdvancedDelta, Delta, Plain, Sign
from robust.attacks.testing import invented_cohort, invented_knowledge, refused
from robust.attacks.vectors import lengths, units
from robust.errors import ParameterError
from robust.observe import Array

LATE = invented_knowledge(number=6, malicious=4, size=4000)
FIRST = invented_knowledge(number=0, malicious=4, size=4000)


def sent(attack: Attack, knowledge: Knowledge = LATE, seed: int = 1) -> Array:
    return attack.updates(knowledge, np.random.default_rng(seed))


def cosines(rows: Array, other: Array) -> Array:
    found: Array = units(rows) @ units(other[None])[0]
    return found


def test_plain_sends_nothing() -> None:
    assert not sent(Plain()).any()


def test_delta_replays_history() -> None:
    for row in sent(Delta()):
        np.testing.assert_array_equal(row, LATE.history[-1])
    assert not sent(Delta(), FIRST).any()


def test_advanced_delta_adds_noise_of_its_deviation() -> None:
    noise = sent(AdvancedDelta(deviation=0.25)) - LATE.last
    assert noise.std() == pytest.approx(0.25, rel=0.05)
    assert np.abs(np.atleast_2d(np.corrcoef(noise))[0, 1:]).max() < 0.1
    assert sent(AdvancedDelta(deviation=0.25), FIRST).std() == pytest.approx(0.25, rel=0.05)


def test_sign_has_one_magnitude_and_the_signs_of_history() -> None:
    rows = sent(Sign())
    np.testing.assert_array_equal(np.sign(rows), np.sign(np.tile(LATE.last, (4, 1))))
    np.testing.assert_allclose(lengths(rows), LATE[Access.NORM], rtol=1e-9)
    np.testing.assert_allclose(np.abs(rows), np.abs(rows[0, 0]), rtol=1e-12)
    assert not sent(Sign(), FIRST).any()


@pytest.mark.parametrize("knowledge", [LATE, FIRST], ids=["late", "first"])
@pytest.mark.parametrize("attack", [Noise(), Extrapolating(), Shaped(), Colluding()])
def test_a_dressed_update_has_an_honest_norm(attack: Attack, knowledge: Knowledge) -> None:
    np.testing.assert_allclose(lengths(sent(attack, knowledge)), knowledge[Access.NORM], rtol=1e-9)


@pytest.mark.parametrize("attack", [Extrapolating(), Shaped(), Colluding()])
def test_a_dressed_update_has_an_honest_cosine_with_history(attack: Attack) -> None:
    np.testing.assert_allclose(cosines(sent(attack), LATE.last), LATE[Access.COSINE], rtol=1e-9)


def test_noise_is_independent_of_everything() -> None:
    rows = sent(Noise())
    assert np.abs(cosines(rows, LATE.last)).max() < 0.08
    assert np.abs(cosines(rows[1:], rows[0])).max() < 0.08


def test_random_weights_fill_the_interval() -> None:
    rows = sent(RandomWeights(radius=0.5))
    assert np.abs(rows).max() <= 0.5
    assert rows.std() == pytest.approx(0.5 / 3**0.5, rel=0.03)


def test_disguise_decays() -> None:
    rows = sent(Disguised(sigma=2.0, gamma=1.0))
    assert rows.std() == pytest.approx(2.0 / 7, rel=0.05)
    assert sent(Disguised(sigma=2.0), FIRST).std() == pytest.approx(2.0, rel=0.05)
    estimated = sent(Disguised(gamma=0.0))
    assert estimated.std() == pytest.approx(LATE.history[0].std(), rel=0.05)
    assert not sent(Disguised(), FIRST).any()


def test_shaped_noise_is_where_history_is() -> None:
    rows = sent(Shaped())
    large = np.abs(LATE.last) > np.median(np.abs(LATE.last))
    off = rows - np.outer(rows @ LATE.last, LATE.last) / (LATE.last @ LATE.last)
    plain = sent(Extrapolating())
    assert np.square(off[:, large]).sum() > 5 * np.square(off[:, ~large]).sum()
    assert np.square(plain[:, large]).sum() < 2 * np.square(plain[:, ~large]).sum()


def test_colluders_share_as_much_noise_as_they_say() -> None:
    for shared in (0.0, 0.5, 1.0):
        rows = sent(Colluding(shared=shared), FIRST)
        assert cosines(rows[1:], rows[0]) == pytest.approx(shared**2, abs=0.08)


def test_cosine_matched_noise_explains_the_length() -> None:
    """The mean of n such updates is as long as its scaled part and its share of the noise say."""
    attack = CosineMatched(constant=0.5, share=0.7)
    rows = sent(attack)
    norms = lengths(LATE.history)[:, 0]
    scaled = LATE.last * norms[-1] / norms[-2]
    noise = rows - scaled
    rate = np.log(norms[-1] / norms[0]) / 5
    cosine = 0.25 / (0.25 + np.exp(2 * rate * 6))
    length = np.sqrt(144 / (12 + 132 * cosine) - 1) * np.linalg.norm(scaled)
    np.testing.assert_allclose(lengths(noise), length, rtol=1e-9)
    assert (np.abs(noise) > 1e-9).mean() == pytest.approx(0.7, abs=0.02)
    one = invented_knowledge(number=1, malicious=2)
    np.testing.assert_array_equal(sent(attack, one), np.tile(one.last, (2, 1)))
    assert not sent(attack, FIRST).any()


def test_lazy_takes_as_many_examples_as_it_says() -> None:
    cohort = invented_cohort(3)
    for count in (1, 4, 10, 100):
        taken = Lazy(examples=count).poison(cohort, np.random.default_rng(1))
        assert [len(one) for one in taken] == [min(count, len(one)) for one in cohort]
        for one, owned in zip(taken, cohort, strict=True):
            rows = {tuple(row) for row in owned.inputs}
            assert {tuple(row) for row in one.inputs} <= rows
    np.testing.assert_array_equal(sent(Lazy()), LATE[Access.POISONED])


def test_synthetic_data_is_nobodys() -> None:
    cohort = invented_cohort(2, least=400)
    made = SyntheticData().poison(cohort, np.random.default_rng(1))
    for one, owned in zip(made, cohort, strict=True):
        assert len(one) == len(owned)
        assert not np.isin(one.inputs, owned.inputs).any()
        assert set(one.labels) == set(range(10))
    rows = sent(SyntheticData())
    np.testing.assert_allclose(lengths(rows), LATE[Access.NORM], rtol=1e-9)
    np.testing.assert_allclose(units(rows), units(LATE[Access.POISONED]))


def test_copycats_copy_the_first_who_trains() -> None:
    trained = LATE[Access.CLEAN][0]
    rows = sent(Copycat(noise=0.5))
    np.testing.assert_array_equal(rows[0], trained)
    np.testing.assert_allclose(lengths(rows[1:] - trained), 0.5 * np.linalg.norm(trained))
    assert np.unique(sent(Copycat(noise=0.0)), axis=0).shape[0] == 1


def test_mixers_have_the_share_of_a_trainer_and_no_clones() -> None:
    clean = LATE[Access.CLEAN]
    rows = sent(ShareEvidence(share=0.6, trainers=2))
    np.testing.assert_array_equal(rows[:2], clean[:2])
    for row, trained in zip(rows[2:], clean[:2], strict=True):
        assert cosines(row[None], trained) == pytest.approx(0.6)
        assert np.linalg.norm(row) == pytest.approx(np.linalg.norm(trained))
    alone = sent(ShareEvidence(share=0.6))
    assert cosines(alone[2:], alone[1]) == pytest.approx(0.36, abs=0.08)
    np.testing.assert_array_equal(sent(ShareEvidence(trainers=9)), clean)


def test_on_and_off_take_turns() -> None:
    attack = OnOff(attack=Delta(), off=2, on=3)
    assert [number for number in range(9) if attack.attacks(number)] == [2, 3, 4, 7, 8]
    for_good = OnOff(attack=Delta(), off=2, on=None)
    assert [for_good.attacks(number) for number in (0, 1, 2, 99)] == [False, False, True, True]
    honest, attacking = (invented_knowledge(number=number, malicious=2) for number in (6, 7))
    np.testing.assert_array_equal(sent(attack, honest), honest[Access.CLEAN])
    np.testing.assert_array_equal(sent(attack, attacking), sent(Delta(), attacking))
    assert attack.needs == {Access.CLEAN}
    assert attack.goal is Delta().goal


def test_one_trainer_is_all_that_is_used() -> None:
    """Rows of clients that claim not to train make no difference."""
    private = {**LATE.private, Access.CLEAN: LATE[Access.CLEAN] * [[1.0], [5.0], [6.0], [7.0]]}
    other = Knowledge(
        number=LATE.number,
        clients=LATE.clients,
        malicious=LATE.malicious,
        weights=LATE.weights,
        history=LATE.history,
        private=private,
    )
    for attack in (Copycat(), ShareEvidence()):
        np.testing.assert_array_equal(sent(attack), sent(attack, other))


@pytest.mark.parametrize(
    ("right", "wrong"),
    [
        (lambda: AdvancedDelta(deviation=1e-9), lambda: AdvancedDelta(deviation=0)),
        (lambda: RandomWeights(radius=1), lambda: RandomWeights(radius=-1)),
        (lambda: RandomWeights(radius=2), lambda: RandomWeights(radius=float("nan"))),
        (lambda: Disguised(sigma=1), lambda: Disguised(sigma=0)),
        (lambda: Disguised(gamma=0), lambda: Disguised(gamma=-1)),
        (lambda: Colluding(shared=1), lambda: Colluding(shared=1.1)),
        (lambda: CosineMatched(constant=1), lambda: CosineMatched(constant=0)),
        (lambda: CosineMatched(share=1), lambda: CosineMatched(share=0)),
        (lambda: Lazy(examples=1), lambda: Lazy(examples=0)),
        (lambda: Copycat(noise=0), lambda: Copycat(noise=-1)),
        (lambda: OnOff(attack=Plain()), lambda: OnOff(attack=Plain(), off=0)),
        (lambda: OnOff(attack=Plain(), on=None), lambda: OnOff(attack=Plain(), on=0)),
        (lambda: ShareEvidence(share=1), lambda: ShareEvidence(share=1.1)),
        (lambda: ShareEvidence(trainers=1), lambda: ShareEvidence(trainers=0)),
    ],
)
def test_parameters_are_checked(right: Callable[[], Attack], wrong: Callable[[], Attack]) -> None:
    assert right().name
    refused(ParameterError, wrong)
