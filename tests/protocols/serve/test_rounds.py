"""How rounds end over HTTP: the sum, who is in it and who not, and what is left behind."""

from __future__ import annotations

import io
import json
import os
import signal
import time
import warnings
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from rich.console import Console

from protocols.enrollment import load_roster
from protocols.serve import exchange, outcome
from protocols.serve.aggregation import Aggregated
from protocols.serve.reports import Received, Reports
from protocols.serve.task import load_task
from secagg.errors import DecodeError, RequestRefused


@pytest.mark.usefixtures("liars")
def test_a_liar_is_named_and_the_others_are_summed(
    deployment: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = type(deployment.task.invitation.plan)
    encode = plan.encode

    def beyond(self: Any, tree: Any, weight: int, *rest: Any) -> Any:
        vector = encode(self, tree, weight, *rest)
        if weight == 3:
            vector[1] = self.scheme.bound + 1
        return vector

    deployment.helper()
    leader = deployment.leader()
    with monkeypatch.context() as patch:
        patch.setattr(plan, "encode", beyond)
        for client in (1, 2, 3, 4, 5):
            deployment.upload(client)
    assert leader.ended() == 0
    outcome = deployment.outcome()
    assert outcome["included"] == [1, 2, 4, 5]
    assert set(outcome["refused"]) == {"3"}
    assert "a proof does not verify" in outcome["refused"]["3"]
    assert outcome["sum"] == deployment.expected([1, 2, 4, 5])
    assert outcome["total_weight"] == 12
    assert outcome["report_bytes"] > outcome["aggregator_bytes"] > 0


def test_too_few_reports_open_nothing_and_say_so(deployment: Any) -> None:
    deployment.helper()
    deployment.leader()
    deployment.upload(1)
    deployment.servers[-1].kill()
    assert deployment.leader(seconds=0.01).ended() == 1
    outcome = deployment.outcome()
    assert outcome["sum"] is None
    assert "1 valid reports, at least 2 are needed" in outcome["failure"]
    assert outcome["missing"] == [2, 3, 4, 5]
    assert [path.suffix for path in (deployment.folder / "out").iterdir()] == [".json"]


def test_a_round_that_is_over_stays_over(deployment: Any) -> None:
    deployment.helper()
    first = deployment.leader(after=2)
    for client in (1, 2):
        deployment.upload(client)
    assert first.ended() == 0
    before = deployment.outcome()
    again = deployment.leader(after=2)
    assert again.ended() == 0
    assert again.saw("round is over")["failure"] == ""
    assert deployment.outcome() == before


@pytest.mark.slow
def test_a_deadline_holds_across_restarts(deployment: Any) -> None:
    """It counts from when the round was opened, and not from the last start."""
    deployment.helper()
    start = time.monotonic()
    leader = deployment.leader()
    for client in (1, 2, 3):
        deployment.upload(client)
    leader.kill(signal.SIGTERM)
    time.sleep(max(0.0, start + 3 - time.monotonic()))
    again = deployment.leader(seconds=3)
    assert again.ended() == 0
    begun, closed = (datetime.fromisoformat(again.saw(event)["time"])
                     for event in ("listening", "round closed"))  # fmt: skip
    assert (closed - begun).total_seconds() < 2.5
    assert deployment.outcome()["sum"] == deployment.expected([1, 2, 3])


def test_rounds_of_a_folder_are_served_as_they_come(deployment: Any, tmp_path: Path) -> None:
    folder = tmp_path / "plans"
    folder.mkdir()
    deployment.helper(plan=folder)
    leader = deployment.leader(plan=folder, after=2)
    for number, clients in ((1, [1, 2]), (2, [4, 5])):
        deployment.write(number)
        (folder / f"{number}.toml").write_text(deployment.plan.read_text())
        for client in clients:
            deployment.upload(client)
        until = time.monotonic() + 20
        while len([x for x in leader.lines() if x["event"] == "round ended"]) < number:
            assert time.monotonic() < until, leader.text()
            time.sleep(0.01)
        assert deployment.outcome()["sum"] == deployment.expected(clients)
    deployment.write(1, size=7)
    (folder / "late.toml").write_text(deployment.plan.read_text())
    with pytest.raises(RequestRefused, match="round 1 of this session is not after round 2"):
        deployment.upload(3, update=np.zeros(7))
    assert leader.saw("task refused")["reason"].startswith("round 1 of this session")
    assert leader.ended(0.0) is None


@pytest.mark.slow
def test_a_helper_without_the_plan_is_not_asked_for_a_sum(deployment: Any, tmp_path: Path) -> None:
    """Nothing is lost by it: once the helper has the plan, the same command goes on."""
    folder = tmp_path / "plans"
    folder.mkdir()
    deployment.helper(plan=folder)
    leader = deployment.leader(after=2)
    for client in (1, 2):
        deployment.upload(client)
    assert leader.ended() == 2
    assert "unrecognizedTask: the helper has no plan file" in leader.text()
    (folder / "plan.toml").write_text(deployment.plan.read_text())
    assert deployment.leader(after=2).ended() == 0
    assert deployment.outcome()["sum"] == deployment.expected([1, 2])


@pytest.mark.slow
def test_in_a_folder_a_helper_without_the_plan_is_asked_again(
    deployment: Any, tmp_path: Path
) -> None:
    folders = {name: tmp_path / name for name in ("for-leader", "for-helper")}
    for folder in folders.values():
        folder.mkdir()
    deployment.helper(plan=folders["for-helper"])
    (folders["for-leader"] / "1.toml").write_text(deployment.plan.read_text())
    leader = deployment.leader(plan=folders["for-leader"], after=2)
    for client in (1, 2):
        deployment.upload(client)
    assert leader.saw("no sum yet")["reason"].startswith("unrecognizedTask")
    (folders["for-helper"] / "1.toml").write_text(deployment.plan.read_text())
    assert leader.saw("round ended")["included"] == 2
    assert deployment.outcome()["sum"] == deployment.expected([1, 2])


def test_rounds_of_a_session_are_summed_by_number(deployment: Any, tmp_path: Path) -> None:
    """Whichever is full first, and however files are called: the helper takes no earlier one."""
    folder = tmp_path / "plans"
    folder.mkdir()
    for number in (9, 10):
        deployment.write(number)
        (folder / f"{number}.toml").write_text(deployment.plan.read_text())
    deployment.helper(plan=folder)
    leader = deployment.leader(plan=folder, after=2)
    for number, clients in ((10, [4, 5]), (9, [1, 2])):
        deployment.write(number)
        for client in clients:
            deployment.upload(client, spool=deployment.folder / f"spool-{number}-{client}")
    leader.saw("round ended")
    until = time.monotonic() + 20
    while len([line for line in leader.lines() if line["event"] == "round ended"]) < 2:
        assert time.monotonic() < until, leader.text()
        time.sleep(0.01)
    assert deployment.outcome()["sum"] == deployment.expected([1, 2])
    deployment.write(10)
    assert deployment.outcome()["sum"] == deployment.expected([4, 5])


def test_no_round_ends_below_the_minimum_for_want_of_patience(deployment: Any) -> None:
    deployment.helper()
    leader = deployment.leader(after=1)
    deployment.upload(3)
    assert leader.ended(0.5) is None
    deployment.upload(1)
    assert leader.ended() == 0
    assert deployment.outcome()["sum"] == deployment.expected([1, 3])


def test_servers_refuse_the_keys_of_others(deployment: Any) -> None:
    key = deployment.folder / "client-1.key"
    for server in (
        deployment._server("helper", {"key": key}),
        deployment._server("leader", {"key": key, "helper": "http://127.0.0.1:1"}),
    ):
        assert server.ended() == 2
        assert "the roster lists another key as its" in server.text()


def test_logs_show_no_secret(deployment: Any) -> None:
    helper = deployment.helper()
    leader = deployment.leader(after=2)
    for client in (1, 2):
        deployment.upload(client)
    assert leader.ended() == 0
    text = leader.text() + helper.text()
    assert deployment.task.id in text
    for key in deployment.keys.values():
        assert key.to_bytes().hex() not in text
        assert key.share_private.hex() not in text
    lines = [*leader.lines(), *helper.lines()]
    assert len(lines) == len(text.splitlines())
    known = {"time", "party", "event", "url", "task", "client", "bytes", "resource", "seconds",
             "reports", "frames", "ended", "included", "refused", "failure"}  # fmt: skip
    assert set().union(*lines) <= known


# -- laws -----------------------------------------------------------------------------------------


@given(frames=st.lists(st.binary(max_size=40), max_size=6))
def test_jobs_are_canonical(frames: list[bytes]) -> None:
    body = exchange.packed(frames)
    assert exchange.unpacked(body) == frames
    with pytest.raises(DecodeError):
        exchange.unpacked(body + b"\0")


@given(body=st.binary(max_size=60))
def test_any_bytes_are_one_job_or_refused(body: bytes) -> None:
    try:
        frames = exchange.unpacked(body)
    except DecodeError:
        return
    assert exchange.packed(frames) == body


@given(sent=st.lists(st.tuples(st.integers(1, 4), st.integers(0, 2)), max_size=12))
@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_the_first_report_of_each_client_counts(
    deployment: Any, tmp_path: Path, sent: list[tuple[int, int]]
) -> None:
    """Whatever is sent in whatever order, with the store closed and opened in between."""
    path, task = tmp_path / f"{os.urandom(8).hex()}.db", deployment.task
    first: dict[int, int] = {}
    for client, variant in sent:
        store = Reports(path)
        store.begin(task)
        frame = bytes((client, variant))
        report = Received(client=client, nonce=frame * 8, digest=frame * 16, frame=frame)
        if first.setdefault(client, variant) == variant:
            store.add(task, report)
        else:
            with pytest.raises(RequestRefused, match="reportReplayed"):
                store.add(task, report)
        assert store.frame(task, client) == bytes((client, first[client]))
        assert list(store.sizes(task)) == sorted(first)
        store.close()


def test_a_job_is_bounded_in_bytes_of_vectors(deployment: Any) -> None:
    for size, due in ((6, 64), (100_000, 5), (1_000_000, 1)):
        deployment.write(1, size=size)
        task = load_task(deployment.plan, load_roster(deployment.roster))
        assert exchange.job_size(task) == due


def test_an_outcome_is_one_document(deployment: Any) -> None:
    deployment.helper()
    leader = deployment.leader(after=2)
    for client in (1, 2):
        deployment.upload(client)
    assert leader.ended() == 0
    outcome = deployment.outcome()
    assert json.dumps(outcome)
    assert (outcome["format"], outcome["task"]) == ("secagg-outcome-1", deployment.task.id)
    assert (outcome["opened"], outcome["judged"], outcome["within"]) == (False, None, None)
    names = {path.suffix for path in (deployment.folder / "out").iterdir()}
    assert names == {".json", ".npy"}
    mean = np.load(deployment.folder / "out" / f"{deployment.session.hex()}-1.npy")
    wanted = (deployment.update(1) + 2 * deployment.update(2)) / 3
    np.testing.assert_allclose(mean, wanted, atol=1e-4)


def test_a_server_can_end_with_the_program_that_started_it(deployment: Any) -> None:
    """The standard input of these is at its end."""
    server = deployment.helper(options={"flags": ["--until-eof"]})
    assert server.ended() == 0
    assert server.saw("stopped")
    assert deployment.helper().ended(0.5) is None


def test_a_leader_that_is_stopped_while_it_asks_ends_in_order(deployment: Any) -> None:
    """Its standard input is at its end, the round is due, and there is no helper."""
    deployment.leader()
    for client in (1, 2):
        deployment.upload(client)
    deployment.servers[-1].kill()
    server = deployment.leader(after=2, options={"flags": ["--until-eof"]})
    assert server.ended() == 0
    assert server.saw("round closed")["reports"] == 2
    assert server.saw("stopped")


def ended(**changes: Any) -> Aggregated:
    given = {"result": None, "failure": "too few", "refused": {}, "sizes": {}, "between": 0,
             "statistics": None, "groups": None, "judged": None,
             "seconds": 0.0, "cpu": 0.0}  # fmt: skip
    return Aggregated(**given | changes)


def test_no_outcome_takes_the_place_of_another(deployment: Any, tmp_path: Path) -> None:
    """Not that of a session that begins alike, nor that of a round with the same number."""
    paths = set()
    for last in "01":
        deployment.write(1, session="0" * 31 + last)
        outcome.save(tmp_path, deployment.task, ended())
        paths.add(tmp_path / f"{outcome.stem(deployment.task)}.json")
    before = {path: json.loads(path.read_text()) for path in paths}
    assert len(before) == 2
    outcome.save(tmp_path, deployment.task, ended())
    deployment.write(1, session="0" * 31 + "1", size=7)
    with pytest.raises(FileExistsError, match="has the outcome of another task"):
        outcome.save(tmp_path, deployment.task, ended(failure="later"))
    assert {path: json.loads(path.read_text()) for path in paths} == before


def test_a_terminal_shows_reports_and_how_many_are_verified(
    deployment: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    with warnings.catch_warnings():
        # typer 0.20, the last that Flower allows, imports names that click 8.5 deprecates
        warnings.simplefilter("ignore", DeprecationWarning)
        from protocols import cli_serve  # noqa: PLC0415
    out = io.StringIO()
    console = Console(file=out, force_terminal=True, width=100)
    monkeypatch.setattr(cli_serve, "Console", lambda: console)
    with cli_serve._bar() as watch:
        watch(deployment.task, 4, 3)
    shown = out.getvalue()
    assert "round 1, reports" in shown
    assert "4/5" in shown
    assert "3/4" in shown
