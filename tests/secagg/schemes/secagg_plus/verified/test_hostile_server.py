"""A malicious server against verified clients: each lie ends in its named refusal, and nothing
secret leaves.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pytest

from secagg.errors import RemoteProtocolError
from secagg.frame import SIGNATURE_SIZE, Endpoint
from secagg.identity import SERVER, PartyId
from secagg.machine import Machine, Role, State
from secagg.primitives import shamir
from secagg.primitives.digest import Label
from secagg.primitives.ring import Words
from secagg.schemes.secagg_plus import transcript
from secagg.schemes.secagg_plus.messages import (
    PARCELS,
    VOTES,
    Consent,
    Consents,
    Inbox,
    Masked,
    Unmask,
)
from secagg.schemes.secagg_plus.verified import OpenedMap, SecAggPlusVerified, derive
from secagg.schemes.secagg_plus.verified.client import VerifiedClient
from secagg.schemes.secagg_plus.verified.hearing import claimed, proof_of
from secagg.schemes.secagg_plus.verified.messages import (
    ACCEPTED,
    DIGESTS,
    Accepted,
    Claim,
    Closing,
    Dispute,
    Draw,
    Edges,
    Proof,
    Sketches,
    Strike,
)
from secagg.schemes.secagg_plus.verified.states import Committed, Drawn, Screening
from secagg.testing import Hostile, Lie, Parties, SeededRand, Vanish, make_round, run
from secagg.testing.adversaries import Outgoing, honest, on, replacing
from secagg.testing.conformance.harness import drain, state_of
from secagg.testing.network import RunResult
from secagg.testing.node import Node
from secagg.testing.secagg_plus.cells import Cells, rows_of, table_of
from secagg.testing.secagg_plus.courtroom import convicted
from secagg.testing.secagg_plus.restraint import body_of
from secagg.testing.secagg_plus.toy import ToyScreen
from secagg.testing.secagg_plus.verified import about, chained, flipped
from secagg.wire import Columns, Message, Table

CLIENTS = 7
VICTIM, PEER, ACCOMPLICE = 2, 4, 6


def scheme(kind: type[SecAggPlusVerified] = SecAggPlusVerified) -> SecAggPlusVerified:
    screen = ToyScreen(bound=1 << 12, rows=16, buckets=16)
    return kind(clients=CLIENTS, length=40, width=32, screen=screen)


def inputs_of(parties: Parties) -> dict[PartyId, Words]:
    rng = np.random.default_rng(0)
    drawn = rng.integers(-99, 100, (CLIENTS, 40)).astype(np.uint32)
    return dict(zip(parties.clients, drawn, strict=True))


@pytest.fixture
def parties() -> Parties:
    return make_round(scheme())


def kinds_said(result: RunResult, client: PartyId) -> set[type[Message] | None]:
    return {frame.kind for frame in result.frames_of(client)}


def told(parties: Parties, lie: Lie, *faults: Vanish, watch: Any = None, **lies: Lie) -> RunResult:
    """A round in which the server lies."""
    hostile = {SERVER: lie, **{int(name[1:]): each for name, each in lies.items()}}
    return run(
        parties.scheme, inputs_of(parties), parties=parties, hostile=hostile, faults=faults,
        watch=watch,
    )  # fmt: skip


def check_refused(result: RunResult, says: str, *never: type[Message]) -> None:
    """The victim is finished, for this reason, and never said any of these."""
    error = result.errors[VICTIM]
    assert type(error) is RemoteProtocolError
    assert says in str(error)
    assert not kinds_said(result, VICTIM) & set(never)


# -- one table that is not what it was ------------------------------------------------------------

Change = Callable[[Cells, Hostile], object]


def twisted(kind: type[Message], name: str, columns: Columns, change: Change) -> Lie:
    def twist(liar: Hostile, out: Outgoing) -> Message:
        cells = rows_of(getattr(out.message, name))
        change(cells, liar)
        changes = {name: table_of(columns, cells)}
        return replace(out.message, **changes)  # type: ignore[type-var]

    return on(kind, replacing(twist), to=VICTIM)


def few(cells: Cells, _: Hostile) -> None:
    for peer in [p for p in cells if p != VICTIM][scheme().survivors - 2 :]:
        del cells[peer]


def stranger(cells: Cells, _: Hostile) -> None:
    cells[99] = cells.pop(ACCOMPLICE)


def forged(column: str) -> Change:
    def change(cells: Cells, liar: Hostile) -> None:
        cells[PEER][column] = liar.rand(len(cells[PEER][column]))

    return change


def swapped(cells: Cells, _: Hostile) -> None:
    cells[PEER], cells[ACCOMPLICE] = cells[ACCOMPLICE], cells[PEER]


def own(cells: Cells, liar: Hostile) -> None:
    cells[VICTIM]["digest"] = liar.rand(32)


def attested_elsewhere(cells: Cells, liar: Hostile) -> None:
    """A genuine signature of the peer's, under another draw."""
    endpoint = liar.parties.endpoint(PEER)
    root = cells[PEER]["root"]
    cells[PEER]["attestation"] = endpoint.attest(Label.ATTEST_SKETCHES, bytes(32), root)


