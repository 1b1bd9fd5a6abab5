"""ClientRound and ServerRound: a whole round by hand, crashes, refusals, and what is bound."""

from __future__ import annotations

import dataclasses
import os
import pickle
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from protocols import (
    ClientJournal,
    ClientRound,
    Invitation,
    Result,
    RoundPlan,
    ServerRound,
    model_digest,
    presets,
)
from protocols.simulate import Population
from secagg.errors import (
    Aborted,
    DecodeError,
    InputRefused,
    IntegrityError,
    LocalProtocolError,
    ParameterError,
)
from secagg.machine import Discarded, Failed, Finished
from secagg.quantize import NormClip
from secagg.scheme import Floors
from secagg.structure import flatten

Updates = dict[int, tuple[Any, int]]
Join = Callable[..., ClientRound]
Exchange = Callable[[ServerRound, dict[int, ClientRound]], list[Any]]


def plain_mean(updates: Updates, included: Any) -> np.ndarray:
    weight = sum(updates[i][1] for i in included)
    return sum(flatten(updates[i][0])[0] * updates[i][1] for i in included) / weight


def everybody(
    invitation: Invitation, join: Join, updates: Updates, **options: Any
) -> dict[int, ClientRound]:
    clients = {i: join(invitation, i, **options) for i in updates}
    for i, (tree, weight) in updates.items():
        clients[i].submit(tree, weight)
    return clients


def test_a_round_releases_the_weighted_mean(
    invitation: Invitation,
    population: Population,
    join: Join,
    exchange: Exchange,
    updates: Updates,
) -> None:
    server = ServerRound(invitation, population.server)
    clients = everybody(invitation, join, updates)
    (result,) = exchange(server, clients)
    assert isinstance(result, Result)
    assert result.included == updates.keys()
    assert result.total_weight == 10 + 20 + 30 + 40 + 50 + 60
    assert not any(result.dropped.values())
    error = np.abs(flatten(result.mean)[0] - plain_mean(updates, updates)).max()
    assert error <= invitation.plan.quantize.error(6, 210) + 1e-6
    finished = Finished(included=frozenset(updates))
    assert all(client.next_event() == finished for client in clients.values())
    assert server.ended
    assert server.phase == "over"


def test_a_server_that_is_satisfied_need_not_wait(
    invitation: Invitation, population: Population, join: Join, updates: Updates
) -> None:
    server = ServerRound(invitation, population.server)
    clients = everybody(invitation, join, updates)
    waited = {}
    while not server.ended:
        frames = [(i, data) for i, client in clients.items() for _, data in client.to_send()]
        for sender, data in frames:
            server.receive(sender, data)
            if server.satisfied:
                break
        phase = server.phase
        if server.satisfied:
            waited[phase] = server.expected
            server.deadline()
        for receiver, data in server.to_send():
            clients[receiver].receive(0, data)
    assert waited.keys() == {"unmask"}
    assert len(waited["unmask"]) == 1, "four shares of five are enough"
    result = server.next_event()
    assert isinstance(result, Result)
    assert result.included == updates.keys(), "who is in the sum does not depend on the wait"
    assert not server.satisfied, "a server that is over wants nothing"
    assert not clients[1].satisfied


def test_both_sides_say_where_they_are(
    invitation: Invitation, population: Population, join: Join
) -> None:
    server, client = ServerRound(invitation, population.server), join(invitation, 2)
    assert (server.me, client.me) == (0, 2)
    assert server.context == client.context
    assert (server.phase, client.phase) == ("adverts", "adverts")
    assert server.expected == population.clients.keys()
    assert client.expected == {0}
    assert not client.ended
    assert client.plan is invitation.plan


def test_a_round_survives_a_crash_after_every_step(
    invitation: Invitation,
    population: Population,
    join: Join,
    exchange: Exchange,
    updates: Updates,
) -> None:
    journals = {i: ClientJournal() for i in updates}

    def resumed(client: ClientRound) -> ClientRound:
        return ClientRound.restore(
            client.snapshot(),
            invitation,
            population.clients[client.me],
            client.me,
            journal=ClientJournal.from_bytes(journals[client.me].to_bytes()),
        )

    server = ServerRound(invitation, population.server)
    clients = {i: resumed(join(invitation, i, journal=journals[i])) for i in updates}
    for i, (tree, weight) in updates.items():
        clients[i].submit(tree, weight)
        clients[i] = resumed(clients[i])
    events: list[Any] = []
    while not server.ended:
        for i, client in clients.items():
            for _, data in client.to_send():
                server.receive(i, data)
            while (event := server.next_event()) is not None:
                events.append(event)
        server = ServerRound.restore(server.snapshot(), invitation, population.server)
        for receiver, data in server.to_send():
            clients[receiver].receive(0, data)
            while clients[receiver].next_event() is not None:
                pass
            clients[receiver] = resumed(clients[receiver])
    (result,) = events
    assert result.included == updates.keys()
    assert np.abs(flatten(result.mean)[0] - plain_mean(updates, updates)).max() < 1e-5


