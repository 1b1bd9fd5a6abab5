"""A malicious server against honest clients: each attack ends in its named error, and no client
ever opens what it should not."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import replace
from functools import cached_property, partial
from typing import Any

import numpy as np
import pytest
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from hypothesis import given, settings
from hypothesis import strategies as st

from secagg import wire
from secagg.errors import Aborted, RemoteProtocolError
from secagg.frame import HEADER_SIZE
from secagg.identity import SERVER, PartyId
from secagg.parameters import Neighbourhood
from secagg.primitives import agreement
from secagg.primitives.digest import Label, digest
from secagg.primitives.ring import Words, word
from secagg.primitives.seal import seal
from secagg.schemes.secagg_plus import SecAggPlus, SecAggPlusSemiHonest, transcript
from secagg.schemes.secagg_plus.dealing import share_tags
from secagg.schemes.secagg_plus.messages import (
    ADVERTS,
    MEMBERS,
    PARCELS,
    SURVIVORS,
    VOTES,
    Advert,
    Cohort,
    Consents,
    Inbox,
    Masked,
    Shares,
    Survivors,
)
from secagg.testing import Hostile, Lie, Parties, SeededRand, Vanish, make_round, run
from secagg.testing.adversaries import Outgoing, honest, on, replacing
from secagg.testing.network import RunResult, plain_sum
from secagg.testing.secagg_plus import SERVER_ATTACKS, ServerAttack, Siege, opened, restraint
from secagg.testing.secagg_plus.cells import rows_of, signed_advert, table_of
from secagg.testing.secagg_plus.restraint import body_of

VICTIM, PEER, ACCOMPLICE = 2, 4, 5


class SparseToy(SecAggPlus):
    """A ring of eight with two neighbours on each side: small enough to cut by hand."""

    @cached_property
    def neighbourhood(self) -> Neighbourhood:
        return Neighbourhood(clients=self.clients, degree=4, threshold=2, window=2)


def sparse_toy() -> SparseToy:
    return SparseToy(clients=8, length=3, width=20, corrupt=0.0, dropout=0.25)


def inputs_of(parties: Parties) -> dict[PartyId, Words]:
    dtype = word(parties.scheme.width)
    return {p: np.full(parties.scheme.length, p, dtype) for p in parties.clients}


def play(parties: Parties, **kwargs: Any) -> RunResult:
    return run(parties.scheme, inputs_of(parties), parties=parties, **kwargs)


def check_sum_if_any(result: RunResult) -> None:
    if result.aggregate is not None:
        exact = plain_sum(
            result.parties.scheme, inputs_of(result.parties), result.aggregate.included
        )
        assert result.aggregate.total.tolist() == exact.tolist()


@pytest.fixture
def parties() -> Parties:
    return make_round(SecAggPlus(clients=5, length=3, width=20))


@pytest.fixture
def semi_honest() -> Parties:
    return make_round(SecAggPlusSemiHonest(clients=5, length=3, width=20))


def spoken_by(result: RunResult, client: PartyId) -> set[str]:
    return {frame.kind.__name__ for frame in result.frames_of(client) if frame.kind}


# -- one lie to one client ------------------------------------------------------------------------


@pytest.mark.parametrize("attack", SERVER_ATTACKS, ids=lambda attack: attack.name)
def test_each_lie_ends_its_victim(attack: ServerAttack, parties: Parties) -> None:
    result = play(parties, hostile={SERVER: attack.lie(VICTIM, PEER, ACCOMPLICE)})
    error = result.errors[VICTIM]
    assert type(error) is attack.error
    assert attack.says in str(error)
    answer = {Cohort: "Shares", Inbox: "Masked", Survivors: "Consent", Consents: "Unmask"}
    if "other members" in str(error):
        assert "Consent" not in spoken_by(result, VICTIM)
    else:
        assert answer[attack.message] not in spoken_by(result, VICTIM)
    assert "Unmask" not in spoken_by(result, VICTIM)
    restraint(result, parties.clients)
    check_sum_if_any(result)


@pytest.mark.parametrize(
    "attack",
    [attack for attack in SERVER_ATTACKS if attack.message is not Consents],
    ids=lambda attack: attack.name,
)
def test_each_lie_ends_a_semi_honest_victim_too(attack: ServerAttack, semi_honest: Parties) -> None:
    result = play(semi_honest, hostile={SERVER: attack.lie(VICTIM, PEER, ACCOMPLICE)})
    assert type(result.errors[VICTIM]) is attack.error
    assert attack.says in str(result.errors[VICTIM])
    assert "Unmask" not in spoken_by(result, VICTIM)
    check_sum_if_any(result)


@pytest.mark.parametrize("kind", [Cohort, Inbox, Survivors, Consents])
def test_the_same_message_signed_anew_is_no_attack(kind: type, parties: Parties) -> None:
    """The positive twin: what is twisted above is accepted untwisted."""
    same = on(kind, replacing(lambda liar, out: out.message), to=VICTIM)
    result = play(parties, hostile={SERVER: same})
    assert result.aggregate is not None
    assert not result.errors
    check_sum_if_any(result)
    restraint(result, parties.clients)


# -- parcels that do not open ---------------------------------------------------------------------


@pytest.mark.parametrize("column", ["sealed", "self_tag", "key_tag"])
def test_a_parcel_that_does_not_open_is_left_out(column: str, parties: Parties) -> None:
    """Not blamed on its dealer, since the server could have spoiled it; nothing of it is opened."""

    def spoil(liar: Hostile, out: Outgoing) -> Inbox:
        assert isinstance(out.message, Inbox)
        cells = rows_of(out.message.parcels)
        cells[PEER][column] = liar.rand(len(cells[PEER][column]))
        return replace(out.message, parcels=table_of(PARCELS, cells))

    result = play(parties, hostile={SERVER: on(Inbox, replacing(spoil), to=VICTIM)})
    assert not result.errors
    assert {dealer for dealer, _ in opened(result, VICTIM)} == {1, 3, 5}
    assert {dealer for dealer, _ in opened(result, 1)} == {2, 3, 4, 5}


def test_a_parcel_that_the_server_sealed_in_a_dealers_name_does_not_open(parties: Parties) -> None:
    """HPKE's base mode lets anybody seal; only the dealer can compute the `info` it is bound to."""

    def seal_own(liar: Hostile, out: Outgoing) -> Inbox:
        assert isinstance(out.message, Inbox)
        cohort = next(o.message for o in liar.told if isinstance(o.message, Cohort))
        text = transcript.cohort_transcript(liar.endpoint.context, cohort.adverts)
        adverts, cells = rows_of(cohort.adverts), rows_of(out.message.parcels)
        private = X25519PrivateKey.from_private_bytes(liar.rand(32))
        secret = agreement.agree(private, adverts[VICTIM]["mask_key"])
        pair = (liar.rand(32), liar.rand(32))
        self_tag, key_tag = share_tags(text, PEER, VICTIM, pair)
        info = transcript.seal_info(secret, text, PEER, VICTIM)
        sealed = seal(b"".join(pair), adverts[VICTIM]["share_key"], info)
        cells[PEER].update(self_tag=self_tag, key_tag=key_tag, sealed=sealed)
        return replace(out.message, parcels=table_of(PARCELS, cells))

    result = play(parties, hostile={SERVER: on(Inbox, replacing(seal_own), to=VICTIM)})
    assert not result.errors
    assert {dealer for dealer, _ in opened(result, VICTIM)} == {1, 3, 5}


