"""`tail`, as a process and line by line: bad lines, new profiles, metrics, and an end by signal."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import threading
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from test_follow import append, followed
from traffic import attacks, usual

from apiwatch import Settings, gather
from apiwatch.errors import ParameterError
from apiwatch.follow import Followed
from apiwatch.logs import Format, request_to_json
from apiwatch.tail import Tail
from apiwatch.watch import Watcher
from apiwatch.work import learnt

SETTINGS = Settings(cells=14, slots=8, salt=b"0123456789abcdef")
ATTACKS = [json.dumps(request_to_json(request)).encode() + b"\n" for request in attacks()]
USUAL = [json.dumps(request_to_json(request)).encode() + b"\n" for request in usual(50)]


@pytest.fixture(scope="module")
def profile(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("tail") / "profile"
    learnt(gather(usual(600)), SETTINGS, None).save(path)
    return path


def test_an_overlong_line_is_counted_and_never_held(tmp_path: Path) -> None:
    path, told = tmp_path / "log", Followed()
    path.write_bytes(b"")
    steps = (
        append(path, b"a\n"),
        append(path, b"x" * 700_000),
        append(path, b"y" * 100 + b"\nb\n"),
    )
    assert followed(path, *steps, longest=1000, told=told) == [b"a\n", b"b\n"]
    within = append(path, b"z" * 1001 + b"\n" + b"z" * 999 + b"\n")
    assert followed(path, within, longest=1000, told=told) == [b"z" * 999 + b"\n"]
    assert told == Followed(overlong=2)


def test_a_half_written_line_at_the_start_is_left_out(tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.write_bytes(b"old\nhal")
    assert followed(path, append(path, b"f\nwhole\n")) == [b"whole\n"]


def test_what_happened_to_the_file_is_counted(tmp_path: Path) -> None:
    path, told = tmp_path / "log", Followed()
    path.write_bytes(b"long enough\n")
    steps = (lambda: os.truncate(path, 0), path.unlink, append(path, b"b\n"))
    assert followed(path, *steps, told=told) == [b"b\n"]
    assert told == Followed(rotated=1, truncated=1)


def tailed(log: Path, profile: Path, lines: list[bytes], **options) -> tuple[Tail, list[str]]:
    """What comes of a log that is there already."""
    log.write_bytes(b"".join(lines))
    watcher, alerts, stop = Watcher(profile), [], threading.Event()
    watcher.reload()
    tail = Tail(
        log=log,
        watcher=watcher,
        sink=lambda alert: alerts.append(alert.first.field.label),
        from_start=True,
        **options,
    )
    threading.Timer(0.3, stop.set).start()
    tail.run(stop)
    return tail, alerts


def test_bad_lines_are_counted_and_the_rest_is_judged(profile: Path, tmp_path: Path) -> None:
    bad = [b"\xff\xfe\x00 no line\n", b"{\n", b"[1, 2]\n", b"\n", b'{"method": 3}\n']
    lines = [*bad, *USUAL[:5], *bad[:2], ATTACKS[0], b'{"method": "GET", "target": "/a'[:20]]
    tail, alerts = tailed(tmp_path / "log", profile, lines)
    assert (tail.requests, tail.alerts, alerts) == (6, 1, ["query:sort"])
    assert tail.skipped == 6


def test_a_clock_that_jumps_changes_nothing(profile: Path, tmp_path: Path) -> None:
    times = (1.7e9, 0.0, -1e12, 1e300, 1.7e9)
    entries = [json.loads(ATTACKS[0]) | {"time": time} for time in times]
    lines = [json.dumps(entry).encode() + b"\n" for entry in entries]
    tail, alerts = tailed(tmp_path / "log", profile, lines)
    assert (tail.requests, len(alerts)) == (5, 5)


@pytest.mark.parametrize("kind", [Format.HAR, Format.CSV])
def test_formats_that_are_no_lines_are_refused(profile: Path, tmp_path: Path, kind) -> None:
    with pytest.raises(ParameterError, match="must hold"):
        tailed(tmp_path / "log", profile, [], kind=kind)
    first = {Format.HAR: b'{"log": {\n', Format.CSV: b"method,target\n"}[kind]
    with pytest.raises(ParameterError, match="must hold"):
        tailed(tmp_path / "log", profile, [first])


@contextmanager
def process(*arguments: object) -> Iterator[subprocess.Popen[str]]:
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path), "PYTHONUNBUFFERED": "1"}
    command = [sys.executable, "-m", "apiwatch.cli", *map(str, arguments)]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with subprocess.Popen(command, env=environment, text=True, **pipes) as started:
        try:
            yield started
        finally:
            started.kill()


def end(started: subprocess.Popen[str], number: int) -> tuple[int, str]:
    started.send_signal(number)
    _, errors = started.communicate(timeout=30)
    return started.returncode, errors


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_it_ends_by_signal_with_its_counts(profile: Path, tmp_path: Path, number: int) -> None:
    log = tmp_path / "log"
    log.write_bytes(b"".join(USUAL))
    arguments = ("tail", log, "-p", profile, "--from-start", "--metrics", 0)
    with process(*arguments) as started:
        address = re.search(r"http://\S+", started.stderr.readline())[0]
        wait_for(lambda: f"scoring_seconds_count {len(USUAL)}.0" in read(address))
        status, errors = end(started, number)
    assert (status, errors.splitlines()[-1].split(",")[0]) == (0, f"{len(USUAL)} requests")


def test_a_new_profile_is_taken_up(profile: Path, tmp_path: Path) -> None:
    log, used = tmp_path / "log", tmp_path / "profile"
    blind = learnt(gather(usual(600)), SETTINGS, None)
    blind.threshold = 1e9
    blind.save(used)
    log.write_bytes(b"")
    with process("tail", log, "-p", used, "--metrics", 0, "--from-start") as started:
        address = re.search(r"http://\S+", started.stderr.readline())[0]
        append(log, ATTACKS[0])()
        wait_for(lambda: "apiwatch_requests_total{" in read(address))
        os.replace(profile_copy(profile, tmp_path), used)

        def alerted() -> bool:
            append(log, ATTACKS[0])()
            return "apiwatch_alerts_total{" in read(address)

        wait_for(alerted)
        assert end(started, signal.SIGTERM)[0] == 1


def profile_copy(profile: Path, folder: Path) -> Path:
    copy = folder / "copy"
    copy.write_bytes(profile.read_bytes())
    return copy


def read(address: str) -> str:
    with urllib.request.urlopen(address, timeout=10) as answer:
        return answer.read().decode()


def wait_for(holds: Callable[[], bool], seconds: float = 30.0) -> None:
    waited = threading.Event()
    for _ in range(int(seconds / 0.1)):
        if holds():
            return
        waited.wait(0.1)
    raise AssertionError(f"not within {seconds} s")