DRAWS: dict[str, tuple[Change, str]] = {
    "own upload replaced": (own, "replaced this client's masked input"),
    "own upload left out": (lambda cells, _: cells.pop(VICTIM), "left out but was addressed"),
    "hardly any uploads": (few, "must remain"),
    "an upload of a stranger": (stranger, "cannot be there"),
}
SETS: dict[str, tuple[Change, str]] = {
    "self left out": (lambda cells, _: cells.pop(VICTIM), "left out but was addressed"),
    "hardly anybody": (few, "must remain"),
    "a stranger": (stranger, "cannot be there"),
    "a signature forged": (forged("attestation"), "shown another draw"),
    "another root": (forged("root"), "shown another draw"),
    "two rows swapped": (swapped, "shown another draw"),
    "signed under another draw": (attested_elsewhere, "shown another draw"),
}


@pytest.mark.parametrize("name", DRAWS)
def test_each_false_draw_ends_its_victim(name: str, parties: Parties) -> None:
    change, says = DRAWS[name]
    result = told(parties, twisted(Draw, "uploads", DIGESTS, change))
    check_refused(result, says, Sketches, Edges, Consent, Unmask, Strike)


def test_another_nonce_than_committed_ends_its_victim(parties: Parties) -> None:
    """With its nonce free the server could choose the map after it knows what was uploaded."""
    other = replacing(lambda liar, out: replace(out.message, nonce=liar.rand(32)))  # type: ignore[type-var]
    result = told(parties, on(Draw, other, to=VICTIM))
    check_refused(result, "another nonce than it committed to", Sketches, Unmask)


@pytest.mark.parametrize("name", SETS)
def test_each_false_set_ends_its_victim(name: str, parties: Parties) -> None:
    change, says = SETS[name]
    result = told(parties, twisted(Accepted, "included", ACCEPTED, change))
    check_refused(result, says, Consent, Unmask, Strike)


def test_a_client_that_was_not_sketched_cannot_be_accepted(parties: Parties) -> None:
    """It uploaded and fell silent: the server does not have its signature on any values."""

    def change(cells: Cells, liar: Hostile) -> None:
        cells[PEER] = {"root": liar.rand(32), "attestation": liar.rand(64)}

    lie = twisted(Accepted, "included", ACCEPTED, change)
    result = told(parties, lie, Vanish(PEER, Sketches))
    check_refused(result, f"client {PEER} was shown another draw", Consent, Unmask)


def test_a_client_that_did_not_upload_cannot_be_accepted(parties: Parties) -> None:
    def change(cells: Cells, liar: Hostile) -> None:
        cells[PEER] = {"root": liar.rand(32), "attestation": liar.rand(64)}

    lie = twisted(Accepted, "included", ACCEPTED, change)
    result = told(parties, lie, Vanish(PEER, Masked))
    check_refused(result, "cannot be there", Consent, Unmask)


def test_everybody_in_the_sum_must_have_seen_the_same_draw(parties: Parties) -> None:
    """Those too whose shares the victim does not hold, because the server spoiled their parcel."""
    spoiled = twisted(Inbox, "parcels", PARCELS, forged("sealed"))
    harmless = told(parties, spoiled)
    assert harmless.aggregate is not None
    assert not harmless.errors
    lie = chained(spoiled, twisted(Accepted, "included", ACCEPTED, attested_elsewhere))
    result = told(parties, lie)
    check_refused(result, f"client {PEER} was shown another draw", Consent, Unmask, Strike)


@pytest.mark.parametrize("kind", [Draw, Accepted, Consents, Closing])
def test_the_same_message_signed_anew_is_no_attack(kind: type, parties: Parties) -> None:
    """The positive twin."""
    result = told(parties, on(kind, replacing(lambda _, out: out.message), to=VICTIM))
    assert result.aggregate is not None
    assert not result.errors


