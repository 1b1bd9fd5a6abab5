"""Rounds: what they repeat, what an attack changes, and that learning and backdoors work."""

from __future__ import annotations

from functools import cache, partial

import numpy as np
import pytest

from protocols.federation.data import Owners, Split, digits, owners_dirichlet, owners_iid, split
from protocols.federation.federation import Federation
from protocols.federation.model import Training
from robust.attacks.adaptive_null_space import NullSpace
from robust.attacks.attack import Attack
from robust.attacks.backdoor import ModelReplacement, NormMatched
from robust.attacks.catalog import backdoors, free_riders, poisoners
from robust.attacks.free_rider_mimic import Extrapolating
from robust.attacks.free_rider_replay import Delta, Plain
from robust.attacks.poison_labels import LabelFlip
from robust.attacks.poison_mean import SignFlip
from robust.attacks.testing import refused
from robust.attacks.trigger import Trigger
from robust.errors import ObservationError
from secagg.errors import InputRefused, ParameterError

TRIGGER = Trigger(indices=(6, 7, 14, 15), value=3.0, target=0)
EVERY = (*free_riders(), *poisoners(), *backdoors(TRIGGER))


@cache
def shared(clients: int, alpha: float | None = None) -> tuple[Split, Owners]:
    parts = split(digits(), np.random.default_rng(1))
    rng = np.random.default_rng(2)
    if alpha is None:
        return parts, owners_iid(parts.train, clients, rng)
    return parts, owners_dirichlet(parts.train, clients, alpha, rng)


def federation(
    attack: Attack | None = None,
    malicious: int = 0,
    *,
    clients: int = 12,
    alpha: float | None = None,
    seed: int = 3,
    hidden: int = 16,
    participants: int | None = None,
) -> Federation:
    parts, owners = shared(clients, alpha)
    return Federation(
        split=parts,
        owners=owners,
        seed=seed,
        attackers=[] if attack is None else [(attack, malicious)],
        hidden=hidden,
        participants=participants,
    )


def after(runs: Federation, rounds: int) -> Federation:
    for _ in range(rounds):
        runs.apply(runs.round().mean())
    return runs


@pytest.mark.parametrize("attack", EVERY, ids=lambda attack: attack.name)
def test_every_attack_runs_from_the_first_round_on(attack: Attack) -> None:
    runs = federation(attack, 4)
    projection = np.random.default_rng(1).standard_normal((20, runs.network.size))
    for number in range(3):
        seen, again = (runs.round(projection=projection) for _ in "ab")
        assert seen.number == number
        assert np.isfinite(seen.updates).all()
        assert tuple(np.array(seen.clients)[~seen.honest]) == runs.malicious
        np.testing.assert_array_equal(seen.updates, again.updates)
        runs.apply(seen.mean())


def test_a_seed_repeats_everything_and_another_does_not() -> None:
    one, same, other = (
        after(federation(NormMatched(trigger=TRIGGER), 4, seed=seed), 2) for seed in (3, 3, 4)
    )
    np.testing.assert_array_equal(one.weights, same.weights)
    assert one.malicious == same.malicious
    assert one.malicious != other.malicious
    assert (one.weights != other.weights).any()


def test_an_attack_changes_nothing_about_honest_clients() -> None:
    clean, attacked = federation(), federation(LabelFlip(), 4)
    few = federation(SignFlip(), 2)
    honest, before = attacked.round().honest, clean.round().updates
    np.testing.assert_array_equal(attacked.round().updates[honest], before[honest])
    assert set(few.malicious) < set(attacked.malicious)
    flipped = ~few.round().honest
    np.testing.assert_array_equal(few.round().updates[flipped], -before[flipped])


def test_a_round_tells_what_the_server_has_and_the_public_knows() -> None:
    runs = after(federation(Delta(), 4), 3)
    seen = runs.round()
    assert seen.clients == tuple(range(1, 13))
    assert seen.history.shape == (3, runs.network.size)
    assert seen.root.shape == seen.weights.shape == (runs.network.size,)
    assert seen.classes.shape == (10, runs.network.size)
    np.testing.assert_allclose(
        federation().weights + seen.history.sum(axis=0), seen.weights, rtol=1e-12
    )
    np.testing.assert_array_equal(seen.updates[~seen.honest], np.tile(seen.history[-1], (4, 1)))


def test_root_updates_point_the_way_of_honest_ones() -> None:
    seen = federation().round()
    mean = seen.mean()
    assert seen.root @ mean > 0.5 * np.linalg.norm(seen.root) * np.linalg.norm(mean)
    rows = seen.classes[:, federation().network.layers["output.bias"]]
    np.testing.assert_array_equal(rows.argmax(axis=1), np.arange(10))


def test_a_free_rider_sees_honest_figures() -> None:
    runs = after(federation(Extrapolating(), 4), 2)
    seen = runs.round()
    norms = np.linalg.norm(seen.updates, axis=1)
    cosines = seen.updates @ seen.history[-1] / norms / np.linalg.norm(seen.history[-1])
    np.testing.assert_allclose(norms[~seen.honest], np.median(norms[seen.honest]))
    np.testing.assert_allclose(cosines[~seen.honest], np.median(cosines[seen.honest]))


def test_an_audit_starts_from_the_perturbed_model_and_keeps_the_other() -> None:
    runs = federation()
    shift = np.random.default_rng(1).normal(0, 0.1, runs.network.size)
    seen, plain = runs.round(perturbation=shift), runs.round()
    np.testing.assert_array_equal(seen.weights, runs.weights + shift)
    assert seen.perturbation is shift
    assert plain.perturbation is None
    assert (seen.updates != plain.updates).any()
    assert runs.number == 0


