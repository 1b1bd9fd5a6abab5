"""Statistics on shares: exact for any accepted set, opened once; hostile aggregators are named."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable, Collection
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from secagg import wire
from secagg.errors import (
    Aborted,
    DecodeError,
    InputRefused,
    LocalProtocolError,
    ParameterError,
    RemoteProtocolError,
)
from secagg.event import Discarded, Failed, Finished, GroupStatistics, PeerRejected, Statistics
from secagg.frame import HEADER_SIZE, parse_header
from secagg.identity import SERVER, PartyId
from secagg.primitives.digest import Label
from secagg.primitives.field64 import field64
from secagg.primitives.ring import Words
from secagg.scheme import Floors
from secagg.schemes.pine import (
    HELPER,
    Angle,
    PineScreen,
    Reference,
    TwoAggregators,
    derive,
    screened_leader,
)
from secagg.schemes.pine.messages import Close, Draw, Half, Part, Reply, Settle
from secagg.testing import SeededRand, make_round
from secagg.testing.parties import Parties
from secagg.wire import ids

D, BOUND, WIDTH, UNIT = 40, 1 << 16, 32, 1 << 10
REFERENCE = Reference(np.resize(np.array([1, -1, 0, 1]), D))
NORM = PineScreen(norm=True, max_weight=9, unit=UNIT)
COSINE = PineScreen(norm=True, reference=REFERENCE)
SKETCH = PineScreen(rows=5, buckets=16, max_weight=9, unit=UNIT)
GROUPS = PineScreen(rows=4, buckets=16, group=2)


class Table:
    """A round of which the test carries the frames, one at a time."""

    def __init__(
        self, screen: PineScreen | None, clients: int = 6, seed: int = 0, **changes: Any
    ) -> None:
        head = 0 if screen is None else screen.head
        length = changes.pop("length", D + head)
        fields = {"clients": clients, "length": length, "width": WIDTH, "bound": BOUND}
        options = {"minimum": 4, "corrupt": 0.0, "screen": screen, **changes}
        self.scheme = TwoAggregators(**fields, **options)
        self.rand = SeededRand(("table", seed))
        self.parties: Parties = make_round(self.scheme, self.rand)
        self.leader, self.helper = (self.parties.machine(p, self.rand) for p in (SERVER, HELPER))
        self.vectors = {c: update(c + 100 * seed, head) for c in self.parties.clients}
        self.events: list[Any] = []
        self.sent: list[tuple[PartyId, bytes]] = []

    def report(self, clients: Collection[PartyId] | None = None) -> Table:
        for client in clients or self.parties.clients:
            machine = self.parties.machine(client, self.rand)
            machine.submit(residues(self.vectors[client]))
            ((_, frame),) = machine.to_send()
            self.leader.receive(client, frame)
        return self

    def step(self, to: PartyId, data: bytes) -> None:
        machine, sender = (self.helper, SERVER) if to == HELPER else (self.leader, HELPER)
        machine.receive(sender, data)

    def run(self, until: type[Any] | None = None) -> bytes | None:
        """Carry frames; the first frame of the kind `until` is returned instead."""
        while frames := [*self.leader.to_send(), *self.helper.to_send(), *self.sent]:
            self.sent = frames[1:]
            to, data = frames[0]
            if until is not None and parse_header(data).code == until.code:
                return data
            self.step(to, data)
            self.drain()
        return None

    def drain(self) -> None:
        while (event := self.leader.next_event()) is not None:
            self.events.append(event)

    def forged(self, sender: PartyId, message: Any) -> bytes:
        return self.parties.endpoint(sender).seal(SERVER if sender == HELPER else HELPER, message)

    def message(self, kind: type[Any], frame: bytes | None) -> Any:
        assert frame is not None
        return wire.decode(kind, frame[HEADER_SIZE:-64], self.scheme.limits)

    def told(self, kind: type[Any]) -> list[Any]:
        return [event for event in self.events if isinstance(event, kind)]

    @property
    def statistics(self) -> Statistics:
        (found,) = self.told(Statistics)
        return found

    @property
    def total(self) -> Words:
        (finished,) = self.told(Finished)
        return finished.aggregate.total

    def summed(self, clients: Collection[PartyId]) -> list[int]:
        return residues(np.sum([self.vectors[c] for c in clients], axis=0)).tolist()


def residues(vector: np.ndarray) -> np.ndarray:
    return (vector & ((1 << WIDTH) - 1)).astype(np.uint32)


def update(seed: int, head: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    drawn = rng.normal(size=D)
    vector = np.trunc(drawn / np.linalg.norm(drawn) * BOUND / 2).astype(np.int64)
    weight = UNIT * rng.integers(1, 10, head)
    return np.concatenate([weight, vector])


def in_the_clear(table: Table, vectors: np.ndarray, seed: bytes) -> np.ndarray:
    """(n, rows): what the map makes of vectors over the integers."""
    words = vectors[:, table.scheme.length - D :].astype(np.uint64)
    return table.scheme.opened_map(seed).sketch.of_words(words).astype(np.int64)


# -- what is opened ------------------------------------------------------------------------------


@settings(max_examples=3)
@given(seed=st.integers(0, 1 << 20), out=st.sets(st.integers(1, 6), max_size=2))
@pytest.mark.parametrize("screen", [NORM, COSINE, SKETCH], ids=["norm", "cosine", "sketch"])
def test_statistics_and_the_sum_are_exact_for_any_accepted_set(
    screen: PineScreen, seed: int, out: set[int]
) -> None:
    table = Table(screen, seed=seed).report()
    table.run()
    found, vectors = table.statistics, np.stack(list(table.vectors.values()))
    assert found.clients == tuple(range(1, 7))
    assert found.eligible == set(found.clients)
    values = vectors[:, screen.head :]
    if screen.head:
        assert (found.weights * UNIT).tolist() == vectors[:, 0].tolist()
    else:
        assert found.weights is None
    if screen.norm:
        assert found.norms.tolist() == (values**2).sum(axis=1).tolist()
    else:
        assert found.norms is None
    if screen.reference is not None:
        assert found.products[:, 0].tolist() == (values @ REFERENCE.vector).tolist()
    if screen.rows:
        assert found.rows.tolist() == in_the_clear(table, vectors, found.seed).tolist()
    accepted = found.eligible - out
    table.leader.submit(accepted)
    table.run()
    assert table.total.tolist() == table.summed(accepted)
    (finished,) = table.told(Finished)
    assert finished.aggregate.included == accepted
    assert finished.aggregate.refused == out


@settings(max_examples=3)
@given(seed=st.integers(0, 1 << 20), out=st.sets(st.integers(1, 6), max_size=2))
def test_sums_of_groups_are_exact_for_any_accepted_set(seed: int, out: set[int]) -> None:
    table = Table(GROUPS, seed=seed).report()
    table.run()
    assert table.statistics.rows.shape == (6, 0)
    accepted = frozenset(range(1, 7)) - out
    table.leader.submit(accepted)
    table.run()
    (found,) = table.told(GroupStatistics)
    assert sorted(client for group in found.groups for client in group) == sorted(accepted)
    assert min(map(len, found.groups)) >= 2
    sums = np.stack([sum(table.vectors[c] for c in group) for group in found.groups])
    assert found.rows.tolist() == in_the_clear(table, sums, found.seed).tolist()
    assert found.within.all()
    assert table.total.tolist() == table.summed(accepted)


def test_both_aggregators_see_the_same() -> None:
    table = Table(SKETCH).report()
    table.run()
    table.leader.deadline()
    table.run()
    events = [table.helper.next_event(), table.helper.next_event()]
    assert isinstance(events[0], Statistics)
    assert events[0].rows.tolist() == table.statistics.rows.tolist()
    assert events[1] == Finished(included=frozenset(range(1, 7)))


def test_the_extremes_of_the_bound_are_read_with_their_sign() -> None:
    table = Table(replace(COSINE, rows=3, buckets=16, reference=Reference(np.ones(D, np.int64))))
    ones = np.full(D, int(BOUND / D**0.5))
    table.vectors = {c: (-1) ** c * ones for c in table.vectors}
    table.report().run()
    assert table.statistics.products[:, 0].tolist() == [
        int((-1) ** c * ones.sum()) for c in range(1, 7)
    ]
    vectors = np.stack(list(table.vectors.values()))
    assert (
        table.statistics.rows.tolist()
        == in_the_clear(table, vectors, table.statistics.seed).tolist()
    )


@pytest.mark.parametrize("weight", [0, -UNIT, UNIT + 1, 10 * UNIT])
def test_an_impossible_weight_is_seen_and_cannot_be_accepted(weight: int) -> None:
    table = Table(NORM)
    table.vectors[3][0] = weight
    table.report().run()
    assert table.statistics.eligible == {1, 2, 4, 5, 6}
    with pytest.raises(InputRefused, match="not all of the accepted may be"):
        table.leader.submit(frozenset(range(1, 7)))
    table.leader.deadline()
    table.run()
    assert table.total.tolist() == table.summed([1, 2, 4, 5, 6])


def test_too_few_possible_weights_end_the_round_and_say_what_was_seen() -> None:
    table = Table(NORM)
    for client in (1, 2, 3):
        table.vectors[client][0] = 0
    table.report().run()
    assert table.statistics.eligible == {4, 5, 6}
    (failed,) = table.told(Failed)
    assert isinstance(failed.error, Aborted)
    assert "3 clients may be accepted, at least 4" in str(failed.error)


def test_who_is_lost_before_the_batch_is_fixed_is_not_in_it() -> None:
    table = Table(NORM).report([1, 2, 3, 4])
    table.run()
    table.leader.deadline()
    table.run()
    assert table.statistics.clients == (1, 2, 3, 4)
    table.leader.deadline()
    table.run()
    (finished,) = table.told(Finished)
    assert finished.aggregate.dropped == {"reports": {5, 6}}


def held(clients: int, monkeypatch: pytest.MonkeyPatch) -> int:
    """The most bytes that all parties have, for vectors of 4000 entries: reports are spooled."""
    monkeypatch.setattr(screened_leader, "_IN_MEMORY", 0)
    length = 4000
    reference = Reference(np.ones(length, np.int64))
    screen = PineScreen(norm=True, rows=4, buckets=16, reference=reference)
    table = Table(screen, clients=clients, length=length)
    vector = residues(np.arange(length) % 3)
    tracemalloc.start()
    for client in table.parties.clients:
        machine = table.parties.machine(client, table.rand)
        machine.submit(vector)
        table.leader.receive(client, machine.to_send()[0][1])
        table.run()
    table.leader.submit(frozenset(range(1, 5)))
    table.run()
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert table.total.tolist() == (4 * vector).tolist()
    return peak


@pytest.mark.slow
def test_memory_does_not_grow_with_the_clients(monkeypatch: pytest.MonkeyPatch) -> None:
    held(4, monkeypatch)  # what is computed once
    few, many = held(4, monkeypatch), held(10, monkeypatch)
    assert many - few < 2 * 8 * 4000, "six more clients, and less than two vectors more"


# -- the caller ----------------------------------------------------------------------------------


def test_the_leaders_caller_decides_once_and_keeps_the_minimum() -> None:
    table = Table(NORM).report()
    table.run()
    with pytest.raises(InputRefused, match="3 clients accepted, at least 4"):
        table.leader.submit(frozenset({1, 2, 3}))
    with pytest.raises(InputRefused, match="a set of ids"):
        table.leader.submit([1, 2, 3, 4])
    table.leader.submit(frozenset({1, 2, 3, 4}))
    with pytest.raises(LocalProtocolError, match="no input is accepted"):
        table.leader.submit(frozenset({1, 2, 3, 5}))
    table.run()
    assert table.total.tolist() == table.summed([1, 2, 3, 4])


@pytest.mark.parametrize("screen", [NORM, GROUPS], ids=["norm", "groups"])
def test_ids_of_numpy_are_ids(screen: PineScreen) -> None:
    """As detectors return them; they are no part of a message as they are."""
    table = Table(screen).report()
    table.run()
    table.leader.submit(set(np.arange(1, 5)))
    table.run()
    assert table.total.tolist() == table.summed([1, 2, 3, 4])


def test_a_report_that_finds_no_room_is_not_under_way(monkeypatch: pytest.MonkeyPatch) -> None:
    table = Table(NORM).report([1, 2, 3, 4])

    def full(data: bytes) -> None:
        raise OSError("no space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(table.leader._role._spool, "keep", full)
        with pytest.raises(OSError, match="no space"):
            table.report([5])
    table.run()
    table.leader.deadline()
    table.run()
    assert table.statistics.clients == (1, 2, 3, 4)
    table = Table(NORM).report([1, 2, 3, 4])
    with monkeypatch.context() as patched:
        patched.setattr(table.leader._role._spool, "keep", full)
        with pytest.raises(OSError, match="no space"):
            table.report([5])
    table.run()
    rejected(table, table.forged(HELPER, Reply(client=5, verifier=b"")), "not relayed")


def test_nothing_is_decided_before_it_is_known() -> None:
    table = Table(NORM).report([1])
    with pytest.raises(LocalProtocolError, match="no input is accepted"):
        table.leader.submit(frozenset({1, 2, 3, 4}))


def test_a_client_takes_part_only_where_its_floors_allow_what_is_opened() -> None:
    table = Table(SKETCH)
    client = table.parties.identities[1]
    make = table.scheme.client
    with pytest.raises(ParameterError, match=r"opened <= 5 must hold .* opens 6 numbers"):
        make(table.parties.round, client, 1, floors=Floors(opened=5))
    assert make(table.parties.round, client, 1, floors=Floors(opened=6))
    groups = Table(GROUPS)
    client = groups.parties.identities[1]
    floors = Floors(opened=4, opened_of=3)
    with pytest.raises(ParameterError, match="opened_of >= 3"):
        groups.scheme.client(groups.parties.round, client, 1, floors=floors)
    floors = replace(floors, opened_of=2)
    assert groups.scheme.client(groups.parties.round, client, 1, floors=floors)


# -- a hostile leader ----------------------------------------------------------------------------


def refused(table: Table, message: Any, reason: str) -> None:
    """The helper names the leader's fault, and answers nothing any more."""
    frame = table.forged(SERVER, message)
    with pytest.raises(RemoteProtocolError, match=reason):
        table.helper.receive(SERVER, frame)
    assert table.helper.to_send() == []
    with pytest.raises(LocalProtocolError):
        table.helper.receive(SERVER, frame)


