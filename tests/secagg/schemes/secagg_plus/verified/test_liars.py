"""Malicious clients against the verified round: the honest are summed, a lone liar is convicted."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from secagg.errors import Aborted, InputRefused
from secagg.identity import SERVER, PartyId
from secagg.machine import PeerRejected
from secagg.primitives.digest import Label, digest
from secagg.primitives.ring import Words, word
from secagg.schemes.secagg_plus.messages import OPENED, PARCELS, Consent, Masked, Shares, Unmask
from secagg.schemes.secagg_plus.verified import SecAggPlusVerified, derive
from secagg.schemes.secagg_plus.verified.messages import Edges, Sketches, Strike
from secagg.testing import Hostile, Late, Lie, Parties, SeededRand, Vanish, make_round, run
from secagg.testing.adversaries import Outgoing, on, replacing
from secagg.testing.faults import Fault
from secagg.testing.network import RunResult, plain_sum
from secagg.testing.secagg_plus.cells import rows_of, table_of
from secagg.testing.secagg_plus.courtroom import accused, convicted, statistics
from secagg.testing.secagg_plus.toy import ToyScreen
from secagg.testing.secagg_plus.verified import (
    Values,
    about,
    about_all_edges,
    about_itself,
    chained,
    other_secrets,
    other_struck_shares,
    saying,
    shifted,
    silent_at,
    uploading,
)
from secagg.wire import Columns, encode

LIAR, PEER, GONE = 3, 5, 8
BOUND = 1 << 12
HALF = 1 << 31


def scheme(**changes: Any) -> SecAggPlusVerified:
    """Eight clients, of whom two may lie or be lost."""
    plan: dict[str, Any] = {
        "clients": 8,
        "length": 20,
        "width": 32,
        "corrupt": 0.25,
        "dropout": 0.25,
        "screen": ToyScreen(bound=BOUND, rows=32, buckets=32),
    }
    return SecAggPlusVerified(**{**plan, **changes})


@pytest.fixture
def parties() -> Parties:
    return make_round(scheme())


def inputs_of(parties: Parties) -> dict[PartyId, Words]:
    dtype, length = word(parties.scheme.width), parties.scheme.length
    return {p: np.arange(1, length + 1).astype(dtype) * dtype.type(p) for p in parties.clients}


def play(
    parties: Parties,
    lies: Mapping[PartyId, Lie],
    *faults: Fault,
    inputs: Mapping[PartyId, Words] | None = None,
    seed: int = 0,
) -> RunResult:
    """A round; honest clients are never blamed, and a sum is that of whom it names."""
    given = {**inputs_of(parties), **(inputs or {})}
    result = run(
        parties.scheme, given, parties=parties, hostile=lies, faults=faults, rand=SeededRand(seed)
    )
    named = accused(result) | convicted(result).keys()
    culprits = result.error.culprits if isinstance(result.error, Aborted) else frozenset()
    assert (named | culprits) <= lies.keys(), "an honest client is blamed"
    unheard = lies.keys() | (inputs or {}).keys()  # who is left out is told nothing
    assert result.error or result.errors.keys() <= unheard
    if result.aggregate is not None:
        exact = plain_sum(parties.scheme, given, result.aggregate.included)
        assert result.aggregate.total.tolist() == exact.tolist()
    return result


def check_sum_without(result: RunResult, *absent: PartyId) -> None:
    assert result.aggregate is not None, result.error
    assert result.aggregate.included == set(result.parties.clients) - set(absent)


# -- one liar about masks -------------------------------------------------------------------------


def test_nobody_lies(parties: Parties) -> None:
    result = play(parties, {})
    check_sum_without(result)
    found = statistics(result)
    assert found.clients == parties.clients
    assert found.eligible == set(parties.clients)
    opened_map = scheme().opened_map(found.seed)
    due = opened_map.of_words(list(inputs_of(parties).values())).view(np.int32)
    assert found.rows.tolist() == due.tolist()
    assert found.weights is None
    assert found.products.shape == (8, 0)


@pytest.mark.parametrize(
    ("lie", "phase"),
    [
        (about_itself, "unmask"),
        (about(PEER), "dispute"),
        (about(PEER, 1), "dispute"),
        (about_all_edges, "dispute"),
        (about(LIAR, PEER), "dispute"),
    ],
    ids=["itself", "one edge", "two edges", "all edges", "itself and an edge"],
)
def test_a_lone_liar_is_convicted(lie: Lie, phase: str, parties: Parties) -> None:
    result = play(parties, {LIAR: lie})
    check_sum_without(result, LIAR)
    assert convicted(result) == {LIAR: phase}
    assert accused(result) == set()


@pytest.mark.parametrize("left_at", [Masked, Sketches])
def test_a_lie_about_an_edge_to_an_absent_client(left_at: type, parties: Parties) -> None:
    """That vanished before its upload, or after it: there is nobody to contradict the liar."""
    result = play(parties, {LIAR: about(GONE)}, Vanish(GONE, left_at))
    check_sum_without(result, LIAR, GONE)
    assert convicted(result) == {LIAR: "unmask"}


@pytest.mark.parametrize("left_at", [Consent, Unmask])
def test_a_lie_about_an_edge_to_one_that_leaves_later(left_at: type, parties: Parties) -> None:
    """It was sketched, so both values are known."""
    result = play(parties, {LIAR: about(GONE)}, Vanish(GONE, left_at))
    check_sum_without(result, LIAR)
    assert convicted(result) == {LIAR: "dispute"}


def test_a_lie_about_an_edge_to_a_client_that_is_not_accepted(parties: Parties) -> None:
    """Its values were compared before it was found to be too large."""
    large = {GONE: np.full(20, BOUND, np.uint32)}
    result = play(parties, {LIAR: about(GONE)}, inputs=large)
    check_sum_without(result, LIAR, GONE)
    assert convicted(result) == {LIAR: "dispute"}


def test_lies_that_cancel_are_none(parties: Parties) -> None:
    """What is sketched of a client is the sum of its masks; that is true here."""

    def change(_: Hostile, values: Values) -> None:
        for peer in (LIAR, GONE):  # both are added by the liar, whose id is lower
            delta = 1 if peer == LIAR else -1
            words = np.frombuffer(values[peer], np.uint32) + np.uint32(delta & 0xFFFFFFFF)
            values[peer] = words.tobytes()

    result = play(parties, {LIAR: saying(change)}, Vanish(GONE, Sketches))
    check_sum_without(result, GONE)
    assert convicted(result) == {}


# -- one liar about its input ---------------------------------------------------------------------


def noise(liar: Hostile, vector: Words) -> Words:
    return np.frombuffer(liar.rand(vector.nbytes), vector.dtype).copy()


UPLOADS: dict[str, Lie] = {
    "garbage": uploading(noise),
    "two spikes": shifted({4: HALF, 9: HALF}),
    "one spike": shifted({0: HALF}),
    "spikes everywhere": shifted(dict.fromkeys(range(20), HALF)),
    "five times the norm": shifted({7: 5 * BOUND}),
    "minus five times the norm": shifted({7: -5 * BOUND}),
    "masks of another kind": uploading(lambda _, vector: vector[::-1].copy()),
}


@pytest.mark.parametrize("name", UPLOADS)
@pytest.mark.parametrize("seed", range(3))
def test_inputs_beyond_the_bound_are_left_out(name: str, seed: int, parties: Parties) -> None:
    """They are nobody's provable fault, and no harm: the others are summed."""
    result = play(parties, {LIAR: UPLOADS[name]}, seed=seed)
    check_sum_without(result, LIAR)
    assert statistics(result).eligible == set(parties.clients) - {LIAR}
    assert statistics(result).clients == parties.clients
    assert convicted(result) == {}
    assert accused(result) == set()


