"""What is charged is what a round may tell, and nothing is charged for what never left."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dp.errors import BudgetExceeded
from protocols.journal import ClientJournal
from protocols.ledger import PrivacyLedger
from protocols.plan import RoundPlan
from protocols.private import CentralNoise, DistributedNoise
from protocols.round import ClientRound, Invitation, Result, ServerRound
from protocols.simulate import Population
from secagg.errors import Aborted, InputRefused, LocalProtocolError, ParameterError
from secagg.quantize import NormClip
from secagg.schemes.plain import PlainInsecure
from secagg.schemes.secagg_plus import SecAggPlusSemiHonest

ZERO = np.zeros(100)


def plan(clients: int = 6, **parameters: Any) -> RoundPlan:
    given = {"privacy": DistributedNoise(multiplier=1.0), **parameters}
    return RoundPlan.for_update(ZERO, clients=clients, clip=NormClip(1.0), **given)


def invited(of: RoundPlan) -> tuple[Invitation, Population]:
    people = Population.generate(range(1, of.scheme.clients + 1))
    session = os.urandom(16)
    return (
        Invitation(plan=of, session=session, number=0, model=bytes(32), roster=people.roster),
        people,
    )


def joined(of: RoundPlan, **options: Any) -> tuple[ClientRound, PrivacyLedger]:
    invitation, people = invited(of)
    ledger = PrivacyLedger(epsilon=8.0, delta=1e-5, **options)
    client = ClientRound(invitation, people.clients[1], 1, journal=ClientJournal(), ledger=ledger)
    return client, ledger


def test_a_vector_that_is_refused_is_not_charged_and_the_client_may_go_on() -> None:
    client, ledger = joined(plan())
    with pytest.raises(InputRefused):
        client.submit_encoded(np.zeros(3, np.uint8))
    assert ledger.releases == 0
    client.submit(ZERO, 1)
    assert ledger.releases == 1


def test_an_update_that_is_too_late_is_not_charged() -> None:
    client, ledger = joined(plan())
    with pytest.raises(Aborted):
        client.deadline()
    with pytest.raises(LocalProtocolError):
        client.submit(ZERO, 1)
    assert ledger.releases == 0


@pytest.mark.parametrize(
    "given",
    [
        {"scheme": PlainInsecure, "clients": 20},
        {"scheme": SecAggPlusSemiHonest},
        {"privacy": CentralNoise(multiplier=1.0)},
    ],
)
def test_a_plan_that_trusts_the_server_needs_a_ledger_that_does(given: Any) -> None:
    with pytest.raises(ParameterError, match="this plan trusts the server"):
        joined(plan(**given))
    client, ledger = joined(plan(**given), trusting=True)
    client.submit(ZERO, 1)
    assert ledger.releases == 1


def test_a_charge_that_fails_at_the_last_moment_lets_nothing_leave(tmp_path: Path) -> None:
    """Another process spent the budget between the question and the charge."""
    client, ledger = joined(plan())
    ledger.charge = refusing  # type: ignore[method-assign]
    with pytest.raises(BudgetExceeded):
        client.submit(ZERO, 1)
    assert client.to_send() == []
    assert client.ended
    with pytest.raises(LocalProtocolError):
        client.submit(ZERO, 1)
    with pytest.raises(LocalProtocolError):
        client.snapshot()


def refusing(*_: object) -> float:
    raise BudgetExceeded("spent meanwhile")


def test_a_server_that_resumes_releases_one_sum_under_one_noise() -> None:
    of = plan(corrupt=0.0, dropout=0.0, privacy=CentralNoise(multiplier=1.0))
    invitation, people = invited(of)
    server = ServerRound(invitation, people.server)
    clients = {
        i: ClientRound(invitation, key, i, journal=ClientJournal())
        for i, key in people.clients.items()
    }
    for client in clients.values():
        client.submit(ZERO, 1)
    snapshot, last = b"", (0, b"")
    while not server.ended:
        for i, client in clients.items():
            for _, frame in client.to_send():
                snapshot, last = server.snapshot(), (i, frame)
                server.receive(i, frame)
        if not server.ended:
            server.snapshot()
        for to, frame in server.to_send():
            clients[to].receive(0, frame)
    first = server.next_event()
    again = ServerRound.restore(snapshot, invitation, people.server)
    again.receive(*last)
    second = again.next_event()
    assert isinstance(first, Result)
    assert isinstance(second, Result)
    assert np.array_equal(first.total, second.total)
