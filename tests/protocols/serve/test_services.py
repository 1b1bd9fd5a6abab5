"""The helper's service, and the client's spool, without a network."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from protocols import files
from protocols.enrollment import load_roster
from protocols.journal import ClientJournal
from protocols.round import ServerRound
from protocols.serve import exchange
from protocols.serve.answers import Answers
from protocols.serve.helper import HelperService
from protocols.serve.intake import Bounds
from protocols.serve.leader import LeaderService
from protocols.serve.listen import Listening
from protocols.serve.log import Log
from protocols.serve.peer import Peer
from protocols.serve.reports import Reports
from protocols.serve.rounds import Ending
from protocols.serve.task import Tasks, load_task
from protocols.serve.upload import load_update, party_of, prepared
from secagg.errors import (
    DecodeError,
    InputRefused,
    LocalProtocolError,
    ParameterError,
    RequestRefused,
    StoreFailed,
    Unreachable,
)
from secagg.identity import SERVER, THIRD, Identity
from secagg.schemes.pine.messages import Collect
from secagg.wire import ids


class Table:
    """A leader whose frames the test carries, and a helper on a store."""

    def __init__(self, place: Any) -> None:
        self.place, self.task = place, place.task
        self.leader = ServerRound(self.task.invitation, place.keys["leader"])
        for client in (1, 2, 3, 4):
            frame, _ = prepared(self.task, place.keys[f"client-{client}"], place.update(client),
                                client, place.folder / f"spool-{client}")  # fmt: skip
            self.leader.receive(client, frame)
        self.relays = [frame for _, frame in self.leader.to_send()]
        self.restart()

    def restart(self, name: str = "helper") -> None:
        if hasattr(self, "answers"):
            self.answers.close()
        self.answers = Answers(self.place.folder / "helper.db")
        tasks = Tasks(self.place.plan, load_roster(self.place.roster), pytest.fail)
        self.service = HelperService(tasks, self.place.keys[name], self.answers, Log("helper"))

    def answer(self, *frames: bytes) -> list[bytes]:
        return self.service.answer(self.task, frames)

    def forged(self, clients: list[int]) -> bytes:
        """What a leader that lies asks for."""
        endpoint = self.task.endpoint(self.place.keys["leader"], SERVER)
        return endpoint.seal(THIRD, Collect(accepted=ids(clients)))


@pytest.fixture
def table(deployment: Any) -> Iterator[Table]:
    made = Table(deployment)
    yield made
    made.answers.close()


def test_a_helper_opens_one_set_across_restarts(table: Table) -> None:
    replies = table.answer(*table.relays)
    table.restart()
    assert table.answer(*table.relays) == replies
    asked = table.forged([1, 2, 3])
    (share,) = table.answer(asked)
    for _ in range(2):
        assert table.answer(asked) == [share]
        with pytest.raises(RequestRefused, match="was given: there is one") as caught:
            table.answer(table.forged([1, 2]))
        assert caught.value.problem == "roundEnded"
        table.restart()
    assert table.answer(*table.relays) == replies


def test_a_restarted_helper_answers_to_the_byte_what_one_that_ran_on_does(
    table: Table, tmp_path: Path
) -> None:
    """Whatever the order and the cuts between requests."""
    through = [table.answer(relay)[0] for relay in table.relays]
    (share,) = table.answer(table.forged([1, 2, 4]))
    table.answers.close()
    for name in ("helper.db", "helper.db-wal"):
        (table.place.folder / name).unlink(missing_ok=True)
    del table.answers
    table.restart()
    for at, relay in enumerate(table.relays):
        assert table.answer(relay) == [through[at]]
        table.restart()
    assert table.answer(table.forged([1, 2, 4])) == [share]


def test_frames_of_nobody_have_no_effect(table: Table) -> None:
    relay = table.relays[0]
    for broken in (b"", b"SA", relay[:-1], relay[:-1] + bytes([relay[-1] ^ 1])):
        with pytest.raises(DecodeError):
            table.answer(broken)
    assert table.answers.stage(table.task) is None
    assert len(table.answer(*table.relays)) == 4
    with pytest.raises(DecodeError):
        table.answer(relay[:-1] + bytes([relay[-1] ^ 1]))
    assert len(table.answer(table.forged([1, 2, 3, 4]))) == 1


def test_a_job_with_one_bad_frame_has_no_effect(table: Table) -> None:
    good, bad = table.relays[:2]
    with pytest.raises(DecodeError):
        table.answer(good, bad[:-1] + bytes([bad[-1] ^ 1]))
    assert table.answers.known(table.task, good) is None
    assert len(table.answer(good, bad)) == 2


def test_a_leader_that_lies_has_ended_the_round_for_good(table: Table) -> None:
    table.answer(*table.relays)
    with pytest.raises(RequestRefused, match="at least 2 are needed") as caught:
        table.answer(table.forged([1]))
    assert caught.value.problem == "roundEnded"
    for _ in range(2):
        with pytest.raises(RequestRefused, match=r"this round failed: .*at least 2"):
            table.answer(table.forged([1, 2, 3]))
        table.restart()


def test_an_answer_that_is_not_kept_was_not_made(
    table: Table, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The machine forgets too: what it had done, another request could undo."""

    def full(*_: Any, **__: Any) -> None:
        raise StoreFailed("no room")

    table.answer(*table.relays)
    with monkeypatch.context() as patch:
        patch.setattr(table.answers, "add", full)
        with pytest.raises(StoreFailed):
            table.answer(table.forged([1, 2]))
    (share,) = table.answer(table.forged([1, 2, 3]))
    assert share
    with pytest.raises(RequestRefused, match="was given"):
        table.answer(table.forged([1, 2]))