# -- one lie to some, another to others -----------------------------------------------------------


def without(peer: PartyId) -> Lie:
    def twist(liar: Hostile, out: Outgoing) -> Survivors:
        assert isinstance(out.message, Survivors)
        cells = rows_of(out.message.included)
        cells.pop(peer)
        return Survivors(included=table_of(SURVIVORS, cells))

    return replacing(twist)


def to_some(who: set[PartyId], kind: type, lie: Lie) -> Lie:
    def split(liar: Hostile, out: Outgoing) -> Iterator[tuple[PartyId, bytes]]:
        struck = out.to in who and isinstance(out.message, kind)
        yield from (lie if struck else honest)(liar, out)

    return split


@pytest.mark.parametrize("apart", [{VICTIM}, {1, VICTIM}])
def test_two_cohorts_do_not_agree_on_their_edges(apart: set[PartyId], parties: Parties) -> None:
    """An accomplice signs two adverts; some clients are shown the one, the others the other.

    The server hands on everybody's genuine shares. Who has a neighbour in the other cohort finds
    another tag on that edge than its own, and masks nothing.
    """
    machines = {p: parties.machine(p, SeededRand(p)) for p in parties.clients}
    frames = {p: machine.to_send()[0][1] for p, machine in machines.items()}
    adverts = {p: (body_of(Advert, f, parties), f[-64:]) for p, f in frames.items()}
    keys = (agreement.public_key(bytes([1]) * 32), agreement.public_key(bytes([2]) * 32))
    other = (*keys, signed_advert(parties, ACCOMPLICE, *keys))
    rows = {p: (advert.mask_key, advert.share_key, sig) for p, (advert, sig) in adverts.items()}
    split = {p: {**rows, ACCOMPLICE: other} if p in apart else rows for p in parties.clients}
    honest_ones = set(parties.clients) - {ACCOMPLICE}
    shares: dict[PartyId, Shares] = {}
    for party in honest_ones:
        cohort = Cohort(adverts=ADVERTS.table(split[party]))
        machines[party].receive(SERVER, parties.endpoint(SERVER).seal(party, cohort))
        shares[party] = body_of(Shares, machines[party].to_send()[0][1], parties)
    members = MEMBERS.table(
        {p: (digest(Label.SHARES, wire.encode(message)),) for p, message in shares.items()}
    )
    for party in honest_ones:
        parcels = {
            dealer: tuple(rows_of(message.parcels)[party].values())
            for dealer, message in shares.items()
            if dealer != party
        }
        inbox = Inbox(members=members, parcels=PARCELS.table(parcels))
        with pytest.raises(RemoteProtocolError, match="does not agree on the edge"):
            machines[party].receive(SERVER, parties.endpoint(SERVER).seal(party, inbox))
        assert machines[party].to_send() == []