def test_an_input_within_the_bound_is_its_senders_own(parties: Parties) -> None:
    """The positive twin: another input than the one submitted, but a small one."""
    result = run(
        parties.scheme, inputs_of(parties), parties=parties, hostile={LIAR: shifted({7: 9})}
    )
    check_sum_without(result)
    exact = plain_sum(parties.scheme, inputs_of(parties), frozenset(parties.clients))
    exact[7] += np.uint32(9)
    assert result.aggregate is not None
    assert result.aggregate.total.tolist() == exact.tolist()


@pytest.mark.parametrize("by", [-100, 1, -101, HALF])
def test_weights_out_of_range_are_left_out(by: int) -> None:
    """0, max + 1, -1 and nonsense, where 100 is honest."""
    plan = scheme(screen=ToyScreen(bound=BOUND, rows=32, buckets=32, max_weight=100))
    parties = make_round(plan)
    weighted = {p: np.concatenate([[np.uint32(100)], v[1:]]) for p, v in inputs_of(parties).items()}
    result = play(parties, {LIAR: shifted({0: by})}, inputs=weighted)
    check_sum_without(result, LIAR)
    found = statistics(result)
    assert found.weights is not None
    by_client = dict(zip(found.clients, found.weights.tolist(), strict=True))
    assert by_client.pop(LIAR) == (100 + by if by < HALF else 100 - HALF)
    assert set(by_client.values()) == {100}


