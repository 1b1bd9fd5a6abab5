"""The journal: ascending rounds per session, and a canonical file."""

from __future__ import annotations

import pytest

from protocols import ClientJournal
from secagg.errors import DecodeError, LocalProtocolError

SESSION, OTHER = bytes(16), bytes([7] * 16)


def test_rounds_ascend_within_a_session() -> None:
    journal = ClientJournal()
    for number in (0, 1, 5):
        journal.join(SESSION, number)
    journal.join(OTHER, 0)
    assert journal.joined == {SESSION: 5, OTHER: 0}


@pytest.mark.parametrize("number", [5, 4, 0])
def test_the_same_or_an_older_round_is_refused(number: int) -> None:
    journal = ClientJournal()
    journal.join(SESSION, 5)
    with pytest.raises(LocalProtocolError, match=f"round {number} .* is not after round 5"):
        journal.join(SESSION, number)
    assert journal.joined == {SESSION: 5}
    journal.join(SESSION, 6)


def test_only_a_running_round_can_be_resumed() -> None:
    journal = ClientJournal()
    journal.join(SESSION, 5)
    journal.join(SESSION, 6)  # its keys ride on the messages of round 5
    for known in (journal, ClientJournal.from_bytes(journal.to_bytes())):
        known.rejoin(SESSION, 5)
        known.rejoin(SESSION, 6)
        for session, number in ((SESSION, 4), (SESSION, 7), (OTHER, 5)):
            with pytest.raises(LocalProtocolError, match="out of date"):
                known.rejoin(session, number)


def test_a_finished_round_is_not_resumed() -> None:
    journal = ClientJournal()
    journal.join(SESSION, 5)
    journal.join(SESSION, 6)
    journal.finish(SESSION, 5)
    journal.finish(OTHER, 1)
    for known in (journal, ClientJournal.from_bytes(journal.to_bytes())):
        known.rejoin(SESSION, 6)
        with pytest.raises(LocalProtocolError, match="is not running"):
            known.rejoin(SESSION, 5)


def test_a_forgotten_session_starts_anew() -> None:
    journal = ClientJournal()
    journal.join(SESSION, 5)
    journal.forget(OTHER)
    assert journal.joined == {SESSION: 5}
    journal.forget(SESSION)
    journal.join(SESSION, 0)


def test_the_journal_survives_its_file() -> None:
    journal = ClientJournal()
    journal.join(OTHER, (1 << 64) - 1)
    journal.join(SESSION, 2)
    again = ClientJournal.from_bytes(journal.to_bytes())
    assert again.joined == journal.joined
    assert again.to_bytes() == journal.to_bytes()
    with pytest.raises(LocalProtocolError):
        again.join(SESSION, 2)


def copied(journal: ClientJournal) -> ClientJournal:
    return ClientJournal.from_bytes(journal.to_bytes())


def running(journal: ClientJournal, session: bytes, numbers: range) -> list[int]:
    found = []
    for number in numbers:
        try:
            journal.rejoin(session, number)
        except LocalProtocolError:
            continue
        found.append(number)
    return found


def test_two_processes_add_what_each_of_them_did() -> None:
    before = ClientJournal()
    before.join(SESSION, 1)
    before.join(SESSION, 2)
    trains, unmasks = copied(before), copied(before)
    trains.join(SESSION, 3)
    trains.join(OTHER, 7)
    unmasks.finish(SESSION, 1)
    for first, second in ((trains, unmasks), (unmasks, trains)):
        stored = first.onto(before, since=before)
        whole = second.onto(stored, since=before)
        assert whole.joined == {SESSION: 3, OTHER: 7}
        assert running(whole, SESSION, range(5)) == [2, 3]
        assert running(whole, OTHER, range(9)) == [7]
    assert before.joined == {SESSION: 2}


def test_what_another_process_joined_or_finished_stays_so() -> None:
    before = ClientJournal()
    before.join(SESSION, 1)
    stored, late = copied(before), copied(before)
    stored.finish(SESSION, 1)
    stored.join(SESSION, 5)
    late.join(SESSION, 2)
    whole = late.onto(stored, since=before)
    with pytest.raises(LocalProtocolError, match="not after round 5"):
        whole.join(SESSION, 5)
    assert running(whole, SESSION, range(7)) == [2, 5]


def test_a_session_that_was_forgotten_is_forgotten_by_all() -> None:
    before = ClientJournal()
    before.join(SESSION, 1)
    before.join(OTHER, 1)
    mine = copied(before)
    mine.forget(SESSION)
    assert mine.onto(before, since=before).joined == {OTHER: 1}


def test_an_empty_journal_survives_too() -> None:
    assert ClientJournal.from_bytes(ClientJournal().to_bytes()).joined == {}


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\xff",
        b"[]",
        b"{}",
        b'{"format": "secagg-journal-1"}',
        b'{"format": "secagg-journal-2", "joined": {}}',
        b'{"format": "secagg-journal-1", "joined": [], "more": 1}',
        b'{"format": "secagg-journal-1", "joined": []}',
        b'{"format": "secagg-journal-1", "joined": {"00": 3}}',
        b'{"format": "secagg-journal-1", "joined": {"00": {"last": 3}}}',
        b'{"format": "secagg-journal-1", "joined": {"00": {"last": "3", "running": []}}}',
        b'{"format": "secagg-journal-1", "joined": {"00": {"last": -1, "running": []}}}',
        b'{"format": "secagg-journal-1", "joined": {"00": {"last": true, "running": []}}}',
        b'{"format": "secagg-journal-1", "joined": {"00": {"last": 3, "running": [4]}}}',
        b'{"format": "secagg-journal-1", "joined": {"00": {"last": 3, "running": 3}}}',
        b'{"format": "secagg-journal-1", "joined": {"zz": {"last": 3, "running": []}}}',
    ],
)
def test_anything_else_is_no_journal(data: bytes) -> None:
    good = b'{"format": "secagg-journal-1", "joined": {"00": {"last": 3, "running": [3]}}}'
    assert ClientJournal.from_bytes(good).joined == {b"\0": 3}
    with pytest.raises(DecodeError, match="not a client journal"):
        ClientJournal.from_bytes(data)


def test_repr_counts_and_tells_nothing() -> None:
    journal = ClientJournal()
    journal.join(OTHER, 5)
    assert repr(journal) == "<ClientJournal of 1 sessions>"