def test_only_one_set_is_signed(parties: Parties) -> None:
    """Both are fine by themselves."""

    def two(liar: Hostile, out: Outgoing) -> Iterator[tuple[PartyId, bytes]]:
        yield from honest(liar, out)
        assert isinstance(out.message, Accepted)
        cells = rows_of(out.message.included)
        cells.pop(PEER)
        yield out.to, liar.seal(out.to, Accepted(included=table_of(ACCEPTED, cells)))

    result = told(parties, on(Accepted, two, to=VICTIM))
    check_refused(result, "a second, different Accepted", Unmask, Strike)
    assert len(result.frames_of(VICTIM, Consent)) == 1


def test_only_one_draw_is_answered(parties: Parties) -> None:
    def two(liar: Hostile, out: Outgoing) -> Iterator[tuple[PartyId, bytes]]:
        yield from honest(liar, out)
        assert isinstance(out.message, Draw)
        cells = rows_of(out.message.uploads)
        cells[PEER]["digest"] = bytes(32)
        yield out.to, liar.seal(out.to, replace(out.message, uploads=table_of(DIGESTS, cells)))

    result = told(parties, on(Draw, two, to=VICTIM))
    check_refused(result, "a second, different Draw", Consent, Unmask, Strike)
    assert len(result.frames_of(VICTIM, Sketches)) == 1


# -- disputes -------------------------------------------------------------------------------------

Claims = Callable[[Hostile, Drawn], dict[PartyId, Claim]]


def claim_of(drawn: Drawn, client: PartyId) -> Claim:
    """What this client really signed."""
    digests = derive.value_digests(drawn.values[client])
    return Claim(attestation=drawn.attested[client], digests=digests)


def conflicting(drawn: Drawn, client: PartyId) -> Table:
    """Digests as the client sent them, but for the one that concerns the victim."""
    cells = rows_of(derive.value_digests(drawn.values[client]))
    cells[VICTIM]["digest"] = flipped(cells[VICTIM]["digest"])
    return table_of(DIGESTS, cells)


def signed_by(liar: Hostile, client: PartyId, screen: bytes, digests: Table) -> Claim:
    signature = liar.parties.endpoint(client).attest(
        Label.ATTEST_SKETCHES, screen, derive.root(digests)
    )
    return Claim(attestation=signature, digests=digests)


def disputing(claims: Claims) -> Lie:
    """Before the accepted set, the victim is told that somebody contradicts it."""

    def lie(liar: Hostile, out: Outgoing) -> Iterator[tuple[PartyId, bytes]]:
        drawn = liar.state.drawn  # type: ignore[attr-defined]
        yield out.to, liar.seal(out.to, Dispute(claims=claims(liar, drawn)))
        yield from honest(liar, out)

    return on(Accepted, lie, to=VICTIM)


def no_conflict(_: Hostile, drawn: Drawn) -> dict[PartyId, Claim]:
    return {PEER: claim_of(drawn, PEER)}


def not_signed(_: Hostile, drawn: Drawn) -> dict[PartyId, Claim]:
    return {PEER: replace(claim_of(drawn, PEER), digests=conflicting(drawn, PEER))}


def signed_by_another(liar: Hostile, drawn: Drawn) -> dict[PartyId, Claim]:
    return {PEER: signed_by(liar, ACCOMPLICE, drawn.transcript, conflicting(drawn, PEER))}


def of_another_round(liar: Hostile, drawn: Drawn) -> dict[PartyId, Claim]:
    """The peer's own signature, on what it said under another draw."""
    return {PEER: signed_by(liar, PEER, bytes(32), conflicting(drawn, PEER))}


def of_another_client(_: Hostile, drawn: Drawn) -> dict[PartyId, Claim]:
    return {PEER: claim_of(drawn, ACCOMPLICE)}


def about_nothing(liar: Hostile, drawn: Drawn) -> dict[PartyId, Claim]:
    """One that colludes signs digests, none of them for the victim."""
    cells = rows_of(derive.value_digests(drawn.values[ACCOMPLICE]))
    del cells[VICTIM]
    return {ACCOMPLICE: signed_by(liar, ACCOMPLICE, drawn.transcript, table_of(DIGESTS, cells))}


def by_the_victim(_: Hostile, drawn: Drawn) -> dict[PartyId, Claim]:
    return {VICTIM: claim_of(drawn, VICTIM)}