def ready(screen: PineScreen, kind: type[Any]) -> tuple[Table, Any]:
    """A round in which the helper is about to receive a message of this kind, and the message."""
    table = Table(screen).report()
    found = table.run(until=kind)
    while found is None:
        table.leader.deadline()
        found = table.run(until=kind)
    return table, table.message(kind, found)


def test_what_the_tests_below_change_is_taken_as_it_is() -> None:
    for screen in (SKETCH, GROUPS):
        for kind, answer in ((Close, Part), (Draw, Half)):
            table, message = ready(screen, kind)
            table.helper.receive(SERVER, table.forged(SERVER, message))
            ((_, frame),) = table.helper.to_send()
            assert parse_header(frame).code == answer.code
        table, message = ready(screen, Settle)
        table.helper.receive(SERVER, table.forged(SERVER, message))
        assert table.helper.ended


def test_a_leader_that_changes_its_half_after_seeing_the_helpers_is_refused() -> None:
    table, message = ready(SKETCH, Settle)
    values = field64().decode(message.values).copy()
    values[1] = field64().add(values[1:2], field64().array([1]))[0]
    refused(table, replace(message, values=field64().encode(values)), "half is not the one")


def test_a_leader_with_another_blind_is_refused() -> None:
    table, message = ready(SKETCH, Settle)
    refused(table, replace(message, blind=bytes(32)), "half is not the one")


