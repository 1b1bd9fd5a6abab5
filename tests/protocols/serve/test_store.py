"""The stores: one process, one round a number, one report a client, and all of it on the disk."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from protocols.serve.answers import Answers
from protocols.serve.reports import Received, Reports
from protocols.serve.store import Stage
from secagg.errors import LocalProtocolError, ParameterError, RequestRefused, StoreFailed


@pytest.fixture
def tasks(deployment: Any) -> Callable[..., Any]:
    """The task of a round of that number, with another plan if asked for."""

    def task(number: int, **changes: Any) -> Any:
        deployment.write(number, **changes)
        return deployment.task

    return task


@pytest.fixture
def reports(tmp_path: Path) -> Iterator[Reports]:
    store = Reports(tmp_path / "leader.db")
    yield store
    store.close()


def received(client: int = 1, nonce: bytes = b"n" * 16, frame: bytes = b"frame") -> Received:
    return Received(client=client, nonce=nonce, digest=sha256(frame).digest(), frame=frame)


def test_a_round_is_opened_once_and_only_advances(reports: Reports, tasks: Any) -> None:
    task = tasks(3)
    assert reports.stage(task) is None
    reports.begin(task)
    opened = reports.opened(task)
    reports.begin(task)
    assert (reports.stage(task), reports.opened(task)) == (Stage.OPEN, opened)
    reports.finish(task, "too few")
    assert (reports.stage(task), reports.failure(task)) == (Stage.FAILED, "too few")


def test_rounds_of_a_session_ascend(reports: Reports, tasks: Any) -> None:
    third = tasks(3)
    reports.begin(third)
    for number, changes in ((2, {}), (3, {"size": 7})):
        with pytest.raises(LocalProtocolError, match=f"round {number} .* is not after round 3"):
            reports.begin(tasks(number, **changes))
    reports.begin(tasks(4))
    reports.begin(third)
    reports.begin(tasks(1, session=os.urandom(16).hex()))


def test_the_same_report_again_changes_nothing(reports: Reports, tasks: Any) -> None:
    task = tasks(1)
    reports.begin(task)
    assert reports.add(task, received())
    assert not reports.add(task, received())
    assert reports.sizes(task) == {1: 5}
    with pytest.raises(RequestRefused, match="client 1 has another report") as caught:
        reports.add(task, received(frame=b"other", nonce=b"m" * 16))
    assert caught.value.problem == "reportReplayed"
    reports.advance(task, Stage.CLOSED)
    reports.add(task, received())
    with pytest.raises(RequestRefused, match="takes no more reports") as caught:
        reports.add(task, received(client=2))
    assert caught.value.problem == "roundClosed"
    assert reports.frame(task, 1) == b"frame"


def test_a_nonce_serves_one_client_once_in_all_rounds(
    tmp_path: Path, reports: Reports, tasks: Any
) -> None:
    first = tasks(1)
    reports.begin(first)
    reports.add(first, received())
    reports.finish(first)
    reports.close()
    again, second = Reports(tmp_path / "leader.db"), tasks(2)
    again.begin(second)
    with pytest.raises(RequestRefused, match="used this nonce in another round"):
        again.add(second, received())
    again.add(second, received(client=2))
    again.add(second, received(nonce=b"m" * 16))
    assert sorted(again.sizes(second)) == [1, 2]
    again.close()


def test_frames_go_with_their_round_and_their_names_stay(reports: Reports, tasks: Any) -> None:
    task = tasks(1)
    reports.begin(task)
    reports.add(task, received())
    reports.finish(task)
    assert reports.rows("SELECT client, frame FROM reports") == [(1, None)]
    with pytest.raises(RequestRefused, match="has another report"):
        reports.add(task, received(frame=b"other"))


def test_a_store_is_of_one_process_and_one_server(tmp_path: Path, reports: Reports) -> None:
    with pytest.raises(StoreFailed, match="is open in another process"):
        Reports(tmp_path / "leader.db")
    reports.close()
    with pytest.raises(StoreFailed, match="not a store of this server"):
        Answers(tmp_path / "leader.db")
    Reports(tmp_path / "leader.db").close()


def test_what_is_no_store_is_refused(tmp_path: Path) -> None:
    (tmp_path / "text.db").write_text("text " * 1000)
    with pytest.raises(StoreFailed, match="not a database"):
        Reports(tmp_path / "text.db")
    other = sqlite3.connect(tmp_path / "other.db")
    other.execute("PRAGMA user_version = 9")
    other.close()
    with pytest.raises(StoreFailed, match="not a store of this server"):
        Reports(tmp_path / "other.db")
    with pytest.raises(StoreFailed, match="No such file"):
        Reports(tmp_path / "no" / "folder.db")
    with pytest.raises(ParameterError, match="most_bytes >= 262144 must hold"):
        Reports(tmp_path / "small.db", most_bytes=1000)


def test_a_store_is_durable_before_it_answers(reports: Reports) -> None:
    assert reports._pragma("synchronous") == 2
    assert reports.rows("PRAGMA journal_mode") == [("wal",)]


def test_no_name_makes_a_store_that_is_only_in_memory(
    tmp_path: Path, tasks: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    task = tasks(1)
    monkeypatch.chdir(tmp_path)
    store = Reports(Path(":memory:"))
    store.begin(task)
    store.close()
    again = Reports(tmp_path / ":memory:")
    assert again.stage(task) is Stage.OPEN
    again.close()


def test_a_store_without_a_log_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As on a file system that cannot have one: SQLite says so, and raises nothing."""
    found = Reports._pragma
    with monkeypatch.context() as patch:
        patch.setattr(
            Reports, "_pragma", lambda *of: "delete" if of[1] == "journal_mode" else found(*of)
        )
        with pytest.raises(StoreFailed, match="would not outlive a crash"):
            Reports(tmp_path / "leader.db")
    Reports(tmp_path / "leader.db").close()


