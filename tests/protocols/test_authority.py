"""Rounds of a plan with a key authority: the driver, the journal, noise of the clients."""

from __future__ import annotations

import sys
from dataclasses import replace

import numpy as np
import pytest

pytest.importorskip("tenseal")

from protocols.authority import AuthorityKeeper
from protocols.authority_process import AuthorityProcess
from protocols.inspect import inspect
from protocols.invitation import Invitation
from protocols.journal import ClientJournal
from protocols.plan import RoundPlan
from protocols.planfile import PlanFile, SchemeChoice
from protocols.private import DistributedNoise
from protocols.round import ClientRound, ServerRound
from protocols.simulate import Frame, Population, run_round
from secagg.context import Round
from secagg.errors import (
    CipherFailed,
    DecodeError,
    LocalProtocolError,
    ParameterError,
    RemoteProtocolError,
)
from secagg.event import Finished
from secagg.identity import AUTHORITY, SERVER, Identity
from secagg.quantize import NormClip
from secagg.scheme import Floors
from secagg.schemes.ckks import EncryptedRounded, KeyAuthority
from secagg.schemes.ckks.messages import CONTRIBUTORS, Request
from secagg.schemes.plain import PlainInsecure

KEEPER = AuthorityKeeper(KeyAuthority.generate())
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
    outcome = run_round(PLAN, UPDATES, third=KEEPER)
    assert outcome.exact
    assert outcome.result is not None
    assert outcome.result.total_weight == 150
    assert outcome.deviation < 1e-5
    assert outcome.third_cpu > 0
    assert not outcome.rejected


def test_drop_outs_are_left_out() -> None:
    outcome = run_round(PLAN, UPDATES, third=KEEPER, drops={2: "upload", 5: "upload"})
    assert outcome.exact
    assert outcome.result is not None
    assert outcome.result.included == frozenset({1, 3, 4})


def test_too_many_drop_outs_open_nothing() -> None:
    drops = dict.fromkeys((1, 2, 5), "upload")
    outcome = run_round(PLAN, UPDATES, third=KEEPER, drops=drops)
    assert outcome.result is None
    assert "2 inputs, at least 3" in str(outcome.failure)
    assert outcome.third_cpu == 0


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
    outcome = run_round(plan, updates, third=KEEPER)
    assert outcome.exact
    assert outcome.result is not None
    assert outcome.deviation > 0.01, "there is no noise in the sum"
    assert plan.event is not None


def test_noise_of_the_clients_survives_every_drop_out_that_the_plan_allows() -> None:
    """Whoever is missing: nobody sends a byte more, and what is there is the promised noise.

    Nothing is a share of anybody else's noise: `honest_inputs` clients make up the multiplier.
    """
    template = np.zeros(1000, np.float32)
    plan = RoundPlan.for_update(
        template, clients=5, clip=NormClip(1.0), scheme=KEEPER.scheme, dropout=0.4, corrupt=0.0,
        privacy=DistributedNoise(multiplier=0.5),
    )  # fmt: skip
    assert plan.scheme.honest_inputs == 3
    nothing = dict.fromkeys(UPDATES, (template, 1))
    everybody = run_round(plan, nothing, third=KEEPER)
    seen = []
    for number, silent in enumerate([(1, 2), (4, 5), (3,)], start=1):
        drops = dict.fromkeys(silent, "upload")
        outcome = run_round(plan, nothing, third=KEEPER, drops=drops, number=number)
        assert outcome.exact
        assert outcome.result is not None
        assert outcome.result.included == frozenset(UPDATES) - frozenset(silent)
        for client in outcome.result.included:
            assert outcome.clients[client].bytes_up == everybody.clients[client].bytes_up
        if len(silent) == 2:
            mean, clients = outcome.result.mean, len(outcome.result.included)
            seen.append(mean * clients)
    # sums by exactly three clients: the deviation is 0.5 times the clip
    assert 0.47 < np.std(np.concatenate(seen)) < 0.54


def test_removal_of_noise_is_refused_as_no_client_learns_who_is_in_the_sum() -> None:
    for removal in (False, True):
        privacy = DistributedNoise(multiplier=0.5, removal=removal)
        fields = {"clients": 5, "clip": NormClip(1.0), "scheme": KEEPER.scheme, "corrupt": 0.0}
        if removal:
            with pytest.raises(ParameterError, match="removal of noise needs a scheme whose"):
                RoundPlan.for_update(TEMPLATE, **fields, privacy=privacy)
        else:
            assert RoundPlan.for_update(TEMPLATE, **fields, privacy=privacy).event is not None


