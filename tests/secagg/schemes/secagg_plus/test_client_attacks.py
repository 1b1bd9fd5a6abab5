"""Malicious clients against the round: the others' exact sum, or a failure that is named."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from secagg.errors import Aborted, IntegrityError
from secagg.identity import SERVER, PartyId
from secagg.machine import PeerRejected
from secagg.primitives.digest import Label
from secagg.primitives.ring import Words, word
from secagg.schemes.secagg_plus import SecAggPlus, SecAggPlusSemiHonest, transcript
from secagg.schemes.secagg_plus.messages import (
    OPENED,
    PARCELS,
    Cohort,
    Consent,
    Masked,
    Shares,
    Survivors,
    Unmask,
)
from secagg.testing import Hostile, Lie, Parties, Vanish, make_round, run
from secagg.testing.adversaries import Outgoing, honest, on, replacing
from secagg.testing.conformance.harness import state_of
from secagg.testing.faults import Flight
from secagg.testing.network import Network, RunResult, plain_sum
from secagg.testing.secagg_plus import CLIENT_ATTACKS, ClientAttack, opened, restraint
from secagg.testing.secagg_plus.cells import rows_of, table_of
from secagg.testing.secagg_plus.restraint import body_of

LIAR = 2


def inputs_of(parties: Parties) -> dict[PartyId, Words]:
    dtype = word(parties.scheme.width)
    return {p: np.full(parties.scheme.length, 1000 + p, dtype) for p in parties.clients}


def play(parties: Parties, lies: dict[PartyId, Lie], *faults: Vanish) -> RunResult:
    result = run(parties.scheme, inputs_of(parties), parties=parties, hostile=lies, faults=faults)
    restraint(result, set(parties.clients) - lies.keys())
    return result


def check_exact(result: RunResult, taken: int) -> None:
    """Everybody but the liar, and `taken` more at most, is in an exact sum."""
    assert result.aggregate is not None, result.error
    included = result.aggregate.included
    assert len(set(result.parties.clients) - {LIAR} - included) <= taken
    exact = plain_sum(result.parties.scheme, inputs_of(result.parties), included)
    assert result.aggregate.total.tolist() == exact.tolist()


def blamed(result: RunResult) -> set[PartyId]:
    peers = {event.peer for event in result.events[SERVER] if isinstance(event, PeerRejected)}
    return peers | (result.error.culprits if isinstance(result.error, Aborted) else set())


@pytest.fixture(params=[SecAggPlus, SecAggPlusSemiHonest])
def parties(request: pytest.FixtureRequest) -> Parties:
    """Eight clients of whom one may collude and two may be lost."""
    scheme = request.param(clients=8, length=3, width=20, corrupt=0.125, dropout=0.25)
    return make_round(scheme)


@pytest.mark.parametrize("attack", CLIENT_ATTACKS, ids=lambda attack: attack.name)
def test_each_lie_ends_as_declared(attack: ClientAttack, parties: Parties) -> None:
    result = play(parties, {LIAR: attack.lie})
    silent = attack.name.startswith("consent") and isinstance(parties.scheme, SecAggPlusSemiHonest)
    assert type(result.error) is (attack.error or type(None))
    if result.error is None:
        check_exact(result, attack.taken)
    else:
        assert result.aggregate is None
    assert (LIAR in blamed(result)) is (attack.blamed and not silent)
    assert len(blamed(result) - {LIAR}) <= attack.taken
    hurt = result.errors.keys() - {LIAR}
    assert attack.error is not None or len(hurt) <= attack.taken


@pytest.mark.parametrize(
    "attack",
    [attack for attack in CLIENT_ATTACKS if attack.name.startswith(("all", "another", "one"))],
    ids=lambda attack: attack.name,
)
def test_a_liar_about_its_shares_may_also_vanish(attack: ClientAttack, parties: Parties) -> None:
    """Then its mask key is needed, not its seed: an exact sum, or it is named."""
    silent = on(Masked, replacing(lambda liar, out: None))

    def lie(liar: Hostile, out: Outgoing) -> Iterable[tuple[PartyId, bytes]]:
        return (silent if isinstance(out.message, Masked) else attack.lie)(liar, out)

    result = play(parties, {LIAR: lie})
    if result.error is None:
        check_exact(result, attack.taken)
    else:
        assert isinstance(result.error, Aborted)
        assert LIAR in result.error.culprits
    assert len(blamed(result) - {LIAR}) <= attack.taken


def masks_with_other_keys(liar: Hostile, out: Outgoing) -> Iterator[tuple[PartyId, bytes]]:
    """The masked input plus one in its first coordinate: a mask bit flipped, no input changed."""
    assert isinstance(out.message, Masked)
    vector = bytes([out.message.vector[0] ^ 1]) + out.message.vector[1:]
    yield out.to, liar.seal(out.to, Masked(attestation=out.message.attestation, vector=vector))


def test_a_single_wrong_bit_is_not_released(parties: Parties) -> None:
    result = play(parties, {LIAR: on(Masked, masks_with_other_keys)})
    assert isinstance(result.error, IntegrityError)
    assert result.aggregate is None
    assert blamed(result) == set()


def test_a_client_may_claim_any_input_but_only_one(parties: Parties) -> None:
    """Not an attack on the sum: what it put in under honest masks is its input."""
    inputs = inputs_of(parties)
    inputs[LIAR] = np.full(3, (1 << 20) - 1, np.uint32)
    result = run(parties.scheme, inputs, parties=parties)
    assert result.aggregate is not None
    exact = plain_sum(parties.scheme, inputs, result.aggregate.included)
    assert result.aggregate.total.tolist() == exact.tolist()


@pytest.mark.parametrize("target", [1, 3, 8])
def test_a_lie_on_one_edge_takes_one_client_at_most(target: PartyId, parties: Parties) -> None:
    def change(liar: Hostile, out: Outgoing) -> Shares:
        assert isinstance(out.message, Shares)
        cells = rows_of(out.message.parcels)
        cells[target]["edge_tag"] = bytes(16)
        return replace(out.message, parcels=table_of(PARCELS, cells))

    result = play(parties, {LIAR: on(Shares, replacing(change))})
    check_exact(result, taken=1)
    assert result.aggregate is not None
    assert result.aggregate.included == set(parties.clients) - {LIAR, target}
    assert blamed(result) == {LIAR, target}


def test_shares_of_a_dropped_client_are_of_its_mask_key(parties: Parties) -> None:
    """What honest clients open when one vanished after sharing: its key, the others' seeds."""
    result = play(parties, {}, Vanish(LIAR, Masked))
    check_exact(result, taken=0)
    for client in set(parties.clients) - {LIAR}:
        kinds = dict(opened(result, client))
        assert kinds.pop(LIAR) == transcript.KEY
        assert set(kinds.values()) == {transcript.SELF}
        assert kinds.keys() == set(parties.clients) - {LIAR, client}


