"""Real servers on loopback: processes that are killed, and clients that upload to them."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("starlette", reason="secagg[serve] is not installed")

from protocols.enrollment import load_identity, load_roster, save_identity, save_roster
from protocols.serve.outcome import stem, sum_digest
from protocols.serve.peer import Peer
from protocols.serve.task import Task, load_task
from protocols.serve.upload import Limit, Uploaded, upload
from secagg.errors import Unreachable
from secagg.identity import THIRD, Identity, Roster
from secagg.primitives.ring import reduce

ROOT = Path(__file__).parents[3]
CLIENTS = 5
SIZE = 8
PLAN = """
[scheme]
name = "pine"
clients = {clients}
corrupt = 0.0
dropout = {dropout}
[quantize]
bound = 4.0
{quantize}
[task]
session = "{session}"
number = {number}
size = {size}
{more}
"""
WEIGHTED = 'max_weight = 10\nrounding = "half-even"'


class Zygote:
    """Starts servers quickly; see zygote.py."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, str(Path(__file__).with_name("zygote.py"))],
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def ask(self, **request: Any) -> Any:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(request) + "\n")
        self._process.stdin.flush()
        return json.loads(self._process.stdout.readline())

    def close(self) -> None:
        self._process.communicate("")


class Server:
    """One process of `secagg leader` or `secagg helper`."""

    def __init__(self, zygote: Zygote, log: Path, arguments: list[str], **options: Any) -> None:
        self._zygote, self.log = zygote, log
        self._start = log.stat().st_size if log.exists() else 0
        self.process: int = zygote.ask(argv=arguments, log=str(log), **options)
        self.status: int | None = None

    def lines(self) -> list[dict[str, Any]]:
        text = self.log.read_bytes()[self._start :].decode() if self.log.exists() else ""
        return [json.loads(line) for line in text.splitlines() if line.startswith("{")]

    def text(self) -> str:
        return self.log.read_bytes()[self._start :].decode()

    def saw(self, event: str, seconds: float = 20.0) -> dict[str, Any]:
        """The first line of that event; the process may end before it comes."""
        until = time.monotonic() + seconds
        while True:
            over = self.ended(0.0) is not None
            for line in self.lines():
                if line["event"] == event:
                    return line
            assert not over, f"ended without {event}: {self.text()}"
            assert time.monotonic() < until, f"no {event}: {self.text()}"
            time.sleep(0.005)

    @property
    def url(self) -> str:
        return str(self.saw("listening")["url"])

    @property
    def port(self) -> int:
        """Where it listens; 0 if it was killed before."""
        try:
            return int(self.url.rpartition(":")[2])
        except AssertionError:
            if self.status == -signal.SIGKILL:
                return 0
            raise

    def ended(self, seconds: float = 20.0) -> int | None:
        if self.status is None:
            self.status = self._zygote.ask(wait=self.process, seconds=seconds)
        return self.status

    def kill(self, kind: signal.Signals = signal.SIGKILL) -> None:
        if self.ended(0.0) is None:
            os.kill(self.process, kind)
            assert self.ended() is not None


