"""Screens of a plan with two aggregators: from updates to what a detector sees, and back."""

from __future__ import annotations

from collections.abc import Collection
from fractions import Fraction
from functools import partial
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from protocols import presets
from protocols.helper import HelperKeeper
from protocols.inspect import inspect
from protocols.journal import ClientJournal
from protocols.leakage import LeakageLedger
from protocols.outcome import Frame, Outcome
from protocols.plan import RoundPlan
from protocols.round import ClientRound, Invitation, ServerRound
from protocols.screening import (
    CosineProof,
    CosineScreen,
    ExactNormScreen,
    GroupScreen,
    NormScreen,
    PlanScreen,
    SketchScreen,
    cosines,
    observed,
)
from protocols.simulate import Population, run_round
from robust.observe import GroupSketches, Norms, Sketches
from secagg.errors import (
    Aborted,
    InputRefused,
    LeakageExceeded,
    LocalProtocolError,
    ParameterError,
)
from secagg.event import Statistics
from secagg.identity import THIRD, PartyId
from secagg.quantize import NormClip
from secagg.scheme import Floors
from secagg.schemes.pine import Reference, TwoAggregators
from secagg.schemes.pine.messages import Settle
from secagg.schemes.plain import PlainInsecure
from secagg.wire import ids

D = 600
REFERENCE = Reference(np.resize(np.array([1, -1, 0]), D))
NORMS = ExactNormScreen()
COSINES = CosineScreen(reference=REFERENCE)
SKETCHES = SketchScreen(rows=64, buckets=256)
PROOF = CosineProof(reference=REFERENCE, least=Fraction(1, 5))
GROUPS = GroupScreen(rows=64, buckets=256, size=2)


def plan_of(screen: PlanScreen | None, **changes: Any) -> RoundPlan:
    options = {"minimum": 4, "corrupt": 0.0, "max_weight": 9, **changes}
    return RoundPlan.for_update(
        np.zeros(D), clients=6, clip=NormClip(2.0), scheme=TwoAggregators, screen=screen, **options
    )


def updates_of(seed: int = 0) -> dict[PartyId, tuple[np.ndarray, int]]:
    rng = np.random.default_rng(seed)
    return {c: (rng.normal(size=D) / 25, int(rng.integers(1, 10))) for c in range(1, 7)}


def played(plan: RoundPlan, seed: int = 0, **options: Any) -> Outcome:
    third = options.pop("third", None) or HelperKeeper.generate()
    return run_round(plan, updates_of(seed), third=third, **options)


# -- what a detector sees ------------------------------------------------------------------------


@settings(max_examples=3)
@given(seed=st.integers(0, 1 << 16), out=st.sets(st.integers(1, 6), max_size=2))
def test_exact_norms_of_any_accepted_set(seed: int, out: set[int]) -> None:
    plan, updates = plan_of(NORMS), updates_of(seed)

    def judge(statistics: Statistics) -> Collection[PartyId]:
        seen = observed(plan, statistics, 3)
        assert isinstance(seen, Norms)
        assert (seen.number, seen.clients, seen.bound) == (3, tuple(range(1, 7)), 2.0)
        true = [np.linalg.norm(tree) for tree, _ in updates.values()]
        assert np.allclose(seen.norms, true, rtol=1e-3)
        assert statistics.weights.tolist() == [weight for _, weight in updates.values()]
        assert statistics.rows.shape == (6, 0)
        return statistics.eligible - out

    outcome = played(plan, seed, judge=judge)
    assert outcome.exact
    assert outcome.result is not None
    assert outcome.result.included == frozenset(range(1, 7)) - out
    assert outcome.result.total_weight == sum(updates[c][1] for c in outcome.result.included)
    assert outcome.deviation < 1e-4


def test_cosines_are_those_of_the_updates() -> None:
    plan, updates = plan_of(COSINES), updates_of()
    outcome = played(plan)
    assert outcome.statistics is not None
    assert isinstance(observed(plan, outcome.statistics, 0), Norms)
    found = cosines(plan, outcome.statistics)
    assert list(found) == list(range(1, 7))
    for client, cosine in found.items():
        tree = updates[client][0]
        true = tree @ REFERENCE.vector / np.linalg.norm(tree) / REFERENCE.norm
        assert cosine == pytest.approx(true, abs=1e-4)


def test_an_update_of_zeros_has_no_angle() -> None:
    plan = plan_of(COSINES)
    updates = {**updates_of(), 2: (np.zeros(D), 3)}
    outcome = run_round(plan, updates, third=HelperKeeper.generate())
    assert outcome.statistics is not None
    assert cosines(plan, outcome.statistics)[2] == 0.0


