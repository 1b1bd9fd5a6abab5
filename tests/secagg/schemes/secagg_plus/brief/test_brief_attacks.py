"""A malicious server against SecAggPlusBrief: docs/spec/brief.md, sections 1 and 5."""

from __future__ import annotations

import itertools
import os
from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest

from secagg import (
    BROADCAST,
    SERVER,
    FirstUseRoster,
    Floors,
    Identity,
    ParameterError,
    RemoteProtocolError,
    Roster,
    Round,
)
from secagg.frame import HEADER_SIZE
from secagg.parameters import corrupt_bound, dropout_bound, quorum
from secagg.primitives.digest import Label, digest
from secagg.schemes.secagg_plus import Contribution, SecAggPlusBrief, route
from secagg.schemes.secagg_plus.brief.messages import DEALERS, Deal, Delivery
from secagg.schemes.secagg_plus.messages import SURVIVORS, Masked, Survivors, Unmask
from secagg.wire import decode, encode

CLIENTS = 10
VICTIM = 3
HIDDEN = 5
MODEL, OTHER = bytes(32), bytes([1]) * 32


def identities() -> dict[int, Identity]:
    return {i: Identity.generate(os.urandom) for i in range(1, CLIENTS + 1)}


def roster_of(server: Identity, keys: Mapping[int, Identity]) -> Roster:
    return Roster(
        server.public,
        {i: key.public for i, key in keys.items()},
        {i: key.share_key for i, key in keys.items()},
    )


class Server:
    """Holds the server's identity and drives honest clients with whatever it likes to say."""

    def __init__(self, **parameters: Any) -> None:
        self.scheme = SecAggPlusBrief(clients=CLIENTS, length=4, width=32, **parameters)
        identity, keys = Identity.generate(os.urandom), identities()
        roster = roster_of(identity, keys)
        round_ = Round(session=os.urandom(16), number=1, model=bytes(32), roster=roster)
        self.endpoint = self.scheme.server(round_, identity)._endpoint
        self.clients = {i: self.scheme.client(round_, key, i) for i, key in keys.items()}
        self.deals = self.collect(Deal, self.clients)

    def collect(self, kind: type[Any], whom: Any) -> dict[int, Any]:
        """The message of `kind` that each client sends now."""
        frames = {i: self.clients[i].to_send()[0][1] for i in whom}
        limits = self.scheme.limits
        return {i: decode(kind, frame[HEADER_SIZE:-64], limits) for i, frame in frames.items()}

    def tell(self, client: int, message: Any, receiver: int = BROADCAST) -> None:
        self.clients[client].receive(SERVER, self.endpoint.seal(receiver, message))

    def deliver(self, client: int, known: set[int], statement: bytes = MODEL) -> None:
        """Tell `client` that `known` dealt, and let it train from the model of `statement`."""
        rows = {
            i: (deal.mask_key, deal.proof, digest(Label.SHARES, encode(deal)))
            for i, deal in self.deals.items()
            if i in known
        }
        parcels = {i: self.deals[i].parcels for i in sorted(known)}
        delivery = Delivery(members=DEALERS.table(rows), parcels=route.deliver(parcels)[0][client])
        self.tell(client, delivery, client)
        self.clients[client].submit(Contribution(np.zeros(4, "<u4"), statement))

    def masked(self, **odd: Any) -> dict[int, bytes]:
        """Everybody's attestation, when the victim alone is told `odd` things."""
        everybody = set(self.clients)
        for client in self.clients:
            usual: dict[str, Any] = {"known": everybody}
            self.deliver(client, **(odd if client == VICTIM and odd else usual))
        answers = self.collect(Masked, self.clients)
        return {i: message.attestation for i, message in answers.items()}


def survivors(attestations: Mapping[int, bytes]) -> Survivors:
    return Survivors(included=SURVIVORS.table({i: (a,) for i, a in attestations.items()}))


ODD = {
    "other members": {"known": set(range(1, CLIENTS + 1)) - {HIDDEN}},
    "another model": {"known": set(range(1, CLIENTS + 1)), "statement": OTHER},
}


@pytest.mark.parametrize("odd", ODD.values(), ids=ODD)
def test_a_client_told_otherwise_is_in_nobodys_sum(odd: dict[str, Any]) -> None:
    server = Server()
    attestations = server.masked(**odd)
    for client in server.clients.keys() - {VICTIM, HIDDEN}:
        with pytest.raises(RemoteProtocolError, match=f"client {VICTIM} masked under other"):
            server.tell(client, survivors(attestations))
        assert server.clients[client].to_send() == []


@pytest.mark.parametrize("odd", ODD.values(), ids=ODD)
def test_nor_does_it_open_anything_for_the_rest(odd: dict[str, Any]) -> None:
    server = Server()
    attestations = server.masked(**odd)
    rest = {i: a for i, a in attestations.items() if i != HIDDEN}
    with pytest.raises(RemoteProtocolError, match="masked under other members"):
        server.tell(VICTIM, survivors(rest))


