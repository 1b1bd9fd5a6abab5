"""A malicious server that tells one client of other members than it tells the rest.

The victim then masks only with neighbours whose mask keys the rest will open as "dropped", and its
self seed is opened because it is among the survivors: in a sparse graph that yields its update.
Every holder therefore demands the dealer's own signature on the members.
"""

from __future__ import annotations

import os
from typing import Any

import numpy as np
import pytest

from secagg import BROADCAST, SERVER, Identity, RemoteProtocolError, Roster, Round
from secagg.frame import HEADER_SIZE
from secagg.primitives.digest import Label, digest
from secagg.schemes.secagg_plus import SecAggPlus, route
from secagg.schemes.secagg_plus.messages import (
    ADVERTS,
    MEMBERS,
    SURVIVORS,
    Cohort,
    Inbox,
    Masked,
    Shares,
    Survivors,
)
from secagg.wire import decode, encode

CLIENTS = 8
VICTIM = 3
HIDDEN = 5


class Server:
    """Holds the server's identity and the honest clients' machines; says what it likes."""

    def __init__(self) -> None:
        self.scheme = SecAggPlus(clients=CLIENTS, length=4, width=32)
        identity = Identity.generate(os.urandom)
        identities = {i: Identity.generate(os.urandom) for i in range(1, CLIENTS + 1)}
        roster = Roster(identity.public, {i: key.public for i, key in identities.items()})
        round_ = Round(session=os.urandom(16), number=1, model=bytes(32), roster=roster)
        self.endpoint = self.scheme.server(round_, identity)._endpoint
        self.clients = {i: self.scheme.client(round_, key, i) for i, key in identities.items()}
        for machine in self.clients.values():
            machine.submit(np.zeros(4, "<u4"))

    def collect_adverts(self) -> dict[int, bytes]:
        """Body and signature of each client's advert, as a cohort's rows want them."""
        return {i: machine.to_send()[0][1][HEADER_SIZE:] for i, machine in self.clients.items()}

    def collect(self, kind: type[Any]) -> dict[int, Any]:
        """The message that each client sends now."""
        frames = {i: machine.to_send()[0][1] for i, machine in self.clients.items()}
        return {
            i: decode(kind, frame[HEADER_SIZE:-64], self.scheme.limits)
            for i, frame in frames.items()
        }

    def tell(self, client: int, message: Any, receiver: int = BROADCAST) -> None:
        self.clients[client].receive(SERVER, self.endpoint.seal(receiver, message))


def until_survivors(hidden_from_victim: set[int]) -> tuple[Server, dict[int, bytes]]:
    """Run up to the masked inputs; the victim is told of fewer members. Returns attestations."""
    server = Server()
    table = ADVERTS.table(
        {i: (row[:32], row[32:64], row[64:]) for i, row in server.collect_adverts().items()}
    )
    for client in server.clients:
        server.tell(client, Cohort(adverts=table))
    shares = server.collect(Shares)
    for client in server.clients:
        known = set(shares) - (hidden_from_victim if client == VICTIM else set())
        members = MEMBERS.table({i: (digest(Label.SHARES, encode(shares[i])),) for i in known})
        inboxes, _ = route.deliver({i: shares[i].parcels for i in sorted(known)})
        server.tell(client, Inbox(members=members, parcels=inboxes[client]), client)
    masked = server.collect(Masked)
    return server, {i: message.attestation for i, message in masked.items()}


def test_holders_refuse_a_survivor_that_masked_under_other_members() -> None:
    server, attestations = until_survivors({HIDDEN})
    survivors = Survivors(included=SURVIVORS.table({i: (a,) for i, a in attestations.items()}))
    for client in server.clients.keys() - {VICTIM, HIDDEN}:
        with pytest.raises(RemoteProtocolError, match=f"client {VICTIM} masked under other"):
            server.tell(client, survivors)
        assert server.clients[client].to_send() == []


def test_the_victim_refuses_survivors_that_masked_under_the_members_of_the_rest() -> None:
    server, attestations = until_survivors({HIDDEN})
    rest = {i: (a,) for i, a in attestations.items() if i != HIDDEN}
    with pytest.raises(RemoteProtocolError, match="masked under other members"):
        server.tell(VICTIM, Survivors(included=SURVIVORS.table(rest)))


def test_an_attestation_of_another_client_does_not_serve() -> None:
    server, attestations = until_survivors({HIDDEN})
    forged = {**attestations, VICTIM: attestations[1]}
    with pytest.raises(RemoteProtocolError, match=f"client {VICTIM} masked under other"):
        server.tell(2, Survivors(included=SURVIVORS.table({i: (a,) for i, a in forged.items()})))


def test_one_view_is_accepted_by_all() -> None:
    server, attestations = until_survivors(set())
    survivors = Survivors(included=SURVIVORS.table({i: (a,) for i, a in attestations.items()}))
    for client in server.clients:
        server.tell(client, survivors)
        assert len(server.clients[client].to_send()) == 1