def test_a_store_of_another_key_is_refused(table: Table) -> None:
    table.answer(table.relays[0])
    table.answers.rows("UPDATE answers SET reply = ?", b"changed")
    table.restart()
    with pytest.raises(StoreFailed, match="another key, or was changed"):
        table.answer(table.relays[1])


def test_a_store_whose_requests_were_changed_is_refused(table: Table) -> None:
    table.answer(*table.relays[:2])
    table.answers.rows("UPDATE answers SET request = substr(request, 1, length(request) - 1)")
    table.restart()
    with pytest.raises(StoreFailed, match="another key, or was changed"):
        table.answer(table.relays[2])


def test_a_leader_that_lies_in_a_round_that_is_past_is_told_so(table: Table) -> None:
    lie = table.forged([1])
    table.place.write(2)
    table.answers.begin(table.place.task)
    for asked in (lie, table.relays[0]):
        with pytest.raises(RequestRefused, match="round 1 of this session is not after") as caught:
            table.answer(asked)
        assert caught.value.problem == "roundEnded"


def test_tasks_that_nobody_knows_are_refused(table: Table) -> None:
    with pytest.raises(RequestRefused, match="no plan file of this task") as caught:
        table.service.task("A" * 43)
    assert caught.value.problem == "unrecognizedTask"
    assert table.service.task(table.task.id).context == table.task.context


# -- plan files and folders of them ---------------------------------------------------------------


def test_plans_that_come_later_are_found(deployment: Any, tmp_path: Path) -> None:
    folder, errors = tmp_path / "plans", []
    folder.mkdir()
    tasks = Tasks(folder, load_roster(deployment.roster), errors.append)
    assert tasks.is_open
    assert tasks.all() == []
    task = deployment.task
    assert tasks.find(task.id) is None
    (folder / "bad.toml").write_text("[task]\nnumber = 1\n")
    (folder / "1.toml").write_text(deployment.plan.read_text())
    found = tasks.find(task.id)
    assert found is not None
    assert found.context == task.context
    assert tasks.all() == [found]
    assert [str(error) for error in errors] == [
        f"{folder / 'bad.toml'}: [task] 1 <= size < 2**31 must hold, got 0"
    ]


def test_tasks_are_by_number_and_not_by_the_names_of_files(deployment: Any, tmp_path: Path) -> None:
    folder = tmp_path / "plans"
    folder.mkdir()
    for number in (9, 10, 2):
        deployment.write(number)
        (folder / f"{number}.toml").write_text(deployment.plan.read_text())
    deployment.write(1, session=os.urandom(16).hex())
    (folder / "a.toml").write_text(deployment.plan.read_text())
    tasks = Tasks(folder, load_roster(deployment.roster), pytest.fail)
    assert [task.invitation.number for task in tasks.all()] == [1, 2, 9, 10]
    (ninth,) = (task for task in tasks.all() if task.invitation.number == 9)
    assert [task.invitation.number for task in tasks.until(ninth)] == [2, 9]


