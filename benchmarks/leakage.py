"""What a sketch tells of a client's labels: `python -m benchmarks.leakage [--seeds N]`.

The server of a screened round has k numbers of each update, and its own update for each class. It
fits the one by the others, with coefficients >= 0, and takes the coefficients for the client's mix
of labels. Printed are, over all clients and the first six rounds: the correlation with the true
shares, how often the largest is the client's most frequent label, and how well the coefficient
tells labels that the client has from those it has not (AUROC). `full` is the update itself, which a
server without secure aggregation has.
"""

from __future__ import annotations

import argparse
import os
import sys

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
from numpy.typing import NDArray
from rich.console import Console

from benchmarks.table import Table
from dp.audit.choice_fit_scipy import label_mix
from dp.audit.measure import area
from protocols.federation.data import digits, owners_dirichlet, split
from protocols.federation.federation import Federation, RoundData
from secagg.sketch import SketchMap

_ROWS = (8, 16, 32, 64, 128, 256, 512)
_CLIENTS, _ALPHA, _ROUNDS = 40, 0.3, 6
_ROOT = 10

Reals = NDArray[np.float64]


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.leakage", description=__doc__)
    parser.add_argument("--seeds", type=int, default=3)
    options = parser.parse_args()
    found = [_seed(seed) for seed in range(options.seeds)]
    truth = np.concatenate([true for true, _ in found])
    rows = [
        ["full" if size is None else str(size), *_figures(np.concatenate(guesses), truth)]
        for size, guesses in zip(
            (*_ROWS, None), zip(*(guess for _, guess in found), strict=True), strict=True
        )
    ]
    header = ["numbers", "correlation", "most frequent label", "label present, AUROC"]
    title = f"Labels from sketches: digits, {_CLIENTS} clients, Dirichlet({_ALPHA})"
    Console(width=None if sys.stdout.isatty() else 110).print(Table(title, header, rows).rich())


def _seed(seed: int) -> tuple[Reals, list[Reals]]:
    """True shares (clients * rounds, classes), and for each size of a sketch the guesses."""
    rng = np.random.default_rng(seed)
    parts = split(digits(), rng, root=_ROOT)
    owners = owners_dirichlet(parts.train, _CLIENTS, _ALPHA, rng)
    counts = np.zeros((_CLIENTS, parts.train.classes))
    np.add.at(counts, (owners, parts.train.labels), 1)
    shares = counts / counts.sum(axis=1, keepdims=True)
    federation = Federation(split=parts, owners=owners, seed=seed)
    guesses: list[list[Reals]] = [[] for _ in (*_ROWS, None)]
    for number in range(_ROUNDS):
        data = federation.round()
        for at, size in enumerate((*_ROWS, None)):
            guesses[at].append(_guessed(data, size, bytes([seed, number]) * 16))
        federation.apply(data.mean())
    return np.tile(shares, (_ROUNDS, 1)), [np.concatenate(each) for each in guesses]


def _guessed(data: RoundData, rows: int | None, seed: bytes) -> Reals:
    """Shares (clients, classes), from sketches of so many rows."""
    updates, classes = data.updates, data.classes
    if rows is not None:
        sketch = SketchMap(seed, length=updates.shape[1], width=32, rows=rows)
        updates, classes = sketch.of_reals(updates), sketch.of_reals(classes)
    return np.stack([label_mix(update, classes) for update in updates])


def _figures(guess: Reals, truth: Reals) -> list[str]:
    correlation = np.corrcoef(guess.ravel(), truth.ravel())[0, 1]
    top = np.mean(guess.argmax(axis=1) == truth.argmax(axis=1))
    present = area(guess[truth > 0], guess[truth == 0]).value
    return [f"{correlation:.2f}", f"{top:.2f}", f"{present:.2f}"]


if __name__ == "__main__":
    main()