def test_a_snapshot_of_another_round_is_refused(
    invitation: Invitation, population: Population, join: Join
) -> None:
    journal = ClientJournal()
    snapshot = join(invitation, 1, journal=journal).snapshot()
    restore = ClientRound.restore
    identity = population.clients[1]
    restored = restore(snapshot, invitation, identity, 1, journal=journal)
    assert restored.phase == "adverts"
    other = dataclasses.replace(invitation, model=bytes(32))
    with pytest.raises(DecodeError, match="another party, round or scheme"):
        restore(snapshot, other, identity, 1, journal=journal)
    with pytest.raises(DecodeError, match="another party, round or scheme"):
        restore(snapshot, invitation, population.clients[2], 2, journal=journal)
    with pytest.raises(DecodeError, match="damaged"):
        ServerRound.restore(snapshot[:-1] + b"\0", invitation, population.server)


# -- the journal ------------------------------------------------------------------------------


def test_a_client_joins_a_round_once(invitation: Invitation, join: Join) -> None:
    journal = ClientJournal()
    assert join(invitation, 1, journal=journal).to_send()
    for number in (3, 2):
        with pytest.raises(LocalProtocolError, match="second sum over the same inputs"):
            join(dataclasses.replace(invitation, number=number), 1, journal=journal)
    join(dataclasses.replace(invitation, number=4), 1, journal=journal)
    join(dataclasses.replace(invitation, session=os.urandom(16)), 1, journal=journal)


def test_a_refused_invitation_is_not_remembered(invitation: Invitation, join: Join) -> None:
    journal = ClientJournal()
    with pytest.raises(ParameterError, match="survivors >= 6 must hold by this client's floor"):
        join(invitation, 1, journal=journal, floors=Floors(survivors=6))
    join(invitation, 1, journal=journal, floors=Floors(survivors=5))
    assert journal.joined == {invitation.session: 3}


def test_a_finished_round_does_not_resume(
    invitation: Invitation, population: Population, join: Join
) -> None:
    journal = ClientJournal()
    snapshot = join(invitation, 1, journal=journal).snapshot()
    join(dataclasses.replace(invitation, number=4), 1, journal=journal)
    ClientRound.restore(snapshot, invitation, population.clients[1], 1, journal=journal)
    journal.finish(invitation.session, invitation.number)
    with pytest.raises(LocalProtocolError, match="out of date"):
        ClientRound.restore(snapshot, invitation, population.clients[1], 1, journal=journal)


# -- inputs -----------------------------------------------------------------------------------


def test_a_refused_update_leaves_the_round_unchanged(
    invitation: Invitation,
    population: Population,
    join: Join,
    exchange: Exchange,
    updates: Updates,
    tree: Callable[[int], Any],
) -> None:
    server = ServerRound(invitation, population.server)
    clients = {i: join(invitation, i) for i in updates}
    spoiled = tree(1)
    spoiled["layer"]["weight"][0, 0] = np.nan
    with pytest.raises(InputRefused, match=r"\['layer'\]\['weight'\] at index \(0, 0\)"):
        clients[1].submit(spoiled, 10)
    with pytest.raises(InputRefused, match="weight is not an int"):
        clients[1].submit(tree(1), 0)
    with pytest.raises(InputRefused, match="ring vector"):
        clients[1].submit_encoded(np.zeros(3, np.uint32))
    for i, (update, weight) in updates.items():
        clients[i].submit(update, weight)
    (result,) = exchange(server, clients)
    assert result.total_weight == 210


def test_a_second_update_is_refused(
    invitation: Invitation, join: Join, tree: Callable[[int], Any]
) -> None:
    client = join(invitation, 1)
    client.submit(tree(1), 10)
    with pytest.raises(LocalProtocolError, match="given already"):
        client.submit(tree(2), 10)


def test_a_silent_server_ends_the_client(invitation: Invitation, join: Join) -> None:
    client = join(invitation, 1)
    with pytest.raises(Aborted, match="the server was silent"):
        client.deadline()
    assert client.ended


# -- what is bound ----------------------------------------------------------------------------


