"""Rounds of names between processes, by the commands of the page, at full size; sites and the
server are killed.
"""

from __future__ import annotations

import asyncio
import json
import signal
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from test_cli import log, run
from test_round import lines
from test_tail import process
from traffic import usual

from apiwatch import gather
from apiwatch.agreement import Agreement, load_key
from apiwatch.channel import Address
from apiwatch.classes import BENIGN, ClassSums, class_weights
from apiwatch.errors import RoundFailed
from apiwatch.normalize import fold
from apiwatch.pending import Pending
from apiwatch.shared_classes import SharedClasses
from apiwatch.site import Site
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


def here(folder: Path, me: int, **options) -> Site:
    """A site in this process, for those that nothing happens to."""
    agreed = Agreement.load(folder / "agreement")
    salt = bytes.fromhex((folder / "salt").read_text())
    return Site(
        agreement=agreed,
        identity=load_key(folder / f"{me}.key"),
        me=me,
        settings=agreed.settings_with(salt),
        counts=options.get("counts", gather(usual(30, seed=me))),
        before=options.get("before"),
        pending=Pending(folder / f"{me}.profile.examples", agreed.era),
        patience=90.0,
        told=options.get("told", print),
    )


@pytest.mark.slow
def test_killed_sites_and_servers_lose_no_example_and_count_none_twice(folder: Path) -> None:
    """Sites 2 and 4, which have examples, and the servers are processes."""
    given = {i: (folder / f"{i}.log", "--examples", folder / f"{i}.examples") for i in (2, 4)}
    with serving(folder, "both") as server:
        port = port_of(server)
        address = Address("127.0.0.1", port)
        with (
            joining(folder, 2, port, *given[2]) as two,
            joining(folder, 4, port, *given[4]) as four,
            ThreadPoolExecutor(3) as pool,
        ):
            sites = {i: here(folder, i) for i in (1, 3, 5)}
            coming = [pool.submit(asyncio.run, one.join(address)) for one in sites.values()]
            # its vector has left, or is about to: which of the two, the next round tells
            assert "sum 3: masked" in lines(four.stderr)
            four.send_signal(signal.SIGKILL)
            first = dict(zip(sites, (one.result(90) for one in coming), strict=True))
            outcome = json.loads(server.communicate(timeout=90)[0])
            told = two.communicate(timeout=60)[0].split()
    assert set(outcome["named"]) >= {1, 2, 3, 5}
    assert told == [outcome["digest"], outcome["classes"]]
    assert {one.profile.classes.digest for one in first.values()} == {outcome["classes"]}
    if 4 in outcome["named"]:
        assert outcome["classes"] == pooled(SQLI, USUAL, XSS)
    assert (folder / "4.profile.examples").is_file()
    assert not Pending(
        folder / "2.profile.examples", Agreement.load(folder / "agreement").era
    ).pairs

    kept = (folder / "agreement.classes").read_bytes()
    with serving(folder, "names") as server:
        address = Address("127.0.0.1", port_of(server))

        def kill(step: str) -> None:
            server.send_signal(signal.SIGKILL)

        one = here(folder, 1, counts=None, before=first[1].profile, told=kill)
        with pytest.raises(RoundFailed, match="the server is gone"):
            asyncio.run(one.join(address))
    assert (folder / "agreement.classes").read_bytes() == kept

    with serving(folder, "both") as server:
        port = port_of(server)
        with joining(folder, 4, port, folder / "4.log") as four, ThreadPoolExecutor(4) as pool:
            address = Address("127.0.0.1", port)
            sites = [here(folder, i) for i in (1, 2, 3, 5)]
            coming = [pool.submit(asyncio.run, one.join(address)) for one in sites]
            again = [one.result(90) for one in coming]
            outcome = json.loads(server.communicate(timeout=90)[0])
            assert four.communicate(timeout=60)[0].split() == [
                outcome["digest"],
                outcome["classes"],
            ]
    digests = {Profile.load(folder / "4.profile").classes.digest, outcome["classes"]}
    assert {one.profile.classes.digest for one in again} == digests
    sums = SharedClasses.load(folder / "agreement.classes").sums
    assert sums.labels == (BENIGN, "sqli", "xss")
    assert sums.counts.tolist() == [30, 20, 10]
    assert not Pending(
        folder / "4.profile.examples", Agreement.load(folder / "agreement").era
    ).pairs
