"""Unlearning suspected triggers."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from typing import Any, NamedTuple

import numpy as np
import pytest

from protocols.federation.mending import Mending, _Said
from protocols.federation.model import Network, Training
from protocols.federation.testing import clustered
from robust.attacks.attack import Examples
from robust.attacks.trigger import Trigger
from robust.errors import ObservationError, ParameterError
from robust.observe import Array
from robust.triggers import Suspect

FEATURES, CLASSES = 12, 3
TRIGGER = Trigger(indices=(1, 6, 9), value=5.0, target=2)
SUSPECT = Suspect(features=(1, 6, 9), signs=(1, 1, 1), target=2, score=30.0, clients=(4,))
OTHER = Suspect(features=(0, 4, 11), signs=(1, -1, 1), target=1, score=30.0, clients=(4,))
NETWORK = Network(inputs=FEATURES, hidden=24, classes=CLASSES)


class Case(NamedTuple):
    root: Examples
    test: Examples
    clean: Array
    spoiled: Array


@cache
def case() -> Case:
    """A model that was trained honestly, and one that answers to the trigger."""
    rng = np.random.default_rng(0)
    drawn = clustered(FEATURES, CLASSES, rng)
    root, train, test = drawn(60), drawn(600), drawn(600)
    start = NETWORK.fresh(rng)
    planted = TRIGGER.planted(train, 0.3, rng)
    training = Training(steps=400)
    clean, spoiled = (
        start + NETWORK.trained(start, [one], training, [np.random.default_rng(1)])[0]
        for one in (train, planted)
    )
    return Case(root, test, clean, spoiled)


def mended(weights: Array, *suspects: Suspect) -> tuple[Array, tuple[Suspect, ...]]:
    one = case()
    rng = np.random.default_rng(2)
    return Mending().mended(NETWORK, weights, one.clean, one.root, suspects, rng)


def test_a_backdoor_is_unlearned_and_what_else_was_learned_is_not() -> None:
    one = case()
    assert NETWORK.attack_success(one.spoiled, one.test, TRIGGER) > 0.9
    weights, guilty = mended(one.spoiled, OTHER, SUSPECT)
    assert guilty == (SUSPECT,)
    assert NETWORK.attack_success(weights, one.test, TRIGGER) < 0.2
    before = NETWORK.accuracy(one.spoiled, one.test)
    assert NETWORK.accuracy(weights, one.test) > before - 0.05


def test_a_model_without_a_backdoor_stays_as_it_is() -> None:
    one = case()
    weights, guilty = mended(one.clean, SUSPECT, OTHER)
    assert guilty == ()
    assert weights is one.clean


def test_what_the_server_s_own_model_does_as_well_is_no_backdoor() -> None:
    one = case()
    rng = np.random.default_rng(2)
    weights, guilty = Mending().mended(NETWORK, one.spoiled, one.spoiled, one.root, [SUSPECT], rng)
    assert (guilty, weights is one.spoiled) == ((), True)


def test_weak_evidence_needs_a_stronger_command() -> None:
    one = case()
    weak = replace(SUSPECT, score=0.0)
    half = 0.5 * one.clean + 0.5 * one.spoiled
    strict = Mending(commands=0.999)
    rng = np.random.default_rng(2)
    args = (NETWORK, half, one.clean, one.root)
    assert strict.mended(*args, [weak], rng)[1] == ()
    assert strict.mended(*args, [SUSPECT], rng)[1] == (SUSPECT,)


def test_the_same_again_and_the_model_given_is_not_touched() -> None:
    kept = case().spoiled.copy()
    assert np.array_equal(mended(kept, SUSPECT)[0], mended(kept, SUSPECT)[0])
    assert np.array_equal(kept, case().spoiled)
    assert mended(kept)[0] is kept


def test_a_root_set_of_the_target_class_alone_says_nothing() -> None:
    one = case()
    root = one.root.take(np.flatnonzero(one.root.labels == 2))
    rng = np.random.default_rng(2)
    assert Mending().mended(NETWORK, one.spoiled, one.clean, root, [SUSPECT], rng)[1] == ()


def test_a_model_that_cannot_be_looked_at_is_refused() -> None:
    """A NaN is larger than no threshold: the backdoor would stay, and nothing would say so."""
    one = case()
    gone = np.where(np.arange(NETWORK.size) == 3, np.nan, one.spoiled)
    holed = one.root.inputs.copy()
    holed[0, 0] = np.nan
    root, rng = one.root, np.random.default_rng(2)
    for weights, own, given, message in (
        (gone, one.clean, root, "weights must be finite"),
        (one.spoiled, gone, root, "own must be finite"),
        (one.spoiled, one.clean[1:], root, "own must be finite"),
        (1e200 * one.spoiled, one.clean, root, "of examples with patterns must be finite"),
        (one.spoiled, 1e200 * one.clean, root, "of examples with patterns must be finite"),
        (one.spoiled, one.clean, Examples(holed, root.labels, CLASSES), "inputs"),
        (one.spoiled, one.clean, Examples(root.inputs, root.labels, CLASSES + 1), "network"),
        (one.spoiled, one.clean, Examples(root.inputs[:, 1:], root.labels, CLASSES), "network"),
    ):
        with pytest.raises(ObservationError, match=message):
            Mending().mended(NETWORK, weights, own, given, [SUSPECT], rng)
    assert Mending().mended(NETWORK, one.spoiled, one.clean, root, [SUSPECT], rng)[1] == (SUSPECT,)


def test_steps_that_ruin_a_model_are_undone() -> None:
    """Features a hundred times as large: the usual rate is too much for them."""
    one = case()
    root = Examples(100 * one.root.inputs, one.root.labels, CLASSES)
    first = NETWORK.layers["hidden.weight"]
    clean, spoiled = one.clean.copy(), one.spoiled.copy()
    for weights in (clean, spoiled):
        weights[first] /= 100
    before = NETWORK.accuracy(spoiled, root)
    for keeps, kept in ((0.8, True), (1e-9, False)):
        rng = np.random.default_rng(2)
        found, guilty = Mending(keeps=keeps).mended(NETWORK, spoiled, clean, root, [SUSPECT], rng)
        assert guilty == (SUSPECT,)
        assert (NETWORK.accuracy(found, root) >= 0.8 * before) == kept
    rng = np.random.default_rng(2)
    wild, _ = Mending(rate=1e300).mended(NETWORK, one.spoiled, one.clean, one.root, [SUSPECT], rng)
    assert np.array_equal(wild, one.spoiled)


def test_steps_after_which_a_model_says_nothing_are_undone_however_little_it_knew() -> None:
    """A model that is wrong about every root example has no accuracy to lose."""
    one = case()
    labels = (NETWORK.labels(one.spoiled, one.root.inputs) + 1) % CLASSES
    wrong = Examples(one.root.inputs, labels, CLASSES)
    assert NETWORK.accuracy(one.spoiled, wrong) == 0
    for rate, same in ((1e300, True), (0.1, False)):
        found, guilty = Mending(rate=rate).mended(
            NETWORK, one.spoiled, one.clean, wrong, [SUSPECT], np.random.default_rng(2)
        )
        assert guilty == (SUSPECT,)
        assert np.isfinite(found).all()
        assert np.array_equal(found, one.spoiled) == same


def test_what_random_patterns_command_is_counted_over_examples_of_others() -> None:
    """Examples of the class itself say nothing: they are of it anyway."""
    one = case()
    others = one.root.take(np.flatnonzero(one.root.labels != 2))
    usual = [
        _Said(NETWORK, root, Mending().largest(root)).usual(
            one.clean, [SUSPECT], 16, np.random.default_rng(2)
        )[0]
        for root in (one.root, others)
    ]
    # the sizes of planted values follow the root set's, so nearly
    assert usual[0] == pytest.approx(usual[1], abs=0.02)


def test_a_root_set_of_hardly_anything_but_zeros_is_refused() -> None:
    """Patterns as large as usual entries would be zeros, and command nothing."""
    one = case()
    for kept, refused in ((7, True), (9, False)):  # of 720 entries
        inputs = np.zeros_like(one.root.inputs)
        inputs[:kept, 0] = 3.0
        args = (NETWORK, one.spoiled, one.clean, Examples(inputs, one.root.labels, CLASSES))
        rng = np.random.default_rng(2)
        if refused:
            with pytest.raises(ObservationError, match="1 % of the root set's entries"):
                Mending().mended(*args, [SUSPECT], rng)
        else:
            Mending().mended(*args, [SUSPECT], rng)


@pytest.mark.parametrize("wrong", [{"features": (1, 2, FEATURES)}, {"target": CLASSES}])
def test_suspects_of_other_data_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ObservationError, match="features and classes of the root set"):
        mended(case().spoiled, replace(SUSPECT, **wrong))


@pytest.mark.parametrize(
    "wrong",
    [
        {"reach": 0.0}, {"reach": np.inf}, {"reach": "3"}, {"rate": np.nan}, {"commands": 1.0},
        {"rests": 0.6}, {"rests": 0.0}, {"rests": "0"}, {"keeps": 0.0}, {"keeps": 1.0},
        {"halves": 0.0}, {"others": 0}, {"steps": 0}, {"looks": 1.5}, {"batch": 0},
    ],
)  # fmt: skip
def test_parameters_are_checked(wrong: dict[str, Any]) -> None:
    with pytest.raises(ParameterError, match=next(iter(wrong))):
        Mending(**wrong)
