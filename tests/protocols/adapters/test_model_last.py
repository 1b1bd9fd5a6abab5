"""A plan over a scheme that binds the model last: the model is given after the start."""

from __future__ import annotations

import dataclasses
import os
from typing import Any

import numpy as np
import pytest

from protocols import ClientJournal, ClientRound, Invitation, Result, RoundPlan, ServerRound
from protocols.simulate import Population, run_round
from secagg.errors import Aborted, LocalProtocolError, ParameterError
from secagg.machine import Failed, PeerRejected
from secagg.quantize import NormClip
from secagg.schemes.secagg_plus import SecAggPlus, SecAggPlusBrief

CLIENTS = 5
MODEL, OTHER = bytes(32), bytes(31) + b"\1"
UPDATES = {i: (np.full(4, float(i)), 10 * i) for i in range(1, CLIENTS + 1)}
MEAN = sum(i * 10 * i for i in UPDATES) / sum(10 * i for i in UPDATES)


def plan_for(scheme: Any) -> RoundPlan:
    return RoundPlan.for_update(
        np.zeros(4),
        clients=CLIENTS,
        clip=NormClip(20.0),
        max_weight=100,
        scheme=scheme,
        dropout=0.2,
    )


@pytest.fixture
def population() -> Population:
    return Population.generate(UPDATES)


@pytest.fixture
def invitation(population: Population) -> Invitation:
    return Invitation(
        plan=plan_for(SecAggPlusBrief),
        session=os.urandom(16),
        number=1,
        roster=population.roster,
    )


def join(invitation: Invitation, population: Population) -> dict[int, ClientRound]:
    return {
        party: ClientRound(invitation, identity, party, journal=population.journals[party])
        for party, identity in population.clients.items()
    }


def exchange(server: ServerRound, clients: dict[int, ClientRound]) -> None:
    phase = server.phase
    for party, client in clients.items():
        for _, frame in client.to_send():
            server.receive(party, frame)
    if server.phase == phase:
        server.deadline()


def deliver(server: ServerRound, clients: dict[int, ClientRound]) -> None:
    for party, frame in server.to_send():
        clients[party].receive(0, frame)


def finish(server: ServerRound, clients: dict[int, ClientRound]) -> list[Any]:
    exchange(server, clients)
    deliver(server, clients)
    exchange(server, clients)
    return list(iter(server.next_event, None))


def test_the_model_is_given_by_submit(invitation: Invitation, population: Population) -> None:
    server, clients = ServerRound(invitation, population.server), join(invitation, population)
    exchange(server, clients)
    assert server.to_send() == []  # nothing leaves before the server has named the model
    server.submit(MODEL)
    deliver(server, clients)
    for party, client in clients.items():
        client.submit(*UPDATES[party], model=MODEL)
    (result,) = finish(server, clients)
    assert isinstance(result, Result)
    np.testing.assert_allclose(result.mean, MEAN, atol=1e-6)


def test_a_client_with_another_model_is_not_in_the_sum(
    invitation: Invitation, population: Population
) -> None:
    server, clients = ServerRound(invitation, population.server), join(invitation, population)
    exchange(server, clients)
    server.submit(MODEL)
    deliver(server, clients)
    for party, client in clients.items():
        client.submit(*UPDATES[party], model=OTHER if party == 2 else MODEL)
    *rejected, result = finish(server, clients)
    assert [event.peer for event in rejected if isinstance(event, PeerRejected)] == [2]
    assert result.included == {1, 3, 4, 5}


def test_two_groups_with_two_models_release_nothing(
    invitation: Invitation, population: Population
) -> None:
    server, clients = ServerRound(invitation, population.server), join(invitation, population)
    exchange(server, clients)
    server.submit(MODEL)
    deliver(server, clients)
    for party, client in clients.items():
        client.submit(*UPDATES[party], model=OTHER if party < 3 else MODEL)
    exchange(server, clients)
    last = list(iter(server.next_event, None))[-1]
    assert isinstance(last, Failed)
    assert isinstance(last.error, Aborted)


def test_two_rounds_may_be_open_at_a_time(invitation: Invitation, population: Population) -> None:
    """The deal of the next round is made before this one is unmasked."""
    journal = ClientJournal()
    first = ClientRound(invitation, population.clients[1], 1, journal=journal)
    saved = first.snapshot()
    ClientRound(
        dataclasses.replace(invitation, number=2), population.clients[1], 1, journal=journal
    )
    again = ClientRound.restore(saved, invitation, population.clients[1], 1, journal=journal)
    assert again.to_send() == first.to_send()
    journal.finish(invitation.session, 1)
    with pytest.raises(LocalProtocolError, match="is not running"):
        ClientRound.restore(saved, invitation, population.clients[1], 1, journal=journal)


def test_the_plan_is_bound_before_the_model(invitation: Invitation, population: Population) -> None:
    server = ServerRound(invitation, population.server)
    other = dataclasses.replace(
        invitation, plan=dataclasses.replace(invitation.plan, quantize=_finer(invitation))
    )
    assert ServerRound(other, population.server).context != server.context


def _finer(invitation: Invitation) -> Any:
    quantize = invitation.plan.quantize
    return dataclasses.replace(quantize, fraction_bits=quantize.fraction_bits - 1)


# -- each model in its place ------------------------------------------------------------------


def test_an_invitation_names_no_model(invitation: Invitation) -> None:
    with pytest.raises(ParameterError, match="binds the model last: give it to submit"):
        dataclasses.replace(invitation, model=MODEL)


def test_an_invitation_to_another_scheme_names_one(invitation: Invitation) -> None:
    with pytest.raises(ParameterError, match="model must be a digest of 32 bytes"):
        dataclasses.replace(invitation, plan=plan_for(SecAggPlus))
    named = dataclasses.replace(invitation, plan=plan_for(SecAggPlus), model=MODEL)
    assert named.model == MODEL


@pytest.mark.parametrize("model", [None, b"short", "text"])
def test_an_update_without_its_model_is_refused(
    model: Any, invitation: Invitation, population: Population
) -> None:
    client = join(invitation, population)[1]
    with pytest.raises(ParameterError, match="model must be a digest of 32 bytes"):
        client.submit(*UPDATES[1], model=model)
    client.submit(*UPDATES[1], model=MODEL)


def test_a_second_model_for_another_scheme_is_refused(
    invitation: Invitation, population: Population
) -> None:
    named = dataclasses.replace(invitation, plan=plan_for(SecAggPlus), model=MODEL)
    client = join(named, population)[1]
    with pytest.raises(ParameterError, match="binds the model first: give it to Invitation"):
        client.submit(*UPDATES[1], model=MODEL)
    with pytest.raises(ParameterError, match="binds the model first: give it to Invitation"):
        ServerRound(named, population.server).submit(MODEL)
    client.submit(*UPDATES[1])


def test_a_server_names_one_model(invitation: Invitation, population: Population) -> None:
    server = ServerRound(invitation, population.server)
    server.submit(MODEL)
    with pytest.raises(LocalProtocolError, match="given already"):
        server.submit(OTHER)


# -- in simulation ----------------------------------------------------------------------------


@pytest.mark.parametrize("drops", [{}, {1: "shares"}, {2: "masked"}, {3: "unmask"}])
def test_a_simulated_round(drops: dict[int, str]) -> None:
    outcome = run_round(plan_for(SecAggPlusBrief), UPDATES, drops=drops, model=OTHER)
    assert outcome.exact
    assert outcome.result is not None
    silent = {party for party, phase in drops.items() if phase != "unmask"}
    assert outcome.result.included == UPDATES.keys() - silent
    assert outcome.deviation < 1e-6