def test_a_half_that_was_committed_to_and_is_malformed_is_refused() -> None:
    for values, reason in ((b"\xff" * 8 * 36, "not canonical"), (bytes(8), "another length")):
        table, message = ready(SKETCH, Draw)
        part = table.parties.endpoint(HELPER).identity
        nonce = part.secret(Label.DRAW, table.helper.context)
        batch = ids(range(1, 7))
        screen = derive.transcript(table.helper.context, batch, message.nonce, nonce)
        commitment = derive.half_commitment(screen, bytes(32), values)
        drawn = replace(message, commitment=commitment)
        table.helper.receive(SERVER, table.forged(SERVER, drawn))
        settle = Settle(accepted=batch, blind=bytes(32), values=values)
        refused(table, settle, reason)


def test_a_leader_that_draws_its_nonce_late_is_refused() -> None:
    table, message = ready(SKETCH, Draw)
    refused(table, replace(message, nonce=bytes(32)), "nonce is not the one it committed to")


def test_a_draw_before_the_batch_is_closed_is_refused() -> None:
    table, _ = ready(SKETCH, Close)
    refused(table, Draw(nonce=bytes(32), commitment=bytes(32)), "Draw is not due")


def test_a_sum_before_anything_was_opened_is_refused() -> None:
    table, _ = ready(SKETCH, Draw)
    settle = Settle(accepted=ids(range(1, 7)), blind=bytes(32), values=b"")
    refused(table, settle, "Settle is not due")