def test_another_model_is_another_context(
    invitation: Invitation,
    population: Population,
    join: Join,
    exchange: Exchange,
    updates: Updates,
    tree: Callable[[int], Any],
) -> None:
    """One client was shown another model: its frames are of another round, the rest go on."""
    server = ServerRound(invitation, population.server)
    clients = everybody(invitation, join, updates)
    shown = tree(0)
    shown["scale"] = float(np.nextafter(shown["scale"], 9))
    clients[4] = join(dataclasses.replace(invitation, model=model_digest(shown)), 4)
    assert clients[4].context != server.context
    *discarded, result = exchange(server, clients)
    assert discarded == [
        Discarded(4, "frame of another round: its context is not this round's"),
    ]
    assert result.included == {1, 2, 3, 5, 6}


def test_another_plan_is_another_context(invitation: Invitation, join: Join) -> None:
    quantize = dataclasses.replace(invitation.plan.quantize, fraction_bits=5)
    other = dataclasses.replace(
        invitation, plan=dataclasses.replace(invitation.plan, quantize=quantize)
    )
    assert join(invitation, 1).context == join(invitation, 2).context
    assert join(other, 1).context != join(invitation, 2).context


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"model": b"short"}, "model must be a digest of 32 bytes"),
        ({"model": "text"}, "model must be a digest of 32 bytes"),
        ({"session": b"short"}, r"16 <= len\(session\) <= 64"),
        ({"number": -1}, r"0 <= number < 2\*\*64"),
    ],
)
def test_a_bad_invitation_dies_at_once(
    invitation: Invitation, changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(ParameterError, match=message):
        dataclasses.replace(invitation, **changes)


def test_the_roster_must_be_of_the_plans_size(
    invitation: Invitation, population: Population, join: Join
) -> None:
    fewer = Population(
        population.server,
        {i: population.clients[i] for i in range(1, 6)},
        population.journals,
    )
    with pytest.raises(ParameterError, match="the roster invites 5 clients"):
        join(dataclasses.replace(invitation, roster=fewer.roster), 1)


# -- results that are withheld ----------------------------------------------------------------


def test_a_sum_that_cannot_be_is_withheld(
    plan: RoundPlan,
    invitation: Invitation,
    population: Population,
    join: Join,
    exchange: Exchange,
    updates: Updates,
) -> None:
    """A client that claims too much weight by hand: the server does not decode nonsense."""
    server = ServerRound(invitation, population.server)
    clients = {i: join(invitation, i) for i in updates}
    for i, (tree, weight) in updates.items():
        vector = plan.encode(tree, weight, os.urandom, bytes(32))
        vector[0] += 10_000 * (i == 1)
        clients[i].submit_encoded(vector)
    (failed,) = exchange(server, clients)
    assert isinstance(failed, Failed)
    assert isinstance(failed.error, IntegrityError)
    assert "total weight" in str(failed.error)


def test_too_few_clients_fail_the_round(
    invitation: Invitation, population: Population, join: Join, exchange: Exchange, updates: Updates
) -> None:
    server = ServerRound(invitation, population.server)
    clients = everybody(invitation, join, {i: updates[i] for i in (1, 2, 3)})
    (failed,) = exchange(server, clients)
    assert isinstance(failed.error, Aborted)
    assert failed.error.missing == {4, 5, 6}


# -- nothing secret leaks ---------------------------------------------------------------------


def test_reprs_show_no_secret_and_nothing_pickles(
    invitation: Invitation, population: Population, join: Join, tree: Callable[[int], Any]
) -> None:
    client = join(invitation, 1)
    client.submit(tree(1), 10)
    assert repr(client) == "<ClientRound of party 1, phase 'adverts'>"
    server = ServerRound(invitation, population.server)
    assert repr(server) == "<ServerRound of party 0, phase 'adverts'>"
    for party in (client, server):
        with pytest.raises(TypeError, match="does not pickle"):
            pickle.dumps(party)


def test_randomness_comes_from_the_argument_alone(
    invitation: Invitation, join: Join, tree: Callable[[int], Any]
) -> None:
    asked: list[int] = []

    def rand(size: int) -> bytes:
        asked.append(size)
        return bytes(len(asked) for _ in range(size))

    client = join(invitation, 1, rand=rand)
    before = len(asked)
    client.submit(tree(1), 10)
    assert asked[before:] == [32]  # one key for stochastic rounding


def test_plain_rounds_have_the_same_interface(
    population: Population,
    join: Join,
    exchange: Exchange,
    updates: Updates,
    tree: Callable[[int], Any],
) -> None:
    plan = presets.plain_insecure(tree(0), clients=6, clip=NormClip(50.0), max_weight=100)
    invitation = Invitation(
        plan=plan, session=bytes(16), number=0, model=bytes(32), roster=population.roster
    )
    server = ServerRound(invitation, population.server)
    (result,) = exchange(server, everybody(invitation, join, updates))
    assert result.total_weight == 210
