"""The computed cost of a round is the measured one."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from protocols import RoundPlan
from protocols.cost import client_cost
from protocols.simulate import run_round
from secagg.quantize import NormClip
from secagg.schemes.secagg_plus import SecAggPlus, SecAggPlusSemiHonest


@pytest.mark.parametrize("scheme", [SecAggPlus, SecAggPlusSemiHonest])
@pytest.mark.parametrize("clients", [5, 9])
def test_computed_is_measured(scheme: Any, clients: int) -> None:
    plan = RoundPlan.for_update(
        np.zeros(101), clients=clients, clip=NormClip(1.0), width=37, scheme=scheme, dropout=0.2
    )
    outcome = run_round(plan, {i: (np.zeros(101), 1) for i in range(1, clients + 1)})
    cost = client_cost(plan.scheme)
    for measured in outcome.clients.values():
        assert (measured.bytes_up, measured.bytes_down) == (cost.up, cost.down)
    assert cost.mask_keys == clients
    assert cost.shares == 2 * (clients - 1)
    assert cost.vector == (102 * 37 + 7) // 8


def test_a_sparse_round_has_fewer_keys() -> None:
    size = {"clients": 1000, "length": 10, "width": 32}
    sparse = SecAggPlus(**size)
    assert client_cost(sparse).mask_keys == sparse.neighbourhood.degree + 1 < 1000
    lean = SecAggPlusSemiHonest(**size)
    assert client_cost(lean).up < client_cost(sparse).up
    assert client_cost(lean).down < client_cost(sparse).down