def test_a_batch_smaller_than_the_floor_is_refused() -> None:
    table, message = ready(SKETCH, Close)
    refused(table, replace(message, batch=ids([1, 2, 3])), "at least 4 are needed")


def test_a_batch_with_a_client_that_is_not_valid_is_refused() -> None:
    table, message = ready(SKETCH, Close)
    refused(table, replace(message, batch=ids([1, 2, 3, 4, 99])), "not valid here")


def test_a_second_batch_is_refused() -> None:
    table, message = ready(SKETCH, Draw)
    other = Close(batch=ids([1, 2, 3, 4]), commitment=message.commitment)
    refused(table, other, "a second, different Close")


def test_a_second_draw_is_refused() -> None:
    table, _ = ready(SKETCH, Settle)
    refused(table, Draw(nonce=bytes(32), commitment=bytes(32)), "a second, different Draw")


@pytest.mark.parametrize(
    ("accepted", "reason"),
    [([1, 2, 3], "at least 4 are needed"), ([1, 2, 3, 4, 7], "not valid here")],
)
def test_an_accepted_set_too_small_or_of_others_is_refused(
    accepted: list[int], reason: str
) -> None:
    table, message = ready(SKETCH, Settle)
    refused(table, replace(message, accepted=ids(accepted)), reason)