def test_wrong_shares_of_a_dropped_clients_key_are_left_out(parties: Parties) -> None:
    """The liar opens nonsense for everybody, among them for a client whose key is needed."""
    false_shares = next(a for a in CLIENT_ATTACKS if a.name == "false shares opened")
    result = play(parties, {LIAR: false_shares.lie}, Vanish(8, Masked))
    check_exact(result, taken=1)
    assert blamed(result) == {LIAR}


def test_clients_do_not_hear_each_other(parties: Parties) -> None:
    """Server messages signed by a client, whoever delivers them, are not taken."""

    def usurp(liar: Hostile, out: Outgoing) -> Iterator[tuple[PartyId, bytes]]:
        yield from honest(liar, out)
        for kind in (Cohort, Survivors):
            yield 3, liar.seal_body(3, kind.code, bytes(4))

    result = play(parties, {LIAR: usurp})
    check_exact(result, taken=0)
    assert result.refused.keys() == {3}
    assert not result.errors


def coming_back(kind: type, network: Network, flight: Flight) -> Any:
    """What a client that left says with the help of one that stayed: a valid `kind`."""
    if kind is Consent:
        return body_of(Consent, flight.data, network.parties)
    if kind is Unmask:
        return Unmask(shares=OPENED.table({}))
    known = state_of(network.nodes[flight.sender].peer).transcript  # type: ignore[attr-defined]
    attestation = network.parties.endpoint(LIAR).attest(Label.ATTEST, known)
    return replace(body_of(Masked, flight.data, network.parties), attestation=attestation)


@pytest.mark.parametrize(
    ("left_at", "back_at"), [(Shares, Masked), (Masked, Consent), (Masked, Unmask)]
)
def test_a_client_that_left_cannot_come_back(left_at: type, back_at: type) -> None:
    """It missed a phase, and then signs what those that did not miss it sign."""
    scheme = SecAggPlus(clients=8, length=3, width=20, corrupt=0.125, dropout=0.25)
    parties = make_round(scheme)
    sent: list[bytes] = []

    def ahead(network: Network, flight: Flight) -> None:
        if flight.kind is back_at and not sent:
            message = coming_back(back_at, network, flight)
            sent.append(parties.endpoint(LIAR).seal(SERVER, message))
            network.act(SERVER, lambda peer: peer.receive(LIAR, sent[0]))

    network = Network(parties, faults=[Vanish(LIAR, left_at)], ahead=ahead)
    for party, value in inputs_of(parties).items():
        network.submit(party, value)
    network.finish({})
    result = network.result()
    assert sent
    assert blamed(result) == {LIAR}
    check_exact(result, taken=0)
    assert result.aggregate is not None
    assert LIAR not in result.aggregate.included
