"""Plans that open sums of groups: what detectors see, what clients allow, what is charged."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest

from protocols import (
    ClientJournal,
    ClientRound,
    DistributedNoise,
    GroupScreen,
    Invitation,
    LeakageLedger,
    RoundPlan,
    SketchScreen,
    observed,
)
from protocols.simulate import Outcome, Population, phases, run_round
from robust.detect_direction import Direction
from robust.group_suspicion import GroupSuspicion
from robust.observe import GroupSketches, Imitated
from secagg.errors import Aborted, InputRefused, IntegrityError, ParameterError
from secagg.event import GroupStatistics
from secagg.primitives.ring import word
from secagg.quantize import NormClip
from secagg.scheme import Floors
from secagg.schemes.secagg_plus import SecAggPlus
from secagg.schemes.secagg_plus.verified import SecAggPlusVerified

SIZE, CLIENTS = 600, 10
TEMPLATE = {"w": np.zeros(SIZE)}
SCREEN = GroupScreen(rows=64, tables=5, buckets=256, size=4)


def make(**options: Any) -> RoundPlan:
    given = {"clip": NormClip(1.0), "max_weight": 9, "screen": SCREEN, "corrupt": 0.1}
    return RoundPlan.for_update(
        TEMPLATE, **{"clients": CLIENTS, "dropout": 0.2, **given, **options}
    )


def updates(seed: int = 0, weight: int = 3) -> dict[int, tuple[Any, int]]:
    drawn = np.random.default_rng(seed).normal(size=(CLIENTS, SIZE)) * 0.9 / np.sqrt(SIZE)
    return {client: ({"w": drawn[client - 1]}, weight) for client in range(1, CLIENTS + 1)}


def opened(outcome: Outcome) -> GroupStatistics:
    assert outcome.groups is not None
    return outcome.groups


@pytest.mark.parametrize("size", [0, 1, -3, 4.0, "4", True])
def test_sizes_of_groups_are_checked(size: Any) -> None:
    with pytest.raises(ParameterError, match="2 <= size"):
        GroupScreen(size=size)
    assert GroupScreen(size=2).rows == 256


def test_groups_with_too_few_honest_members_are_refused() -> None:
    with pytest.raises(ParameterError, match="group >= corrupt"):
        make(screen=dataclasses.replace(SCREEN, size=2))
    with pytest.raises(ParameterError, match="survivors >= 2"):
        make(screen=dataclasses.replace(SCREEN, size=5))
    with pytest.raises(ParameterError, match="degree = clients - 1"):
        make(clients=400, screen=dataclasses.replace(SCREEN, size=50))
    assert make().scheme.opened_of == 3


def test_a_detector_sees_sketches_of_the_sums_of_groups() -> None:
    plan, given = make(), updates()
    outcome = run_round(plan, given)
    assert outcome.exact
    statistics = opened(outcome)
    seen = observed(plan, statistics, 4, known=[given[1][0]], root=given[2][0])
    assert isinstance(seen, GroupSketches)
    assert isinstance(plan.scheme, SecAggPlusVerified)
    sketch = plan.scheme.opened_map(statistics.seed).sketch
    sums = [np.sum([given[p][0]["w"] for p in group], axis=0) for group in seen.groups]
    assert np.abs(seen.rows - sketch.of_reals(np.stack(sums))).max() < 1e-4
    assert (seen.number, seen.clients, seen.noise) == (4, tuple(given), 0.0)
    assert [len(group) for group in seen.groups] == [5, 5]
    known = sketch.of_reals(np.stack([given[1][0]["w"], given[2][0]["w"]]))
    assert np.abs(np.concatenate([seen.public.known, [seen.public.root]]) - known).max() < 1e-9


def test_weights_count_over_the_mean_of_their_group() -> None:
    plan, given = make(), updates()
    given = {client: (tree, 1 + client % 9) for client, (tree, _) in given.items()}
    outcome = run_round(plan, given)
    statistics = opened(outcome)
    assert statistics.weights is not None
    groups = [[given[p] for p in group] for group in statistics.groups]
    assert statistics.weights.tolist() == [sum(w for _, w in group) for group in groups]
    seen = observed(plan, statistics, 0)
    assert isinstance(seen, GroupSketches)
    assert isinstance(plan.scheme, SecAggPlusVerified)
    means = [
        len(group) * sum(w * tree["w"] for tree, w in group) / sum(w for _, w in group)
        for group in groups
    ]
    true = plan.scheme.opened_map(statistics.seed).sketch.of_reals(np.stack(means))
    assert np.abs(seen.rows - true).max() < 1e-4


def test_noise_adds_up_over_a_group() -> None:
    plan = make(max_weight=1, screen=dataclasses.replace(SCREEN, noise=0.5))
    outcome = run_round(plan, {p: ({"w": np.zeros(SIZE)}, 1) for p in range(1, CLIENTS + 1)})
    assert outcome.exact
    seen = observed(plan, opened(outcome), 0)
    assert isinstance(seen, GroupSketches)
    assert seen.noise == pytest.approx(0.5 * np.sqrt(5))
    # 128 numbers: their root mean square is within 6 standard deviations
    assert np.sqrt((seen.rows**2).mean()) == pytest.approx(seen.noise, rel=6 / np.sqrt(2 * 128))


@pytest.mark.parametrize("spikes", [1, 2, SIZE])
def test_a_sum_with_a_group_beyond_the_bounds_is_withheld(spikes: int) -> None:
    plan = make()
    vector = np.zeros(plan.scheme.length, word(plan.scheme.width))
    vector[0], vector[1 : 1 + spikes] = 3, 1 << (plan.scheme.width - 1)
    outcome = run_round(plan, updates(), vectors={4: vector})
    assert isinstance(outcome.failure, IntegrityError)
    statistics = opened(outcome)
    assert [4 in group for group in statistics.groups] == (~statistics.within).tolist()
    assert isinstance(observed(plan, statistics, 0), GroupSketches)


def test_whom_earlier_rounds_speak_against_can_be_left_out() -> None:
    """And nothing is opened of them then."""
    plan, suspicion = make(clients=16, max_weight=1), GroupSuspicion(Direction())
    for number in range(8):
        rng = np.random.default_rng(number)
        vectors = rng.normal(size=(16, SIZE)) + 2 * rng.normal(size=SIZE)
        vectors *= 0.9 / np.linalg.norm(vectors, axis=1)[:, None]
        vectors[6] *= -1
        given = {p: ({"w": vectors[p - 1]}, 1) for p in range(1, 17)}
        outcome = run_round(plan, given, number=number)
        suspicion.add(observed(plan, opened(outcome), number))  # type: ignore[arg-type]
    found = suspicion.suspects()
    suspect = found.clients[int(np.argmax(found.fitted))]
    assert suspect == 7
    outcome = run_round(plan, given, judge=lambda statistics: statistics.eligible - {suspect})
    assert outcome.exact
    assert outcome.result is not None
    assert outcome.result.refused == {suspect}
    assert all(suspect not in group for group in opened(outcome).groups)


def test_a_judge_who_leaves_out_one_leaves_out_its_group_where_that_is_small() -> None:
    """Of three groups of three no client can be left out by itself, if one may be corrupt."""
    screen = dataclasses.replace(SCREEN, size=3)
    plan = make(clients=9, corrupt=1 / 9, dropout=1 / 3, screen=screen)
    given = updates()
    del given[10]
    assert run_round(plan, given, judge=lambda statistics: statistics.eligible).exact
    outcome = run_round(plan, given, judge=lambda statistics: statistics.eligible - {1})
    assert outcome.exact
    assert outcome.result is not None
    assert 1 in outcome.result.refused
    assert [len(group) for group in opened(outcome).groups] == [3, 3]


def test_a_judge_who_leaves_too_few_ends_the_round() -> None:
    """Eight of ten must remain, and two groups of five keep four each, or none."""
    screen = dataclasses.replace(SCREEN, size=4)
    plan = make(corrupt=0.2, screen=screen)
    assert run_round(plan, updates(), judge=lambda seen: seen.eligible - {1}).exact
    outcome = run_round(plan, updates(), judge=lambda seen: seen.eligible - {1, 2, 3})
    assert outcome.result is None
    assert isinstance(outcome.failure, Aborted)
    assert "clients accepted, at least 8 are needed" in str(outcome.failure)
    with pytest.raises(InputRefused, match="not all of the accepted"):
        run_round(plan, updates(), judge=lambda seen: seen.eligible | {99})


def test_statistics_of_another_kind_are_refused() -> None:
    plan, other = make(), make(screen=SketchScreen(rows=64, tables=5, buckets=256))
    groups, clients = run_round(plan, updates()), run_round(other, updates())
    assert groups.statistics is not None
    assert groups.statistics.rows.size == 0
    for wrong, statistics in ((plan, groups.statistics), (other, opened(groups))):
        with pytest.raises(ParameterError, match="what a GroupScreen opens"):
            observed(wrong, statistics, 0)
    assert clients.groups is None
    made_up = Imitated(rows=np.zeros((2, 3, 10, SIZE)), classes=np.zeros((2, 2, 3, SIZE)))
    with pytest.raises(ParameterError, match="imitate"):
        observed(plan, opened(groups), 0, imitate=lambda _: made_up)
    with pytest.raises(InputRefused, match="structure"):
        observed(plan, opened(groups), 0, known=[{"w": np.zeros(3)}])


# -- the client's side ----------------------------------------------------------------------------


def joined(plan: RoundPlan, **options: Any) -> ClientRound:
    people = Population.generate(range(1, CLIENTS + 1))
    invitation = Invitation(
        plan=plan, session=bytes(16), number=1, model=bytes(32), roster=people.roster
    )
    return ClientRound(invitation, people.clients[1], 1, journal=ClientJournal(), **options)


def test_a_client_may_allow_numbers_of_groups_only() -> None:
    floors = Floors(opened=65, opened_of=3)
    joined(make(), floors=floors)
    joined(make(screen=None), floors=floors)
    sketches = make(screen=SketchScreen(rows=64, tables=5, buckets=256))
    joined(sketches, floors=Floors(opened=65))
    with pytest.raises(ParameterError, match="opened_of >= 3 must hold by this client's floor"):
        joined(sketches, floors=floors)
    with pytest.raises(ParameterError, match="opened_of >= 4"):
        joined(make(), floors=Floors(opened=65, opened_of=4))
    with pytest.raises(ParameterError, match="opened <= 0 must hold for this client"):
        joined(make())


def test_the_ledger_is_charged_as_for_the_client_alone() -> None:
    ledger = LeakageLedger(most=100)
    client = joined(make(), floors=Floors(opened=65), leakage=ledger)
    client.submit(*updates()[1])
    assert ledger.spent == 65 == make().scheme.opened


# -- what does not go with it ---------------------------------------------------------------------


def test_plans_differ_by_their_groups() -> None:
    plans = [make(), make(screen=dataclasses.replace(SCREEN, size=3))]
    assert plans[0].digest != plans[1].digest
    opened = plans[0].scheme.screen  # type: ignore[attr-defined]
    with pytest.raises(ParameterError, match="opens something else"):
        dataclasses.replace(plans[1], scheme=plans[0].scheme)
    assert opened.group == 4


def test_it_needs_the_scheme_that_opens_and_no_privacy() -> None:
    with pytest.raises(ParameterError, match="needs SecAggPlus"):
        make(scheme=SecAggPlusVerified)
    with pytest.raises(ParameterError, match="no budget counts them"):
        make(max_weight=1, privacy=DistributedNoise(multiplier=1.0))
    assert isinstance(make(scheme=SecAggPlus).scheme, SecAggPlusVerified)


def test_nobody_is_struck_in_such_a_round() -> None:
    assert "strike" not in phases(make().scheme)
    assert "dispute" in phases(make().scheme)
