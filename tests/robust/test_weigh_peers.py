"""Weights times updates are what ByzFL, which sees the updates, aggregates to.

Only its rules are imported: the package's own `__init__` also loads its training benchmark, and
with it torchvision and plotting. Its Krum counts n - f - 1 neighbors (margin 1). Its CAF is left
out, which differs: it takes one power step from a random vector, and the largest score over clients
already removed too.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
import warnings
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from robust.gram import Gram
from robust.observe import Array
from robust.weigh import Mean, Weigher
from robust.weigh_clipping import CenteredClipping
from robust.weigh_krum import Krum, MultiKrum
from robust.weigh_median import GeometricMedian
from robust.weigh_mixing import NearestNeighborMixing, mixing_matrix

CLOSE = 1e-6


@pytest.fixture(scope="module")
def byzfl() -> Any:
    spec = importlib.util.find_spec("byzfl")
    if spec is None or spec.submodule_search_locations is None:
        pytest.skip("could not import 'byzfl'")
    for needed in ("torch", "scipy"):
        pytest.importorskip(needed)
    shell = ModuleType("byzfl")
    shell.__path__ = list(spec.submodule_search_locations)
    sys.modules["byzfl"] = shell
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield importlib.import_module("byzfl.aggregators")
    for name in [name for name in sys.modules if name.partition(".")[0] == "byzfl"]:
        del sys.modules[name]


def clients(seed: int, n: int = 15, k: int = 40, corrupt: int = 4) -> Array:
    rng = np.random.default_rng(seed)
    rows = rng.normal(size=k) + rng.normal(size=(n, k)) * rng.uniform(0.5, 2, size=(n, 1))
    rows[:corrupt] *= -3
    return rows


def aggregate(rule: Weigher, rows: Array) -> Array:
    found: Array = rule.weigh(Gram.of(rows)) @ rows
    return found


@pytest.mark.parametrize("corrupt", [0, 1, 4, 7])
@pytest.mark.parametrize("seed", range(10))
def test_krum_and_multi_krum(byzfl: Any, seed: int, corrupt: int) -> None:
    rows = clients(seed)
    expected = byzfl.Krum(f=corrupt)(rows)
    np.testing.assert_allclose(
        aggregate(Krum(corrupt=corrupt, margin=1), rows), expected, atol=CLOSE
    )
    expected = byzfl.MultiKrum(f=corrupt)(rows)
    found = aggregate(MultiKrum(corrupt=corrupt, margin=1), rows)
    np.testing.assert_allclose(found, expected, atol=CLOSE)


@pytest.mark.parametrize("corrupt", [0, 1, 4, 7])
@pytest.mark.parametrize("seed", range(10))
def test_nearest_neighbor_mixing(byzfl: Any, seed: int, corrupt: int) -> None:
    rows = clients(seed)
    mixtures = byzfl.NNM(f=corrupt)(rows)
    np.testing.assert_allclose(mixing_matrix(Gram.of(rows), corrupt) @ rows, mixtures, atol=CLOSE)
    for base, theirs in (
        (Mean(), byzfl.Average()),
        (GeometricMedian(nu=0.1, iterations=3, from_origin=True), byzfl.GeometricMedian()),
        (MultiKrum(corrupt=corrupt, margin=1), byzfl.MultiKrum(f=corrupt)),
    ):
        if corrupt or base.name != "multi_krum":  # equal mixtures: which is lowest is rounding
            found = aggregate(NearestNeighborMixing(corrupt=corrupt, base=base), rows)
            np.testing.assert_allclose(found, theirs(mixtures), atol=CLOSE)


@pytest.mark.parametrize("steps", [1, 3, 50])
@pytest.mark.parametrize("seed", range(10))
def test_the_geometric_median_step_for_step(byzfl: Any, seed: int, steps: int) -> None:
    rows = clients(seed)
    ours = GeometricMedian(nu=0.1, iterations=steps, tolerance=0.0, from_origin=True)
    expected = byzfl.GeometricMedian(nu=0.1, T=steps)(rows)
    np.testing.assert_allclose(aggregate(ours, rows), expected, atol=CLOSE)


@pytest.mark.parametrize("radius", [0.5, 5.0, 1e4])
@pytest.mark.parametrize("seed", range(10))
def test_centered_clipping_over_two_rounds(byzfl: Any, seed: int, radius: float) -> None:
    """Theirs starts at 0 and keeps its last aggregate; ours is given it as a public row."""
    theirs = byzfl.CenteredClipping(L=3, tau=radius)
    rows = clients(seed)
    first = aggregate(CenteredClipping(radius=radius, iterations=3), rows)
    np.testing.assert_allclose(first, theirs(rows), atol=CLOSE)
    later = clients(seed + 100)
    weights = CenteredClipping(radius=radius, iterations=3, center=0).weigh(Gram.of(later, first))
    np.testing.assert_allclose(weights @ np.vstack([later, first]), theirs(later), atol=CLOSE)