def test_whoever_asks_first_does_not_decide_the_order_of_rounds(
    deployment: Any, tmp_path: Path
) -> None:
    """One request for the last round, before the leader itself has looked, and no signature."""
    folder = tmp_path / "plans"
    folder.mkdir()
    for number in (1, 2):
        deployment.write(number)
        (folder / f"{number}.toml").write_text(deployment.plan.read_text())
    tasks = Tasks(folder, load_roster(deployment.roster), pytest.fail)
    reports = Reports(tmp_path / "leader.db")
    key = deployment.keys["leader"]
    service = LeaderService(tasks, key, reports, Log("leader"), lambda: None)
    first, second = tasks.all()
    assert service.task(second.id) is second
    assert service.task(first.id) is first
    deployment.write(0)
    (folder / "0.toml").write_text(deployment.plan.read_text())
    with pytest.raises(RequestRefused, match="round 0 of this session is not after round 2"):
        service.task(deployment.task.id)
    reports.close()


@pytest.mark.parametrize("kind", ["folder", "loop"])
def test_what_cannot_be_read_in_a_folder_of_plans_stops_nobody(
    deployment: Any, tmp_path: Path, kind: str
) -> None:
    folder, errors = tmp_path / "plans", []
    folder.mkdir()
    tasks = Tasks(folder, load_roster(deployment.roster), errors.append)
    strange = folder / "0.toml"
    strange.mkdir() if kind == "folder" else strange.symlink_to(strange)
    (folder / "1.toml").write_text(deployment.plan.read_text())
    for _ in range(2):
        assert [task.id for task in tasks.all()] == [deployment.task.id]
    assert [str(error).partition(":")[0] for error in errors] == [f"{strange} cannot be read"]


@pytest.mark.parametrize(
    ("old", "new", "reason"),
    [
        ("[task]", "[tusk]", r"\[task\] is missing"),
        ("size = 8", "size = 0", "1 <= size"),
        ('session = "', 'session = "zz', "session must be hexadecimal"),
        ("number = 1", "number = -1", "0 <= number"),
        ("number = 1", "numbers = 1", "did you mean 'number'"),
        ("size = 8", 'size = 8\nmodel = "ab"', "model must be 64 hexadecimal digits"),
        ('name = "pine"', 'name = "plain-insecure"', 'scheme.name = "pine" must'),
        ("clients = 5", "clients = 1", "clients >= 2"),
    ],
)
def test_plans_that_name_no_round_are_refused(
    deployment: Any, old: str, new: str, reason: str
) -> None:
    text = deployment.plan.read_text()
    assert old in text
    load_task(deployment.plan, load_roster(deployment.roster))
    deployment.plan.write_text(text.replace(old, new))
    with pytest.raises(ParameterError, match=reason):
        load_task(deployment.plan, load_roster(deployment.roster))


# -- the client -----------------------------------------------------------------------------------


def test_a_client_makes_one_report_of_a_round(deployment: Any) -> None:
    task, identity = deployment.task, deployment.keys["client-1"]
    spool = deployment.folder / "spool"
    frame, was_stored = prepared(task, identity, deployment.update(1), 1, spool)
    assert not was_stored
    assert prepared(task, identity, deployment.update(2), 2, spool) == (frame, True)
    deployment.write(0)
    with pytest.raises(LocalProtocolError, match="is not after round 1"):
        prepared(deployment.task, identity, deployment.update(1), 1, spool)
    deployment.write(2)
    assert prepared(deployment.task, identity, deployment.update(1), 1, spool)[0] != frame


def test_a_crash_between_journal_and_report_costs_the_round(deployment: Any) -> None:
    task, identity = deployment.task, deployment.keys["client-1"]
    spool = deployment.folder / "spool"
    spool.mkdir()
    journal = ClientJournal()
    journal.join(task.invitation.session, task.invitation.number)
    (spool / "journal.json").write_bytes(journal.to_bytes())
    with pytest.raises(LocalProtocolError, match="is not after round 1"):
        prepared(task, identity, deployment.update(1), 1, spool)


def test_an_update_that_is_refused_does_not_use_up_the_round(deployment: Any) -> None:
    task, identity = deployment.task, deployment.keys["client-1"]
    spool = deployment.folder / "spool"
    for update, weight in ((np.full(8, np.nan), 1), (np.zeros(8), 11), (np.zeros(7), 1)):
        with pytest.raises(InputRefused):
            prepared(task, identity, update, weight, spool)
    assert prepared(task, identity, np.zeros(8), 10, spool)[0]


