"""Is somebody's data in the sum, or in the model? The trials, from a federation on real data.

What a secure sum reveals is the sum, exactly, so the trials add up updates in the clear.

    users     the target is one client's update of some steps of SGD
    records   the target is what one record adds to a step of SGD; a sum of n clients with b records
              each is one of n * b records
    models    the target is a record, and what is seen is the final model of federated averaging

The attacker has data of its own, a half of what there is, and clients share the other half.

A round with noise is mu-GDP for the target with mu = 1 / noise: its deviation in each coordinate is
`noise` times the largest norm of all targets, so that no clip is needed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dp.audit.attack import Access, Trial, View
from protocols.federation.data import Split, owners_iid, parts
from protocols.federation.model import Network, Training
from robust.attacks.attack import Examples
from robust.observe import Array
from secagg.errors import ParameterError

__all__ = ["Pool", "final_models", "model_trials", "records", "sum_trials", "users"]

_WARM = Training(steps=60, batch=32, rate=0.1)
"""What the server's own data are trained on before clients are: an early model that is no noise."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Pool:
    """Updates to draw sums from: (p, d) of clients, (q, d) that the attacker imitates them by."""

    clients: Array
    imitated: Array

    @property
    def norm(self) -> float:
        """The largest norm of a client's update."""
        return float(np.linalg.norm(self.clients, axis=1).max())


def users(
    split: Split,
    rng: np.random.Generator,
    *,
    count: int = 400,
    batch: int = 10,
    steps: int = 1,
    hidden: int = 16,
) -> Pool:
    """Updates of `count` users on each side, of `steps` steps on `batch` records of their own.

    Raises `ParameterError` unless each number >= 1 and batch is at most half of the records.
    """
    network, start, halves = _prepared(split, rng, hidden)
    if min(count, batch, steps) < 1 or batch > min(len(half) for half in halves):
        raise ParameterError("count, steps >= 1 and 1 <= batch <= half of the records must hold")
    training = Training(steps=steps, batch=batch, rate=0.1)
    sides = [
        _trained(network, start, _drawn(half, count, batch, rng), training, rng) for half in halves
    ]
    return Pool(clients=sides[0], imitated=sides[1])


def records(split: Split, rng: np.random.Generator, *, batch: int = 10, hidden: int = 16) -> Pool:
    """What each record adds to one step on `batch` records, for both halves of the data."""
    network, start, halves = _prepared(split, rng, hidden)
    sides = []
    for half in halves:
        single = [half.take(np.array([at])) for at in range(len(half))]
        whole = [np.zeros((1, 1), dtype=np.int64)] * len(half)
        sides.append(network.updates(start, single, whole, 0.1) / batch)
    return Pool(clients=sides[0], imitated=sides[1])


def sum_trials(
    pool: Pool,
    rng: np.random.Generator,
    *,
    clients: int,
    count: int = 400,
    noise: float = 0.0,
    shadows: int = 200,
) -> Sequence[Trial]:
    """Sums of `clients` updates, in every second of which the target's is zero.

    Raises `ParameterError` unless 1 <= clients <= half of the pool's, count >= 2, shadows >= 2 and
    noise >= 0.
    """
    most = min(len(pool.clients), len(pool.imitated)) // 2
    if not (1 <= clients <= most and min(count, shadows) >= 2 and noise >= 0):
        raise ParameterError(
            f"1 <= clients <= {most}, count >= 2, shadows >= 2 and noise >= 0 must hold, got "
            f"{clients}, {count}, {shadows}, {noise}"
        )
    deviation = noise * pool.norm
    imitated = _sums(pool.imitated, clients - 1, shadows, rng)
    imitated += deviation * rng.standard_normal(imitated.shape)
    return [
        _sum_trial(pool.clients, clients, at % 2, deviation, imitated, rng) for at in range(count)
    ]


def final_models(
    split: Split,
    rng: np.random.Generator,
    *,
    models: int = 32,
    clients: int = 5,
    rounds: int = 10,
    hidden: int = 16,
) -> tuple[NDArray[np.bool_], Array]:
    """Who was trained on, (models, records), and the losses of all records, likewise.

    Each model comes from federated averaging over a random half of the records, so that each record
    is in half of the models. Raises `ParameterError` unless models >= 4 is even.
    """
    if models < 4 or models % 2:
        raise ParameterError(f"models >= 4 must hold, and be even, got {models}")
    data = split.train
    ranks = np.argsort(rng.random((models, len(data))), axis=0)
    inside: NDArray[np.bool_] = ranks < models // 2
    network = _network(data, hidden)
    losses = [_averaged(network, data, mine, clients, rounds, rng) for mine in inside]
    return inside, np.stack(losses)


