"""Whole rounds under everything that Hypothesis can think of, and on real sparse graphs."""

from __future__ import annotations

import itertools
from functools import cached_property
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from secagg.errors import Aborted, IntegrityError
from secagg.identity import SERVER
from secagg.machine import PeerRejected
from secagg.parameters import Neighbourhood
from secagg.scheme import Scheme
from secagg.schemes.secagg_plus import (
    Contribution,
    SecAggPlus,
    SecAggPlusBrief,
    SecAggPlusSemiHonest,
)
from secagg.schemes.secagg_plus.messages import Masked, Unmask
from secagg.testing import SeededRand, Vanish, make_round, run, strategies
from secagg.testing.network import RunResult, plain_sum
from secagg.testing.secagg_plus import restraint
from secagg.testing.stateful import RoundRules

STATEMENT = bytes(range(32))
FRACTIONS = st.sampled_from([0.0, 0.15, 0.2, 0.34, 0.4])


class SparseToy(SecAggPlus):
    """A ring of seven with two neighbours on each side."""

    @cached_property
    def neighbourhood(self) -> Neighbourhood:
        return Neighbourhood(clients=self.clients, degree=4, threshold=2, window=2)


def any_scheme() -> st.SearchStrategy[Scheme]:
    return st.one_of(
        strategies.schemes(make, corrupt=FRACTIONS, dropout=FRACTIONS)
        for make in (SecAggPlus, SecAggPlusSemiHonest, SecAggPlusBrief)
    )


def submitted(scheme: Scheme, inputs: dict[int, Any]) -> dict[int, Any]:
    """What everybody submits for these vectors."""
    if not isinstance(scheme, SecAggPlusBrief):
        return inputs
    wrapped = {party: Contribution(vector, STATEMENT) for party, vector in inputs.items()}
    return {SERVER: STATEMENT, **wrapped}


def check(result: RunResult, inputs: dict[int, Any]) -> None:
    """An exact sum of whom it names, or a typed failure; and nobody is blamed."""
    scheme = result.parties.scheme
    if result.aggregate is None:
        assert isinstance(result.error, Aborted | IntegrityError)
    else:
        included = result.aggregate.included
        assert len(included) >= scheme.survivors
        assert result.aggregate.total.tolist() == plain_sum(scheme, inputs, included).tolist()
    assert not [event for event in result.events[SERVER] if isinstance(event, PeerRejected)]
    assert all(isinstance(error, Aborted) for error in result.errors.values())
    restraint(result, result.parties.clients)


@settings(deadline=None)
@given(any_scheme(), st.data())
def test_up_to_the_allowed_drop_outs_the_sum_is_released(
    scheme: Scheme, data: st.DataObject
) -> None:
    parties = make_round(scheme)
    inputs = data.draw(strategies.inputs(scheme, parties.clients))
    faults = data.draw(strategies.dropouts(scheme, parties.clients))
    result = run(scheme, submitted(scheme, inputs), parties=parties, faults=faults)
    check(result, inputs)
    assert result.aggregate is not None
    assert result.aggregate.included >= set(parties.clients) - {fault.party for fault in faults}


@settings(deadline=None)
@given(any_scheme(), st.data())
def test_whatever_befalls_a_round_no_inexact_sum_is_released(
    scheme: Scheme, data: st.DataObject
) -> None:
    parties = make_round(scheme)
    inputs = data.draw(strategies.inputs(scheme, parties.clients))
    faults = data.draw(strategies.schedules(scheme, parties.clients))
    seed = data.draw(st.integers(0, 1 << 32))
    given = submitted(scheme, inputs)
    check(run(scheme, given, parties=parties, faults=faults, rand=SeededRand(seed)), inputs)


# -- stateful -------------------------------------------------------------------------------------


class SecAggPlusRounds(RoundRules):
    def scheme(self) -> Scheme:
        return SecAggPlus(clients=5, length=3, width=20, corrupt=0.0, dropout=0.4)


class SemiHonestRounds(RoundRules):
    def scheme(self) -> Scheme:
        return SecAggPlusSemiHonest(clients=5, length=3, width=20, corrupt=0.0, dropout=0.4)


class SparseRounds(RoundRules):
    def scheme(self) -> Scheme:
        return SparseToy(clients=7, length=3, width=20, corrupt=0.0, dropout=0.3)


class BriefRounds(RoundRules):
    def scheme(self) -> Scheme:
        return SecAggPlusBrief(clients=5, length=3, width=20, corrupt=0.0, dropout=0.2)

    def wrap(self, vector: Any) -> Contribution:
        return Contribution(vector, STATEMENT)

    def server_input(self) -> bytes:
        return STATEMENT


def stateful(rules: type[RoundRules], examples: int) -> Any:
    case = rules.TestCase
    case.settings = settings(deadline=None, max_examples=examples, stateful_step_count=30)
    return case


TestSecAggPlusRounds = stateful(SecAggPlusRounds, 30)
TestSemiHonestRounds = stateful(SemiHonestRounds, 15)
TestSparseRounds = stateful(SparseRounds, 15)
TestBriefRounds = stateful(BriefRounds, 15)


# -- real sparse graphs ---------------------------------------------------------------------------


def sparse(make: Any, clients: int, corrupt: float, dropout: float) -> Scheme:
    scheme = make(clients=clients, length=5, width=20, corrupt=corrupt, dropout=dropout)
    assert not scheme.is_complete
    return scheme


def play_sparse(scheme: Scheme) -> None:
    """As many drop-outs as allowed, spread over two phases."""
    parties = make_round(scheme)
    rows = np.frombuffer(SeededRand("sparse")(4 * 5 * scheme.clients), "<u4") >> 12
    inputs = dict(zip(parties.clients, rows.reshape(-1, 5), strict=True))
    gone = SeededRand("gone").shuffled(parties.clients)[: scheme.clients - scheme.survivors]
    kinds = itertools.cycle([Masked, Unmask])
    result = run(
        scheme,
        inputs,
        parties=parties,
        faults=[Vanish(party, kind) for party, kind in zip(gone, kinds, strict=False)],
    )
    check(result, inputs)
    assert result.aggregate is not None
    assert result.aggregate.included >= set(parties.clients) - set(gone)


def test_sparse_graph() -> None:
    play_sparse(sparse(SecAggPlus, 201, 0.0, 0.01))


@pytest.mark.slow
@pytest.mark.parametrize("make", [SecAggPlus, SecAggPlusSemiHonest])
def test_sparse_graph_with_many_clients(make: Any) -> None:
    play_sparse(sparse(make, 400, 0.05, 0.1))


@pytest.mark.slow
@pytest.mark.parametrize("make", [SecAggPlus, SecAggPlusSemiHonest])
def test_every_pair_of_drop_outs(make: Any) -> None:
    """Two of five, each at any message: every combination there is."""
    scheme = make(clients=5, length=3, width=20, corrupt=0.0, dropout=0.4)
    parties = make_round(scheme)
    inputs = {p: np.full(3, p, np.uint32) for p in parties.clients}
    for pair in itertools.combinations(parties.clients, 2):
        for when in itertools.product(scheme.server_messages, repeat=2):
            faults = [Vanish(party, kind) for party, kind in zip(pair, when, strict=True)]
            result = run(scheme, inputs, parties=parties, faults=faults)
            check(result, inputs)
            assert result.aggregate is not None