def test_only_vectors_of_numbers_are_updates(deployment: Any, tmp_path: Path) -> None:
    task, path = deployment.task, tmp_path / "update.npy"
    for good in (np.arange(8), np.ones(8, np.float32)):
        np.save(path, good)
        np.testing.assert_array_equal(load_update(path, task), good.astype(np.float64))
    for bad, reason in (
        (np.zeros(7), "has shape"),
        (np.zeros((2, 3)), "has shape"),
        (np.array(list("abcdef")), "not an .npy file of numbers"),
        (np.array([None] * 8), "not an .npy file of numbers"),
    ):
        np.save(path, bad)
        with pytest.raises(InputRefused, match=reason):
            load_update(path, task)
    path.write_bytes(b"")
    with pytest.raises(InputRefused, match=r"not an \.npy file"):
        load_update(path, task)


def test_who_a_key_is_says_the_roster(deployment: Any) -> None:
    roster = load_roster(deployment.roster)
    assert party_of(deployment.keys["client-3"], roster) == 3
    for stranger in (Identity.generate(os.urandom), deployment.keys["helper"]):
        with pytest.raises(ParameterError, match="lists no client with this key"):
            party_of(stranger, roster)


@pytest.mark.skipif(os.name != "posix", reason="folders are synchronized on POSIX")
def test_the_folder_of_a_report_outlives_a_loss_of_power(
    deployment: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file is only as durable as the names that lead to it."""
    synced: list[Path] = []
    monkeypatch.setattr(files, "sync_folder", synced.append)
    spool = tmp_path / "a" / "spool"
    prepared(deployment.task, deployment.keys["client-1"], deployment.update(1), 1, spool)
    assert synced[:2] == [tmp_path, tmp_path / "a"]
    assert spool.stat().st_mode & 0o777 == 0o700
    (tmp_path / "file").touch()
    with pytest.raises(FileExistsError):
        files.make_folder(tmp_path / "file")


def test_the_helper_of_a_roster_file_is_the_helper(deployment: Any) -> None:
    """Whatever else its row says."""
    roster = load_roster(deployment.roster)
    document = json.loads(deployment.roster.read_text())
    document["helper"]["id"] = 77
    deployment.roster.write_text(json.dumps(document))
    assert load_roster(deployment.roster) == roster


# -- bounds ---------------------------------------------------------------------------------------


def test_a_server_is_given_up_in_time() -> None:
    slept: list[float] = []

    def sleep(seconds: float) -> None:
        slept.append(seconds)
        time.sleep(seconds)

    named = pytest.raises(Unreachable, match=r"http://127\.0\.0\.1:1 gave no answer")
    with Peer("http://127.0.0.1:1", patience=0.35, sleep=sleep) as peer, named:
        peer.post("/", b"", exchange.REPORT, 10)
    assert 1 <= len(slept) <= 3
    assert all(pause >= 0.1 for pause in slept)


@pytest.mark.parametrize(
    "url",
    [
        "", "127.0.0.1:80", "ftp://127.0.0.1", "http://example.org", "https://[", "https://h:x",
        "https://h:99999", "http://127.0.0.1@example.org", "https://name:word@h", "https://h/?a",
    ],
)  # fmt: skip
def test_servers_are_named_by_urls_with_tls_beyond_this_machine(url: str) -> None:
    for good in ("http://127.0.0.1:80", "http://localhost:80", "https://example.org"):
        Peer(good).close()
    with pytest.raises(ParameterError, match=r"https://"):
        Peer(url)


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"address": "127.0.0.1"}, "HOST:PORT"),
        ({"address": "127.0.0.1:99999"}, "HOST:PORT"),
        ({"address": "0.0.0.0:80"}, "TLS is needed on 0.0.0.0"),
        ({"address": "127.0.0.1:80", "key": Path("key.pem")}, "go together"),
    ],
)
def test_a_server_listens_without_tls_on_loopback_only(fields: dict[str, Any], reason: str) -> None:
    assert Listening(address="127.0.0.1:0").port == 0
    assert Listening(address="[::1]:80").host == "::1"
    with pytest.raises(ParameterError, match=reason):
        Listening(**fields)


def test_bounds_are_bounds() -> None:
    assert Bounds().connections == 256
    for name in ("connections", "head_seconds", "body_seconds", "working"):
        with pytest.raises(ParameterError, match=f"0 < {name} <= 65536 must hold"):
            Bounds(**{name: 0})
    assert Ending(after=3, seconds=0.5).after == 3
    for fields in ({"after": -1}, {"seconds": 0.0}, {"seconds": float("nan")}):
        with pytest.raises(ParameterError, match="must hold"):
            Ending(**fields)