def test_a_spoiled_parcel_does_not_spare_the_attestation() -> None:
    server = Server()
    spoiled = server.deals[VICTIM].parcels.rows.copy()
    spoiled["sealed"] ^= 1
    honest = server.deals[VICTIM]
    server.deals[VICTIM] = Deal(
        mask_key=honest.mask_key,
        proof=honest.proof,
        commitment=honest.commitment,
        parcels=type(honest.parcels)(spoiled),
    )
    everybody = set(server.clients)
    for client in everybody - {VICTIM}:  # the victim would notice that its deal was replaced
        server.deliver(client, everybody)
    answers = server.collect(Masked, everybody - {VICTIM})
    attestations = {i: message.attestation for i, message in answers.items()}
    with pytest.raises(RemoteProtocolError, match=f"client {VICTIM} masked under other"):
        server.tell(1, survivors({**attestations, VICTIM: bytes(64)}))
    server.tell(2, survivors(attestations))
    opened = server.collect(Unmask, [2])[2].shares.peers
    assert opened == sorted(everybody - {VICTIM})


def test_no_two_survivor_sets_open_both_secrets_of_a_client() -> None:
    """However the honest clients are divided, one kind of share stays below the threshold."""
    server = Server()
    colluding = set(sorted(server.clients)[-server.scheme.corrupt_count :])
    honest = set(server.clients) - colluding
    attestations = server.masked()
    without = {i: a for i, a in attestations.items() if i != VICTIM}
    told_alive = set(sorted(honest)[: len(honest) // 2]) | {VICTIM}
    for client in honest:
        server.tell(client, survivors(attestations if client in told_alive else without))
    opened = server.collect(Unmask, honest)
    holders = {i for i, message in opened.items() if VICTIM in message.shares.peers}
    selves, keys = holders & told_alive, holders - told_alive
    assert len(selves) == len(keys) == len(honest) // 2
    assert len(selves) + len(colluding) < server.scheme.shares_needed


def test_the_threshold_excludes_two_openings_for_all_plans() -> None:
    """2 (t - n_c) > n - n_c, for the least threshold of every plan that can be built."""
    built = 0
    for n, corrupt, dropout in itertools.product(
        range(2, 40), (0.0, 0.1, 0.2, 0.3, 0.4), (0.0, 0.1, 0.2, 0.3, 0.4)
    ):
        n_c, n_d = corrupt_bound(n, corrupt), dropout_bound(n, dropout)
        try:
            least = quorum(n, corrupt=corrupt, dropout=dropout)
            plan = SecAggPlusBrief(
                clients=n, length=1, width=32, corrupt=corrupt, dropout=dropout, threshold=least
            )
        except ParameterError:
            continue
        built += 1
        assert 2 * (plan.shares_needed - n_c) > n - n_c
        assert plan.shares_needed <= n - n_d
        assert plan.honest_inputs == n - n_c - 2 * n_d >= 2
    assert built > 100


def test_a_lower_threshold_is_refused() -> None:
    least = quorum(CLIENTS, corrupt=0.2, dropout=0.3)
    SecAggPlusBrief(clients=CLIENTS, length=1, width=32, threshold=least)
    with pytest.raises(ParameterError, match=f"{least} <= threshold"):
        SecAggPlusBrief(clients=CLIENTS, length=1, width=32, threshold=least - 1)


def test_a_share_key_needs_its_owners_signature() -> None:
    server, keys = Identity.generate(os.urandom), identities()
    honest = roster_of(server, keys)
    assert len(honest.share_key(VICTIM)) == 32
    forged = {**honest.share_keys, VICTIM: Identity.generate(os.urandom).share_key}
    with pytest.raises(ParameterError, match=f"share key of client {VICTIM} is not its own"):
        Roster(server.public, honest.clients, forged)
    pins = FirstUseRoster()
    assert pins.roster(honest) is honest


def test_a_roster_without_share_keys_is_refused() -> None:
    server, keys = Identity.generate(os.urandom), identities()
    scheme = SecAggPlusBrief(clients=CLIENTS, length=1, width=32)
    full = roster_of(server, keys)
    for roster in (full, Roster(server.public, full.clients)):
        round_ = Round(session=bytes(16), number=0, model=bytes(32), roster=roster)
        if roster.share_keys:
            scheme.client(round_, keys[1], 1)
        else:
            with pytest.raises(ParameterError, match="lists no share keys"):
                scheme.client(round_, keys[1], 1)


def test_a_client_may_insist_on_more_honest_inputs() -> None:
    server, keys = Identity.generate(os.urandom), identities()
    scheme = SecAggPlusBrief(clients=CLIENTS, length=1, width=32)
    round_ = Round(session=bytes(16), number=0, model=bytes(32), roster=roster_of(server, keys))
    scheme.client(round_, keys[1], 1, floors=Floors(honest_inputs=scheme.honest_inputs))
    with pytest.raises(ParameterError, match="honest_inputs >= 3"):
        scheme.client(round_, keys[1], 1, floors=Floors(honest_inputs=3))
