"""The network: gradients, stacking, and what it says of inputs."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocols.federation.model import Network, Training, draws
from robust.attacks.attack import Examples
from robust.attacks.testing import refused
from robust.attacks.trigger import Trigger
from robust.observe import Array
from secagg.errors import ParameterError

NETWORK = Network(inputs=5, hidden=7, classes=3)


def cohort(rng: np.random.Generator, sizes: tuple[int, ...]) -> list[Examples]:
    return [Examples(rng.normal(size=(n, 5)), rng.integers(3, size=n), 3) for n in sizes]


def loss(weights: Array, examples: Examples) -> float:
    """Written out for one client, from the layers' names."""
    where = NETWORK.layers
    first = weights[where["hidden.weight"]].reshape(5, 7)
    second = weights[where["output.weight"]].reshape(7, 3)
    hidden = np.maximum(examples.inputs @ first + weights[where["hidden.bias"]], 0)
    logits = hidden @ second + weights[where["output.bias"]]
    right = logits[np.arange(len(examples)), examples.labels]
    return float((np.log(np.exp(logits).sum(axis=1)) - right).mean())


def test_layers_partition_the_vector() -> None:
    ends = [0]
    for part in NETWORK.layers.values():
        assert part.start == ends[-1]
        ends.append(part.stop)
    assert ends[-1] == NETWORK.size == 5 * 7 + 7 + 7 * 3 + 3
    assert len(NETWORK.fresh(np.random.default_rng(1))) == NETWORK.size


def test_losses_are_those_of_each_example() -> None:
    rng = np.random.default_rng(1)
    (several,) = cohort(rng, (6,))
    weights = NETWORK.fresh(rng)
    found = NETWORK.losses(weights, several)
    assert found.mean() == pytest.approx(loss(weights, several))
    assert found[2] == pytest.approx(loss(weights, several.take(np.array([2]))))
    far = NETWORK.losses(1e3 * weights, several)
    assert np.isfinite(far).all()
    assert (far >= 0).all()


def test_a_step_follows_the_gradient() -> None:
    rng = np.random.default_rng(1)
    (one,) = cohort(rng, (6,))
    weights = NETWORK.fresh(rng)
    update = NETWORK.updates(weights, [one], [np.arange(6)[None]], rate=0.5)[0]
    steps = 1e-6 * np.eye(NETWORK.size)
    slopes = [(loss(weights + e, one) - loss(weights - e, one)) / 2e-6 for e in steps]
    np.testing.assert_allclose(update, -0.5 * np.array(slopes), atol=1e-8)


@given(st.integers(0, 2**32), st.lists(st.integers(1, 50), min_size=1, max_size=6))
def test_clients_together_train_as_each_alone(seed: int, sizes: list[int]) -> None:
    rng = np.random.default_rng(seed)
    clients = cohort(rng, tuple(sizes))
    training = Training(steps=4, batch=8, rate=0.3)
    weights = NETWORK.fresh(rng)
    batches = [draws(len(one), training, rng) for one in clients]
    together = NETWORK.updates(weights, clients, batches, training.rate)
    for row, one, batch in zip(together, clients, batches, strict=True):
        (alone,) = NETWORK.updates(weights, [one], [batch], training.rate)
        np.testing.assert_allclose(row, alone, rtol=1e-10, atol=1e-14)


def test_steps_add_up() -> None:
    rng = np.random.default_rng(1)
    clients = cohort(rng, (9, 12))
    weights = NETWORK.fresh(rng)
    batches = [draws(len(one), Training(steps=2), rng) for one in clients]
    whole = NETWORK.updates(weights, clients, batches, 0.1)
    for row, one, batch in zip(whole, clients, batches, strict=True):
        first = NETWORK.updates(weights, [one], [batch[:1]], 0.1)[0]
        second = NETWORK.updates(weights + first, [one], [batch[1:]], 0.1)[0]
        np.testing.assert_allclose(row, first + second, rtol=1e-10, atol=1e-14)


def test_training_leaves_the_weights_it_starts_from() -> None:
    rng = np.random.default_rng(1)
    weights = NETWORK.fresh(rng)
    before = weights.copy()
    clients = cohort(rng, (9,))
    assert NETWORK.updates(weights, clients, [draws(9, Training(), rng)], 0.1).any()
    np.testing.assert_array_equal(weights, before)


def test_batches_are_of_the_client() -> None:
    found = draws(5, Training(steps=50, batch=8), np.random.default_rng(1))
    assert found.shape == (50, 8)
    assert set(found.ravel()) == set(range(5))