def model_trials(
    inside: NDArray[np.bool_], losses: Array, rng: np.random.Generator, *, count: int = 1000
) -> Sequence[Trial]:
    """One model is attacked in each trial, for one record; the other models are the attacker's.

    inside, losses: as `final_models` returns them. Half of the trials are of records inside.
    """
    return [_model_trial(inside, losses, at % 2 == 1, rng) for at in range(count)]


def _prepared(
    split: Split, rng: np.random.Generator, hidden: int
) -> tuple[Network, Array, Sequence[Examples]]:
    """The network, its weights after the server's own training, and the two halves of the data."""
    network = _network(split.train, hidden)
    fresh = network.fresh(rng)
    start = fresh + network.trained(fresh, [split.root], _WARM, [rng])[0]
    return network, start, parts(split.train, owners_iid(split.train, 2, rng))


def _network(data: Examples, hidden: int) -> Network:
    return Network(inputs=data.inputs.shape[1], hidden=hidden, classes=data.classes)


def _drawn(half: Examples, count: int, batch: int, rng: np.random.Generator) -> Sequence[Examples]:
    return [half.take(rng.choice(len(half), batch, replace=False)) for _ in range(count)]


def _trained(
    network: Network,
    start: Array,
    cohort: Sequence[Examples],
    training: Training,
    rng: np.random.Generator,
) -> Array:
    """(n, d). A single step takes each record of a client once, and is the plain gradient."""
    if training.steps == 1:
        whole = [np.arange(len(one))[None] for one in cohort]
        return network.updates(start, cohort, whole, training.rate)
    return network.trained(start, cohort, training, [rng] * len(cohort))


def _sums(rows: Array, members: int, count: int, rng: np.random.Generator) -> Array:
    """`count` sums (count, d) of `members` rows each."""
    order = np.argsort(rng.random((count, len(rows))), axis=1)[:, :members]
    chosen = np.zeros((count, len(rows)))
    np.put_along_axis(chosen, order, 1.0, axis=1)
    found: Array = chosen @ rows
    return found


def _sum_trial(
    rows: Array,
    clients: int,
    inside: int,
    deviation: float,
    imitated: Array,
    rng: np.random.Generator,
) -> Trial:
    target, *others = rng.choice(len(rows), clients, replace=False)
    total = rows[others].sum(axis=0) + inside * rows[target]
    total += deviation * rng.standard_normal(total.shape)
    given = {Access.TARGET: rows[target], Access.SHADOWS: imitated, Access.SUM: total}
    return Trial(View(given), np.array(inside))


def _averaged(
    network: Network,
    data: Examples,
    mine: NDArray[np.bool_],
    clients: int,
    rounds: int,
    rng: np.random.Generator,
) -> Array:
    """The loss of each record of `data` under a model trained on `mine`, (records,)."""
    own = data.take(np.flatnonzero(mine))
    cohort = parts(own, owners_iid(own, clients, rng))
    training = Training(steps=20, batch=32, rate=0.2)
    weights = network.fresh(rng)
    for _ in range(rounds):
        weights = weights + _trained(network, weights, cohort, training, rng).mean(axis=0)
    return network.losses(weights, data)


def _model_trial(
    inside: NDArray[np.bool_], losses: Array, wanted: bool, rng: np.random.Generator
) -> Trial:
    record = int(rng.integers(losses.shape[1]))
    attacked = int(rng.choice(np.flatnonzero(inside[:, record] == wanted)))
    others = np.arange(len(losses)) != attacked
    least = len(losses) // 2 - 1  # as many on either side, whichever the attacked one is taken from
    given = {Access.LOSS: losses[attacked, record]}
    for access, side in ((Access.LOSSES_WITH, True), (Access.LOSSES_WITHOUT, False)):
        rows = np.flatnonzero(others & (inside[:, record] == side))
        given[access] = losses[rows[:least], record]
    return Trial(View(given), np.array(int(wanted)))