def test_a_second_accepted_set_is_refused() -> None:
    table, message = ready(SKETCH, Settle)
    table.helper.receive(SERVER, table.forged(SERVER, message))
    assert len(table.helper.to_send()) == 1
    other = table.forged(SERVER, replace(message, accepted=ids([1, 2, 3, 4])))
    with pytest.raises(RemoteProtocolError, match="a second, different Settle"):
        table.helper.receive(SERVER, other)
    assert table.helper.to_send() == []


def test_a_client_cannot_be_accepted_against_its_weight() -> None:
    table = Table(NORM)
    table.vectors[3][0] = 0
    table.report().run()
    table.leader.deadline()
    message = table.message(Settle, table.run(until=Settle))
    refused(table, replace(message, accepted=ids(range(1, 7))), "an impossible weight")


def test_a_group_cannot_be_taken_apart_after_its_sum_was_opened() -> None:
    table, message = ready(GROUPS, Settle)
    refused(table, replace(message, accepted=ids([1, 2, 3, 4, 5])), "not that of the groups")


def test_a_resumed_helper_answers_the_same_and_takes_no_second_set() -> None:
    table, message = ready(SKETCH, Settle)
    while table.helper.next_event() is not None:
        pass
    saved = table.helper.snapshot()
    table.helper = table.parties.resume(HELPER, saved, table.rand)
    draw = Draw(nonce=bytes(32), commitment=bytes(32))
    refused(table, draw, "a second, different Draw")
    table.helper = table.parties.resume(HELPER, saved, table.rand)
    table.helper.receive(SERVER, table.forged(SERVER, message))
    while table.helper.next_event() is not None:
        pass
    table.helper.snapshot()
    assert parse_header(table.helper.to_send()[-1][1]).code == 5