def test_two_survivor_sets_open_both_shares_where_nobody_consents(semi_honest: Parties) -> None:
    """What `SecAggPlusSemiHonest` says of itself: this server gets the update of client 5."""
    result = play(semi_honest, hostile={SERVER: to_some({1, 2}, Survivors, without(5))})
    kinds = {
        kind for client in (1, 2, 3, 4) for dealer, kind in opened(result, client) if dealer == 5
    }
    assert kinds == {transcript.SELF, transcript.KEY}


@pytest.mark.parametrize("told", [{1}, {1, 2}, {1, 2, 3}, {1, 2, 3, 4}])
def test_two_survivor_sets_open_nothing_where_all_consent(
    told: set[PartyId], parties: Parties
) -> None:
    result = play(parties, hostile={SERVER: to_some(told, Survivors, without(5))})
    restraint(result, parties.clients)
    assert result.aggregate is None or told == {1}
    check_sum_if_any(result)
    assert all("Unmask" not in spoken_by(result, client) for client in told)


def _hide_peer(liar: Hostile, out: Outgoing) -> Inbox:
    assert isinstance(out.message, Inbox)
    members, parcels = rows_of(out.message.members), rows_of(out.message.parcels)
    members.pop(PEER)
    parcels.pop(PEER)
    return Inbox(members=table_of(MEMBERS, members), parcels=table_of(PARCELS, parcels))


def _other_shares(liar: Hostile, out: Outgoing) -> Inbox:
    assert isinstance(out.message, Inbox)
    members = rows_of(out.message.members)
    members[PEER]["manifest"] = liar.rand(32)
    return replace(out.message, members=table_of(MEMBERS, members))


@pytest.mark.parametrize("change", [_hide_peer, _other_shares])
def test_a_client_told_of_other_members_is_not_unmasked(change: Any, parties: Parties) -> None:
    """Client 2 alone is told that 4 never shared, or shared something else: it masks under these
    members, attests so, and no neighbour opens its self seed."""
    result = play(parties, hostile={SERVER: on(Inbox, replacing(change), to=VICTIM)})
    assert "Masked" in spoken_by(result, VICTIM)
    restraint(result, parties.clients)
    others = set(parties.clients) - {VICTIM}
    assert all((VICTIM, transcript.SELF) not in opened(result, client) for client in others)
    check_sum_if_any(result)