class Deployment:
    """Keys, a roster, a plan and stores in a folder, and servers that use them."""

    def __init__(self, folder: Path, zygote: Zygote, number: int = 1) -> None:
        self.folder, self._zygote = folder, zygote
        self.session, self.number = os.urandom(16), number
        self.servers: list[Server] = []
        self._tasks: dict[str, Task] = {}
        names = ["leader", "helper", *(f"client-{i}" for i in range(1, CLIENTS + 1))]
        self.keys = {name: Identity.generate(os.urandom) for name in names}
        for name, identity in self.keys.items():
            save_identity(folder / f"{name}.key", identity)
        save_roster(self.roster, self._roster())
        self.write(number)
        self.helper_port = self.leader_port = 0

    def _roster(self) -> Roster:
        listed = {i: self.keys[f"client-{i}"] for i in range(1, CLIENTS + 1)}
        listed[THIRD] = self.keys["helper"]
        leader = self.keys["leader"]
        return Roster(
            leader.public,
            {party: key.public for party, key in listed.items()},
            {party: key.share_key for party, key in listed.items()},
            leader.share_key,
        )

    def write(self, number: int, **changes: Any) -> None:
        """The plan of that round."""
        values = {"clients": CLIENTS, "session": self.session.hex(), "size": SIZE,
                  "dropout": 0.6, "quantize": WEIGHTED, "more": "", **changes}  # fmt: skip
        self.plan.write_text(PLAN.format(number=number, **values), "utf-8")

    @property
    def roster(self) -> Path:
        return self.folder / "roster.json"

    @property
    def plan(self) -> Path:
        return self.folder / "plan.toml"

    @property
    def task(self) -> Task:
        text = self.plan.read_text("utf-8")
        if text not in self._tasks:
            self._tasks[text] = load_task(self.plan, load_roster(self.roster))
        return self._tasks[text]

    def _server(self, name: str, arguments: dict[str, Any], **options: Any) -> Server:
        given = {
            "listen": f"127.0.0.1:{getattr(self, f'{name}_port')}",
            "roster": self.roster,
            "plan": self.plan,
            "key": self.folder / f"{name}.key",
            "store": self.folder / f"{name}.db",
            **arguments,
        }
        pairs = [(f"--{key.replace('_', '-')}", str(value)) for key, value in given.items()]
        flags = options.pop("flags", [])
        argv = [name, *flags, *(word for pair in pairs for word in pair)]
        server = Server(self._zygote, self.folder / f"{name}.log", argv, **options)
        self.servers.append(server)
        return server

    def helper(self, *, options: dict[str, Any] | None = None, **arguments: Any) -> Server:
        """Started, and listening unless it ends before; at the same port each time."""
        server = self._server("helper", arguments, **(options or {}))
        self.helper_port = int(server.url.rpartition(":")[2])
        return server

    def leader(self, *, options: dict[str, Any] | None = None, **arguments: Any) -> Server:
        given = {
            "helper": f"http://127.0.0.1:{self.helper_port or 1}",
            "out": self.folder / "out",
            "patience": 20,
            **arguments,
        }
        server = self._server("leader", given, **(options or {}))
        if not self.leader_port:
            self.leader_port = server.port
        return server

    def update(self, client: int) -> np.ndarray:
        size = self.task.invitation.plan.structure.size
        return np.arange(size) / size * (client / CLIENTS) - 0.3

    def upload(self, client: int, patience: float = 0.0, **changes: Any) -> Uploaded:
        """What `secagg upload` does, in this process."""
        given = {
            "task": self.task,
            "identity": load_identity(self.folder / f"client-{client}.key"),
            "update": self.update(client),
            "weight": min(client, self.task.invitation.plan.quantize.max_weight),
            "spool": self.folder / f"spool-{client}",
            "limit": Limit(opened=self.task.scheme.opened),
            **changes,
        }
        with Peer(f"http://127.0.0.1:{self.leader_port}", patience=patience, seconds=10) as leader:
            return upload(**given, leader=leader)

    def uploaded(self, client: int) -> bool:
        """Whether it was acknowledged."""
        try:
            return bool(self.upload(client).report)
        except Unreachable:
            return False

    def outcome(self) -> dict[str, Any]:
        path = self.folder / "out" / f"{stem(self.task)}.json"
        return dict(json.loads(path.read_text("utf-8")))

    def expected(self, clients: list[int]) -> str:
        """The name of the exact sum of what these clients encode; rounding is to the nearest."""
        plan, context = self.task.invitation.plan, self.task.context
        vectors = [plan.encode(self.update(i), i, os.urandom, context) for i in clients]
        total = np.sum(vectors, axis=0, dtype=vectors[0].dtype)
        return sum_digest(reduce(total, plan.scheme.width))

    def finish(self, crash: dict[str, list[Any]], **arguments: Any) -> None:
        """Clients upload until they are acknowledged, and servers start again until there is a sum.

        crash: where "helper" and "leader" kill themselves at a commit, and the leader "asking".
        """
        helper = self.helper(options={"crash": crash.get("helper")})
        options = {"crash": crash.get("leader"), "asking": crash.get("asking")}
        leader = self.leader(options=options, **arguments)
        waiting, until = list(range(1, CLIENTS + 1)), time.monotonic() + 60
        while leader.ended(0.01) != 0:
            assert time.monotonic() < until, leader.text() + helper.text()
            assert leader.status in (None, -signal.SIGKILL), leader.text()
            if helper.ended(0.0) is not None:
                helper = self.helper()
            if leader.status is not None:
                leader = self.leader(**arguments)
            if waiting and self.uploaded(waiting[0]):
                waiting.pop(0)
        assert not waiting

    def released(self) -> dict[str, bytes]:
        """What the leader left behind, but for how long it took and how often it asked."""
        files = (self.folder / "out").iterdir()
        found = {path.name: path.read_bytes() for path in files if path.suffix != ".json"}
        told = ("seconds", "cpu_seconds")
        shown = {name: value for name, value in self.outcome().items() if name not in told}
        return found | {"outcome": json.dumps(shown).encode()}

    def forget(self) -> None:
        """Stop both servers, and delete all that they stored; what clients sent is kept."""
        self.stop()
        self.servers.clear()
        for path in (*self.folder.glob("*.db*"), *(self.folder / "out").iterdir()):
            path.unlink()

    def stop(self) -> None:
        for server in self.servers:
            server.kill()


@pytest.fixture(scope="session")
def zygote() -> Iterator[Zygote]:
    made = Zygote()
    yield made
    made.close()


@pytest.fixture(scope="module")
def standing(tmp_path_factory: pytest.TempPathFactory, zygote: Zygote) -> Iterator[Deployment]:
    """Both servers of a round that does not end, for all tests of a module."""
    made = Deployment(tmp_path_factory.mktemp("standing"), zygote)
    made.helper(body_seconds=1)
    made.leader(body_seconds=1, connections=20)
    yield made
    made.stop()


@pytest.fixture
def deployment(tmp_path: Path, zygote: Zygote) -> Iterator[Deployment]:
    made = Deployment(tmp_path, zygote)
    yield made
    made.stop()