@pytest.mark.skipif(os.name != "posix", reason="modes are those of POSIX")
def test_a_store_is_its_owners(tmp_path: Path, tasks: Any) -> None:
    """Also its log, and under any umask."""
    task, before = tasks(1), os.umask(0)
    try:
        store = Reports(tmp_path / "leader.db")
        store.begin(task)
        modes = {path.name: path.stat().st_mode & 0o777 for path in tmp_path.glob("leader.db*")}
        store.close()
    finally:
        os.umask(before)
    assert modes == {"leader.db": 0o600, "leader.db-wal": 0o600}


def test_a_store_that_is_refused_leaves_the_locks_of_the_first(
    tmp_path: Path, reports: Reports
) -> None:
    """Closing any handle of a file drops the locks that its process has on it."""
    with pytest.raises(StoreFailed, match="is open in another process"):
        Reports(tmp_path / "leader.db")
    code = "import sqlite3, sys; sqlite3.connect(sys.argv[1], timeout=0).execute('BEGIN EXCLUSIVE')"
    ended = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "leader.db")],
        check=False,
        capture_output=True,
        text=True,
    )
    assert "database is locked" in ended.stderr


def test_two_threads_open_a_round_once(
    reports: Reports, tasks: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Requests and the thread that ends rounds both look at a new plan file."""
    task, stage, late = tasks(1), Reports.stage, []

    def raced(self: Reports, asked: Any) -> Stage | None:
        found = stage(self, asked)
        if not late:
            late.append(1)
            self.begin(task)
        return found

    monkeypatch.setattr(Reports, "stage", raced)
    reports.begin(task)
    assert reports.stage(task) is Stage.OPEN


def test_a_full_store_keeps_nothing_of_what_it_refuses(tmp_path: Path, tasks: Any) -> None:
    store, task = Reports(tmp_path / "full.db", most_bytes=1 << 19), tasks(1)
    store.begin(task)
    store.add(task, received(frame=bytes(1 << 18)))
    with pytest.raises(StoreFailed, match="no room left"):
        store.add(task, received(client=2, frame=bytes(1 << 19)))
    assert store.sizes(task) == {1: 1 << 18}
    store.add(task, received(client=2, frame=b"small"))
    store.finish(task)
    later = tasks(2)
    store.begin(later)
    store.add(later, received(nonce=b"m" * 16, frame=bytes(1 << 18)))
    store.close()


def test_answers_are_found_again_in_order(tmp_path: Path, tasks: Any) -> None:
    task, other = tasks(1), tasks(2)
    store = Answers(tmp_path / "helper.db")
    store.begin(task)
    store.add(task, [(b"b", b"B"), (b"a", b"A")], is_last=False)
    assert store.known(task, b"a") == b"A"
    assert store.known(task, b"c") is None
    assert store.known(other, b"a") is None
    store.close()
    again = Answers(tmp_path / "helper.db")
    assert list(again.log(task)) == [(b"b", b"B"), (b"a", b"A")]
    again.add(task, [(b"c", b"C")], is_last=True)
    assert again.stage(task) is Stage.DONE
    again.close()