def test_shares_weigh_the_mean() -> None:
    seen = federation().round()
    only = np.zeros(12)
    only[[2, 5]] = 3, 1
    np.testing.assert_allclose(seen.mean(only), 0.75 * seen.updates[2] + 0.25 * seen.updates[5])
    np.testing.assert_allclose(seen.mean(), seen.updates.mean(axis=0))
    for wrong in (np.zeros(12), np.ones(11), -only, only * np.nan):
        refused(InputRefused, partial(seen.mean, wrong))


def test_an_update_of_the_wrong_shape_is_refused() -> None:
    runs = federation()
    good = runs.round().mean()
    for wrong in (good[1:], good[None], np.full_like(good, np.inf)):
        refused(InputRefused, partial(runs.apply, wrong))
    assert runs.number == 0
    runs.apply(good)
    assert runs.number == 1


def test_numbers_that_make_no_federation_are_refused() -> None:
    assert federation(Plain(), 11).malicious
    for attack, malicious in ((Plain(), 12), (Plain(), 0), (Plain(), -1)):
        refused(ParameterError, partial(federation, attack, malicious))
    assert federation(Plain(), 4, participants=5).malicious
    for participants in (0, 4, 13):
        refused(ParameterError, partial(federation, Plain(), 4, participants=participants))


def test_some_take_part_and_in_the_end_all() -> None:
    runs, seen, attackers = federation(SignFlip(), 4, participants=5), set(), set()
    everybody = federation(SignFlip(), 4).round()
    first = runs.round()
    rows = np.isin(everybody.clients, first.clients)
    np.testing.assert_array_equal(first.updates, everybody.updates[rows])
    np.testing.assert_array_equal(first.honest, everybody.honest[rows])
    for _ in range(12):
        found = runs.round()
        assert len(found.clients) == len(found.updates) == 5
        assert list(found.clients) == sorted(set(found.clients))
        attackers |= set(np.array(found.clients)[~found.honest].tolist())
        seen |= set(found.clients)
        runs.apply(found.mean())
    assert seen == set(runs.clients)
    assert attackers == set(runs.malicious)


def test_a_projection_that_is_needed_must_be_given() -> None:
    runs = federation(NullSpace(trigger=TRIGGER), 4)
    refused(ObservationError, runs.round)
    projection = np.random.default_rng(1).standard_normal((9, runs.network.size))
    seen, clean = runs.round(projection=projection), federation().round()
    np.testing.assert_allclose(seen.updates @ projection.T, clean.updates @ projection.T, atol=1e-9)


def test_other_training_is_done() -> None:
    parts, owners = shared(12)
    short = Federation(split=parts, owners=owners, seed=3, training=Training(steps=1))
    long = Federation(split=parts, owners=owners, seed=3)
    lengths = [np.linalg.norm(runs.round().updates, axis=1).mean() for runs in (short, long)]
    assert lengths[0] < 0.3 * lengths[1]


# -- learning ------------------------------------------------------------------------------------


def test_digits_are_learned() -> None:
    runs = federation(clients=40, hidden=64)
    assert runs.accuracy() < 0.3
    assert after(runs, 15).accuracy() > 0.9
    assert runs.attack_success(TRIGGER) < 0.05


def test_uneven_digits_are_learned() -> None:
    assert after(federation(clients=40, alpha=0.3, hidden=64), 15).accuracy() > 0.85


def test_a_replaced_model_obeys_the_trigger() -> None:
    runs = after(federation(ModelReplacement(trigger=TRIGGER), 8, clients=40, hidden=64), 15)
    assert runs.attack_success(TRIGGER) > 0.5
    assert runs.accuracy() > 0.85


def test_poison_harms() -> None:
    clean = after(federation(clients=40, alpha=0.3, hidden=64), 10)
    poisoned = after(federation(SignFlip(), 12, clients=40, alpha=0.3, hidden=64), 10)
    assert poisoned.accuracy() < clean.accuracy() - 0.02


def test_two_attacks_run_side_by_side_and_know_nothing_of_each_other() -> None:
    parts, owners = shared(12, None)
    trigger = Trigger(indices=(0, 1), value=3.0, target=2)
    attackers = [(Delta(), 2), (NormMatched(trigger=trigger), 3)]
    runs = after(Federation(split=parts, owners=owners, seed=3, attackers=attackers, hidden=16), 1)
    kinds = [runs.attack_of(client) for client in runs.clients]
    assert [kinds.count(attack) for attack, _ in attackers] == [2, 3]
    assert kinds.count(None) == 12 - 5
    assert runs.malicious == tuple(c for c in runs.clients if runs.attack_of(c) is not None)
    seen = runs.round()
    replayed = [runs.attack_of(client) is attackers[0][0] for client in seen.clients]
    assert (seen.updates[replayed] == runs.history[-1]).all()


def test_a_skipped_round_leaves_model_and_history_and_goes_on() -> None:
    runs = federation()
    runs.apply(runs.round().mean())
    weights, before = runs.weights, runs.round()
    runs.skip()
    after_it = runs.round()
    assert (runs.number, after_it.number) == (2, 2)
    assert np.array_equal(runs.weights, weights)
    assert np.array_equal(after_it.history, before.history)
    assert not np.array_equal(after_it.updates, before.updates)  # of other batches