@pytest.mark.parametrize("weight", [0, 101, (1 << 32) - 1])
def test_clients_do_not_submit_weights_out_of_range(weight: int) -> None:
    plan = scheme(screen=ToyScreen(bound=BOUND, rows=32, buckets=32, max_weight=100))
    machine = make_round(plan).machine(1, SeededRand(0))
    vector = np.zeros(20, np.uint32)
    vector[0] = weight
    with pytest.raises(InputRefused, match="no weight of this plan"):
        machine.submit(vector)
    vector[0] = 100
    machine.submit(vector)


# -- values that are not even well formed ---------------------------------------------------------


def sketches(change: Callable[[Hostile, Sketches], Sketches]) -> Lie:
    def twist(liar: Hostile, out: Outgoing) -> Sketches:
        assert isinstance(out.message, Sketches)
        return change(liar, out.message)

    return on(Sketches, replacing(twist))


def rows(change: Callable[[dict[PartyId, bytes]], object]) -> Lie:
    """Other rows, properly signed."""
    return saying(lambda _, values: change(values))


def attested(liar: Hostile, message: Sketches, *parts: bytes) -> Sketches:
    return replace(message, attestation=liar.endpoint.attest(Label.ATTEST_SKETCHES, *parts))


def other_draw(liar: Hostile, message: Sketches) -> Sketches:
    signed = derive.root(derive.value_digests(message.values))
    return attested(liar, message, bytes(32), signed)


def other_root(liar: Hostile, message: Sketches) -> Sketches:
    return attested(liar, message, liar.state.transcript, bytes(32))  # type: ignore[attr-defined]


MALFORMED: dict[str, tuple[Lie, str]] = {
    "a row missing": (rows(lambda values: values.pop(PEER)), "exactly the masks"),
    "own row missing": (rows(lambda values: values.pop(LIAR)), "exactly the masks"),
    "a row for a stranger": (
        rows(lambda values: values.update({99: values.pop(PEER)})),
        "exactly the masks",
    ),
    "no rows": (rows(lambda values: values.clear()), "exactly the masks"),
    "another draw attested": (sketches(other_draw), "does not verify"),
    "another root attested": (sketches(other_root), "does not verify"),
}


@pytest.mark.parametrize("name", MALFORMED)
def test_malformed_values_are_blamed_on_their_sender(name: str, parties: Parties) -> None:
    lie, says = MALFORMED[name]
    result = play(parties, {LIAR: lie})
    check_sum_without(result, LIAR)
    assert accused(result) == {LIAR}
    assert convicted(result) == {}
    (event,) = (e for e in result.events[SERVER] if getattr(e, "peer", None) == LIAR)
    assert says in event.reason  # type: ignore[union-attr]


def test_values_beyond_the_ring_are_blamed_on_their_sender() -> None:
    """The same residue in another encoding would be another digest, and no lie to convict of."""
    parties = make_round(scheme(width=24, screen=ToyScreen(bound=BOUND, rows=8, buckets=8)))

    def overflow(_: Hostile, values: Values) -> None:
        values[PEER] = values[PEER][:3] + b"\1" + values[PEER][4:]

    result = play(parties, {LIAR: saying(overflow)})
    check_sum_without(result, LIAR)
    assert accused(result) == {LIAR}