def constant(label: int) -> Array:
    """Weights of a network that says `label` whatever it sees."""
    weights = np.zeros(NETWORK.size)
    weights[NETWORK.layers["output.bias"].start + label] = 1
    return weights


def test_accuracy_and_attack_success_count() -> None:
    labels = np.array([0, 0, 1, 2, 2, 2])
    examples = Examples(np.zeros((6, 5)), labels, 3)
    trigger = Trigger(indices=(1,), value=9.0, target=2)
    for label, share in ((0, 2 / 6), (1, 1 / 6), (2, 3 / 6)):
        assert NETWORK.accuracy(constant(label), examples) == pytest.approx(share)
    assert NETWORK.attack_success(constant(2), examples, trigger) == 1
    assert NETWORK.attack_success(constant(1), examples, trigger) == 0
    only_target = examples.take(np.array([3, 4]))
    refused(ParameterError, partial(NETWORK.attack_success, constant(2), only_target, trigger))


def test_attack_success_is_of_triggered_inputs() -> None:
    """A network that says 2 exactly where feature 1 is large."""
    weights = np.zeros(NETWORK.size)
    first = weights[NETWORK.layers["hidden.weight"]].reshape(5, 7)
    second = weights[NETWORK.layers["output.weight"]].reshape(7, 3)
    first[1, 0] = second[0, 2] = 1
    examples = Examples(np.zeros((4, 5)), np.array([0, 0, 1, 1]), 3)
    for value, share in ((9.0, 1.0), (-9.0, 0.0)):
        trigger = Trigger(indices=(1,), value=value, target=2)
        assert NETWORK.attack_success(weights, examples, trigger) == share


def test_parameters_are_checked() -> None:
    assert Training(steps=1, batch=1, rate=1e-9).steps == 1
    for wrong in ({"steps": 0}, {"batch": 0}, {"rate": 0.0}, {"rate": float("nan")}):
        refused(ParameterError, partial(Training, **wrong))
    assert Network(inputs=1, hidden=1, classes=1).size == 4
    for sizes in ((0, 1, 1), (1, 0, 1), (1, 1, 0)):
        named = dict(zip(("inputs", "hidden", "classes"), sizes, strict=True))
        refused(ParameterError, partial(Network, **named))


# -- pulls, steps, probabilities --------------------------------------------------------------


def log_chances(weights: Array, inputs: Array) -> Array:
    return np.log(NETWORK.probabilities(weights, inputs)).mean(axis=0)


def test_pulls_are_inner_products_with_the_directions_that_a_feature_speaks_in() -> None:
    """Of the bias, the direction is the gradient of the mean log P in it, by differences."""
    rng = np.random.default_rng(1)
    weights, inputs = NETWORK.fresh(rng), rng.normal(size=(30, 5))
    where, step = NETWORK.layers["hidden.bias"], 1e-5
    gradient = np.zeros((3, 7))
    for unit in range(7):
        moved = weights.copy()
        moved[where.start + unit] += step
        gradient[:, unit] = (log_chances(moved, inputs) - log_chances(weights, inputs)) / step
    due = gradient / np.linalg.norm(gradient, axis=1, keepdims=True)
    rows = rng.normal(size=(4, NETWORK.size))
    found = NETWORK.pulls(weights, inputs, rows)
    assert found.shape == (4, 6, 3)
    assert np.allclose(found[:, 5], rows[:, where] @ due.T, atol=1e-3)
    first = rows[:, NETWORK.layers["hidden.weight"]].reshape(4, 5, 7)
    assert np.allclose(found[:, :5], first @ due.T, atol=1e-2)
    assert np.allclose(NETWORK.pulls(weights, inputs, 2 * rows), 2 * found)


def test_a_step_on_certain_targets_is_one_of_training() -> None:
    rng = np.random.default_rng(2)
    (one,) = cohort(rng, (9,))
    weights = NETWORK.fresh(rng)
    batch = np.arange(9)[None]
    trained = weights + NETWORK.updates(weights, [one], [batch], 0.3)[0]
    kept = weights.copy()
    assert np.allclose(NETWORK.step(weights, one.inputs, np.eye(3)[one.labels], 0.3), trained)
    assert np.array_equal(weights, kept)
    # what the model says already moves nothing
    said = NETWORK.probabilities(weights, one.inputs)
    assert np.allclose(NETWORK.step(weights, one.inputs, said, 0.3), weights)
    assert np.allclose(said.sum(axis=1), 1)
