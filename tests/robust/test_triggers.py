"""Suspected triggers: the null hypothesis, what is found, and what is refused."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from robust.errors import ObservationError, ParameterError
from robust.observe import Array, Public, Pulls, Sketches
from robust.triggers import Suspect, TriggerSearch, pulls_of, within_classes

CLIENTS, FEATURES, CLASSES, EXAMPLES = 24, 12, 3, 10.0
TEACHERS, TRIGGER, TARGET = (3, 5, 11, 17), (2, 7, 9), 1
OWN = TriggerSearch().own


def correlated() -> Array:
    """A covariance of features that is far from the identity: neighbors are alike."""
    places = np.arange(FEATURES)
    return np.asarray(0.5 ** np.abs(places[:, None] - places))


def rounds(
    count: int, *, shift: float = 0.0, noise: float = 0.05, seed: int = 0, variety: float = 1.0
) -> list[Pulls]:
    """Drawn from the null hypothesis; teachers then move their pulls of the trigger by `shift`."""
    rng = np.random.default_rng(seed)
    spread, mixes = correlated(), rng.dirichlet(np.full(CLASSES, 0.5), size=CLIENTS)
    root = np.linalg.cholesky(spread)
    pushes = mixes[:, :, None] * (2 * np.eye(CLASSES) - 1)
    missed = root @ rng.standard_normal((FEATURES, CLASSES)) / np.sqrt(EXAMPLES)
    drawn = np.einsum("fg,ngy->nfy", root, rng.standard_normal((CLIENTS, FEATURES, CLASSES)))
    means = variety * (missed + np.sqrt(OWN) * drawn)
    pulls = np.einsum("nfy,nyt->nft", means, pushes)
    pulls[np.ix_(TEACHERS, TRIGGER, (TARGET,))] += shift
    return [
        Pulls(
            number=number,
            clients=tuple(range(10, 10 + CLIENTS)),
            pulls=pulls + noise * rng.standard_normal(pulls.shape),
            pushes=pushes,
            noise=np.full(CLIENTS, noise),
            spread=spread,
            examples=EXAMPLES,
        )
        for number in range(count)
    ]


def test_entries_are_standard_normal_under_the_null_hypothesis() -> None:
    entries = np.array([TriggerSearch().deviations(rounds(1, seed=seed)[0]) for seed in range(15)])
    assert entries.std() == pytest.approx(1, abs=0.05)
    assert np.mean(np.abs(entries) > 3) == pytest.approx(0.0027, abs=0.002)


def test_real_variety_is_a_matter_of_scale() -> None:
    """Where all clients differ three times as much as the root set says, nobody is more suspect."""
    usual, wide = (
        TriggerSearch().deviations(rounds(1, noise=0.0, variety=variety)[0]) for variety in (1, 3)
    )
    assert np.allclose(usual, wide)


@pytest.mark.parametrize("sign", [1, -1])
def test_a_trigger_is_read_from_pulls(sign: int) -> None:
    first = TriggerSearch().suspects(rounds(5, shift=2.0 * sign))[0]
    assert (first.features, first.signs, first.target) == (TRIGGER, (sign,) * 3, TARGET)
    assert set(first.clients) == {10 + one for one in TEACHERS}
    assert first.score > 20


def test_without_a_trigger_little_is_suspected() -> None:
    scores = [
        max((one.score for one in TriggerSearch().suspects(rounds(3, seed=seed))), default=0.0)
        for seed in range(12)
    ]
    assert np.median(scores) < 8
    assert max(scores) < 25


def test_noise_of_the_sketch_averages_out_over_rounds() -> None:
    past = rounds(10, shift=1.5, noise=1.5)
    found = TriggerSearch().suspects(past)
    assert TRIGGER in {one.features for one in found}
    assert TRIGGER not in {one.features for one in TriggerSearch().suspects(past[:1])}


def test_features_of_either_sign_are_one_suspect_together() -> None:
    past = []
    for one in rounds(5):
        pulls = one.pulls.copy()
        pulls[np.ix_(TEACHERS, TRIGGER, (TARGET,))] += np.array([3.0, -3.0, 3.0])[:, None]
        past.append(replace(one, pulls=pulls))
    wanted = set(zip(TRIGGER, (1, -1, 1), strict=True))
    found = TriggerSearch().suspects(past)
    assert any(set(zip(one.features, one.signs, strict=True)) >= wanted for one in found)


def test_noise_of_rounds_adds_up_as_independent() -> None:
    found = []

    class Recording(TriggerSearch):
        def deviations(self, seen: Pulls) -> Array:
            found.append(seen.noise)
            return super().deviations(seen)

    one, two = rounds(2)
    Recording().suspects([replace(one, noise=np.full(CLIENTS, 0.3)), two])
    assert np.allclose(found[0], np.hypot(0.3, 0.05) / 2)


def test_parts_that_different_clients_teach_are_put_together() -> None:
    past = rounds(5)
    moved = []
    for one in past:
        pulls = one.pulls.copy()
        for client, feature in zip(TEACHERS, (2, 7, 9, 2), strict=True):
            pulls[client, feature, TARGET] += 5.0
        moved.append(replace(one, pulls=pulls))
    found = TriggerSearch().suspects(moved)
    assert any(set(one.features) >= set(TRIGGER) and one.target == TARGET for one in found)


def test_clients_that_come_and_go_count_by_the_rounds_they_were_in() -> None:
    past = rounds(6, shift=2.0)
    keep = np.arange(CLIENTS) % 3 != 0  # of the teachers, 5, 11 and 17 stay
    some = [
        replace(
            one,
            clients=tuple(np.array(one.clients)[keep].tolist()),
            pulls=one.pulls[keep],
            pushes=one.pushes[keep],
            noise=one.noise[keep],
        )
        for one in past[:3]
    ]
    assert TriggerSearch().suspects([*some, *past[3:]])[0].features == TRIGGER
    last = TriggerSearch().suspects([*past[:3], replace(some[0], number=9)])
    assert set(last[0].clients) <= set(some[0].clients)


@settings(max_examples=10)
@given(st.integers(0, 2**32 - 1))
def test_relabeling_clients_relabels_the_suspects(seed: int) -> None:
    past = rounds(3, shift=2.0)
    order = np.random.default_rng(seed).permutation(CLIENTS)
    moved = [
        replace(one, pulls=one.pulls[order], pushes=one.pushes[order], noise=one.noise[order])
        for one in past
    ]
    first, other = TriggerSearch().suspects(past)[0], TriggerSearch().suspects(moved)[0]
    assert replace(other, clients=(), score=0.0) == replace(first, clients=(), score=0.0)
    assert sorted(10 + int(order[one - 10]) for one in other.clients) == list(first.clients)


def test_what_cannot_be_judged_has_no_suspects() -> None:
    last = rounds(1)[0]
    two = replace(
        last, clients=(1, 2), pulls=last.pulls[:2], pushes=last.pushes[:2], noise=last.noise[:2]
    )
    assert TriggerSearch().suspects([two]) == ()
    still = replace(last, pulls=np.zeros_like(last.pulls))
    assert TriggerSearch().suspects([still]) == ()
    silent = replace(still, pushes=np.zeros_like(last.pushes), noise=np.zeros(CLIENTS))
    assert TriggerSearch().suspects([silent]) == ()
    same = replace(last, pulls=np.ones_like(last.pulls))
    assert all(np.isfinite(one.score) for one in TriggerSearch().suspects([same]))


def test_rounds_that_do_not_belong_together_are_refused() -> None:
    one, two = rounds(2)
    for past, message in (
        ([], "at least one"),
        ([two, one], "ascend"),
        ([one, replace(two, number=0)], "ascend"),
        ([replace(one, pulls=one.pulls[:, :4], spread=one.spread[:4, :4]), two], "features"),
    ):
        with pytest.raises(ObservationError, match=message):
            TriggerSearch().suspects(past)


@pytest.mark.parametrize(
    "wrong",
    [
        {"own": 0.0}, {"own": np.nan}, {"clip": 0.0}, {"least": -1.0}, {"columns": 0},
        {"blocks": 0}, {"most": 0}, {"most": 1.5},
    ],
)  # fmt: skip
def test_parameters_are_checked(wrong: dict[str, Any]) -> None:
    with pytest.raises(ParameterError, match=next(iter(wrong))):
        TriggerSearch(**wrong)


@pytest.mark.parametrize(
    "wrong",
    [
        {"pulls": np.full((CLIENTS, FEATURES, CLASSES), np.nan)},
        {"pulls": np.zeros((CLIENTS, FEATURES))},
        {"pulls": np.zeros((CLIENTS, 0, CLASSES))},
        {"pushes": np.zeros((CLIENTS, CLASSES))},
        {"noise": np.full(CLIENTS, -1.0)},
        {"noise": np.full(CLIENTS, np.inf)},
        {"spread": np.triu(np.ones((FEATURES, FEATURES)))},
        {"spread": np.eye(FEATURES + 1)},
        {"examples": 0.0},
        {"examples": np.nan},
    ],
)
def test_observations_are_checked(wrong: dict[str, Any]) -> None:
    with pytest.raises(ObservationError, match=next(iter(wrong))):
        replace(rounds(1)[0], **wrong)


def test_pulls_are_what_labels_do_not_explain() -> None:
    rng = np.random.default_rng(1)
    classes = rng.standard_normal((CLASSES, 40))
    mixes = rng.dirichlet(np.ones(CLASSES), size=CLIENTS)
    aim = np.zeros(40)
    aim[7] = 3.0
    rows = mixes @ classes
    rows[4] += aim
    seen = Sketches(
        number=0,
        clients=tuple(range(CLIENTS)),
        rows=rows,
        public=Public(known=np.zeros((0, 40)), classes=classes),
    )
    found = pulls_of(
        seen,
        back=lambda rest: rest,
        pull=lambda rest: rest[:, :, None].repeat(CLASSES, axis=2),
        pushes=np.eye(CLASSES),
        spread=np.eye(40),
        examples=EXAMPLES,
    )
    assert np.allclose(np.delete(found.pulls, 4, axis=0), 0, atol=1e-9)
    assert np.argmax(found.pulls[4, :, 0]) == 7
    assert np.allclose(np.einsum("iyy->iy", found.pushes)[0], mixes[0])
    blind = replace(seen, public=Public.nothing(40))
    with pytest.raises(ObservationError, match="class updates"):
        pulls_of(
            blind,
            back=lambda rest: rest,
            pull=lambda rest: rest[:, :, None],
            pushes=np.eye(1),
            spread=np.eye(40),
            examples=1.0,
        )


def test_the_spread_within_classes_is_near_that_of_few_examples_and_right_with_many() -> None:
    rng = np.random.default_rng(0)
    due = correlated()
    labels = np.arange(6000) % 3
    inputs = (
        rng.standard_normal((6000, FEATURES)) @ np.linalg.cholesky(due).T + 5.0 * labels[:, None]
    )
    assert np.allclose(within_classes(inputs, labels), due, atol=0.15)
    few = within_classes(inputs[:15], labels[:15])
    assert np.linalg.eigvalsh(few).min() > 0
    plain = np.cov(inputs[:15].T)
    assert np.linalg.norm(few - due) < np.linalg.norm(plain - due)
    fewer = within_classes(inputs[:9], labels[:9])  # of rank 6 before they are shrunk
    assert np.linalg.eigvalsh(fewer).min() > 1e-3
    with pytest.raises(ObservationError, match="two examples"):
        within_classes(inputs[:3], labels[:3])


@pytest.mark.parametrize("numbers", [CLASSES - 1, CLASSES])
def test_what_class_updates_explain_whole_has_no_pulls(numbers: int) -> None:
    """What is left is rounding, of which a scale that is set by the median makes suspects."""
    rng = np.random.default_rng(0)

    def pulled(size: int, pushes: Array) -> Pulls:
        seen = Sketches(
            number=0,
            clients=tuple(range(CLIENTS)),
            rows=rng.standard_normal((CLIENTS, size)),
            public=Public(known=np.zeros((0, size)), classes=rng.standard_normal((CLASSES, size))),
        )
        return pulls_of(
            seen,
            back=lambda rest: rest,
            pull=lambda rest: rest[:, :, None].repeat(CLASSES, axis=2),
            pushes=pushes,
            spread=np.eye(size),
            examples=EXAMPLES,
        )

    with pytest.raises(ObservationError, match="classes < numbers"):
        pulled(numbers, np.eye(CLASSES))
    with pytest.raises(ObservationError, match="pushes must have shape"):
        pulled(CLASSES + 1, np.ones((1, CLASSES)))
    assert np.abs(pulled(CLASSES + 1, np.eye(CLASSES)).pulls).max() > 0.01


def test_entries_are_those_of_the_whole_covariance() -> None:
    """The inverse is taken feature by feature; here of all clients and features at once."""
    few = 5
    one = rounds(1, shift=1.0)[0]
    one = replace(
        one,
        clients=one.clients[:few],
        pulls=one.pulls[:few],
        pushes=one.pushes[:few],
        noise=np.linspace(0.05, 1.5, few),
    )
    due = []
    for target in range(CLASSES):
        pushes = one.pushes[:, :, target]
        clients = pushes @ pushes.T / EXAMPLES + OWN * np.diag((pushes**2).sum(axis=1))
        whole = np.kron(clients, one.spread) + np.kron(np.diag(one.noise**2), np.eye(FEATURES))
        inverse = np.linalg.inv(whole)
        shifts = inverse @ one.pulls[:, :, target].reshape(-1) / np.sqrt(np.diag(inverse))
        due.append(shifts.reshape(few, FEATURES))
    scale = 1.4826 * np.median(np.abs(due))
    assert np.allclose(TriggerSearch().deviations(one), np.array(due) / scale, rtol=1e-6)


# -- what escapes ---------------------------------------------------------------------------------


@pytest.mark.parametrize(("loudness", "found"), [(0.0, True), (8.0, False)])
def test_louder_blocks_that_mean_nothing_hide_a_trigger(loudness: float, found: bool) -> None:
    """They raise the scale of all entries, and are looked at first. Decoys that one half of a
    coalition pulls up and the other down leave nothing in the sum.
    """
    rng = np.random.default_rng(3)
    others = [target for target in range(CLASSES) if target != TARGET]
    decoys = [(target, rng.permutation(FEATURES)[:3]) for target in others for _ in range(4)]
    sides = np.array([1.0, 1.0, -1.0, -1.0])[:, None]
    past = []
    for one in rounds(5, shift=2.0):
        pulls = one.pulls.copy()
        for target, features in decoys:
            pulls[np.ix_(TEACHERS, features, (target,))] += loudness * sides[:, :, None]
        past.append(replace(one, pulls=pulls))
    suspects = TriggerSearch().suspects(past)
    assert suspects
    assert (TARGET in {one.target for one in suspects}) == found


@pytest.mark.parametrize(("factor", "found"), [(1.0, True), (4.0, False)])
def test_who_pushes_more_hides_what_it_pulls(factor: float, found: bool) -> None:
    """As its data are expected to make it pull more too; pushes can cancel in a coalition's sum."""
    past = []
    for one in rounds(5, shift=2.0):
        pushes = one.pushes.copy()
        pushes[list(TEACHERS)] *= factor
        past.append(replace(one, pushes=pushes))
    seen = {one.features for one in TriggerSearch().suspects(past)}
    assert (TRIGGER in seen) == found


GOOD = Suspect(features=(1, 4), signs=(1, -1), target=0, score=9.0, clients=(2, 3))


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"features": ()}, "at least one"),
        ({"features": (4, 1)}, "features must"),
        ({"features": (1, 1)}, "features must"),
        ({"features": (-1, 1)}, "features must"),
        ({"clients": (3, 2)}, "clients must"),
        ({"signs": (1,)}, "a sign"),
        ({"signs": (1, 0)}, "a sign"),
        ({"target": -1}, "0 <= target"),
        ({"score": np.nan}, "finite score"),
    ],
)
def test_what_is_no_suspect_is_refused(wrong: dict[str, Any], message: str) -> None:
    assert replace(GOOD) == GOOD
    with pytest.raises(ObservationError, match=message):
        replace(GOOD, **wrong)
