"""Rounds of a plan with a key authority: the driver, the journal, noise of the clients."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("tenseal")

from protocols.authority import AuthorityRound
from protocols.invitation import Invitation
from protocols.journal import ClientJournal
from protocols.plan import RoundPlan
from protocols.planfile import PlanFile, SchemeChoice
from protocols.private import DistributedNoise
from protocols.round import ClientRound, ServerRound
from protocols.simulate import Population, run_round
from secagg.errors import DecodeError, LocalProtocolError, ParameterError
from secagg.identity import AUTHORITY
from secagg.quantize import NormClip
from secagg.scheme import Floors
from secagg.schemes.ckks import KeyAuthority
from secagg.schemes.plain import PlainInsecure

KEEPER = KeyAuthority.generate()
TEMPLATE = {"weights": np.zeros((3, 4), np.float32)}
PLAN = RoundPlan.for_update(
    TEMPLATE, clients=5, clip=NormClip(2.0), scheme=KEEPER.scheme, max_weight=50, dropout=0.4,
    corrupt=0.0,
)  # fmt: skip
UPDATES = {
    client: ({"weights": np.full((3, 4), client / 20, np.float32)}, 10 * client)
    for client in range(1, 6)
}


def test_a_round_gives_the_weighted_mean_exactly() -> None:
    outcome = run_round(PLAN, UPDATES, authority=KEEPER)
    assert outcome.exact
    assert outcome.result is not None
    assert outcome.result.total_weight == 150
    assert outcome.deviation < 1e-5
    assert outcome.authority_cpu > 0
    assert not outcome.rejected


def test_drop_outs_are_left_out() -> None:
    outcome = run_round(PLAN, UPDATES, authority=KEEPER, drops={2: "upload", 5: "upload"})
    assert outcome.exact
    assert outcome.result is not None
    assert outcome.result.included == frozenset({1, 3, 4})


def test_too_many_drop_outs_open_nothing() -> None:
    drops = dict.fromkeys((1, 2, 5), "upload")
    outcome = run_round(PLAN, UPDATES, authority=KEEPER, drops=drops)
    assert outcome.result is None
    assert "2 inputs, at least 3" in str(outcome.failure)
    assert outcome.authority_cpu == 0


def test_an_authority_that_never_answers_ends_the_round() -> None:
    outcome = run_round(PLAN, UPDATES)
    assert outcome.result is None
    assert "did not answer" in str(outcome.failure)


def test_noise_of_the_clients_is_summed_exactly() -> None:
    plan = RoundPlan.for_update(
        TEMPLATE, clients=5, clip=NormClip(1.0), scheme=KEEPER.scheme, dropout=0.2, corrupt=0.0,
        privacy=DistributedNoise(multiplier=0.5),
    )  # fmt: skip
    updates = {client: (tree, 1) for client, (tree, _) in UPDATES.items()}
    outcome = run_round(plan, updates, authority=KEEPER)
    assert outcome.exact
    assert outcome.result is not None
    assert outcome.deviation > 0.01, "there is no noise in the sum"
    assert plan.event is not None


def request() -> tuple[Invitation, bytes, ServerRound]:
    people = Population.generate(UPDATES)
    invitation = Invitation(
        plan=PLAN, session=bytes(16), number=3, model=bytes(32), roster=people.roster
    )
    server = ServerRound(invitation, people.server)
    for client, (tree, weight) in UPDATES.items():
        party = ClientRound(
            invitation, people.clients[client], client, journal=ClientJournal(), floors=Floors()
        )
        party.submit(tree, weight)
        ((_, frame),) = party.to_send()
        server.receive(client, frame)
    ((to, frame),) = server.to_send()
    assert to == AUTHORITY
    return invitation, frame, server


def test_a_context_is_opened_once_across_restarts() -> None:
    invitation, frame, server = request()
    journal = ClientJournal()
    keeper = AuthorityRound(invitation, KEEPER, journal=journal)
    reply = keeper.answer(frame)
    assert keeper.answer(frame) == reply
    server.receive(AUTHORITY, reply)
    assert server.ended
    stored = ClientJournal.from_bytes(journal.to_bytes())
    with pytest.raises(LocalProtocolError, match="not after round 3"):
        AuthorityRound(invitation, KEEPER, journal=stored)


def test_bytes_of_another_round_do_not_use_up_the_answer() -> None:
    invitation, frame, _ = request()
    keeper = AuthorityRound(invitation, KEEPER, journal=ClientJournal())
    with pytest.raises(DecodeError):
        keeper.answer(frame[:-1] + bytes([frame[-1] ^ 1]))
    assert keeper.answer(frame)


def test_a_plan_without_an_authority_has_no_authority_round() -> None:
    plain = RoundPlan.for_update(TEMPLATE, clients=5, clip=NormClip(1.0), scheme=PlainInsecure)
    people = Population.generate(UPDATES)
    for plan, keeper, match in (
        (plain, KEEPER, "has no key authority"),
        (PLAN, KeyAuthority.generate(), "another authority"),
    ):
        invitation = Invitation(
            plan=plan, session=bytes(16), number=1, model=bytes(32), roster=people.roster
        )
        with pytest.raises(ParameterError, match=match):
            AuthorityRound(invitation, keeper, journal=ClientJournal())


def test_a_plan_file_takes_the_scheme_with_an_authority() -> None:
    file = PlanFile.parse('[scheme]\nname = "ckks"\nclients = 6\n')
    assert file.plan(TEMPLATE, KEEPER).scheme.authority == KEEPER.identity.public
    with pytest.raises(ParameterError, match="needs a key authority"):
        file.plan(TEMPLATE)
    with pytest.raises(ParameterError, match="has no secret shares"):
        SchemeChoice(name="ckks", threshold=3)
