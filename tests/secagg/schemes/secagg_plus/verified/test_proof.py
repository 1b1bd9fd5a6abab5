"""Fraud proofs: one that holds, everything that is one bit away from it, and none of the honest."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

import numpy as np
import pytest

from secagg.errors import DecodeError
from secagg.event import FraudProven
from secagg.identity import SERVER, PartyId
from secagg.primitives.digest import Label, digest
from secagg.schemes.secagg_plus.messages import MEMBERS
from secagg.schemes.secagg_plus.verified import FraudProof, SecAggPlusVerified, derive
from secagg.schemes.secagg_plus.verified.hearing import proof_of
from secagg.schemes.secagg_plus.verified.messages import DIGESTS, Proof
from secagg.schemes.secagg_plus.verified.proof import Scene
from secagg.schemes.secagg_plus.verified.states import Called, Committed, Deciding
from secagg.testing import Hostile, Parties, SeededRand, make_round, run
from secagg.testing.conformance.harness import state_of
from secagg.testing.node import Node
from secagg.testing.secagg_plus.cells import rows_of, table_of
from secagg.testing.secagg_plus.toy import ToyScreen
from secagg.testing.secagg_plus.verified import about, about_itself
from secagg.wire import Columns, Table, encode

LIAR, HONEST, PEER = 3, 5, 6


@dataclass
class Seen:
    """What everybody together knows of a round."""

    parties: Parties
    proof: FraudProof
    state: Deciding
    secrets: dict[PartyId, dict[PartyId, bytes]]

    def scene(self) -> Scene:
        exhibit = self.proof.exhibit
        return Scene(
            params=scheme(),
            roster=self.parties.round.roster,
            cohort=exhibit.cohort,
            before=self.state.drawn.members,
            screen=self.state.drawn.transcript,
            members=exhibit.members,
        )

    def against(self, client: PartyId, peer: PartyId) -> Proof:
        """The best case that can be made from what a client said of one mask."""
        return proof_of(self.state.drawn, client, peer, self.secrets[client][peer])

    def exhibited(self, client: PartyId, proof: Proof) -> FraudProof:
        return FraudProof(replace(self.proof.exhibit, liar=client, proof=proof))


def scheme() -> SecAggPlusVerified:
    screen = ToyScreen(bound=1 << 12, rows=8, buckets=8)
    return SecAggPlusVerified(clients=6, length=9, width=24, screen=screen)


@cache
def seen(about_self: bool, number: int = 1) -> Seen:
    """A round with one liar; cached, and not to be changed."""
    parties = make_round(scheme()).again(number=number)
    states: list[Deciding] = []
    secrets: dict[PartyId, dict[PartyId, bytes]] = {party: {} for party in parties.clients}

    def watch(node: Node) -> None:
        if isinstance(node.peer, Hostile):
            return
        state = state_of(node.peer)
        if isinstance(state, Deciding):
            states.append(state)
        if isinstance(state, Called):
            secrets[node.me][node.me] = state.seed
        if isinstance(state, Committed):
            secrets[node.me].update(state.secrets.by_peer("key"))

    lie = about_itself if about_self else about(1)
    inputs = {party: np.full(9, party, np.uint32) for party in parties.clients}
    result = run(parties.scheme, inputs, parties=parties, hostile={LIAR: lie}, watch=watch)
    (event,) = (e for e in result.events[SERVER] if isinstance(e, FraudProven))
    return Seen(parties, FraudProof.decode(event.proof, scheme()), states[0], secrets)


@pytest.fixture(params=[True, False], ids=["self mask", "edge"])
def case(request: pytest.FixtureRequest) -> Seen:
    return seen(request.param)


# -- a proof that holds ---------------------------------------------------------------------------


def test_a_proof_convinces_a_third_party(case: Seen) -> None:
    """That knows the plan and the roster, and no more."""
    assert case.proof.liar == LIAR
    assert case.proof.exhibit.proof.peer == (LIAR if case is seen(True) else 1)
    again = FraudProof.decode(case.proof.encode(), scheme())
    assert again == case.proof
    again.verify(scheme(), case.parties.round)
    case.scene().check(LIAR, case.proof.exhibit.proof)


def test_a_proof_is_of_one_round_and_one_plan(case: Seen) -> None:
    for change in ({"number": 9}, {"model": bytes(32)}, {"session": bytes(16)}):
        with pytest.raises(DecodeError):
            case.proof.verify(scheme(), case.parties.again(**change).round)
    other = replace(scheme(), screen=replace(scheme().screen, bound=1 << 11))
    with pytest.raises(DecodeError):
        case.proof.verify(other, case.parties.round)
    strangers = make_round(scheme(), SeededRand("strangers")).round
    with pytest.raises(DecodeError):
        case.proof.verify(scheme(), replace(case.parties.round, roster=strangers.roster))


def flipped(value: bytes) -> bytes:
    return bytes([value[0] ^ 1]) + value[1:]


def in_column(column: str, at: int = 0) -> Callable[[Table], Table]:
    """The same rows, one bit of one cell flipped."""

    def change(table: Table) -> Table:
        rows = table.rows.copy()
        rows[column][at, 0] ^= 1
        return Table(rows)

    return change


def without(table: Table) -> Table:
    return Table(table.rows[:-1].copy())


def outer(name: str, change: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """A change of one field of whatever the change is applied to."""
    return lambda record: replace(record, **{name: change(getattr(record, name))})


def inner(*names: str, change: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """A change deeper inside: of the field that this path of names leads to."""
    if len(names) == 1:
        return outer(names[0], change)
    return outer(names[0], inner(*names[1:], change=change))


MUTATIONS: dict[str, Callable[[Any], Any]] = {
    "another liar": outer("liar", lambda _: HONEST),
    "a stranger": outer("liar", lambda _: 99),
    "the server": outer("liar", lambda _: 0),
    "another cohort": outer("cohort", flipped),
    "another manifest": outer("members", in_column("manifest")),
    "another manifest of the liar's": outer("members", in_column("manifest", LIAR - 1)),
    "a member less": outer("members", without),
    "another nonce": outer("nonce", flipped),
    "another upload": outer("uploads", in_column("digest")),
    "an upload less": outer("uploads", without),
    "another peer": inner("proof", "peer", change=lambda _: HONEST),
    "a strange peer": inner("proof", "peer", change=lambda _: 99),
    "another secret": inner("proof", "secret", change=flipped),
    "another commitment": inner("proof", "shares", "commitment", change=flipped),
    "a parcel less": inner("proof", "shares", "parcels", change=without),
    **{
        f"another {name}": inner("proof", "shares", "parcels", change=in_column(name))
        for name in ("edge_tag", "self_tag", "key_tag", "sealed")
    },
    "another attestation": inner("proof", "claim", "attestation", change=flipped),
    "another digest": inner("proof", "claim", "digests", change=in_column("digest")),
    "a digest less": inner("proof", "claim", "digests", change=without),
    "another value": inner("proof", "value", change=in_column("value")),
    "no value": inner("proof", "value", change=without),
}


@pytest.mark.parametrize("name", MUTATIONS)
def test_each_field_of_a_proof_counts(name: str, case: Seen) -> None:
    changed = FraudProof(MUTATIONS[name](case.proof.exhibit))
    assert changed != case.proof
    with pytest.raises(DecodeError):
        FraudProof.decode(changed.encode(), scheme()).verify(scheme(), case.parties.round)


def test_each_byte_of_a_proof_counts(case: Seen) -> None:
    encoded = case.proof.encode()
    for at in range(0, len(encoded), 3):
        changed = encoded[:at] + bytes([encoded[at] ^ 1 << at % 8]) + encoded[at + 1 :]
        with pytest.raises(DecodeError):
            FraudProof.decode(changed, scheme()).verify(scheme(), case.parties.round)
    for cut in (encoded[:-1], encoded + b"\0", b"", encoded + encoded):
        with pytest.raises(DecodeError):
            FraudProof.decode(cut, scheme())


# -- nobody honest can be convicted ---------------------------------------------------------------


def refused(case: Seen, client: PartyId, proof: Proof, says: str) -> None:
    with pytest.raises(DecodeError, match=says):
        case.scene().check(client, proof)
    exhibited = FraudProof.decode(case.exhibited(client, proof).encode(), scheme())
    with pytest.raises(DecodeError):
        exhibited.verify(scheme(), case.parties.round)


def test_true_values_are_no_fraud(case: Seen) -> None:
    """Everything that an honest client ever said of any mask, with the true secret."""
    for peer in case.secrets[HONEST]:
        refused(case, HONEST, case.against(HONEST, peer), "the value is true")


def test_true_values_of_a_liar_are_no_fraud(case: Seen) -> None:
    drawn, secrets = case.state.drawn, case.secrets[HONEST]
    if case is seen(True):
        true = proof_of(drawn, LIAR, HONEST, secrets[LIAR])
        refused(case, LIAR, true, "the value is true")


def test_the_value_of_another_mask_is_no_fraud(case: Seen) -> None:
    """What was signed for one peer shown as what was signed for another."""
    for peer, other in itertools.permutations([1, 2, PEER, HONEST], 2):
        mine, theirs = case.against(HONEST, peer), case.against(HONEST, other)
        ((cell,),) = (theirs.value.column("value"),)
        moved = Columns(value=len(cell)).table({peer: (cell,)})
        refused(case, HONEST, replace(mine, value=moved), "not the one that was signed")
        refused(case, HONEST, replace(mine, value=theirs.value), "no value for this mask")


def test_the_secret_of_another_mask_is_no_fraud(case: Seen) -> None:
    for peer, other in itertools.permutations([1, PEER, HONEST], 2):
        wrong = replace(case.against(HONEST, peer), secret=case.secrets[HONEST][other])
        refused(case, HONEST, wrong, "not the one that the client committed to")


def test_the_commitment_of_another_client_is_no_fraud(case: Seen) -> None:
    """Swapped peers: the shares, the claim or the value of the one in a case of the other."""
    one, other = case.against(HONEST, PEER), case.against(PEER, HONEST)
    refused(case, HONEST, replace(one, shares=other.shares), "committed to")
    refused(case, HONEST, replace(one, claim=other.claim), "signature")
    refused(case, HONEST, replace(one, value=other.value), "no value for this mask")
    refused(case, PEER, one, "committed to")


def test_what_was_signed_in_another_round_is_no_fraud(case: Seen) -> None:
    """The same identities, other masks: values of either round in the scene of the other."""
    elsewhere = seen(case is seen(True), 2)
    here, there = case.against(HONEST, PEER), elsewhere.against(HONEST, PEER)
    refused(case, HONEST, there, "committed to")
    mixed = replace(there, shares=here.shares, secret=here.secret)
    refused(case, HONEST, mixed, "signature")
    refused(case, HONEST, replace(here, value=there.value), "not the one that was signed")


def test_other_members_are_no_fraud(case: Seen) -> None:
    """A table of members that fits forged shares is not what the client signed under."""
    proof = case.against(HONEST, PEER)
    forged = replace(proof.shares, commitment=bytes(32))
    cells = rows_of(case.proof.exhibit.members)
    cells[HONEST]["manifest"] = digest(Label.SHARES, encode(forged))
    members = table_of(MEMBERS, cells)
    exhibit = replace(
        case.proof.exhibit, liar=HONEST, members=members, proof=replace(proof, shares=forged)
    )
    with pytest.raises(DecodeError, match="signature"):
        FraudProof(exhibit).verify(scheme(), case.parties.round)
    with pytest.raises(DecodeError, match="members are not those"):
        replace(case.scene(), members=members).check(HONEST, proof)


def test_other_uploads_are_no_fraud(case: Seen) -> None:
    """They would draw another map, by which the signed values are false."""
    cells = rows_of(case.proof.exhibit.uploads)
    cells[1]["digest"] = bytes(32)
    exhibit = replace(
        case.proof.exhibit,
        liar=HONEST,
        uploads=table_of(DIGESTS, cells),
        proof=case.against(HONEST, PEER),
    )
    with pytest.raises(DecodeError, match="signature"):
        FraudProof(exhibit).verify(scheme(), case.parties.round)


def test_the_proof_that_clients_are_shown_is_the_one_that_is_reported(case: Seen) -> None:
    """Rebuilt from the server's books."""
    (peer,) = case.proof.exhibit.proof.value.peers
    rebuilt = proof_of(case.state.drawn, LIAR, peer, case.proof.exhibit.proof.secret)
    assert rebuilt == case.proof.exhibit.proof
    digests = derive.value_digests(case.state.drawn.values[LIAR])
    assert rebuilt.claim.digests == digests