# -- silence --------------------------------------------------------------------------------------


def test_silence_instead_of_sketches_is_a_drop_out(parties: Parties) -> None:
    result = play(parties, {LIAR: silent_at(Sketches)})
    check_sum_without(result, LIAR)
    assert result.aggregate is not None
    assert result.aggregate.dropped["screen"] == {LIAR}
    assert accused(result) == set()


@pytest.mark.parametrize("answer", [silent_at(Edges), other_secrets])
def test_a_liar_that_does_not_open_its_edge_is_convicted_by_the_other_end(
    answer: Lie, parties: Parties
) -> None:
    result = play(parties, {LIAR: chained(about(PEER), answer)})
    check_sum_without(result, LIAR)
    assert convicted(result) == {LIAR: "dispute"}
    assert accused(result) == ({LIAR} if answer is other_secrets else set())


def test_the_honest_end_may_be_gone_if_the_liar_opens(parties: Parties) -> None:
    result = play(parties, {LIAR: about(PEER)}, Vanish(PEER, Edges))
    check_sum_without(result, LIAR, PEER)
    assert convicted(result) == {LIAR: "dispute"}


def test_where_neither_end_opens_both_are_lost(parties: Parties) -> None:
    lie = chained(about(PEER), silent_at(Edges))
    result = play(parties, {LIAR: lie}, Vanish(PEER, Edges))
    check_sum_without(result, LIAR, PEER)
    assert convicted(result) == {}
    assert result.aggregate is not None
    assert result.aggregate.dropped["dispute"] == {LIAR, PEER}


def test_false_shares_of_a_convict_are_left_out(parties: Parties) -> None:
    result = play(parties, {LIAR: about_itself, 6: other_struck_shares})
    check_sum_without(result, LIAR)
    assert convicted(result) == {LIAR: "unmask"}
    assert accused(result) == {6}


def test_shares_of_somebody_who_was_not_convicted_are_refused(parties: Parties) -> None:
    def betray(liar: Hostile, _: Outgoing) -> Strike:
        return Strike(shares=OPENED.table({PEER: (liar.rand(32),)}))

    result = play(parties, {LIAR: about_itself, 6: on(Strike, replacing(betray))})
    check_sum_without(result, LIAR)
    assert accused(result) == {6}
    (event,) = (e for e in result.events[SERVER] if getattr(e, "peer", None) == 6)
    assert "nobody convicted" in event.reason  # type: ignore[union-attr]


def test_one_silent_holder_does_not_save_a_convict(parties: Parties) -> None:
    result = play(parties, {LIAR: about_itself}, Vanish(PEER, Strike))
    check_sum_without(result, LIAR)


def test_too_many_silent_holders_abort_and_are_named(parties: Parties) -> None:
    silent = [p for p in parties.clients if p != LIAR][: 8 - scheme().shares_needed]
    result = play(parties, {LIAR: about_itself}, *(Vanish(p, Strike) for p in silent))
    assert isinstance(result.error, Aborted)
    assert result.error.phase == "strike"
    assert result.error.missing == set(silent)
    assert result.error.culprits == {LIAR}


def test_too_few_are_left_after_a_conviction(parties: Parties) -> None:
    """The round fails, and the liar is convicted all the same."""
    result = play(parties, {LIAR: about(PEER)}, Vanish(7, Sketches), Vanish(8, Sketches))
    assert isinstance(result.error, Aborted)
    assert result.error.culprits == {LIAR}
    assert convicted(result) == {LIAR: "dispute"}
    assert LIAR not in statistics(result).clients


def test_too_few_are_left_within_the_bound(parties: Parties) -> None:
    large = np.full(20, BOUND, np.uint32)
    result = play(parties, {}, inputs={1: large, 2: large, 3: large})
    assert isinstance(result.error, Aborted)
    assert result.error.culprits == set()
    assert statistics(result).eligible == {4, 5, 6, 7, 8}