@pytest.mark.parametrize("change", [_hide_peer, _other_shares])
def test_a_server_that_includes_it_all_the_same_is_refused(change: Any, parties: Parties) -> None:
    """With a forged attestation: everybody that it tells refuses."""
    hidden = on(Inbox, replacing(change), to=VICTIM)

    def lie(liar: Hostile, out: Outgoing) -> Iterator[tuple[PartyId, bytes]]:
        if not isinstance(out.message, Survivors):
            yield from hidden(liar, out)
            return
        cells = rows_of(out.message.included)
        cells[VICTIM] = {"attestation": liar.endpoint.attest(Label.ATTEST, liar.rand(32))}
        yield out.to, liar.seal(out.to, Survivors(included=table_of(SURVIVORS, cells)))

    result = play(parties, hostile={SERVER: lie})
    for client in set(parties.clients) - {VICTIM}:
        assert "masked under other members" in str(result.errors[client])
        assert "Unmask" not in spoken_by(result, client)


# -- two models -----------------------------------------------------------------------------------


def test_a_client_with_another_model_is_not_in_the_sum(parties: Parties) -> None:
    astray = {VICTIM: parties.again(model=bytes(32))}
    result = play(parties, astray=astray)
    assert result.aggregate is not None
    assert result.aggregate.included == {1, 3, 4, 5}
    check_sum_if_any(result)


@pytest.mark.parametrize("misled", [{2}, {2, 3}, {1, 2, 3}])
def test_adverts_of_another_model_are_refused(misled: set[PartyId], parties: Parties) -> None:
    """The server speaks to each client in its own context and shows it everybody's adverts."""
    other = parties.again(model=bytes(32))
    rounds = {p: other if p in misled else parties for p in parties.clients}
    machines = {p: rounds[p].machine(p, SeededRand(p)) for p in parties.clients}
    frames = {p: machine.to_send()[0][1] for p, machine in machines.items()}
    cells = {
        p: (frame[HEADER_SIZE:][:32], frame[HEADER_SIZE:][32:64], frame[-64:])
        for p, frame in frames.items()
    }
    cohort = Cohort(adverts=ADVERTS.table(cells))
    for party, machine in machines.items():
        frame = rounds[party].endpoint(SERVER).seal(party, cohort)
        with pytest.raises(RemoteProtocolError, match="is not its own"):
            machine.receive(SERVER, frame)
        assert machine.to_send() == []


@pytest.mark.parametrize("misled", [{2, 3}, {1, 2, 3}])
def test_two_models_make_two_rounds_too_small(misled: set[PartyId], parties: Parties) -> None:
    """The server shows to each client those of its own model only: both rounds are too small."""
    other = parties.again(model=bytes(32))
    for group, who in ((other, misled), (parties, set(parties.clients) - misled)):
        gone = [Vanish(party) for party in set(parties.clients) - who]
        result = play(group, faults=gone)
        assert isinstance(result.error, Aborted)
        assert result.aggregate is None
        result = play(group, hostile={SERVER: on(Cohort, replacing(partial(_only, who)))})
        assert {"must remain" in str(result.errors[party]) for party in who} == {True}


def _only(who: set[PartyId], liar: Hostile, out: Outgoing) -> Cohort:
    assert isinstance(out.message, Cohort)
    cells = rows_of(out.message.adverts)
    return Cohort(adverts=table_of(ADVERTS, {p: row for p, row in cells.items() if p in who}))


# -- saying two things, or things out of turn -----------------------------------------------------


def test_two_survivor_sets_to_one_client(parties: Parties) -> None:
    """The second one ends it: it signed the first, and opens nothing at all."""

    def twice(liar: Hostile, out: Outgoing) -> Iterator[tuple[PartyId, bytes]]:
        yield from honest(liar, out)
        yield from without(5)(liar, out)

    result = play(parties, hostile={SERVER: on(Survivors, twice, to=VICTIM)})
    assert "a second, different Survivors" in str(result.errors[VICTIM])
    assert spoken_by(result, VICTIM) == {"Advert", "Shares", "Masked", "Consent"}
    restraint(result, parties.clients)
    check_sum_if_any(result)


