"""What the pages say of attacks that no plan decides: `python -m benchmarks.attacks [--only PART]`.

epsilon   lower bounds from 1,000 canaries in one run of an ideal Gaussian mechanism
models    records found in the final model of federated averaging
rounds    one client's update, from sums of many rounds and who was in each
seeds     how long it takes to try all seeds of a mask
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Iterator, Sequence
from fractions import Fraction

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
from rich.console import Console

from benchmarks.table import Table
from dp.audit.attack import Access, Attack, Trial, View
from dp.audit.epsilon import LowerBounds, Scores, lower_bounds
from dp.audit.measure import measure
from dp.audit.member_lira import LikelihoodRatio, LowLoss
from dp.audit.update_disaggregated import Disaggregated
from dp.audit.update_seeded import SeedSearch, ascii_fold, twister_mask
from dp.calibrate import noise_multiplier
from dp.dominance import gaussian_epsilon
from protocols.federation.data import digits, split
from protocols.laboratory.hostile import disaggregation_trials
from protocols.laboratory.membership import final_models, model_trials

_PARTS = ("epsilon", "models", "rounds", "seeds")
_DELTA = 1e-5
_CANARIES, _RUNS = 1000, 7
_BITS = 22


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.attacks", description=__doc__)
    parser.add_argument("--only", choices=_PARTS)
    options = parser.parse_args()
    tables = {"epsilon": _epsilon, "models": _models, "rounds": _rounds, "seeds": _seeds}
    for name in [options.only] if options.only else _PARTS:
        Console(width=None if sys.stdout.isatty() else 110).print(tables[name]().rich())


def _epsilon() -> Table:
    rng = np.random.default_rng(1)
    rows = [_bounded(epsilon, rng) for epsilon in (1.0, 2.0, 4.0, 8.0, 16.0)]
    title = f"Lower bounds on epsilon: {_CANARIES} canaries, median (most) of {_RUNS} runs"
    return Table(title, ["true", "any mechanism", "Gaussian", "independent", "estimate"], rows)


def _bounded(epsilon: float, rng: np.random.Generator) -> list[str]:
    mu = 1 / noise_multiplier(epsilon, _DELTA)
    assert abs(gaussian_epsilon(Fraction(mu) ** 2, _DELTA) - epsilon) < 1e-6
    found = [_audited(mu, rng) for _ in range(_RUNS)]
    kinds = ("one_run", "gaussian_run", "separate", "estimate")
    values = [[getattr(each, kind) for each in found] for kind in kinds]
    return [f"{epsilon:g}", *(f"{np.median(each):.2f} ({max(each):.2f})" for each in values)]


def _audited(mu: float, rng: np.random.Generator) -> LowerBounds:
    inside = rng.random(_CANARIES) < 0.5
    scores = rng.normal(mu * inside, 1)
    return lower_bounds(Scores(scores[inside], scores[~inside]), _DELTA)


def _models() -> Table:
    rng = np.random.default_rng(1)
    data = split(digits(), rng)
    rows = []
    for rounds in (10, 40):
        inside, losses = final_models(data, rng, models=64, rounds=rounds)
        trials = model_trials(inside, losses, rng, count=10_000)
        rows += [
            [f"{rounds}", *_cells(attack, trials)] for attack in (LowLoss(), LikelihoodRatio())
        ]
    head = ["rounds", "attack", "area", "true positives at 0.1 %", "at 1 %"]
    return Table(
        "Records in the final model: 5 clients, 669 records, 63 models to learn from", head, rows
    )


def _cells(attack: Attack, trials: Sequence[Trial]) -> Iterator[str]:
    yield attack.name
    for figure in measure(attack, trials, np.random.default_rng(2)):
        found = figure.found
        yield f"{found.value:.3f} ({found.low:.3f} to {found.high:.3f})"


def _rounds() -> Table:
    rows = []
    for noise in (0.0, 30.0):
        cells = []
        for rounds in (30, 60, 120, 240):
            rng = np.random.default_rng(1)
            trials = disaggregation_trials(rng, rounds=rounds, noise=noise)
            cells.append(f"{measure(Disaggregated(), trials, rng)[0].found.value:.2f}")
        rows.append([f"{noise:g}", *cells])
    head = ["noise of a sum", "30 rounds", "60", "120", "240"]
    return Table("Cosine with one of 60 clients' updates, each in 30 % of the rounds", head, rows)


def _seeds() -> Table:
    rng = np.random.default_rng(1)
    last = int(ascii_fold(np.array([2**_BITS - 1], np.uint32))[0])
    vector = rng.integers(0, 1 << 22, 1000)
    masked = (vector + twister_mask(last, 1000, 32)) % 2**32
    attack = SeedSearch(width=32, limit=1 << 22, bits=_BITS, seeds=ascii_fold)
    started = time.process_time()
    found = attack.run(View({Access.MASKED: masked.astype(np.float64)}), rng)
    speed = 2**_BITS / (time.process_time() - started)
    assert (found + (1 << 21) == vector).all(), "the last seed is the right one"
    rows = [
        [
            f"{bits}",
            f"{2**bits / speed / 60:,.1f} minutes",
            "run" if bits == _BITS else "by the rate",
        ]
        for bits in (_BITS, 28, 32)
    ]
    return Table(
        f"All seeds of a mask, one core: {speed:,.0f} a second", ["bits", "time", ""], rows
    )


if __name__ == "__main__":
    main()