# -- a hostile helper, and the network -----------------------------------------------------------


def rejected(table: Table, frame: bytes, reason: str) -> None:
    table.leader.receive(HELPER, frame)
    table.drain()
    (event,) = table.told(PeerRejected)
    assert event.peer == HELPER
    assert reason in event.reason
    (failed,) = table.told(Failed)
    assert isinstance(failed.error, Aborted)
    assert failed.error.culprits == {HELPER}
    assert not table.told(Finished)


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        (bytes(8), "another length"),
        (b"\xff" * 8 * 36, "not canonical"),
        (bytes(7), "no whole number"),
        (bytes(8 * 37), "another length"),
    ],
)
def test_a_malformed_half_ends_the_round(values: bytes, reason: str) -> None:
    table, _ = ready(SKETCH, Half)
    rejected(table, table.forged(HELPER, Half(values=values)), reason)


def test_a_second_nonce_of_the_helper_ends_the_round() -> None:
    table, _ = ready(SKETCH, Half)
    rejected(table, table.forged(HELPER, Part(nonce=bytes(32))), "a second, different Part")


def test_a_false_half_falsifies_statistics_and_not_the_sum() -> None:
    """Nothing proves a half: what a malicious aggregator can do, and all that it can."""
    table, message = ready(NORM, Half)
    values = field64().decode(message.values).copy()
    values[1::2] = field64().add(values[1::2], field64().array([1]))
    table.leader.receive(HELPER, table.forged(HELPER, Half(values=field64().encode(values))))
    table.drain()
    true = [int((v[1:] ** 2).sum()) for v in table.vectors.values()]
    assert table.statistics.norms.tolist() == [norm + 1 for norm in true]
    table.sent = [frame for frame in table.sent if frame[0] == HELPER]
    table.leader.deadline()
    table.run()
    assert table.total.tolist() == table.summed(table.vectors)


def shifted(values: bytes, at: int, to: int) -> bytes:
    """A half with which the number at this place of the batch's is larger by `to`."""
    found = field64().decode(values).copy()
    found[at] = field64().add(found[at : at + 1], field64().array([to]))[0]
    return field64().encode(found)


PLAIN = PineScreen(norm=True, reference=REFERENCE, rows=2, buckets=16)
NO_INPUTS = "no inputs within the bound"


@pytest.mark.parametrize("lie", [1 << 31, -(1 << 31), 1 << 62])
@pytest.mark.parametrize("at", [0, 1, 2])
def test_a_false_half_of_numbers_that_no_input_has_ends_the_round(at: int, lie: int) -> None:
    """It would come out of the machine as a negative norm, or as products that wrapped."""
    table, message = ready(PLAIN, Half)
    lie *= 4 if at == 0 else 1  # a squared norm
    rejected(table, table.forged(HELPER, Half(values=shifted(message.values, at, lie))), NO_INPUTS)