@pytest.mark.parametrize("kind", [Cohort, Inbox, Survivors, Consents])
def test_a_phase_left_out(kind: type, parties: Parties) -> None:
    """A client that never gets one message takes none of the later ones."""
    skip = on(kind, replacing(lambda liar, out: None), to=VICTIM)
    later = {Cohort: Inbox, Inbox: Survivors, Survivors: Consents}

    def lie(liar: Hostile, out: Outgoing) -> Iterator[tuple[PartyId, bytes]]:
        yield from skip(liar, out)
        if out.to == PEER and isinstance(out.message, later.get(kind, ())):
            yield VICTIM, liar.seal(VICTIM, out.message)

    result = play(parties, hostile={SERVER: lie})
    assert isinstance(result.errors[VICTIM], RemoteProtocolError | Aborted)
    assert "Unmask" not in spoken_by(result, VICTIM)
    restraint(result, parties.clients)
    check_sum_if_any(result)


def test_a_semi_honest_client_knows_no_consents(semi_honest: Parties) -> None:
    def lie(liar: Hostile, out: Outgoing) -> Iterator[tuple[PartyId, bytes]]:
        yield out.to, liar.seal(out.to, Consents(votes=VOTES.table({})))
        yield from honest(liar, out)

    result = play(semi_honest, hostile={SERVER: lie})
    assert result.refused.keys() == set(semi_honest.clients)
    assert result.aggregate is not None
    check_sum_if_any(result)


def test_a_row_twice_is_no_table(parties: Parties) -> None:
    """One vote counted twice: the decoder refuses rows that do not ascend."""

    def twice(liar: Hostile, out: Outgoing) -> Iterator[tuple[PartyId, bytes]]:
        body = out.frame[HEADER_SIZE:-64]
        row = body[4:72]
        doubled = body[:4] + row + row + body[4 + 2 * 68 :]
        yield out.to, liar.seal_body(out.to, out.message.code, doubled)

    result = play(parties, hostile={SERVER: on(Consents, twice, to=VICTIM)})
    assert "not strictly ascending" in str(result.errors[VICTIM])
    assert "Unmask" not in spoken_by(result, VICTIM)


# -- cutting the sparse graph ---------------------------------------------------------------------


def test_a_survivor_set_that_cuts_the_ring_is_refused() -> None:
    """Two neighbours on the ring "drop out": a window is empty, and everybody refuses."""
    parties = make_round(sparse_toy())
    rings: list[tuple[PartyId, ...]] = []

    def cut(liar: Hostile, out: Outgoing) -> Survivors:
        assert isinstance(out.message, Survivors)
        cohort = next(o.message for o in liar.told if isinstance(o.message, Cohort))
        text = transcript.cohort_transcript(liar.endpoint.context, cohort.adverts)
        ring = sparse_toy().graph(parties.clients, text).order
        rings.append(ring)
        cells = rows_of(out.message.included)
        gone = set(ring[2:4]) if out.to not in ring[2:4] else set(ring[5:7])
        return Survivors(
            included=table_of(SURVIVORS, {p: row for p, row in cells.items() if p not in gone})
        )

    result = play(parties, hostile={SERVER: on(Survivors, replacing(cut))})
    assert rings
    assert result.aggregate is None
    for client in parties.clients:
        assert "a stretch of the ring" in str(result.errors[client])
        assert "Consent" not in spoken_by(result, client)


def test_drop_outs_that_leave_the_ring_whole_are_no_attack() -> None:
    """The positive twin: as many clients are gone, but none beside the other."""
    parties = make_round(sparse_toy())
    finished = 0
    for gone in ([1, 2], [1, 3], [1, 5], [2, 7], [4, 6]):
        result = play(parties, faults=[Vanish(party, Masked) for party in gone])
        if result.error is None:
            finished += 1
            check_sum_if_any(result)
        else:
            assert isinstance(result.error, Aborted)
            assert "stretch of the ring" in str(result.error)
    assert finished


