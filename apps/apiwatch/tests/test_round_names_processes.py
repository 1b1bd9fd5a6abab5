"""Rounds of names between processes, by the commands of the page, at full size; sites and the
server are killed.
"""

from __future__ import annotations

import json
import signal
from collections import Counter
from contextlib import ExitStack
from pathlib import Path

import pytest
from test_cli import log, run
from test_round import lines
from test_tail import process
from traffic import usual

from apiwatch.classes import BENIGN, ClassSums, class_weights
from apiwatch.normalize import fold
from apiwatch.shared_classes import SharedClasses
from apiwatch.store import Profile

SITES = range(1, 6)
SQLI = [(f"{i}' or {i}={i}--", "sqli") for i in range(20)]
XSS = [(f"<script>alert({i})</script>", "xss") for i in range(10)]
USUAL = [(f"anna {i} mill road", BENIGN) for i in range(30)]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    keys = {i: run("round", "key", tmp_path / f"{i}.key").stdout.strip() for i in (0, *SITES)}
    claims = [part for i in SITES for part in ("--site", f"{i}={keys[i]}")]
    files = (tmp_path / "agreement", "--salt", tmp_path / "salt", "--server", keys[0])
    assert run("round", "agree", *files, *claims, "--cells", 10, "--slots", 5).exit_code == 0
    for i in SITES:
        log(tmp_path / f"{i}.log", usual(30, seed=i))
    for name, pairs in (("2.examples", SQLI + USUAL), ("4.examples", XSS)):
        rows = (json.dumps({"value": value, "label": label}) + "\n" for value, label in pairs)
        (tmp_path / name).write_text("".join(rows))
    return tmp_path


def serving(folder: Path, what: str):
    files = (folder / "agreement", "--key", folder / "0.key", "--what", what)
    return process("round", "serve", *files, "--listen", "127.0.0.1:0", "--phase", 60)


def joining(folder: Path, me: int, port: int, *more: object):
    own = ("--key", folder / f"{me}.key", "--salt", folder / "salt", "--site", me)
    server = ("--server", f"127.0.0.1:{port}", "-p", folder / f"{me}.profile")
    return process("round", "join", folder / "agreement", *own, *server, *more)


def port_of(server) -> int:
    return int(server.stderr.readline().rpartition(":")[2])


def pooled(*pairs: list[tuple[str, str]]) -> str:
    examples = [(fold(value), label) for part in pairs for value, label in part]
    weights = class_weights(Counter(label for _, label in examples))
    return ClassSums.learn(examples, weights, weights).digest


@pytest.mark.slow
def test_killed_sites_and_servers_lose_no_example_and_count_none_twice(folder: Path) -> None:
    with ExitStack() as ending:
        server = ending.enter_context(serving(folder, "both"))
        port = port_of(server)
        sites = {
            i: ending.enter_context(
                joining(
                    folder,
                    i,
                    port,
                    folder / f"{i}.log",
                    *(("--examples", folder / f"{i}.examples") if i in (2, 4) else ()),
                )
            )
            for i in SITES
        }
        # its vector has left, or is about to: which of the two, the next round tells
        assert "sum 3: masked" in lines(sites[4].stderr)
        sites[4].send_signal(signal.SIGKILL)
        outcome = json.loads(server.communicate(timeout=90)[0])
        digests = {sites[i].communicate(timeout=60)[0].split()[1] for i in SITES if i != 4}
    assert set(outcome["named"]) >= {1, 2, 3, 5}
    assert digests == {outcome["classes"]}
    if 4 in outcome["named"]:
        assert outcome["classes"] == pooled(SQLI, USUAL, XSS)
    assert (folder / "4.profile.examples").is_file()
    assert not (folder / "2.profile.examples").exists()

    kept = (folder / "agreement.classes").read_bytes()
    with ExitStack() as ending:
        server = ending.enter_context(serving(folder, "names"))
        port = port_of(server)
        one = ending.enter_context(joining(folder, 1, port))
        assert "sum 0: adverts" in lines(one.stderr)
        server.send_signal(signal.SIGKILL)
        told = one.communicate(timeout=60)[1]
    assert one.returncode == 2
    assert "the server is gone" in told
    assert (folder / "agreement.classes").read_bytes() == kept

    with ExitStack() as ending:
        server = ending.enter_context(serving(folder, "both"))
        port = port_of(server)
        sites = [ending.enter_context(joining(folder, i, port, folder / f"{i}.log")) for i in SITES]
        outcome = json.loads(server.communicate(timeout=90)[0])
        digests = {one.communicate(timeout=60)[0].split()[1] for one in sites}
    assert digests == {outcome["classes"]}
    assert {Profile.load(folder / f"{i}.profile").classes.digest for i in SITES} == digests
    sums = SharedClasses.load(folder / "agreement.classes").sums
    assert dict(zip(sums.labels, sums.counts.tolist(), strict=True)) == {
        "benign": 30,
        "sqli": 20,
        "xss": 10,
    }
    assert not (folder / "4.profile.examples").exists()
