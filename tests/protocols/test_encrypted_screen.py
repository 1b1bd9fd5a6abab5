"""Plans with a key authority and a screen: what detectors see, and who is left out."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import numpy as np
import pytest

pytest.importorskip("tenseal")

from protocols.authority import AuthorityKeeper
from protocols.authority_process import AuthorityProcess
from protocols.inspect import inspect
from protocols.invitation import Invitation
from protocols.journal import ClientJournal
from protocols.leakage import LeakageLedger
from protocols.plan import RoundPlan
from protocols.private import DistributedNoise
from protocols.round import ClientRound, ServerRound
from protocols.screening import GroupScreen, NormScreen, PlanScreen, SketchScreen, observed
from protocols.simulate import Frame, Population, run_round
from robust.observe import Norms, Observation, Sketches
from secagg.errors import LeakageExceeded, LocalProtocolError, ParameterError
from secagg.event import PeerRejected, Statistics
from secagg.identity import AUTHORITY
from secagg.quantize import NormClip, RangeClip
from secagg.scheme import Floors
from secagg.schemes.ckks import EncryptedScreened, KeyAuthority
from secagg.schemes.pine import TwoAggregators

KEEPER = AuthorityKeeper(KeyAuthority.generate())
SIZE = 2500
TEMPLATE = {"weights": np.zeros(SIZE, np.float32)}
MEAN = np.random.default_rng(0).normal(size=SIZE)
MEAN /= np.linalg.norm(MEAN)


def plan_of(screen: PlanScreen | None, **changes: Any) -> RoundPlan:
    fields: dict[str, Any] = {"clip": NormClip(1.0), "max_weight": 50, "scheme": KEEPER.scheme}
    return RoundPlan.for_update(
        TEMPLATE, clients=5, dropout=0.4, corrupt=0.0, screen=screen, **{**fields, **changes}
    )


def updates(*against: int) -> dict[int, tuple[Any, int]]:
    """In the direction of the last mean, of norm client / 6; `against` it for some."""
    found = {}
    for client in range(1, 6):
        own = np.random.default_rng(client).normal(size=SIZE) / np.sqrt(SIZE)
        drawn = (-MEAN if client in against else MEAN) * 0.9 + own * np.sqrt(0.19)
        found[client] = ({"weights": (drawn * client / 6).astype(np.float32)}, 10 * client)
    return found


def test_norms_are_seen_and_the_mean_is_exact() -> None:
    plan, seen = plan_of(NormScreen(rows=256)), []

    def judge(statistics: Statistics) -> Collection[int]:
        seen.append(observed(plan, statistics, 7))
        return statistics.eligible

    outcome = run_round(plan, updates(), third=KEEPER, judge=judge, drops={4: "upload"})
    assert outcome.exact
    assert outcome.result is not None
    assert outcome.result.included == {1, 2, 3, 5}
    assert outcome.result.refused == frozenset()
    assert outcome.result.total_weight == 110
    (found,) = seen
    assert isinstance(found, Norms)
    assert found.clients == (1, 2, 3, 5)
    assert found.bound == 1.0
    assert np.allclose(found.norms * 6, [1, 2, 3, 5], rtol=0.25)
    assert outcome.statistics is not None
    assert outcome.statistics.weights is not None
    assert outcome.statistics.weights.tolist() == [10, 20, 30, 50]


def test_who_points_the_other_way_is_seen_and_left_out() -> None:
    plan, seen = plan_of(SketchScreen()), []

    def judge(statistics: Statistics) -> Collection[int]:
        known = [{"weights": MEAN.astype(np.float32)}]
        observation: Observation = observed(plan, statistics, 1, known=known)
        assert isinstance(observation, Sketches)
        seen.append(observation)
        cosines = observation.rows @ observation.public.known[0]
        return {c for c, x in zip(observation.clients, cosines, strict=True) if x > 0}

    outcome = run_round(plan, updates(2), third=KEEPER, judge=judge)
    assert outcome.exact
    assert outcome.result is not None
    assert outcome.result.included == {1, 3, 4, 5}
    assert outcome.result.refused == {2}
    rows, public = seen[0].rows, seen[0].public.known[0]
    cosines = rows @ public / np.linalg.norm(rows, axis=1) / np.linalg.norm(public)
    assert np.all(np.abs(np.abs(cosines) - 0.9) < 0.1)


def test_without_a_judge_all_within_the_bounds_are_summed() -> None:
    """An update that no honest client can make, ten times the bound, is not among them."""
    plan = plan_of(NormScreen(), max_weight=1)
    given = {client: (tree, 1) for client, (tree, _) in updates().items()}
    people = Population.generate(given)
    huge = plan.encode(given[3][0], 1, bytes, bytes(32))
    huge[1:] = (huge[1:].view(np.int32) * 20).view(np.uint32)
    frames: list[Frame] = []
    outcome = run_round(
        plan, given, third=KEEPER, population=people, vectors={3: huge}, on_frame=frames.append
    )
    assert outcome.exact
    assert outcome.result is not None
    assert outcome.result.included == {1, 2, 4, 5}
    assert outcome.result.refused == {3}
    assert not any(isinstance(event, PeerRejected) for event in outcome.rejected)
    shown = [inspect(frame.data) for frame in frames]
    names = ["Upload"] * 5 + ["Query", "Shown", "Request", "Opened"]
    assert [info.message for info in shown] == names
    assert {info.scheme for info in shown} == {"ckks-screened"}


@pytest.mark.slow
def test_a_screened_authority_in_another_process() -> None:
    with AuthorityProcess() as authority:
        plan = plan_of(NormScreen(), scheme=authority.scheme)
        outcome = run_round(plan, updates(), third=authority, judge=lambda seen: {1, 2, 3})
    assert outcome.exact
    assert outcome.result is not None
    assert outcome.result.refused == {4, 5}


def test_what_is_opened_is_counted_and_a_ledger_stops_it() -> None:
    plan = plan_of(NormScreen())
    assert plan.scheme.opened == 65
    given = updates()
    people = Population.generate(given)
    ledger = LeakageLedger(most=100)
    for number, opens in ((1, True), (2, False)):
        invitation = Invitation(
            plan=plan, session=bytes(16), number=number, model=bytes(32), roster=people.roster
        )
        client = ClientRound(
            invitation, people.clients[1], 1,
            journal=ClientJournal(), leakage=ledger,
            floors=Floors(opened=65, authority=plan.scheme.authority),
        )  # fmt: skip
        if opens:
            client.submit(*given[1])
            assert client.to_send()
        else:
            with pytest.raises(LeakageExceeded, match="opened <= 100"):
                client.submit(*given[1])
            assert client.to_send() == []
    assert ledger.spent == 65


def test_a_client_refuses_a_screen_that_it_did_not_agree_to() -> None:
    people = Population.generate(updates())
    for screen, refused in ((None, False), (NormScreen(), True)):
        invitation = Invitation(
            plan=plan_of(screen), session=bytes(16), number=1, model=bytes(32), roster=people.roster
        )
        given: dict[str, Any] = {
            "journal": ClientJournal(),
            "floors": Floors(authority=invitation.plan.scheme.authority),
        }
        if refused:
            with pytest.raises(ParameterError, match="opened <= 0 must hold"):
                ClientRound(invitation, people.clients[1], 1, **given)
        else:
            assert ClientRound(invitation, people.clients[1], 1, **given)


@pytest.mark.parametrize(
    ("screen", "changes", "says"),
    [
        (NormScreen(noise=0.1), {}, "noise, tables and buckets are not for plans with a key"),
        (NormScreen(tables=4), {}, "noise, tables and buckets are not for plans with a key"),
        (NormScreen(rows=65), {}, "rows % 64 == 0"),
        (NormScreen(rows=320), {}, "8 \\* rows <= d"),
        (GroupScreen(size=2), {}, "no groups are opened with a key authority"),
        (NormScreen(), {"clip": RangeClip(1.0)}, "take a NormClip"),
        (
            NormScreen(),
            {"privacy": DistributedNoise(multiplier=1.0), "max_weight": 1},
            "take one of the two",
        ),
        (NormScreen(), {"scheme": TwoAggregators}, "two aggregators open exact norms"),
    ],
    ids=repr,
)
def test_screens_that_do_not_fit_are_refused_when_the_plan_is_made(
    screen: PlanScreen, changes: dict[str, Any], says: str
) -> None:
    assert isinstance(plan_of(NormScreen()).scheme, EncryptedScreened)
    with pytest.raises(ParameterError, match=says):
        plan_of(screen, **changes)


def test_the_digest_of_a_plan_has_its_screen() -> None:
    digests = {plan_of(screen).digest for screen in (None, NormScreen(), SketchScreen())}
    assert len(digests) == 3
    assert plan_of(NormScreen()).digest == plan_of(NormScreen()).digest


def test_a_keeper_answers_a_query_and_a_request_once_across_restarts() -> None:
    plan, given = plan_of(NormScreen()), updates()
    people = Population.generate(given)
    invitation = Invitation(
        plan=plan, session=bytes(16), number=4, model=bytes(32), roster=people.roster
    )
    server = ServerRound(invitation, people.server)
    for party, (tree, weight) in given.items():
        client = ClientRound(
            invitation, people.clients[party], party, journal=ClientJournal(),
            floors=Floors(opened=65, authority=plan.scheme.authority),
        )  # fmt: skip
        client.submit(tree, weight)
        ((_, frame),) = client.to_send()
        server.receive(party, frame)
    ((_, query),) = server.to_send()
    shown = KEEPER.answer(plan.scheme, invitation.round, query)
    assert KEEPER.answer(plan.scheme, invitation.round, query) == shown
    journal = ClientJournal.from_bytes(KEEPER.journal.to_bytes())
    restarted = AuthorityKeeper(KEEPER.authority, journal=journal)
    with pytest.raises(LocalProtocolError, match="not after round 4"):
        restarted.answer(plan.scheme, invitation.round, query)
    server.receive(AUTHORITY, shown)
    server.accept({1, 2, 5})
    ((_, request),) = server.to_send()
    opened = KEEPER.answer(plan.scheme, invitation.round, request)
    with pytest.raises(LocalProtocolError, match="opened once"):
        KEEPER.answer(plan.scheme, invitation.round, query)
    server.receive(AUTHORITY, opened)
    assert server.ended