def test_sketches_estimate_norms_and_angles() -> None:
    plan, updates = plan_of(SKETCHES), updates_of()
    outcome = played(plan)
    assert outcome.statistics is not None
    seen = observed(plan, outcome.statistics, 0, known=[updates[1][0]])
    assert isinstance(seen, Sketches)
    assert seen.noise == 0.0
    true = np.stack([tree for tree, _ in updates.values()])
    assert np.allclose(seen.gram, true @ true.T, atol=6 / 8)
    assert np.allclose(seen.public.known[0], seen.rows[0], atol=1e-2)


def test_sketches_of_groups_are_those_of_their_sums() -> None:
    plan, updates = plan_of(GROUPS), updates_of()
    outcome = played(plan)
    assert outcome.groups is not None
    seen = observed(plan, outcome.groups, 0)
    assert isinstance(seen, GroupSketches)
    assert len(seen.groups) == 3
    weighed = [sum(updates[c][1] for c in group) for group in seen.groups]
    assert outcome.groups.weights.tolist() == weighed
    assert outcome.statistics is not None
    assert outcome.statistics.rows.shape == (6, 0)


def test_a_scheme_without_a_screen_opens_nothing() -> None:
    outcome = played(plan_of(None))
    assert outcome.exact
    assert outcome.statistics is None
    assert plan_of(None).scheme.opened == 0


def test_too_few_accepted_end_the_round() -> None:
    outcome = played(plan_of(NORMS), judge=lambda _: {1, 2, 3})
    assert outcome.result is None
    assert isinstance(outcome.failure, Aborted)
    assert "at least 4" in str(outcome.failure)


def test_drop_outs_cost_nothing() -> None:
    outcome = played(plan_of(SKETCHES), drops={2: "reports", 5: "reports"})
    assert outcome.exact
    assert outcome.statistics is not None
    assert outcome.statistics.clients == (1, 3, 4, 6)


def test_not_a_number_leaves_no_client() -> None:
    updates = {**updates_of(), 2: (np.full(D, np.nan), 3)}
    with pytest.raises(InputRefused):
        run_round(plan_of(NORMS), updates, third=HelperKeeper.generate())
    assert played(plan_of(NORMS)).exact


def along(seed: int, share: float) -> np.ndarray:
    """An update whose cosine with the reference is `share`."""
    drawn = np.random.default_rng(seed).normal(size=D)
    unit = REFERENCE.vector / REFERENCE.norm
    drawn -= drawn @ unit * unit
    across = drawn / np.linalg.norm(drawn)
    return share * unit + np.sqrt(1 - share**2) * across


def test_a_proven_cosine_opens_nothing_and_its_sum_is_exact() -> None:
    plan = plan_of(PROOF)
    updates = {c: (along(c, 0.2001 + c / 10), c) for c in range(1, 7)}
    outcome = run_round(plan, updates, third=HelperKeeper.generate())
    assert outcome.exact
    assert (plan.scheme.opened, outcome.statistics, outcome.groups) == (0, None, None)
    assert outcome.deviation < 1e-4
    with pytest.raises(ParameterError, match="opens nothing"):
        observed(plan, played(plan_of(NORMS)).statistics, 0)


@pytest.mark.parametrize("share", [0.1999, 0.0, -0.5])
def test_who_points_elsewhere_has_nothing_to_prove(share: float) -> None:
    plan = plan_of(PROOF)
    updates = {c: (along(c, 0.5), 3) for c in range(1, 7)}
    with pytest.raises(InputRefused, match="cosine"):
        run_round(plan, {**updates, 4: (along(4, share), 3)}, third=HelperKeeper.generate())


@pytest.mark.parametrize("least", [0.2, Fraction(0), Fraction(6, 5), Fraction(1, 256)])
def test_a_least_cosine_is_a_small_fraction(least: Any) -> None:
    with pytest.raises(ParameterError, match="least"):
        CosineProof(reference=REFERENCE, least=least)


@pytest.mark.parametrize("reference", [None, REFERENCE.vector])
def test_a_cosine_is_one_with_a_reference(reference: Any) -> None:
    for made in (CosineScreen, partial(CosineProof, least=Fraction(1, 5))):
        assert made(reference=REFERENCE).reference == REFERENCE
        with pytest.raises(ParameterError, match="reference is a Reference"):
            made(reference=reference)


# -- what a plan takes ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("screen", "changes", "reason"),
    [
        (NormScreen(), {}, "two aggregators open exact norms: ExactNormScreen"),
        (SketchScreen(rows=64, noise=0.1), {}, "without noise"),
        (SketchScreen(rows=128), {}, "numbers opened <= d = 600"),
        (GroupScreen(rows=64, size=3), {}, r"minimum >= 2 \* group"),
        (GroupScreen(rows=64, size=2), {"corrupt": 0.2}, r"group >= corrupt"),
        (CosineScreen(reference=Reference(np.ones(599, np.int64))), {}, "d = 600, of a reference"),
    ],
)
def test_a_screen_that_does_not_fit_is_refused(
    screen: PlanScreen, changes: dict[str, Any], reason: str
) -> None:
    with pytest.raises(ParameterError, match=reason):
        plan_of(screen, **changes)


