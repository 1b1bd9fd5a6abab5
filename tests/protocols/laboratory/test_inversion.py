"""Images from sums: found in small ones, and how near, against independent metrics."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from itertools import permutations
from typing import Any

import numpy as np
import pytest

from dp.audit.attack import Access, Attack, Goal, Trial, View
from dp.audit.measure import Figure
from dp.audit.records_mean import ClassMean
from dp.audit.testing import AttackConformance
from dp.errors import ParameterError
from protocols.federation.data import digits
from protocols.laboratory.images import SHAPE, pixels
from robust.attacks.attack import Examples
from secagg.errors import ParameterError as PlanError

torch = pytest.importorskip("torch")
images = pytest.importorskip("dp.audit.images_skimage")
invert = pytest.importorskip("dp.audit.invert_torch")
inversion = pytest.importorskip("protocols.laboratory.inversion")

MODEL = inversion.Perceptron(hidden=32)


@cache
def examples() -> Examples:
    return pixels(digits())


@cache
def trials(clients: int, count: int = 3, **options: Any) -> Sequence[Trial]:
    rng = np.random.default_rng([1, clients])
    found: Sequence[Trial] = inversion.image_trials(
        examples(), MODEL, rng, clients=clients, count=count, **options
    )
    return found


def measured(attack: Attack, seen: Sequence[Trial]) -> dict[str, Figure]:
    figures = images.measure_images(attack, seen, np.random.default_rng(2), shape=SHAPE)
    return {figure.metric: figure for figure in figures}


class TestOneStep(AttackConformance):
    def attacks(self) -> Sequence[Attack]:
        return [invert.Inversion(model=MODEL, iterations=60)]

    def exposed(self, attack: Attack) -> Sequence[Trial]:
        return trials(1)

    def figures(self, attack: Attack, seen: Sequence[Trial]) -> Sequence[Figure]:
        return list(measured(attack, seen).values())


class TestSeveralSteps(TestOneStep):
    def attacks(self) -> Sequence[Attack]:
        return [invert.Inversion(model=MODEL, steps=3, rate=0.2, iterations=60)]

    def exposed(self, attack: Attack) -> Sequence[Trial]:
        return trials(1, steps=3, rate=0.2)


def test_a_sum_of_five_gives_all_five_images() -> None:
    found = measured(invert.Inversion(model=MODEL, iterations=150), trials(5, count=1))
    assert found["PSNR"].found.low > 30
    assert found["PSNR"].control.high < 20
    assert found["SSIM"].found.value > 0.98
    assert found["above 40 dB"].control.high > 0.4  # none of five are no certainty
    assert "best PSNR" not in found


def test_the_best_image_of_one_sum_says_nothing_of_others() -> None:
    found = measured(ClassMean(), trials(2))
    assert found["best PSNR"].found.value >= found["PSNR"].found.value
    assert "best PSNR" not in measured(ClassMean(), trials(2)[:1])


def test_noise_takes_the_images_away() -> None:
    attack = invert.Inversion(model=MODEL, iterations=60)
    exact, little, much = (
        measured(attack, trials(1, noise=noise))["PSNR"] for noise in (0.0, 0.01, 1.0)
    )
    assert exact.found.value > little.found.value > little.control.high
    assert not much.leaks


def test_the_model_has_the_slopes_of_its_loss() -> None:
    """`local_updates` against finite differences of a loss that is written out."""
    rng = np.random.default_rng(3)
    small = inversion.Perceptron(inputs=3, hidden=2, classes=2)
    weights, inputs = small.fresh(rng), rng.random((1, 4, 3))
    labels = np.array([[0, 1, 1, 0]])

    def loss(at: Any) -> float:
        first, second = at[:8].reshape(4, 2), at[8:].reshape(3, 2)
        hidden = 1 / (1 + np.exp(-(inputs[0] @ first[1:] + first[0])))
        logits = hidden @ second[1:] + second[0]
        right = logits[np.arange(4), labels[0]]
        return float((np.log(np.exp(logits).sum(axis=1)) - right).mean())

    steps = 1e-6 * np.eye(small.size)
    slope = [(loss(weights + step) - loss(weights - step)) / 2e-6 for step in steps]
    arrays = (torch.tensor(each) for each in (weights, inputs, labels))
    update = invert.local_updates(small, *arrays, steps=1, rate=0.3)
    np.testing.assert_allclose(update.detach().numpy()[0], -0.3 * np.array(slope), atol=1e-8)


def test_the_order_of_what_was_found_does_not_matter() -> None:
    truth = np.random.default_rng(4).random((4, 64))
    for order in permutations(range(4)):
        np.testing.assert_array_equal(images.matched(truth[list(order)], truth), truth)


def test_metrics_are_what_they_are_called() -> None:
    truth = np.full((1, 64), 0.5)
    assert images.psnr(truth, truth) == pytest.approx([100.0])
    assert images.psnr(truth + 0.1, truth) == pytest.approx([20.0])
    assert images.psnr(truth + 9.0, truth) == pytest.approx([-10 * np.log10(0.25)])  # cut to 1
    image = np.random.default_rng(5).random((1, 64))
    assert images.ssim(image, image, (8, 8)) == pytest.approx([1.0])
    assert images.ssim(1 - image, image, (8, 8))[0] < 0


@pytest.mark.parametrize("shape", [(8, 9), (4, 16)])
def test_an_image_has_the_shape_that_is_said(shape: tuple[int, int]) -> None:
    with pytest.raises(ParameterError, match="height"):
        images.measure_images(ClassMean(), trials(1), np.random.default_rng(0), shape=shape)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"steps": 0}, "steps >= 1"),
        ({"rate": 0.0}, "0 < rate < infinity"),
        ({"iterations": 0}, "iterations >= 1"),
    ],
)
def test_parameters_are_checked(options: dict[str, Any], says: str) -> None:
    with pytest.raises(ParameterError, match=says):
        invert.Inversion(model=MODEL, **options)


@pytest.mark.parametrize(
    "options",
    [{"clients": 0}, {"clients": 1, "steps": 0}, {"clients": 900}, {"clients": 1, "noise": -1.0}],
)
def test_impossible_trials_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(PlanError, match="clients, records, steps, count >= 1"):
        inversion.image_trials(examples(), MODEL, np.random.default_rng(0), **options)


def test_records_are_shared_equally() -> None:
    given = dict(trials(1)[0].view.given)
    given[Access.LABELS] = np.array([1.0, 2.0, 3.0])
    with pytest.raises(ParameterError, match="n >= 1 that divides m"):
        invert.Inversion(model=MODEL).run(View(given, {"n": 2}), np.random.default_rng(0))


def test_a_network_without_units_is_refused() -> None:
    with pytest.raises(PlanError, match="hidden >= 1"):
        inversion.Perceptron(hidden=0)


def test_a_control_needs_labels_and_class_means_only() -> None:
    control = ClassMean()
    assert control.goal is Goal.RECORDS
    rows = control.run(trials(2, count=1)[0].view, np.random.default_rng(0))
    view = trials(2, count=1)[0].view
    for row, label in zip(rows, view[Access.LABELS], strict=True):
        np.testing.assert_array_equal(row, view[Access.TYPICAL][int(label)])


def test_a_sketch_of_some_numbers_gives_the_image() -> None:
    """64 pixels, and a number of the sketch for each, or a quarter of that."""
    attack = invert.Inversion(model=MODEL, iterations=150, sketched=True)
    few, many = (measured(attack, trials(1, sketch=rows, count=2))["PSNR"] for rows in (16, 128))
    assert many.found.low > 25
    assert many.leaks
    assert few.found.value < many.found.value
