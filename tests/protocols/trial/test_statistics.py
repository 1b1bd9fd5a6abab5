"""What a trial shows a defense is what a real round opens, bit for bit."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest

from protocols import RoundPlan
from protocols.federation.federation import RoundData
from protocols.federation.model import Network
from protocols.screening import observed
from protocols.simulate import run_round
from protocols.trial.statistics import encoded, opened, plan_for, released, seen, unclipped
from robust.attacks.attack import Examples
from robust.observe import Imitated, Sketches
from secagg.errors import ParameterError
from secagg.quantize import NormClip

SIZE, CLIENTS, ROWS = 600, 8, 64
NETWORK = Network(inputs=20, hidden=26, classes=2)
HOSTILE = (2, 5)  # positions: one within the bounds, one far beyond


def round_data(number: int = 0) -> RoundData:
    rng = np.random.default_rng(number)
    updates = rng.normal(size=(CLIENTS, SIZE)) / np.sqrt(SIZE)
    updates[0] *= 3.0  # honest, and clipped
    updates[HOSTILE[1]] *= 50.0
    honest = np.ones(CLIENTS, dtype=bool)
    honest[list(HOSTILE)] = False
    return RoundData(
        number=number,
        clients=tuple(range(1, CLIENTS + 1)),
        updates=updates,
        honest=honest,
        weights=rng.normal(size=SIZE),
        history=rng.normal(size=(number, SIZE)),
        root=updates[3],
        classes=updates[:2],
        perturbation=None,
        imitate=lambda clients: Imitated(
            rows=rng.normal(size=(2, 3, len(clients), SIZE)),
            classes=rng.normal(size=(2, 2, 2, SIZE)),
        ),
        network=NETWORK,
        examples=Examples(rng.normal(size=(16, 20)), np.arange(16) % 2, 2),
    )


@pytest.fixture(scope="module")
def plan() -> RoundPlan:
    return plan_for(SIZE, clients=CLIENTS, clip=1.5, rows=ROWS)


def test_a_real_round_opens_and_sums_the_very_same(plan: RoundPlan) -> None:
    data = round_data(number=2)
    vectors = encoded(plan, data, np.random.default_rng(7).bytes)
    outcome = run_round(
        plan,
        {client: (row, 1) for client, row in zip(data.clients, data.updates, strict=True)},
        vectors=dict(zip(data.clients, vectors, strict=True)),
    )
    real = outcome.statistics
    assert real is not None
    ours = opened(plan, data.clients, vectors, real.seed)
    assert ours.clients == real.clients
    assert ours.eligible == real.eligible == frozenset(data.clients) - {HOSTILE[1] + 1}
    assert ours.weights is not None
    assert real.weights is not None
    assert np.array_equal(ours.weights, real.weights)
    assert np.array_equal(ours.rows, real.rows)
    assert np.array_equal(ours.products, real.products)
    known = [*data.history, data.weights]
    due = observed(plan, real, 2, known=known, root=data.root, classes=list(data.classes))
    found = seen(plan, ours, data)
    assert isinstance(due, Sketches)
    assert found is not None
    assert np.array_equal(found.rows, due.rows)
    assert np.array_equal(found.public.known, due.public.known)
    assert outcome.exact
    assert outcome.result is not None
    mean = released(plan, data.clients, vectors, ours.eligible)
    assert mean is not None
    assert np.array_equal(mean, outcome.result.mean)


def test_honest_clients_clip_and_attackers_do_not(plan: RoundPlan) -> None:
    data = round_data()
    vectors = encoded(plan, data, np.random.default_rng(0).bytes)
    lengths = []
    for client, vector in zip(data.clients, vectors, strict=True):
        mean = released(plan, [client], [vector], {client})
        lengths.append(None if mean is None else float(np.linalg.norm(mean)))
    assert lengths[0] == pytest.approx(1.5, rel=1e-4)
    assert lengths[HOSTILE[0]] == pytest.approx(float(np.linalg.norm(data.updates[2])), rel=1e-4)
    assert lengths[HOSTILE[1]] is None  # no honest sum is that long: the decoding refuses it


@pytest.mark.parametrize("factor", [1e3, 1e12, 1e300])
def test_no_update_is_too_large_to_be_sent(plan: RoundPlan, factor: float) -> None:
    vector = unclipped(plan, np.full(SIZE, factor))
    assert vector.shape == (plan.scheme.length,)
    assert vector[0] == 1


def test_of_many_rounds_the_last_are_public(plan: RoundPlan) -> None:
    data = round_data(number=9)
    vectors = encoded(plan, data, np.random.default_rng(0).bytes)
    found = seen(plan, opened(plan, data.clients, vectors, bytes(32)), data, window=4)
    assert found is not None
    assert found.public.known.shape == (5, ROWS)
    none = seen(plan, opened(plan, data.clients, vectors, bytes(32)), data, window=0)
    assert none is not None
    assert none.public.known.shape == (1, ROWS)


def test_nobody_within_the_bounds_is_nothing_to_see(plan: RoundPlan) -> None:
    data = round_data()
    far = dataclasses.replace(data, updates=data.updates * 1e3, honest=np.zeros(CLIENTS, bool))
    vectors = encoded(plan, far, np.random.default_rng(0).bytes)
    statistics = opened(plan, far.clients, vectors, bytes(32))
    assert not statistics.eligible
    assert seen(plan, statistics, far) is None
    assert released(plan, far.clients, vectors, statistics.eligible) is None


def test_a_plan_without_a_screen_opens_nothing() -> None:
    bare: Any = RoundPlan.for_update(np.zeros(SIZE), clients=CLIENTS, clip=NormClip(1.0))
    with pytest.raises(ParameterError, match="opens nothing"):
        opened(bare, [1], [np.zeros(SIZE + 1, np.uint32)], bytes(32))
    with pytest.raises(ParameterError, match="<= d = 600 must hold"):
        plan_for(SIZE, clients=CLIENTS, clip=1.0, rows=80)