@pytest.mark.parametrize("screen", [NORMS, COSINES, PROOF])
def test_pairwise_masks_cannot_open_exact_norms(screen: PlanScreen) -> None:
    with pytest.raises(ParameterError, match="only two aggregators open exact norms"):
        RoundPlan.for_update(np.zeros(D), clients=6, clip=NormClip(2.0), screen=screen)
    with pytest.raises(ParameterError, match="needs SecAggPlus, TwoAggregators or"):
        RoundPlan.for_update(
            np.zeros(D), clients=6, clip=NormClip(2.0), screen=screen, scheme=PlainInsecure
        )


def test_scheme_and_screen_of_a_plan_agree() -> None:
    plan, other = plan_of(NORMS), plan_of(COSINES)
    with pytest.raises(ParameterError, match="opens something else"):
        RoundPlan(
            scheme=plan.scheme, quantize=plan.quantize, structure=plan.structure, screen=COSINES
        )
    assert plan.digest != other.digest


def test_other_statistics_are_refused() -> None:
    plan, outcome = plan_of(SKETCHES), played(plan_of(NORMS))
    assert outcome.statistics is not None
    with pytest.raises(ParameterError, match="opens no cosines"):
        cosines(plan, outcome.statistics)
    with pytest.raises(ParameterError, match="GroupStatistics are what a GroupScreen opens"):
        observed(plan_of(GROUPS), outcome.statistics, 0)


def test_a_preset_takes_a_screen() -> None:
    plan = presets.two_aggregators(np.zeros(D), clients=10, clip=NormClip(1.0), screen=NORMS)
    assert plan.scheme.opened == 2


# -- clients, and the helper ---------------------------------------------------------------------


def test_floors_and_the_leakage_ledger_count_what_is_opened() -> None:
    people = Population.generate(range(1, 7))
    plan = plan_of(COSINES)
    roster = HelperKeeper.generate().enrolled(people.roster)
    ledger = LeakageLedger(most=5)
    floors = Floors(opened=3)
    for number in (1, 2):
        invitation = Invitation(
            plan=plan, session=bytes(16), number=number, model=bytes(32), roster=roster
        )
        client = ClientRound(
            invitation, people.clients[1], 1, journal=ClientJournal(), leakage=ledger, floors=floors
        )
        if number == 1:
            client.submit(*updates_of()[1])
            assert ledger.spent == 3
        else:
            with pytest.raises(LeakageExceeded, match="opened <= 5"):
                client.submit(*updates_of()[1])
            assert client.to_send() == []
    with pytest.raises(ParameterError, match="opened <= 2 must hold"):
        ClientRound(
            invitation,
            people.clients[1],
            1,
            journal=ClientJournal(),
            floors=Floors(opened=2),
        )


def test_a_restarted_helper_answers_no_second_set() -> None:
    people, keeper = Population.generate(range(1, 7)), HelperKeeper.generate()
    plan = plan_of(NORMS)
    invitation = Invitation(
        plan=plan, session=bytes(16), number=3, model=bytes(32),
        roster=keeper.enrolled(people.roster),
    )  # fmt: skip
    leader = ServerRound(invitation, people.server)
    for client, (tree, weight) in updates_of().items():
        party = ClientRound(
            invitation, people.clients[client], client, journal=ClientJournal(),
            floors=Floors(opened=2),
        )  # fmt: skip
        party.submit(tree, weight)
        leader.receive(client, party.to_send()[0][1])
    answered = 0
    while frames := leader.to_send():
        for _, frame in frames:
            leader.receive(THIRD, keeper.answer(plan.scheme, invitation.round, frame))
            answered += 1
    assert answered == 8
    assert isinstance(leader.next_event(), Statistics)
    leader.accept({1, 2, 3, 4})
    ((_, settle),) = leader.to_send()
    share = keeper.answer(plan.scheme, invitation.round, settle)
    assert keeper.answer(plan.scheme, invitation.round, settle) == share
    endpoint = plan.scheme._endpoint(invitation.round, people.server, 0)
    other = endpoint.seal(THIRD, Settle(accepted=ids(range(1, 7)), blind=bytes(32), values=b""))
    with pytest.raises(LocalProtocolError, match="not after round 3"):
        keeper.answer(plan.scheme, invitation.round, other)
    stored = ClientJournal.from_bytes(keeper.journal.to_bytes())
    restarted = HelperKeeper(keeper._identity, journal=stored)
    with pytest.raises(LocalProtocolError, match="not after round 3"):
        restarted.answer(plan.scheme, invitation.round, settle)


def test_frames_can_be_inspected() -> None:
    frames: list[Frame] = []
    played(plan_of(NORMS), on_frame=frames.append)
    shown = [inspect(frame.data).message for frame in frames]
    assert shown[-6:] == ["Close", "Part", "Draw", "Half", "Settle", "Sum"]