def test_a_client_without_neighbours_shares_nothing() -> None:
    """Its neighbours never advertised: too few would hold its secrets."""
    parties = make_round(SparseToy(clients=8, length=3, width=20, corrupt=0.0, dropout=0.49))
    scheme = parties.scheme
    assert scheme.survivors == 5

    def lonely(liar: Hostile, out: Outgoing) -> Cohort:
        """Of all cohorts of five with the victim, one in which too few neighbour it."""
        assert isinstance(out.message, Cohort)
        cells = rows_of(out.message.adverts)
        for others in itertools.combinations(sorted(set(cells) - {VICTIM}), 4):
            table = table_of(ADVERTS, {p: cells[p] for p in (*others, VICTIM)})
            text = transcript.cohort_transcript(liar.endpoint.context, table)
            near = scheme.graph(parties.clients, text).neighbours(VICTIM)
            if len(set(near) & set(others)) < scheme.shares_needed:
                return Cohort(adverts=table)
        raise AssertionError("no such cohort")

    result = play(parties, hostile={SERVER: on(Cohort, replacing(lonely), to=VICTIM)})
    assert isinstance(result.errors[VICTIM], Aborted)
    assert "must hold shares" in str(result.errors[VICTIM])
    assert "Shares" not in spoken_by(result, VICTIM)


# -- any number of lies ---------------------------------------------------------------------------


def sieges() -> list[Siege]:
    complete = make_round(SecAggPlus(clients=5, length=3, width=20))
    return [Siege(complete, 2, SeededRand(1)), Siege(make_round(sparse_toy()), 2, SeededRand(1))]


@pytest.mark.parametrize("which", [0, 1])
@pytest.mark.parametrize("gone", [set(), {5}])
def test_a_siege_by_honest_means_ends_in_one_unmasking(which: int, gone: set[PartyId]) -> None:
    """The positive twin: well-formed messages in their order are answered."""
    siege = sieges()[which]
    clients = siege.parties.clients
    included = [party for party in clients if party not in gone]
    siege.submit(1)
    siege.tell(siege.cohort(clients))
    siege.tell(siege.inbox(clients))
    siege.tell(siege.survivors(included))
    siege.tell(siege.consents(included, included[: siege.scheme.quorum]))
    assert siege.errors == []
    assert siege.unmasked
    siege.check()
    siege.check_opened(included)


@settings(deadline=None)
@given(st.data())
def test_no_siege_makes_a_client_say_two_things(data: st.DataObject) -> None:
    """Any sequence of well-formed messages, honest or not, repeated, late, early; with crashes."""
    siege = sieges()[data.draw(st.integers(0, 1))]
    plan = ["submit", "cohort", "inbox", "survivors", "consents"]
    for step in range(12):
        usual = plan[min(step, len(plan) - 1)]
        act = data.draw(st.sampled_from([usual, usual, usual, *plan, "again", "rekey", "crash"]))
        if act == "consents":
            _vote(siege, data)
        else:
            _go_on(siege, act, data)
        siege.check()


def _some(siege: Siege) -> st.SearchStrategy[set[PartyId]]:
    clients = siege.parties.clients
    return st.sets(st.sampled_from(clients)) | st.just(set(clients))


def _go_on(siege: Siege, act: str, data: st.DataObject) -> None:
    match act:
        case "submit":
            siege.submit(data.draw(st.integers(0, 3)))
        case "crash":
            siege.crash()
        case "rekey":
            siege.replace_puppets(data.draw(_some(siege)))
        case "cohort":
            siege.tell(siege.cohort(data.draw(_some(siege))))
        case "inbox":
            siege.tell(siege.inbox(data.draw(_some(siege))))
        case "survivors":
            siege.tell(siege.survivors(data.draw(_some(siege))))
        case "again" if siege.told:
            siege.deliver(data.draw(st.sampled_from(siege.told)))


def _vote(siege: Siege, data: st.DataObject) -> None:
    """Consents to any set by any voters; they open something only if they really may."""
    quorum = siege.scheme.quorum
    included = data.draw(_some(siege))
    voters = data.draw(_some(siege) | st.just(set(sorted(included)[:quorum])))
    before = siege.unmasked
    siege.tell(siege.consents(included, voters))
    if siege.unmasked and not before:
        assert siege.victim in included
        assert len(included) >= siege.scheme.survivors
        assert len(voters) == quorum
        assert voters <= included
        siege.check_opened(included)
