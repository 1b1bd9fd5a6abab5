"""Imitated clients: what they are made of, that they persist, and that the rule can use them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from protocols.federation.data import digits, owners_dirichlet, split
from protocols.federation.federation import Federation
from protocols.federation.imitations import Imitations, halves, resampled
from protocols.federation.model import Network, Training
from protocols.federation.observe import gaussian, sketched
from robust.attacks.attack import Attack, Examples
from robust.attacks.backdoor import NormMatched
from robust.attacks.trigger import Trigger
from robust.decide import Cascade, Screening
from robust.detect_coalition import common
from robust.observe import Imitated
from robust.rule_coalition import CoalitionRule
from secagg.errors import ParameterError

NETWORK = Network(inputs=5, hidden=7, classes=3)
TRAINING = Training(steps=2, batch=4)


def root() -> Examples:
    rng = np.random.default_rng(0)
    labels = np.array([2, 0, 1, 1, 0, 2, 2, 0, 1, 0])
    return Examples(rng.standard_normal((10, 5)), labels, 3)


def imitations(splits: int = 2, seed: int = 0) -> Imitations:
    return Imitations(network=NETWORK, training=TRAINING, root=root(), splits=splits, seed=seed)


def test_an_imitated_client_has_root_examples_with_their_labels() -> None:
    known = {(*row, label) for row, label in zip(root().inputs, root().labels, strict=True)}
    mixes = []
    for seed in range(20):
        one = resampled(root(), np.random.default_rng(seed))
        assert {(*row, label) for row, label in zip(one.inputs, one.labels, strict=True)} <= known
        mixes.append(np.bincount(one.labels, minlength=3) / len(one))
    assert np.std(mixes, axis=0).min() > 0.1


def test_updates_follow_from_seed_round_and_client_alone() -> None:
    weights = NETWORK.fresh(np.random.default_rng(1))
    sent = imitations().updates(weights, 4, (1, 2, 9))
    assert sent.rows.shape == (2, 3, 3, NETWORK.size)
    assert sent.classes.shape == (2, 2, 3, NETWORK.size)
    # stacked products of another size may round otherwise
    fewer = imitations().updates(weights, 4, (2, 9))
    np.testing.assert_allclose(fewer.rows, sent.rows[:, :, 1:], atol=1e-12)
    np.testing.assert_array_equal(fewer.classes, sent.classes)
    for other in (
        imitations().updates(weights, 5, (1, 2, 9)),
        imitations(seed=1).updates(weights, 4, (1, 2, 9)),
    ):
        assert np.abs(other.rows - sent.rows).max() > 1e-3
        assert np.abs(other.classes - sent.classes).max() > 1e-3
    assert np.abs(sent.rows[0] - sent.rows[1]).max() > 1e-3


def test_halves_share_no_example_and_both_have_every_class() -> None:
    whole = root()
    for seed in range(10):
        parts = halves(whole, np.random.default_rng(seed))
        counts = [np.bincount(part.labels, minlength=3) for part in parts]
        assert (counts[1] - counts[0] == np.bincount(whole.labels) % 2).all()
        rows = np.concatenate([part.inputs for part in parts])
        assert {tuple(row) for row in rows} == {tuple(row) for row in whole.inputs}
        assert len(rows) == len(whole)


def test_clients_of_one_half_miss_what_the_other_half_misses_of_their_class() -> None:
    """The reason for halves: judged by their own class updates they would share next to nothing."""
    data = split(digits(), np.random.default_rng(0))
    network = Network(inputs=64, hidden=16, classes=10)
    made_up = Imitations(network=network, training=Training(), root=data.root, splits=2)
    sent = made_up.updates(network.fresh(np.random.default_rng(1)), 0, tuple(range(1, 21)))
    own, crossed = (
        np.mean(
            [
                np.square(common(sent.rows[at, one], sent.classes[at, of(one)]).rest).mean()
                for at in (0, 1)
                for one in (0, 1)
            ]
        )
        for of in (lambda one: one, lambda one: 1 - one)
    )
    assert crossed > 1.2 * own


def test_clients_of_the_whole_miss_of_one_half_less_than_clients_of_the_other_half() -> None:
    """2/r - 1/r and 2/r + 2/r, for r examples of a class: real clients miss 1/r."""
    data = split(digits(), np.random.default_rng(0))
    network = Network(inputs=64, hidden=16, classes=10)
    made_up = Imitations(network=network, training=Training(), root=data.root, splits=2)
    sent = made_up.updates(network.fresh(np.random.default_rng(1)), 0, tuple(range(1, 21)))
    wide, narrow = (
        np.mean(
            [
                np.square(common(sent.rows[at, of(half)], sent.classes[at, half]).rest).mean()
                for at in (0, 1)
                for half in (0, 1)
            ]
        )
        for of in (lambda half: 1 - half, lambda _: 2)
    )
    assert wide > 1.1 * narrow


def test_one_split_and_a_class_that_cannot_be_split_are_refused() -> None:
    imitations(splits=2)
    with pytest.raises(ParameterError, match="splits >= 2"):
        imitations(splits=1)
    alone = root().take(np.flatnonzero(np.cumsum(root().labels == 1) * (root().labels == 1) < 2))
    with pytest.raises(ParameterError, match="two examples of every class"):
        Imitations(network=NETWORK, training=TRAINING, root=alone)


@pytest.mark.slow
@pytest.mark.parametrize("attackers", [0, 6])
def test_a_backdoor_of_honest_norm_is_kept_out_and_honest_clients_are_not(attackers: int) -> None:
    rng = np.random.default_rng(0)
    data = split(digits(), rng)
    owners = owners_dirichlet(data.train, 30, 0.3, rng)
    trigger = Trigger(indices=(18, 27, 36, 45), value=3.0, target=2)
    attacks: list[tuple[Attack, int]] = [(NormMatched(trigger=trigger), attackers)]
    federation = Federation(
        split=data, owners=owners, seed=0, attackers=attacks if attackers else ()
    )
    made_up = Imitations(network=federation.network, training=Training(), root=data.root)
    screening = Screening(Cascade(rules=(CoalitionRule(),)))
    for _ in range(8):
        seen = federation.round()
        projection = gaussian(256, federation.network.size, rng)
        others = made_up.updates(seen.weights, seen.number, seen.clients)
        others = Imitated(rows=others.rows @ projection.T, classes=others.classes @ projection.T)
        verdicts = screening.judge(replace(sketched(seen, projection), imitations=others))
        kept = [not verdicts.by_client[one].excluded for one in seen.clients]
        federation.apply(seen.mean(np.array(kept, dtype=np.float64)))
    assert verdicts.excluded == federation.malicious
    assert federation.attack_success(trigger) < 0.1