def by_a_stranger(_: Hostile, drawn: Drawn) -> dict[PartyId, Claim]:
    return {99: claim_of(drawn, PEER)}


def by_one_of_two(liar: Hostile, drawn: Drawn) -> dict[PartyId, Claim]:
    """A real conflict with one that colludes is no reason to open the edge to another one."""
    genuine = signed_by(liar, ACCOMPLICE, drawn.transcript, conflicting(drawn, ACCOMPLICE))
    return {PEER: claim_of(drawn, PEER), ACCOMPLICE: genuine}


DISPUTES: dict[str, tuple[Claims, str]] = {
    "no conflict": (no_conflict, "signed nothing else"),
    "a conflict that was not signed": (not_signed, "did not sign"),
    "signed by another": (signed_by_another, "did not sign"),
    "signed in another round": (of_another_round, "did not sign"),
    "digests of another": (of_another_client, "did not sign"),
    "no digest for the victim": (about_nothing, "signed nothing else"),
    "with itself": (by_the_victim, "no value was due"),
    "with a stranger": (by_a_stranger, "no value was due"),
    "one real and one not": (by_one_of_two, "signed nothing else"),
}


@pytest.mark.parametrize("name", DISPUTES)
def test_no_edge_is_opened_without_a_liar_at_its_end(name: str, parties: Parties) -> None:
    claims, says = DISPUTES[name]
    result = told(parties, disputing(claims))
    check_refused(result, says, Edges, Consent, Unmask, Strike)


def test_a_real_conflict_opens_one_edge(parties: Parties) -> None:
    """The positive twin: to one that colludes, who knows the secret anyway."""

    def genuine(liar: Hostile, drawn: Drawn) -> dict[PartyId, Claim]:
        digests = conflicting(drawn, ACCOMPLICE)
        return {ACCOMPLICE: signed_by(liar, ACCOMPLICE, drawn.transcript, digests)}

    result = told(parties, disputing(genuine))
    (frame,) = result.frames_of(VICTIM, Edges)
    assert body_of(Edges, frame.data, parties).secrets.peers == [ACCOMPLICE]
    assert VICTIM not in result.errors


# -- closings -------------------------------------------------------------------------------------


@dataclass
class Archive:
    """What a server and everybody that it corrupted can put together."""

    drawn: list[Drawn] = field(default_factory=list)
    secrets: dict[PartyId, dict[PartyId, bytes]] = field(default_factory=dict)

    def watch(self, node: Node) -> None:
        if isinstance(node.peer, Machine) and isinstance(state_of(node.peer), Committed):
            state: Any = state_of(node.peer)
            self.secrets[node.me] = state.secrets.by_peer("key")

    def noting(self, lie: Lie) -> Lie:
        def noted(liar: Hostile, out: Outgoing) -> Iterable[tuple[PartyId, bytes]]:
            if hasattr(liar.state, "drawn"):
                self.drawn.append(liar.state.drawn)
            return lie(liar, out)

        return noted

    def case(self, client: PartyId, peer: PartyId) -> Proof:
        return proof_of(self.drawn[-1], client, peer, self.secrets[client][peer])


Case = Callable[[Archive], dict[PartyId, Proof]]


def with_noise(archive: Archive) -> Proof:
    return replace(archive.case(PEER, ACCOMPLICE), secret=bytes(32))


CLOSINGS: dict[str, tuple[Case, str]] = {
    "an honest peer": (lambda a: {PEER: a.case(PEER, ACCOMPLICE)}, "the value is true"),
    "another secret": (lambda a: {PEER: with_noise(a)}, "not the one that the client committed"),
    "a proof against another": (
        lambda a: {PEER: a.case(ACCOMPLICE, PEER)},
        "not those that the client committed to",
    ),
    "the client itself": (
        lambda a: {VICTIM: a.case(VICTIM, ACCOMPLICE)},
        "not another in the sum",
    ),
    "a stranger": (lambda a: {99: a.case(PEER, ACCOMPLICE)}, "not another in the sum"),
}


@pytest.mark.parametrize("name", CLOSINGS)
def test_no_second_kind_of_share_without_a_proof(name: str, parties: Parties) -> None:
    case, says = CLOSINGS[name]
    archive = Archive()
    shown = replacing(lambda _, out: replace(out.message, proofs=case(archive)))  # type: ignore[type-var]
    lie = archive.noting(on(Closing, shown, to=VICTIM))
    result = told(parties, lie, watch=archive.watch)
    check_refused(result, says, Strike)
    assert result.aggregate is not None