# -- coalitions -----------------------------------------------------------------------------------


def agreed(one: PartyId, other: PartyId, value: int) -> bytes:
    """What two colluders add to the value of their edge."""
    return digest(Label.SKETCH, b"%d %d %d" % (min(one, other), max(one, other), value))


def colluding(coalition: set[PartyId], seed: int, most: int) -> Lie:
    """Values of common edges are off by what both ends agreed on; each residue by `most`."""

    def change(liar: Hostile, values: Values) -> None:
        for peer in (coalition - {liar.me}) & values.keys():
            rng = np.random.default_rng(list(agreed(liar.me, peer, seed)))
            cell = np.frombuffer(values[peer], np.uint32)
            delta = rng.integers(-most, most + 1, cell.size).astype(np.uint32)
            values[peer] = (cell + delta).tobytes()

    return saying(change)


@settings(deadline=None, max_examples=25)
@given(st.sets(st.integers(1, 8), min_size=2, max_size=7), st.integers(0, 999), st.booleans())
def test_colluders_can_shift_blame_among_them_and_no_more(
    coalition: set[PartyId], seed: int, far: bool
) -> None:
    """Whatever they agree on: the total of their statistics is that of their inputs."""
    parties = make_round(scheme())
    lie = colluding(coalition, seed, 1 << 30 if far else 5)
    result = play(parties, dict.fromkeys(coalition, lie))
    found = statistics(result)
    inputs = inputs_of(parties)
    true = scheme().opened_map(found.seed).of_words([inputs[p] for p in sorted(coalition)])
    mine = np.isin(found.clients, sorted(coalition))
    total = found.rows[mine].sum(axis=0)
    assert (total - true.sum(axis=0, dtype=np.uint32).view(np.int32)).astype(
        np.uint32
    ).tolist() == [0] * 32
    shifts = found.rows[mine] - true.view(np.int32)
    assert np.any(shifts), "nobody lied"
    honest = set(parties.clients) - coalition
    assert honest <= found.eligible
    assert convicted(result).keys() <= coalition
    if result.aggregate is not None:
        assert honest <= result.aggregate.included


def test_an_accomplice_that_is_left_behind_ends_the_round() -> None:
    """The strike of one colluder shows that another one vouched for a false value."""
    parties = make_round(scheme())
    pair = {LIAR, 6}
    both = colluding(pair, 0, 5)

    def more(liar: Hostile, values: Values) -> None:
        rng = np.random.default_rng(list(agreed(LIAR, 6, 0)))
        for peer, bump in ((6, rng.integers(-5, 6, 32)), (LIAR, np.ones(32, np.int64))):
            cell = np.frombuffer(values[peer], np.uint32)
            values[peer] = (cell + bump.astype(np.uint32)).tobytes()

    result = play(parties, {LIAR: saying(more), 6: both})
    assert isinstance(result.error, Aborted)
    assert result.error.phase == "strike"
    assert result.error.culprits == pair
    assert convicted(result) == {LIAR: "unmask", 6: "strike"}


def test_an_accomplice_of_one_convicted_early_is_convicted_late() -> None:
    """Then there is time to take both out."""
    parties = make_round(scheme())

    def more(liar: Hostile, values: Values) -> None:
        rng = np.random.default_rng(list(agreed(LIAR, 6, 0)))
        cell = np.frombuffer(values[6], np.uint32)
        values[6] = (cell + rng.integers(-5, 6, 32).astype(np.uint32)).tobytes()
        values[PEER] = bytes(len(values[PEER]))

    result = play(parties, {LIAR: saying(more), 6: colluding({LIAR, 6}, 0, 5)})
    check_sum_without(result, LIAR, 6)
    assert convicted(result) == {LIAR: "dispute", 6: "unmask"}


def false_tag(other: PartyId, liar: Hostile, out: Outgoing) -> Shares:
    """A tag of the edge to `other` that two colluders agreed on, and that neither minds."""
    assert isinstance(out.message, Shares)
    cells = rows_of(out.message.parcels)
    cells[other]["edge_tag"] = bytes(16)
    message = replace(out.message, parcels=table_of(PARCELS, cells))
    liar.adopt(manifest=digest(Label.SHARES, encode(message)))
    liar._honest._role._check_edges = lambda *_: None  # type: ignore[attr-defined]
    return message


