"""The columns of the demo that say what a round tells."""

from __future__ import annotations

import numpy as np
import pytest

from protocols.demo.leak import in_the_sum, labels_read, where_more_is
from robust.observe import Array, Public, Sketches

CLASSES = np.eye(4, 12)


def seen(rows: Array, classes: Array | None = CLASSES) -> Sketches:
    public = Public(known=np.zeros((0, 12)), classes=classes)
    return Sketches(number=1, clients=tuple(range(1, len(rows) + 1)), rows=rows, public=public)


def test_labels_are_read_from_numbers_that_show_them() -> None:
    labels = {1: 0, 2: 1, 3: 1, 4: 3}
    rows = CLASSES[[0, 1, 1, 3, 2]] + 0.01
    figure = labels_read(seen(rows), labels)
    assert figure is not None
    assert figure.found.value == 1.0
    assert figure.control.value == 0.5  # the most frequent label, of those who are asked about
    assert figure.trials == 4


def test_labels_are_not_read_from_the_numbers_of_others() -> None:
    figure = labels_read(seen(CLASSES[[1, 2, 3, 0]]), {1: 0, 2: 1, 3: 2, 4: 3})
    assert figure is not None
    assert figure.found.value == 0.0


def test_nothing_is_read_without_class_updates_or_clients() -> None:
    assert labels_read(seen(CLASSES, None), {1: 0}) is None
    assert labels_read(seen(CLASSES), {9: 0}) is None


def test_a_client_is_found_in_a_sum_of_few_and_hardly_under_noise() -> None:
    rows = np.random.default_rng(1).standard_normal((6, 400)) / 20
    weights = range(1, 7)
    given = {at: ({"w": row}, at) for at, row in zip(weights, rows, strict=True)}
    mean = {"w": np.average(rows, axis=0, weights=weights)}
    clear = in_the_sum(mean, sum(weights), given, np.inf)
    assert clear.found.value > 0.8
    noise = 20 * np.random.default_rng(2).standard_normal(400)
    noisy = in_the_sum({"w": mean["w"] + noise}, sum(weights), given, np.inf)
    assert noisy.found.low < 0.5 < noisy.found.high


def test_what_is_looked_for_is_what_the_clip_leaves_of_an_update() -> None:
    long = np.zeros(10)
    long[0] = 50.0
    given = {1: ({"w": long}, 1), 2: ({"w": np.eye(10)[1]}, 1)}
    mean = {"w": (np.eye(10)[0] + np.eye(10)[1]) / 2}
    figure = in_the_sum(mean, 2, given, 1.0)
    assert (figure.found.value, figure.trials) == (1.0, 4)


def test_the_way_to_more_is_a_command_and_a_path() -> None:
    said = where_more_is("--clients 9")
    assert "secagg audit leakage --clients 9 -o out" in said
    assert "out/leakage.html" in said


@pytest.mark.parametrize("bound", [1.0, 8.0])
def test_a_client_that_sends_nothing_is_not_found(bound: float) -> None:
    given = {at: ({"w": np.zeros(5)}, 1) for at in (1, 2, 3)}
    assert in_the_sum({"w": np.ones(5)}, 3, given, bound).found.value == 0.5
