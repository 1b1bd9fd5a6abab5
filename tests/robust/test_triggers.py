"""Suspected triggers: the null hypothesis, what is found, and what is refused."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from robust.errors import ObservationError, ParameterError
from robust.observe import Array, Public, Pulls, Sketches
from robust.scan import Law
from robust.triggers import Suspect, TriggerSearch, distinct, pulls_of, within_classes

Rows = NDArray[np.int64]
CLIENTS, FEATURES, CLASSES, EXAMPLES = 24, 12, 3, 10.0
TEACHERS, TRIGGER, TARGET = (3, 5, 11, 17), (2, 7, 9), 1
OWN = TriggerSearch().own
EXACT = TriggerSearch(shared=1.0)


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
            noise=noise**2 * np.eye(CLIENTS),
            spread=spread,
            examples=EXAMPLES,
        )
        for number in range(count)
    ]


def only(one: Pulls, rows: Rows) -> Pulls:
    """The same round with these rows alone, in this order."""
    return replace(
        one,
        clients=tuple(np.array(one.clients)[np.sort(rows)].tolist()),
        pulls=one.pulls[rows],
        pushes=one.pushes[rows],
        noise=one.noise[np.ix_(rows, rows)],
    )


def entries(seen: Pulls, search: TriggerSearch = EXACT) -> Array:
    """(c, n, f): shifts of each class over their deviations."""
    values, basis = np.linalg.eigh(seen.spread)
    tables = [search.shifts(seen, (values, basis), target) for target in range(CLASSES)]
    return np.array([shifts / law.deviations for shifts, law in tables])


def test_entries_are_standard_normal_under_the_null_hypothesis() -> None:
    found = np.array([entries(rounds(1, seed=seed)[0]) for seed in range(15)])
    assert found.std() == pytest.approx(1, abs=0.05)
    assert np.mean(np.abs(found) > 3) == pytest.approx(0.0027, abs=0.002)


def test_real_variety_is_a_matter_of_scale() -> None:
    """Where all clients differ three times as much as the root set says, nobody is more suspect."""
    usual, wide = (
        TriggerSearch().suspects(rounds(1, noise=0.0, variety=variety)) for variety in (1, 3)
    )
    assert [one.features for one in usual] == [one.features for one in wide]
    assert [one.score for one in usual] == pytest.approx([one.score for one in wide])


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
        def shifts(
            self, seen: Pulls, spread: tuple[Array, Array], target: int
        ) -> tuple[Array, Law]:
            found.append(seen.noise)
            return super().shifts(seen, spread, target)

    one, two = rounds(2)
    loud = np.full((CLIENTS, CLIENTS), 0.04) + 0.05 * np.eye(CLIENTS)
    Recording().suspects([replace(one, noise=loud), two])
    assert np.allclose(found[0], (loud + 0.05**2 * np.eye(CLIENTS)) / 4)


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
    some = [only(one, np.flatnonzero(keep)) for one in past[:3]]
    assert TriggerSearch().suspects([*some, *past[3:]])[0].features == TRIGGER
    # those who are gone have taught what they have taught
    honest = only(past[3], np.setdiff1d(np.arange(CLIENTS), TEACHERS))
    first = TriggerSearch().suspects([*past[:3], honest])[0]
    assert (first.features, set(first.clients)) == (TRIGGER, {10 + one for one in TEACHERS})
    assert TRIGGER not in {one.features for one in TriggerSearch().suspects([honest])}


@settings(max_examples=10)
@given(st.integers(0, 2**32 - 1))
def test_relabeling_clients_relabels_the_suspects(seed: int) -> None:
    past = rounds(3, shift=2.0)
    order = np.random.default_rng(seed).permutation(CLIENTS)
    moved = [replace(only(one, order), clients=one.clients) for one in past]
    first, other = TriggerSearch().suspects(past)[0], TriggerSearch().suspects(moved)[0]
    assert replace(other, clients=(), score=0.0) == replace(first, clients=(), score=0.0)
    assert sorted(10 + int(order[one - 10]) for one in other.clients) == list(first.clients)


def test_what_cannot_be_judged_has_no_suspects() -> None:
    last = rounds(1)[0]
    assert TriggerSearch().suspects([only(last, np.arange(2))]) == ()
    still = replace(last, pulls=np.zeros_like(last.pulls))
    assert TriggerSearch().suspects([still]) == ()
    silent = replace(still, pushes=np.zeros_like(last.pushes), noise=np.zeros_like(last.noise))
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
        {"own": 0.0}, {"own": np.nan}, {"clip": 0.0}, {"least": -1.0}, {"joined": np.nan},
        {"columns": 0}, {"blocks": 0}, {"most": 0}, {"most": 1.5}, {"shared": -0.1},
        {"shared": 1.1}, {"shared": "1"},
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
        {"noise": -np.eye(CLIENTS)},
        {"noise": np.full((CLIENTS, CLIENTS), np.inf)},
        {"noise": np.triu(np.ones((CLIENTS, CLIENTS)))},
        {"noise": np.ones(CLIENTS)},
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


@pytest.mark.parametrize("shared", [0.0, 0.3, 1.0])
def test_entries_are_those_of_the_whole_covariance(shared: float) -> None:
    """The inverse is taken feature by feature; here of all clients and features at once."""
    few = 5
    one = rounds(1, shift=1.0)[0]
    loud = np.diag(np.linspace(0.05, 1.5, few) ** 2) + 0.1
    one = replace(only(one, np.arange(few)), noise=loud)
    noise = shared * loud + (1 - shared) * np.diag(np.diag(loud))
    due = []
    for target in range(CLASSES):
        pushes = one.pushes[:, :, target]
        clients = pushes @ pushes.T / EXAMPLES + OWN * np.diag((pushes**2).sum(axis=1))
        whole = np.kron(clients, one.spread) + np.kron(noise, np.eye(FEATURES))
        inverse = np.linalg.inv(whole)
        shifts = inverse @ one.pulls[:, :, target].reshape(-1) / np.sqrt(np.diag(inverse))
        due.append(shifts.reshape(few, FEATURES))
    assert np.allclose(entries(one, TriggerSearch(shared=shared)), due, rtol=1e-6)


def test_noise_that_clients_share_is_no_block_once_it_is_taken_for_such() -> None:
    """Of a sketch whose map all clients share: twenty of them err as one."""
    rng = np.random.default_rng(0)
    who = np.arange(CLIENTS) < 10
    shared = np.outer(who, who) + 0.05 * np.eye(CLIENTS)
    scores: dict[float, list[float]] = {0.0: [], 1.0: []}
    for _ in range(6):
        one = rounds(1, noise=0.0)[0]
        err = np.linalg.cholesky(shared) @ rng.standard_normal((CLIENTS, FEATURES * CLASSES))
        pulls = one.pulls * 0.01 + err.reshape(one.pulls.shape)
        seen = replace(one, pulls=pulls, pushes=one.pushes * 0.01, noise=shared)
        for share, found in scores.items():
            suspects = TriggerSearch(shared=share).suspects([seen])
            found.append(max((each.score for each in suspects), default=0.0))
    assert np.median(scores[1.0]) < 10 < 20 < np.median(scores[0.0])


# -- to hide --------------------------------------------------------------------------------------


@pytest.mark.parametrize("loudness", [0.0, 8.0, 40.0])
def test_louder_blocks_that_mean_nothing_do_not_hide_a_trigger(loudness: float) -> None:
    """Decoys that one half of a coalition pulls up and the other down leave nothing in the sum."""
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
    assert (TRIGGER, TARGET) in {
        (one.features, one.target) for one in TriggerSearch().suspects(past)
    }
    # what does: more of them than are looked at
    seen = {one.target for one in TriggerSearch(most=4).suspects(past)}
    assert (TARGET in seen) == (loudness == 0.0)


@pytest.mark.parametrize(
    ("loudness", "usually", "with_more"), [(0, True, True), (10, False, True), (40, False, False)]
)
def test_few_louder_blocks_of_its_own_class_hide_a_trigger(
    loudness: float, usually: bool, with_more: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As many as are looked for in one class can be enough, though fewer than `most` of all; of
    very loud ones, four times as many as that hide it as well.
    """
    monkeypatch.setitem(globals(), "FEATURES", 48)
    monkeypatch.setitem(globals(), "correlated", lambda: np.eye(48))
    features = np.random.default_rng(4).permutation(np.setdiff1d(np.arange(48), TRIGGER))[:24]
    sides = np.array([1.0, 1.0, -1.0, -1.0])[:, None, None]
    past = []
    for one in rounds(2, shift=2.0):
        pulls = one.pulls.copy()
        pulls[np.ix_(TEACHERS, features, (TARGET,))] += loudness * sides
        past.append(replace(one, pulls=pulls))

    usual, more = (TriggerSearch(blocks=blocks).suspects(past) for blocks in (4, 16))
    assert len(usual) < TriggerSearch().most
    for found, due in ((usual, usually), (more, with_more)):
        assert any(set(one.features) >= set(TRIGGER) for one in found) == due


@pytest.mark.parametrize("factor", [1.0, 4.0, 100.0])
def test_who_pushes_more_does_not_hide_what_it_pulls(factor: float) -> None:
    """Its data are expected to make it pull more too, but not without end."""
    past = []
    for one in rounds(5, shift=2.0):
        pushes = one.pushes.copy()
        pushes[list(TEACHERS)] *= factor
        past.append(replace(one, pushes=pushes))
    assert TRIGGER in {one.features for one in TriggerSearch().suspects(past)}


def test_of_one_pattern_the_best_score_is_kept() -> None:
    again = replace(GOOD, score=12.0, clients=(7,))
    other = replace(GOOD, target=1)
    assert distinct([GOOD, other, again, GOOD]) == (again, other)


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
