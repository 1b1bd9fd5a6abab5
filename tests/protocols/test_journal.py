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