def test_no_proof_against_a_client_that_is_not_in_the_sum(parties: Parties) -> None:
    """A genuine one: but its mask key is open already, and its self mask must stay."""
    archive = Archive()

    def shown(_: Hostile, out: Outgoing) -> Message:
        assert isinstance(out.message, Closing)
        return replace(out.message, proofs={ACCOMPLICE: archive.case(VICTIM, ACCOMPLICE)})

    lie = archive.noting(on(Closing, replacing(shown), to=VICTIM))
    result = told(parties, lie, watch=archive.watch, p6=about(1))
    assert convicted(result) == {ACCOMPLICE: "dispute"}
    check_refused(result, "not another in the sum", Strike)


def test_other_members_in_a_closing_are_refused(parties: Parties) -> None:
    """With members of its choice the server could show shares of its choice."""
    archive = Archive()

    def shown(_: Hostile, out: Outgoing) -> Message:
        assert isinstance(out.message, Closing)
        rows = out.message.members.rows.copy()
        rows["manifest"][0, 0] ^= 1
        proofs = {PEER: archive.case(PEER, ACCOMPLICE)}
        return replace(out.message, members=Table(rows), proofs=proofs)

    lie = archive.noting(on(Closing, replacing(shown), to=VICTIM))
    result = told(parties, lie, watch=archive.watch)
    check_refused(result, "members are not those of this round", Strike)


# -- two views ------------------------------------------------------------------------------------


class TrustingClient(VerifiedClient):
    """Signs any set: what the check of the other clients' draws is for."""

    def _check_sketched(self, state: Any, included: Table) -> None:
        pass


class Trusting(SecAggPlusVerified):
    """The scheme without that check."""

    def client_role(self, endpoint: Endpoint) -> Role[Any]:
        return TrustingClient(self, endpoint)


class TwoFaced:
    """A server that runs the honest protocol up to the uploads, and then says what it likes."""

    def __init__(self, plan: SecAggPlusVerified) -> None:
        self.parties = make_round(plan)
        self.plan = plan
        self.inputs = inputs_of(self.parties)
        self.machines = {p: self.parties.machine(p, SeededRand(p)) for p in self.parties.everybody}
        for party, value in self.inputs.items():
            self.machines[party].submit(value)
        frames = deque(self._sent(self.parties.clients))
        while frames:
            sender, to, frame = frames.popleft()
            self.machines[to].receive(sender, frame)
            if not isinstance(self.state(SERVER), Screening):
                frames.extend(self._sent([to]))
        self.endpoint = self.parties.endpoint(SERVER)
        state: Any = self.state(SERVER)
        self.cohort: bytes = state.book.cohort
        self.drawn: Drawn = state.drawn

    def state(self, party: PartyId) -> State:
        return state_of(self.machines[party])

    def _sent(self, parties: Iterable[PartyId]) -> list[tuple[PartyId, PartyId, bytes]]:
        return [(p, to, frame) for p in parties for to, frame in self.machines[p].to_send()]

    def ask(self, client: PartyId, message: Message) -> Any:
        """Tell this to a client; its answer."""
        machine = self.machines[client]
        machine.receive(SERVER, self.endpoint.seal(client, message))
        drain(machine)
        ((_, frame),) = machine.to_send()
        kind = self.parties.kind(SERVER, frame)
        assert kind is not None
        return body_of(kind, frame, self.parties), frame[-SIGNATURE_SIZE:]

    def draw(self, left_out: set[PartyId]) -> tuple[Draw, bytes]:
        """A draw without these uploads, and the transcript it leads to."""
        nonce = derive.server_nonce(self.endpoint)
        digests = self.drawn.digests.by_peer("digest")
        rows = {p: (text,) for p, text in digests.items() if p not in left_out}
        uploads = DIGESTS.table(rows)
        screen = derive.screen_transcript(self.endpoint.context, self.drawn.members, nonce, uploads)
        return Draw(nonce=nonce, uploads=uploads), screen

    def map(self, screen: bytes) -> OpenedMap:
        return self.plan.opened_map(derive.sketch_seed(screen))


