"""The commands of the how-to page, as a new user types them, over TLS on loopback."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from protocols.serve import exchange
from protocols.serve.peer import Peer
from secagg.errors import RequestRefused, Unreachable

SESSION = "6f1d4c0a9be2437895e0c1d2a3b4f586"
PAGE = Path(__file__).parents[3] / "docs" / "how-to" / "two-aggregators.md"


@pytest.fixture
def section() -> str:
    return PAGE.read_text("utf-8").split("\n## As servers\n")[1].split("\n## ")[0]


def free_port() -> str:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return str(found.getsockname()[1])


def commands(section: str) -> Iterator[tuple[list[str], str]]:
    """The words of each command, and what the page says that it prints."""
    for block in re.findall(r"```console\n(.*?)```", section, re.DOTALL):
        for part in block.replace("\\\n", " ").split("$ ")[1:]:
            line, _, printed = part.partition("\n")
            yield shlex.split(line), printed


class Shell:
    """Runs the words of a command in a folder; what ends with & goes on."""

    def __init__(self, folder: Path, zygote: Any) -> None:
        self.folder, self._zygote = folder, zygote
        self.behind: dict[str, int] = {}
        self.count = 0

    def run(self, words: list[str]) -> str:
        if words[0] != "secagg":
            done = subprocess.run(
                words, cwd=self.folder, capture_output=True, text=True, check=True
            )
            return done.stdout
        self.count += 1
        out = self.folder / (words[-1] if words[-2] == ">" else f"out-{self.count}")
        line = [word for word in words[1:] if word not in (">", "&")]
        line = line[:-1] if words[-2] == ">" else line
        log = self.folder / f"log-{words[1]}"
        process = self._zygote.ask(argv=line, log=str(log), folder=str(self.folder), out=str(out))
        if words[-1] == "&":
            self.behind[words[1]] = process
            self.wait(log, "listening")
            return ""
        assert self._zygote.ask(wait=process, seconds=30) == 0, log.read_text()
        return out.read_text()

    def wait(self, log: Path, text: str) -> None:
        until = time.monotonic() + 30
        while not (log.exists() and text in log.read_text()):
            assert time.monotonic() < until, log.read_text()
            time.sleep(0.01)

    def ended(self, name: str) -> int | None:
        status: int | None = self._zygote.ask(wait=self.behind.pop(name), seconds=30)
        return status

    def stop(self) -> None:
        for process in self.behind.values():
            os.kill(process, signal.SIGTERM)
            assert self._zygote.ask(wait=process, seconds=30) is not None


@pytest.fixture
def shell(tmp_path: Path, zygote: Any) -> Iterator[Shell]:
    made = Shell(tmp_path, zygote)
    yield made
    made.stop()


@pytest.mark.skipif(shutil.which("openssl") is None, reason="there is no openssl")
def test_the_page_works(section: str, shell: Shell) -> None:
    for port in ("8401", "8402"):
        section = section.replace(f"127.0.0.1:{port}", f"127.0.0.1:{free_port()}")
    plan = re.findall(r"```toml\n(.*?)```", section, re.DOTALL)
    (shell.folder / "plan.toml").write_text(plan[0])
    updates = {1: np.array([0.5, -0.25, 0.0, 1.0]), 3: np.array([0.1, 0.2, 0.3, 0.4])}
    for client, update in updates.items():
        np.save(shell.folder / f"update-{client}.npy", update)
    printed = []
    for words, expected in commands(section):
        printed.append(shell.run(words))
        if expected:
            assert printed[-1] == expected
    first, again, third = printed[-3:]
    assert "made before  False" in first
    assert "made before  True" in again
    assert first.splitlines()[:4] == again.splitlines()[:4] != third.splitlines()[:4]
    assert shell.ended("leader") == 0
    mean = np.load(shell.folder / "results" / f"{SESSION}-1.npy")
    np.testing.assert_allclose(mean, 0.25 * updates[1] + 0.75 * updates[3], atol=1e-5)
    outcome = json.loads((shell.folder / "results" / f"{SESSION}-1.json").read_text())
    assert (outcome["included"], outcome["missing"], outcome["refused"]) == ([1, 3], [2], {})
    assert outcome["total_weight"] == 40
    (helper,) = re.findall(r"--helper (https\S+)", section)
    with (
        Peer(helper, patience=0) as peer,
        pytest.raises(Unreachable, match="certificate verify failed"),
    ):
        peer.post("/", b"", exchange.JOB, 100)
    with (
        Peer(helper, authority=shell.folder / "tls.crt", patience=0) as peer,
        pytest.raises(RequestRefused, match="unrecognizedResource"),
    ):
        peer.post("/", b"", exchange.JOB, 100)


def test_every_command_of_the_page_is_found(section: str) -> None:
    found = [words[1] for words, _ in commands(section) if words[0] == "secagg"]
    assert set(found) == {"identity", "roster", "leader", "helper", "upload"}
    assert found[-1] == "upload"