def test_one_more_drop_out_than_the_noise_is_made_for_opens_nothing() -> None:
    plan = RoundPlan.for_update(
        TEMPLATE, clients=5, clip=NormClip(1.0), scheme=KEEPER.scheme, dropout=0.4, corrupt=0.0,
        privacy=DistributedNoise(multiplier=0.5),
    )  # fmt: skip
    updates = {client: (tree, 1) for client, (tree, _) in UPDATES.items()}
    outcome = run_round(plan, updates, third=KEEPER, drops=dict.fromkeys((1, 2, 3), "upload"))
    assert outcome.result is None
    assert "2 inputs, at least 3" in str(outcome.failure)


SERVERS: dict[bytes, Identity] = {}


def request() -> tuple[Invitation, bytes, ServerRound]:
    people = Population.generate(UPDATES)
    SERVERS[people.server.public] = people.server
    invitation = Invitation(
        plan=PLAN, session=bytes(16), number=3, model=bytes(32), roster=people.roster
    )
    server = ServerRound(invitation, people.server)
    for client, (tree, weight) in UPDATES.items():
        party = ClientRound(
            invitation, people.clients[client], client, journal=ClientJournal(),
            floors=Floors(authority=PLAN.scheme.authority),
        )  # fmt: skip
        party.submit(tree, weight)
        ((_, frame),) = party.to_send()
        server.receive(client, frame)
    ((to, frame),) = server.to_send()
    assert to == AUTHORITY
    return invitation, frame, server


def test_a_context_is_opened_once_across_restarts() -> None:
    invitation, frame, server = request()
    keeper = AuthorityKeeper(KEEPER.authority)
    reply = keeper.answer(PLAN.scheme, invitation.round, frame)
    assert keeper.answer(PLAN.scheme, invitation.round, frame) == reply
    server.receive(AUTHORITY, reply)
    assert server.ended
    stored = ClientJournal.from_bytes(keeper.journal.to_bytes())
    restarted = AuthorityKeeper(KEEPER.authority, journal=stored)
    with pytest.raises(LocalProtocolError, match="not after round 3"):
        restarted.answer(PLAN.scheme, invitation.round, frame)


def test_bytes_of_another_round_do_not_use_up_the_answer() -> None:
    invitation, frame, _ = request()
    keeper = AuthorityKeeper(KEEPER.authority)
    with pytest.raises(DecodeError):
        keeper.answer(PLAN.scheme, invitation.round, frame[:-1] + bytes([frame[-1] ^ 1]))
    assert keeper.answer(PLAN.scheme, invitation.round, frame)


def test_a_request_of_a_cheating_server_uses_up_the_answer() -> None:
    invitation, frame, _ = request()
    people = invitation.roster
    keeper = AuthorityKeeper(KEEPER.authority)
    endpoint = PLAN.scheme._endpoint(invitation.round, SERVERS[people.server], SERVER)
    few = Request(contributors=CONTRIBUTORS.table({}), vector=bytes(PLAN.scheme.limits.vector))
    with pytest.raises(RemoteProtocolError, match="at least 3 are needed"):
        keeper.answer(PLAN.scheme, invitation.round, endpoint.seal(AUTHORITY, few))
    with pytest.raises(LocalProtocolError, match="a context is opened once"):
        keeper.answer(PLAN.scheme, invitation.round, frame)


def test_schemes_without_this_authority_are_refused() -> None:
    invitation, frame, _ = request()
    plain = RoundPlan.for_update(TEMPLATE, clients=5, clip=NormClip(1.0), scheme=PlainInsecure)
    keeper = AuthorityKeeper(KEEPER.authority)
    with pytest.raises(ParameterError, match="has no key authority"):
        keeper.answer(plain.scheme, invitation.round, frame)
    stranger = AuthorityKeeper(KeyAuthority.generate())
    with pytest.raises(ParameterError, match="another authority"):
        stranger.answer(PLAN.scheme, invitation.round, frame)


