"""The computed cost of a round is the measured one."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from protocols import GroupScreen, NormScreen, RoundPlan, SketchScreen
from protocols.authority import AuthorityKeeper
from protocols.cost import client_cost, encrypted_cost
from protocols.helper import HelperKeeper
from protocols.presets import two_aggregators
from protocols.simulate import run_round
from protocols.third import ThirdParty
from secagg.quantize import NormClip
from secagg.schemes.ckks import KeyAuthority
from secagg.schemes.secagg_plus import SecAggPlus, SecAggPlusBrief, SecAggPlusSemiHonest


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


SIZE: dict[str, Any] = {"clients": 9, "clip": NormClip(1.0), "dropout": 0.2, "corrupt": 0.1}


@pytest.mark.parametrize(
    "options",
    [
        {"scheme": SecAggPlusBrief},
        {"screen": SketchScreen(rows=64)},
        {"screen": NormScreen(rows=64, noise=0.1)},
        {"screen": GroupScreen(rows=64, size=3)},
    ],
)
def test_computed_is_measured_of_the_variants(options: dict[str, Any]) -> None:
    plan = RoundPlan.for_update(np.zeros(600), **SIZE, **options)
    check(plan, None)


def test_computed_is_measured_with_a_third_party() -> None:
    check(two_aggregators(np.zeros(600), **SIZE), HelperKeeper.generate())


def test_computed_is_measured_of_encryption() -> None:
    pytest.importorskip("tenseal")
    authority = AuthorityKeeper(KeyAuthority.generate())
    plan = RoundPlan.for_update(np.zeros(600), **SIZE, width=32, scheme=authority.scheme)
    check(plan, authority)
    assert client_cost(plan.scheme) == encrypted_cost(9, plan.scheme.length, 32)


def check(plan: RoundPlan, third: ThirdParty | None) -> None:
    updates = {client: (np.zeros(600), 1) for client in range(1, 10)}
    outcome = run_round(plan, updates, third=third)
    cost = client_cost(plan.scheme)
    assert outcome.exact
    for measured in outcome.clients.values():
        assert (measured.bytes_up, measured.bytes_down) == (cost.up, cost.down)


def test_a_sparse_round_has_fewer_keys() -> None:
    size = {"clients": 1000, "length": 10, "width": 32}
    sparse = SecAggPlus(**size)
    assert client_cost(sparse).mask_keys == sparse.neighbourhood.degree + 1 < 1000
    lean = SecAggPlusSemiHonest(**size)
    assert client_cost(lean).up < client_cost(sparse).up
    assert client_cost(lean).down < client_cost(sparse).down