def test_a_false_half_by_which_an_update_has_a_negative_norm_ends_the_round() -> None:
    table, message = ready(NORM, Half)
    lie = -int((table.vectors[1][1:] ** 2).sum())
    for more in (-1, 0):
        table, message = ready(NORM, Half)
        frame = table.forged(HELPER, Half(values=shifted(message.values, 1, lie + more)))
        if more:
            rejected(table, frame, NO_INPUTS)
    table.leader.receive(HELPER, frame)
    table.drain()
    assert table.statistics.norms[0] == 0


def test_a_leader_whose_half_no_inputs_have_is_refused() -> None:
    table, message = ready(GROUPS, Draw)
    nonce = table.parties.endpoint(HELPER).identity.secret(Label.DRAW, table.helper.context)
    batch, values = ids(range(1, 7)), field64().encode(field64().array([1 << 60] * 12))
    screen = derive.transcript(table.helper.context, batch, message.nonce, nonce)
    commitment = derive.half_commitment(screen, bytes(32), values)
    table.helper.receive(SERVER, table.forged(SERVER, replace(message, commitment=commitment)))
    refused_late = Settle(accepted=batch, blind=bytes(32), values=values)
    with pytest.raises(RemoteProtocolError, match=NO_INPUTS):
        table.helper.receive(SERVER, table.forged(SERVER, refused_late))


@pytest.mark.parametrize("kind", [Close, Draw, Settle])
def test_bytes_that_were_changed_or_cut_are_nobodys(kind: type[Any]) -> None:
    table, message = ready(SKETCH, kind)
    frame = table.forged(SERVER, message)
    for data in (frame[:-1], frame[:40], frame[:-1] + bytes([frame[-1] ^ 1]), b""):
        with pytest.raises(DecodeError):
            table.helper.receive(SERVER, data)
    table.helper.receive(SERVER, frame)
    assert len(table.helper.to_send()) == 1


@pytest.mark.parametrize("kind", [Part, Half])
def test_a_reply_of_another_round_is_thrown_away(kind: type[Any]) -> None:
    table, message = ready(SKETCH, kind)
    other = table.parties.again(number=2).endpoint(HELPER).seal(SERVER, message)
    table.leader.receive(HELPER, other)
    table.drain()
    assert [type(event) for event in table.events] == [Discarded]
    table.leader.receive(HELPER, table.forged(HELPER, message))
    assert table.leader.to_send() or table.leader.phase == "decide"


def test_a_silent_helper_is_missed() -> None:
    for kind in (Part, Half):
        table, _ = ready(SKETCH, kind)
        assert table.leader.expected == {HELPER}
        table.leader.deadline()
        table.drain()
        (failed,) = table.told(Failed)
        assert isinstance(failed.error, Aborted)
        assert failed.error.missing == {HELPER}


# -- parameters ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (PineScreen, "numbers opened >= 1"),
        (lambda: PineScreen(rows=-1), "0 <= rows"),
        (lambda: PineScreen(rows=4, buckets=15), "buckets = a power of 2"),
        (lambda: PineScreen(norm=True, group=2), "no norm that its members proved"),
        (lambda: PineScreen(rows=4, group=1), "group = 0, or group >= 2"),
        (lambda: PineScreen(norm=1), "norm is a bool"),
        (lambda: PineScreen(reference=np.ones(D)), "reference is a Reference"),
        (lambda: PineScreen(norm=True, max_weight=2, unit=0), "1 <= unit"),
        (lambda: Table(PineScreen(rows=6)), "numbers opened <= d = 40"),
        (lambda: Table(NORM, length=8), "numbers opened <= d = 7"),
        (lambda: Table(replace(NORM, unit=BOUND)), "unit \\* max_weight <= bound"),
        (lambda: Table(replace(GROUPS, group=3), corrupt=0.2), "minimum >= 2 \\* group"),
        (lambda: Table(GROUPS, clients=10, minimum=9, corrupt=0.1), "group >= corrupt"),
        (
            lambda: Table(PineScreen(reference=Reference(np.ones(41, np.int64)))),
            "d = 40, of a reference",
        ),
    ],
)
def test_impossible_parameters_die_with_their_inequality(
    make: Callable[[], object], reason: str
) -> None:
    with pytest.raises(ParameterError, match=reason):
        make()