@pytest.mark.parametrize("left_at", [Masked, Sketches])
def test_two_that_commit_to_a_false_edge_are_named_and_nobody_else(
    left_at: type, parties: Parties
) -> None:
    """A proof against one of them would not hold: its commitment is not to the secret of the
    edge. Both signed the same false tag, which no honest client does.
    """
    lies = {
        LIAR: on(Shares, replacing(partial(false_tag, GONE))),
        GONE: chained(on(Shares, replacing(partial(false_tag, LIAR))), silent_at(left_at)),
    }
    result = play(parties, lies)
    assert isinstance(result.error, Aborted)
    assert result.error.culprits == {LIAR, GONE}
    assert convicted(result) == {}
    assert not any(isinstance(e, Aborted) and e.culprits for e in result.errors.values())


def test_two_that_commit_to_a_false_edge_and_stay_do_no_harm(parties: Parties) -> None:
    """What their masks do not cancel is part of their inputs, as they defined them."""
    lies: dict[PartyId, Lie] = {
        LIAR: on(Shares, replacing(partial(false_tag, GONE))),
        GONE: on(Shares, replacing(partial(false_tag, LIAR))),
    }
    check_sum_without(play(parties, lies))


@pytest.mark.parametrize("lies", list(itertools.combinations([2, 4, 7], 2)))
def test_two_liars_apart_are_both_convicted(lies: tuple[PartyId, ...], parties: Parties) -> None:
    result = play(parties, {lies[0]: about_itself, lies[1]: about_all_edges})
    check_sum_without(result, *lies)
    assert convicted(result) == {lies[0]: "unmask", lies[1]: "dispute"}


def test_a_client_of_another_size_is_refused_by_the_codec(parties: Parties) -> None:
    def short(liar: Hostile, message: Sketches) -> Sketches:
        table = Columns(value=4).table(dict.fromkeys(message.values.peers, (bytes(4),)))
        return replace(message, values=table)

    result = play(parties, {LIAR: sketches(short)})
    check_sum_without(result, LIAR)
    assert accused(result) == {LIAR}


def test_a_holder_that_lies_twice_is_rejected_once(parties: Parties) -> None:
    """False shares before and after the conviction of another client."""

    def noise(liar: Hostile, out: Outgoing) -> Unmask:
        assert isinstance(out.message, Unmask)
        return Unmask(shares=OPENED.table({p: (liar.rand(32),) for p in out.message.shares.peers}))

    lie = chained(on(Unmask, replacing(noise)), other_struck_shares)
    result = play(parties, {LIAR: about_itself, 1: lie})
    check_sum_without(result, LIAR)
    rejections = [e.peer for e in result.events[SERVER] if isinstance(e, PeerRejected)]
    assert sorted(rejections) == [1, LIAR]


def test_shares_of_a_convict_count_even_if_their_holder_was_too_slow_before() -> None:
    """What it opened to unmask came too late; what it opens now is needed."""
    parties = make_round(scheme())
    needed = scheme().shares_needed
    silent = [1, 2, 4, 5, 6, 7, 8][needed - 1 : -1]
    slow = Late(sender=8, message=Unmask)
    result = play(parties, {LIAR: about_itself}, slow, *(Vanish(p, Strike) for p in silent))
    check_sum_without(result, LIAR)


def test_a_client_that_was_rejected_is_not_heard(parties: Parties) -> None:
    """What it said before does not make it eligible."""

    def twice(liar: Hostile, out: Outgoing) -> Iterable[tuple[PartyId, bytes]]:
        yield out.to, out.frame
        assert isinstance(out.message, Sketches)
        yield out.to, liar.seal(out.to, replace(out.message, attestation=bytes(64)))

    result = play(parties, {1: on(Sketches, twice)})
    check_sum_without(result, 1)
    assert accused(result) == {1}
    assert 1 not in statistics(result).clients
