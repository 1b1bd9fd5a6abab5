"""A log is followed through whatever happens to its file."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from traffic import attacks, usual

from apiwatch import Settings, gather
from apiwatch.follow import follow
from apiwatch.logs import request_to_json
from apiwatch.work import learnt


class Over(Exception):
    """No more happens."""


def followed(
    path: Path, *steps: Callable[[], object], from_start: bool = False, **options
) -> list[bytes]:
    """What `follow` gives if in each of its pauses the next thing happens."""
    remaining = iter(steps)
    lines: list[bytes] = []

    def pause(_: float) -> None:
        step = next(remaining, None)
        if step is None:
            raise Over
        step()

    try:
        for batch in follow(path, pause=pause, from_start=from_start, **options):
            lines.extend(batch)
    except Over:
        return lines
    raise AssertionError("it ended by itself")


def append(path: Path, data: bytes) -> Callable[[], object]:
    def write() -> None:
        with path.open("ab") as file:
            file.write(data)

    return write


def test_new_lines_are_given_whole(tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.write_bytes(b"old\n")
    steps = (append(path, b"a\nb"), append(path, b"c\n"))
    assert followed(path, *steps) == [b"a\n", b"bc\n"]
    path.write_bytes(b"old\n")
    assert followed(path, *steps, from_start=True) == [b"old\n", b"a\n", b"bc\n"]


def test_a_rotated_file_is_read_to_its_end(tmp_path: Path) -> None:
    path, rotated = tmp_path / "log", tmp_path / "log.1"
    path.write_bytes(b"")

    def rotate() -> None:
        path.rename(rotated)
        append(rotated, b"late\nunfinished")()
        path.write_bytes(b"new\n")

    steps = (append(path, b"a\n"), rotate, append(path, b"newer\n"))
    assert followed(path, *steps) == [b"a\n", b"late\n", b"unfinished", b"new\n", b"newer\n"]


def test_a_truncated_file_is_read_from_its_start(tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.write_bytes(b"a long first line\n")
    cut = (lambda: os.truncate(path, 0), append(path, b"b\n"))
    assert followed(path, *cut) == [b"b\n"]


def test_a_missing_file_is_waited_for(tmp_path: Path) -> None:
    path = tmp_path / "log"
    steps = (lambda: None, append(path, b"a\n"), path.unlink, append(path, b"b\n"))
    assert followed(path, *steps) == [b"a\n", b"b\n"]


def test_the_command_alerts_across_rotation_in_a_real_process(tmp_path: Path) -> None:
    profile, log = tmp_path / "profile", tmp_path / "log"
    settings = Settings(cells=14, slots=8, salt=b"0123456789abcdef")
    learnt(gather(usual(600)), settings, None).save(profile)
    lines = [json.dumps(request_to_json(request)).encode() + b"\n" for request in attacks()]
    log.write_bytes(lines[0])
    command = "from apiwatch.cli import main; main()"
    arguments = ["tail", str(log), "-p", str(profile), "--from-start", "--format", "ocsf"]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path), "PYTHONUNBUFFERED": "1"}
    with subprocess.Popen(
        [sys.executable, "-c", command, *arguments], stdout=subprocess.PIPE, env=environment
    ) as process:
        first = json.loads(process.stdout.readline())
        log.rename(tmp_path / "log.1")
        log.write_bytes(lines[3])
        second = json.loads(process.stdout.readline())
        process.send_signal(signal.SIGINT)
        assert process.wait(20) == 1
    fields = [alert["evidences"][0]["data"]["field"] for alert in (first, second)]
    assert fields == ["query:sort", "cookie:sid"]