def test_an_authority_in_another_process_opens_the_same_sum() -> None:
    with AuthorityProcess() as authority:
        plan = RoundPlan.for_update(
            TEMPLATE, clients=5, clip=NormClip(2.0), scheme=authority.scheme, max_weight=50
        )
        outcome = run_round(plan, UPDATES, third=authority)
        assert outcome.exact
        assert outcome.result is not None
        with pytest.raises(ParameterError, match="must hold"):
            authority.scheme(clients=5, length=1, width=99)
        with pytest.raises(ParameterError, match="2 <= width"):
            authority.scheme(clients=5, length=1, width=0)
        with pytest.raises(ParameterError, match="has no key authority"):
            authority.answer(PlainInsecure(clients=5, length=1, width=8), request()[0].round, b"")
        invitation, frame, _ = request()
        with pytest.raises(DecodeError):  # of a plan with another authority's keys
            authority.answer(PLAN.scheme, invitation.round, frame)


def test_an_authority_in_another_process_goes_by_the_whole_roster() -> None:
    """The share key of the server is in the context too."""
    with AuthorityProcess() as authority:
        scheme = authority.scheme(clients=2, length=3, width=16, corrupt=0.0, dropout=0.0)
        people = Population.generate((1, 2))
        roster = replace(people.roster, server_share_key=people.server.share_key)
        agreed = Round(session=bytes(16), number=1, model=bytes(32), roster=roster)
        server = scheme.server(agreed, people.server)
        floors = Floors(clients=2, authority=scheme.authority)
        for party, identity in people.clients.items():
            client = scheme.client(agreed, identity, party, floors=floors)
            client.submit(np.full(3, party, np.uint16))
            ((_, frame),) = client.to_send()
            server.receive(party, frame)
        ((_, frame),) = server.to_send()
        server.receive(AUTHORITY, authority.answer(scheme, agreed, frame))
        finished = server.next_event()
        assert isinstance(finished, Finished)
        assert finished.aggregate is not None
        assert finished.aggregate.total.tolist() == [3, 3, 3]


def test_an_authority_whose_process_states_no_keys_is_an_error() -> None:
    code = 'print(\'{"size": 0, "identity": "nonsense"}\')'
    with (
        AuthorityProcess(seconds=3, command=(sys.executable, "-c", code)) as authority,
        pytest.raises(CipherFailed, match="stated no keys"),
    ):
        authority.scheme(clients=5, length=1, width=8)


@pytest.mark.parametrize(
    "code",
    [
        "pass",
        "import os; os.abort()",
        "print('nonsense')",
        "print('{}')",
        "print('[]')",
        'print(\'{"size": "1"}\')',
        'print(\'{"size": 0, "error": []}\')',
        "import time; time.sleep(99)",
    ],
    ids=["gone", "crash", "nonsense", "empty", "list", "text", "unnamed", "hang"],
)
def test_an_authority_whose_process_fails_is_an_error(code: str) -> None:
    with (
        AuthorityProcess(seconds=3, command=(sys.executable, "-c", code)) as authority,
        pytest.raises(CipherFailed, match="gave no answer"),
    ):
        authority.scheme(clients=5, length=1, width=8)


def test_frames_of_all_three_parties_can_be_inspected() -> None:
    frames: list[Frame] = []
    run_round(PLAN, UPDATES, third=KEEPER, on_frame=frames.append)
    shown = [inspect(frame.data) for frame in frames]
    assert [info.message for info in shown] == ["Upload"] * 5 + ["Request", "Opened"]
    asked, told = shown[-2:]
    assert (asked.sender, asked.receiver) == ("server", "key authority")
    assert (told.sender, told.receiver) == ("key authority", "server")
    assert asked.fields["contributors"].startswith("5 rows of 148 bytes")
    assert {info.scheme for info in shown} == {"ckks-exact"}


def test_a_plan_file_takes_the_scheme_with_an_authority() -> None:
    file = PlanFile.parse('[scheme]\nname = "ckks"\nclients = 6\n')
    assert file.plan(TEMPLATE, KEEPER).scheme.authority == KEEPER.authority.identity.public
    rounded = PlanFile.parse('[scheme]\nname = "ckks-rounded"\nclients = 6\n')
    assert isinstance(rounded.plan(TEMPLATE, KEEPER).scheme, EncryptedRounded)
    with pytest.raises(ParameterError, match="needs a key authority"):
        file.plan(TEMPLATE)
    with pytest.raises(ParameterError, match="recovers no secrets"):
        SchemeChoice(name="ckks", threshold=3)
