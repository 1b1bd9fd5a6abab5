"""The test kit: what every model must satisfy of which suspected triggers are to be unlearned.

    class TestMine(MendableConformance):
        def model(self): return Mine(…)
        def weights(self, rng): return mine.start.copy()

The author writes these two. Run it with pytest. A model of less than double precision sets
`tolerance`; where features of deviation 1 do not suit it, `inputs` is overridden.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Callable

import numpy as np

from protocols.federation.mendable import Mendable
from robust.attacks.attack import Examples
from robust.observe import Array

__all__ = ["MendableConformance", "clustered"]

_COUNT = 12


def clustered(features: int, classes: int, rng: np.random.Generator) -> Callable[[int], Examples]:
    """Draws so many examples, class by class in turn, about centers that stay: easy to learn."""
    centers = 1.5 * rng.standard_normal((classes, features))

    def drawn(count: int) -> Examples:
        labels = np.arange(count) % classes
        return Examples(centers[labels] + rng.standard_normal((count, features)), labels, classes)

    return drawn


class MendableConformance:
    """What every `Mendable` promises.

    Attributes
    ----------
    tolerance: of comparisons between numbers that should agree but for rounding.
    """

    tolerance = 1e-9

    @abstractmethod
    def model(self) -> Mendable:
        """The model under test."""

    @abstractmethod
    def weights(self, rng: np.random.Generator) -> Array:
        """Weights (d,) as training begins with."""

    def inputs(self, rng: np.random.Generator) -> Array:
        """Inputs (n, f), no two alike."""
        return rng.standard_normal((_COUNT, self.model().inputs))

    def test_arrays_are_laid_end_to_end(self) -> None:
        model = self.model()
        ends = [0]
        for part in model.layers.values():
            assert part.start == ends[-1]
            ends.append(part.stop)
        assert ends[-1] == model.size == self.weights(np.random.default_rng(0)).size

    def test_probabilities_are_of_each_input_by_itself(self) -> None:
        model, rng = self.model(), np.random.default_rng(1)
        weights, inputs = self.weights(rng), self.inputs(rng)
        found = model.probabilities(weights, inputs)
        assert found.shape == (len(inputs), model.classes)
        assert found.min() >= 0
        np.testing.assert_allclose(found.sum(axis=1), 1.0, atol=self.tolerance)
        assert np.ptp(found, axis=0).max() > 1e3 * self.tolerance, "weights that tell inputs apart"
        single = np.concatenate([model.probabilities(weights, one[None]) for one in inputs])
        np.testing.assert_allclose(single, found, atol=self.tolerance)

    def test_no_argument_is_changed_and_the_same_comes_again(self) -> None:
        model, rng = self.model(), np.random.default_rng(2)
        weights, inputs = self.weights(rng), self.inputs(rng)
        rows = rng.standard_normal((3, model.size))
        targets = np.eye(model.classes)[rng.integers(model.classes, size=len(inputs))]
        given = weights, inputs, rows, targets
        kept = [each.copy() for each in given]
        for _ in range(2):
            after = model.step(weights, inputs, targets, 0.1)
            pulls = model.pulls(weights, inputs, rows)
            for each, before in zip(given, kept, strict=True):
                np.testing.assert_array_equal(each, before)
            assert after.dtype == pulls.dtype == np.float64
        np.testing.assert_array_equal(model.step(kept[0], kept[1], targets, 0.1), after)
        np.testing.assert_array_equal(model.pulls(kept[0], kept[1], kept[2]), pulls)

    def test_a_step_goes_down_the_mean_cross_entropy(self) -> None:
        """As fast as a gradient says: by rate times its squared norm, to first order."""
        model, rng = self.model(), np.random.default_rng(3)
        weights, inputs = self.weights(rng), self.inputs(rng)
        targets = rng.dirichlet(np.ones(model.classes), len(inputs))

        def loss(row: Array) -> float:
            return float(-(targets * np.log(model.probabilities(row, inputs))).sum(axis=1).mean())

        slope = weights - model.step(weights, inputs, targets, 1.0)
        squared = float((slope**2).sum())
        assert squared > 0
        small = math.sqrt(max(self.tolerance, 1e-12) / squared)
        down = loss(weights - small * slope) - loss(weights + small * slope)
        np.testing.assert_allclose(-down / (2 * small), squared, rtol=1e-2)
        moved = model.step(weights, inputs, targets, 0.25)
        np.testing.assert_allclose(weights - moved, 0.25 * slope, atol=self.tolerance)
        twice = model.step(weights, np.tile(inputs, (2, 1)), np.tile(targets, (2, 1)), 1.0)
        np.testing.assert_allclose(weights - twice, slope, atol=10 * self.tolerance)

    def test_what_the_model_says_already_teaches_it_nothing(self) -> None:
        model, rng = self.model(), np.random.default_rng(4)
        weights, inputs = self.weights(rng), self.inputs(rng)
        targets = model.probabilities(weights, inputs)
        after = model.step(weights, inputs, targets, 1.0)
        np.testing.assert_allclose(after, weights, atol=10 * self.tolerance)

    def test_pulls_are_inner_products_with_directions_of_norm_1(self) -> None:
        model, rng = self.model(), np.random.default_rng(5)
        weights, inputs = self.weights(rng), self.inputs(rng)
        directions = model.pulls(weights, inputs, np.eye(model.size))
        assert directions.shape == (model.size, model.inputs + 1, model.classes)
        np.testing.assert_allclose(np.linalg.norm(directions, axis=0), 1.0, atol=self.tolerance)
        rows = rng.standard_normal((2, model.size))
        due = np.einsum("nd,dfc->nfc", rows, directions)
        found = model.pulls(weights, inputs, rows)
        np.testing.assert_allclose(found, due, atol=1e3 * self.tolerance)

    def test_a_feature_s_direction_is_the_bias_s_times_the_feature(self) -> None:
        model, rng = self.model(), np.random.default_rng(6)
        weights, inputs = self.weights(rng), self.inputs(rng)
        directions = model.pulls(weights, inputs, np.eye(model.size))
        one, feature, target = inputs[:1], int(rng.integers(model.inputs)), model.classes - 1
        amount = float(one[0, feature])
        there = weights + 0.1 * directions[:, feature, target]
        same = weights + 0.1 * amount * directions[:, -1, target]
        found, due = (model.probabilities(row, one) for row in (there, same))
        np.testing.assert_allclose(found, due, atol=10 * self.tolerance)

    def test_the_bias_s_direction_is_the_mean_gradient(self) -> None:
        """No other direction of the same length speaks for the class more, to first order."""
        model, rng = self.model(), np.random.default_rng(7)
        weights, inputs = self.weights(rng), self.inputs(rng)
        directions = model.pulls(weights, inputs, np.eye(model.size))
        small = math.sqrt(max(self.tolerance, 1e-12))

        def gain(direction: Array, target: int) -> float:
            ends = [weights + sign * small * direction for sign in (1, -1)]
            up, down = (np.log(model.probabilities(end, inputs)[:, target]) for end in ends)
            return float((up - down).mean()) / (2 * small)

        for target in range(model.classes):
            bias = directions[:, -1, target]
            most = gain(bias, target)
            assert most > 0
            other = rng.standard_normal(model.size) * (bias != 0)
            other /= np.linalg.norm(other)
            due = most * float(other @ bias)
            np.testing.assert_allclose(gain(other, target), due, atol=0.05 * most)