def two_views(plan: SecAggPlusVerified) -> tuple[TwoFaced, bytes, bytes, dict[PartyId, Any]]:
    """The victim is shown one draw and everybody else another one; what they answer."""
    server = TwoFaced(plan)
    draw, screen = server.draw(set())
    other, victims = server.draw({PEER})
    said = {p: server.ask(p, other if p == VICTIM else draw)[0] for p in server.parties.clients}
    return server, screen, victims, said


def accepted(said: dict[PartyId, Sketches]) -> Accepted:
    return Accepted(
        included=ACCEPTED.table(
            {
                p: (derive.root(derive.value_digests(message.values)), message.attestation)
                for p, message in said.items()
            }
        )
    )


def test_a_victim_that_was_shown_another_draw_is_never_opened() -> None:
    server, _, _, said = two_views(scheme())
    for client in set(server.parties.clients) - {VICTIM}:
        with pytest.raises(RemoteProtocolError, match=f"client {VICTIM} was shown another draw"):
            server.ask(client, accepted(said))
        assert server.machines[client].to_send() == []


def test_the_victim_opens_nobody_either() -> None:
    server, _, _, said = two_views(scheme())
    with pytest.raises(RemoteProtocolError, match="was shown another draw"):
        server.ask(VICTIM, accepted({p: m for p, m in said.items() if p != PEER}))


def test_without_that_check_the_victim_would_be_sketched_twice() -> None:
    """The attack itself: by what it said under its draw, and by what its neighbours said under
    theirs, once its self mask is open. As many draws, as many sketches, up to its whole input.
    """
    server, screen, victims, said = two_views(scheme(Trusting))
    others = sorted(set(server.parties.clients) - {VICTIM})
    consents = {p: server.ask(p, accepted(said)) for p in others}
    assert len({message.transcript for message, _ in consents.values()}) == 1
    votes = dict(list(consents.items())[: server.plan.quorum])
    quorum = Consents(votes=VOTES.table({p: (signature,) for p, (_, signature) in votes.items()}))
    unmasked: dict[PartyId, Unmask] = {p: server.ask(p, quorum)[0] for p in others}

    holders = server.plan.graph(server.parties.clients, server.cohort).holders(VICTIM)
    needed = others[: server.plan.shares_needed]
    shares = b"".join(unmasked[p].shares.by_peer("share")[VICTIM] for p in needed)
    points = [holders.index(p) + 1 for p in needed]
    table = np.frombuffer(shares, np.uint8).reshape(len(needed), 1, -1)
    (seed,) = shamir.reconstruct(points, table)
    key = transcript.self_mask_key(seed, server.drawn.members, VICTIM)

    true, upload = server.inputs[VICTIM], server.drawn.uploads[VICTIM]
    mine = server.map(victims)
    first = mine.of_words([upload])[0] - claimed(said[VICTIM].values, VICTIM, 32)
    assert first.tolist() == mine.of_words([true])[0].tolist()
    theirs = server.map(screen)
    second = theirs.of_words([upload])[0] - theirs.of_streams([key])[0]
    for peer in others:
        cell = np.frombuffer(said[peer].values.by_peer("value")[VICTIM], np.uint32)
        second = second - cell if peer > VICTIM else second + cell
    assert second.tolist() == theirs.of_words([true])[0].tolist()
    assert first.tolist() != second.tolist()


def test_one_view_is_consented_to() -> None:
    """The positive twin."""
    server = TwoFaced(scheme())
    draw, _ = server.draw(set())
    said = {p: server.ask(p, draw)[0] for p in server.parties.clients}
    for client in server.parties.clients:
        message, _ = server.ask(client, accepted(said))
        assert isinstance(message, Consent)


def test_omitted_uploads_are_another_map_and_no_harm() -> None:
    """The server may leave one out, for everybody: that client is not sketched."""
    server = TwoFaced(scheme())
    (draw, screen), (_, other) = server.draw({PEER}), server.draw(set())
    assert screen != other
    for client in set(server.parties.clients) - {PEER}:
        assert isinstance(server.ask(client, draw)[0], Sketches)
    with pytest.raises(RemoteProtocolError, match="left out but was addressed"):
        server.ask(PEER, draw)


def test_the_nonce_survives_a_restart_and_is_of_one_round(parties: Parties) -> None:
    """A fresh nonce after a crash would be another than committed."""
    one, same = (derive.server_nonce(parties.endpoint(SERVER)) for _ in range(2))
    assert one == same
    assert one != derive.server_nonce(parties.again(number=2).endpoint(SERVER))
    assert one != derive.server_nonce(make_round(scheme(), SeededRand(1)).endpoint(SERVER))