def test_the_norm_of_eight_coordinates_may_be_opened() -> None:
    """That of one would be its absolute value."""
    assert Table(NORM, length=9).scheme.opened == 2


def test_the_map_differs_with_either_nonce_and_with_the_batch() -> None:
    one, two = bytes(32), bytes([1] * 32)
    seeds = {
        derive.sketch_seed(derive.transcript(context, ids(batch), *nonces))
        for context in (one, two)
        for batch in ([1, 2], [1, 2, 3])
        for nonces in ((one, one), (one, two), (two, one))
    }
    assert len(seeds) == 12


def test_a_screen_changes_the_context() -> None:
    contexts = {Table(screen).leader.context for screen in (NORM, replace(NORM, rows=1), COSINE)}
    assert len(contexts) == 3


# -- an angle that is proven, and opened to nobody -----------------------------------------------

ANGLE = Angle(reference=REFERENCE, numerator=1, denominator=4)


def pointed(seed: int, share: float) -> np.ndarray:
    """A vector of which the cosine with the reference is about `share`."""
    unit = REFERENCE.vector / REFERENCE.norm
    drawn = np.random.default_rng(seed).normal(size=D)
    drawn -= drawn @ unit * unit
    direction = share * unit + (1 - share**2) ** 0.5 * drawn / np.linalg.norm(drawn)
    return np.trunc(direction * BOUND / 2).astype(np.int64)


def test_who_lies_about_the_angle_is_named_and_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    table = Table(None, angle=ANGLE)
    table.vectors = {c: pointed(c, 0.4 if c == 3 else 0.6) for c in table.vectors}
    limits = table.scheme.limits_of_norm
    monkeypatch.setattr(type(limits), "bits_of", lambda self, *_: field64().zeros(self.further))
    table.report([3])
    monkeypatch.undo()
    table.report([1, 2, 4, 5, 6])
    table.run()
    (event,) = table.told(PeerRejected)
    assert event.peer == 3
    assert "the angle is too wide" in event.reason
    assert table.total.tolist() == table.summed([1, 2, 4, 5, 6])
    assert table.scheme.opened == 0
    assert not table.told(Statistics)


def test_a_client_does_not_prove_what_is_not_so() -> None:
    table = Table(None, angle=ANGLE)
    machine = table.parties.machine(1, table.rand)
    with pytest.raises(InputRefused, match=r"cosine\*\*2 >= 1 / 4"):
        machine.submit(residues(pointed(1, 0.4)))
    assert machine.to_send() == []
    machine.submit(residues(pointed(1, 0.6)))
    assert len(machine.to_send()) == 1


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"angle": 1}, "angle is an Angle, got int"),
        ({"angle": ANGLE, "noise": 1}, "noise is a Noise"),
        ({"angle": replace(ANGLE, numerator=5)}, "numerator <= denominator"),
        ({"angle": replace(ANGLE, head=1)}, "dimension = head"),
    ],
)
def test_impossible_angles_die_with_their_inequality(changes: dict[str, Any], reason: str) -> None:
    with pytest.raises(ParameterError, match=reason):
        Table(None, **changes)


def test_an_angle_beside_a_screen_is_refused() -> None:
    with pytest.raises(ParameterError, match="in the place of a screen"):
        Table(COSINE, angle=ANGLE)
