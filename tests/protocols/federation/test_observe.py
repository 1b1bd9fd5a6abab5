"""Sketches estimate inner products without bias, and carry what is public."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np
import pytest

from protocols.federation.data import digits, owners_iid, split
from protocols.federation.federation import Federation, RoundData
from protocols.federation.observe import count_sketch, gaussian, sketched
from robust.attacks.free_rider_replay import Delta
from robust.attacks.testing import refused
from robust.observe import Array
from secagg.errors import ParameterError

Projection = Callable[[int, int, np.random.Generator], Array]
both = pytest.mark.parametrize("kind", [count_sketch, gaussian])


def federation() -> Federation:
    parts = split(digits(), np.random.default_rng(1))
    owners = owners_iid(parts.train, 10, np.random.default_rng(2))
    return Federation(split=parts, owners=owners, seed=3, attackers=[(Delta(), 2)], hidden=8)


def seen_after(rounds: int, perturbation: Array | None = None) -> RoundData:
    runs = federation()
    for _ in range(rounds):
        runs.apply(runs.round().mean())
    return runs.round(perturbation=perturbation)


@both
def test_inner_products_are_estimated_without_bias(kind: Projection) -> None:
    rng = np.random.default_rng(1)
    u = rng.standard_normal(300)
    v = 0.6 * u + 0.8 * rng.standard_normal(300)
    scale = np.linalg.norm(u) * np.linalg.norm(v)
    errors = []
    for seed in range(2000):
        matrix = kind(64, 300, np.random.default_rng(seed))
        errors.append(((matrix @ u) @ (matrix @ v) - u @ v) / scale)
    # the standard error of the mean is at most sqrt(2 / 64 / 2000)
    assert abs(np.mean(errors)) < 5 * np.sqrt(2 / 64 / 2000)
    assert 0.8 / 8 < np.std(errors) < 1.5 / 8


def test_a_count_sketch_has_one_sign_for_each_coordinate() -> None:
    matrix = count_sketch(16, 500, np.random.default_rng(1))
    assert matrix.shape == (16, 500)
    assert (np.abs(matrix).sum(axis=0) == 1).all()
    assert set(np.unique(matrix)) == {-1.0, 0.0, 1.0}
    assert (np.abs(matrix).sum(axis=1) > 0).all()


@both
def test_sizes_are_checked(kind: Projection) -> None:
    rng = np.random.default_rng(1)
    assert kind(1, 1, rng).shape == (1, 1)
    refused(ParameterError, partial(kind, 0, 5, rng))
    refused(ParameterError, partial(kind, 5, 0, rng))


def test_a_sketch_is_of_the_round() -> None:
    seen = seen_after(3)
    matrix = count_sketch(32, len(seen.weights), np.random.default_rng(1))
    found = sketched(seen, matrix, window=2)
    assert (found.number, found.clients) == (3, seen.clients)
    np.testing.assert_allclose(found.rows, (matrix @ seen.updates.T).T)
    known = np.array([*seen.history[1:], seen.weights])
    np.testing.assert_allclose(found.public.known, known @ matrix.T)
    assert found.public.root is not None
    assert found.public.classes is not None
    np.testing.assert_allclose(found.public.root, matrix @ seen.root)
    np.testing.assert_allclose(found.public.classes, seen.classes @ matrix.T)
    # a replay lies in the span of what is public
    np.testing.assert_allclose(found.rows[~seen.honest], np.tile(found.public.known[1], (2, 1)))


@pytest.mark.parametrize(("rounds", "window", "rows"), [(0, 6, 1), (3, 6, 4), (3, 0, 1)])
def test_what_is_public_grows_to_the_window(rounds: int, window: int, rows: int) -> None:
    seen = seen_after(rounds)
    matrix = gaussian(32, len(seen.weights), np.random.default_rng(1))
    assert len(sketched(seen, matrix, window=window).public.known) == rows
    refused(ParameterError, partial(sketched, seen, matrix, window=-1))


def test_a_perturbation_is_public() -> None:
    shift = np.random.default_rng(1).standard_normal(federation().network.size)
    seen = seen_after(1, shift)
    matrix = count_sketch(32, len(shift), np.random.default_rng(1))
    np.testing.assert_allclose(sketched(seen, matrix).public.known[-1], matrix @ shift)
