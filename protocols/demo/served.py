"""The demo with two aggregators: leader and helper are processes of their own, on loopback.

This process is the clients. It has neither the leader's key nor the helper's; plans travel by a
folder that all three read, reports by HTTP, and results by the folder that the leader writes.
"""

from __future__ import annotations

import dataclasses
import json
import math
import shutil
import subprocess
import sys
import tempfile
import time
import weakref
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from protocols import files
from protocols.enrollment import load_card, save_roster
from protocols.memory import peak_memory
from protocols.outcome import ClientCost, Frame, Outcome
from protocols.planfile import PlanFile
from protocols.private import Private
from protocols.result import Result
from protocols.round import ClientRound
from protocols.serve import exchange
from protocols.serve.outcome import stem, sum_digest
from protocols.serve.peer import Peer
from protocols.serve.task import Task, load_task
from protocols.simulate import Population, deviation
from secagg.errors import Aborted, ParameterError, Unreachable
from secagg.identity import SERVER, THIRD, PartyId, Roster
from secagg.primitives.ring import Words, centered, reduce
from secagg.scheme import Floors
from secagg.structure import flatten

__all__ = ["Served"]

_START_SECONDS = 120.0
_ROUND_SECONDS = 600.0
_SECAGG = (sys.executable, "-m", "protocols.cli")


class Served:
    """Two servers, started when this is made and ended with it.

    reports: after how many a round ends. Raises `Unreachable` where a server does not start, and
    `ParameterError` for a clip bound that is to follow the updates.
    """

    def __init__(self, file: PlanFile, people: Population, *, size: int, reports: int) -> None:
        if file.privacy.quantile:
            raise ParameterError(
                "privacy.quantile = 0 must stand with two aggregators: they read the clip bound"
            )
        self._file, self._people, self._size = file, people, size
        self._home = Path(tempfile.mkdtemp(prefix="secagg-demo-"))
        self._servers: dict[str, subprocess.Popen[bytes]] = {}
        self._end = weakref.finalize(self, _end, self._home, self._servers)
        for name in ("plans", "out"):
            (self._home / name).mkdir()
        self._enroll()
        url = self._start("helper")
        self._url = self._start(
            "leader", "--helper", url, "--after", str(reports), "--out", str(self._home / "out")
        )

    def _enroll(self) -> None:
        """Both make their keys themselves; this process sees the cards."""
        made = {
            name: subprocess.Popen(  # noqa: S603  our own command
                (*_SECAGG, "identity", str(self._home / f"{name}.key")), stdout=subprocess.PIPE
            )
            for name in ("leader", "helper")
        }
        for name, process in made.items():
            (self._home / f"{name}.card").write_bytes(process.communicate()[0])
        server, server_share_key = load_card(self._home / "leader.card")
        public, share_key = load_card(self._home / "helper.card")
        clients = self._people.clients
        self._roster = Roster(
            server,
            {**{i: key.public for i, key in clients.items()}, THIRD: public},
            {**{i: key.share_key for i, key in clients.items()}, THIRD: share_key},
            server_share_key,
        )
        save_roster(self._home / "roster.json", self._roster)

    def _start(self, name: str, *more: str) -> str:
        """The address of a server, once it listens."""
        with (self._home / f"{name}.log").open("wb") as log:
            self._servers[name] = subprocess.Popen(  # noqa: S603  our own command
                (*_SECAGG, name, "--until-eof", "--listen", "127.0.0.1:0", *self._files(name),
                 *more),
                stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=log,
            )  # fmt: skip
        for _ in _until(_START_SECONDS):
            for line in self._log(name):
                if line.get("event") == "listening":
                    return str(line["url"])
            self._require_alive(name)
        raise Unreachable(f"the {name} did not start within {_START_SECONDS:g} s")

    def _files(self, name: str) -> Iterator[str]:
        named = {"roster": "roster.json", "plan": "plans", "key": f"{name}.key",
                 "store": f"{name}.db"}  # fmt: skip
        for option, file in named.items():
            yield from (f"--{option}", str(self._home / file))

    def round(
        self,
        number: int,
        updates: Mapping[PartyId, tuple[Any, int]],
        *,
        drops: Mapping[PartyId, str],
        session: bytes,
        model: bytes,
    ) -> tuple[Outcome, list[Frame]]:
        """One round, and the frames of the clients; `Unreachable` if a server ends too early."""
        task = self._task(number, session, model)
        clients = {i: update for i, update in updates.items() if i not in drops}
        sent = _Sent(task, self._people)
        with Peer(self._url, patience=_START_SECONDS) as leader:
            for client, (tree, weight) in clients.items():
                frame = sent.frame(client, flatten(tree)[0], weight)
                leader.post(f"/tasks/{task.id}/reports", frame, exchange.REPORT, 4096)
        shown = self._ended(task)
        silent = {"reports": frozenset(drops)}
        released = self._array(task, "npy"), self._array(task, "sum.npy")
        return _outcome(task, shown, released, sent, clients, silent), sent.frames

    def _task(self, number: int, session: bytes, model: bytes) -> Task:
        """The round, in the folder of plans."""
        choice = {"session": session.hex(), "number": number, "size": self._size,
                  "model": model.hex()}  # fmt: skip
        tables = {**dataclasses.asdict(self._file), "task": choice}
        lines = []
        for name, row in tables.items():
            lines += [f"[{name}]", *(f"{key} = {json.dumps(value)}" for key, value in row.items())]
        path = self._home / "plans" / f"{number}.toml"
        files.replace(path, "\n".join(lines).encode())
        return load_task(path, self._roster)

    def _ended(self, task: Task) -> dict[str, Any]:
        path = self._home / "out" / f"{stem(task)}.json"
        for _ in _until(_ROUND_SECONDS):
            if path.exists():
                return dict(json.loads(path.read_text("utf-8")))
            for name in self._servers:
                self._require_alive(name)
        raise Unreachable(f"the leader gave no result within {_ROUND_SECONDS:g} s")

    def _array(self, task: Task, ending: str) -> Any:
        path = self._home / "out" / f"{stem(task)}.{ending}"
        return np.load(path) if path.exists() else None

    def _require_alive(self, name: str) -> None:
        if self._servers[name].poll() is not None:
            last = (self._home / f"{name}.log").read_text("utf-8").splitlines()[-1:]
            raise Unreachable(f"the {name} ended: {''.join(last)}")

    def _log(self, name: str) -> list[dict[str, Any]]:
        lines = (self._home / f"{name}.log").read_text("utf-8").splitlines(keepends=True)
        return [json.loads(line) for line in lines if line[:1] == "{" and line.endswith("\n")]


class _Sent:
    """What clients of one round made and sent, and what it cost them."""

    def __init__(self, task: Task, people: Population) -> None:
        self._task, self._people = task, people
        self.vectors: dict[PartyId, Words] = {}
        self.costs: dict[PartyId, ClientCost] = {}
        self.frames: list[Frame] = []

    def frame(self, client: PartyId, update: Any, weight: int) -> bytes:
        start = time.process_time()
        identity, journal = self._people.clients[client], self._people.journals[client]
        floors = Floors(opened=self._task.scheme.opened)
        machine = ClientRound(
            self._task.invitation, identity, client, journal=journal, floors=floors
        )
        self.vectors[client] = machine.encode(update, weight)
        machine.submit_encoded(self.vectors[client])
        ((_, data),) = machine.to_send()
        self.costs[client] = ClientCost(len(data), 0, time.process_time() - start)
        self.frames.append(Frame(len(self.frames) + 1, "reports", client, (SERVER,), data))
        return data

    def total(self, included: Sequence[PartyId]) -> Words:
        """The sum of these clients' vectors, in the ring."""
        vectors = [self.vectors[client] for client in included]
        total = np.sum(vectors, axis=0, dtype=vectors[0].dtype)
        return reduce(total, self._task.scheme.width)

    def is_exact(self, named: str, noisy: Any, included: Sequence[PartyId]) -> bool:
        """Whether the sum that the leader names is that of these clients' vectors; see `Outcome`.

        noisy: with noise, the integers that it names.
        """
        total, quantize = self.total(included), self._task.invitation.plan.quantize
        if not isinstance(quantize, Private):
            return sum_digest(total) == named
        rest = reduce(noisy.astype(total.dtype) - total, quantize.width)
        is_likely = quantize.mechanism.is_likely(centered(rest, quantize.width))
        return is_likely and sum_digest(noisy) == named


def _outcome(
    task: Task,
    shown: dict[str, Any],
    released: tuple[Any, Any],
    sent: _Sent,
    updates: Mapping[PartyId, tuple[Any, int]],
    silent: Mapping[str, frozenset[PartyId]],
) -> Outcome:
    failure, (mean, noisy) = shown["failure"], released
    result = None
    if failure is None:
        result = Result(
            mean=mean,
            total_weight=shown["total_weight"],
            included=frozenset(shown["included"]),
            dropped=silent,
            total=sent.total(shown["included"]) if noisy is None else noisy,
            refused=frozenset(map(int, shown["refused"])),
        )
    return Outcome(
        result=result,
        failure=None if failure is None else Aborted("sum", f"the leader has none: {failure}"),
        exact=failure is None and sent.is_exact(shown["sum"], noisy, shown["included"]),
        deviation=math.nan if result is None else deviation(result, updates),
        dropped=silent,
        stopped={},
        rejected=(),
        clients={i: sent.costs.get(i, ClientCost(0, 0, 0.0)) for i in sorted(_invited(task))},
        server_cpu=shown["cpu_seconds"],
        largest_frame=max((len(frame.data) for frame in sent.frames), default=0),
        peak_memory=peak_memory(),
    )


def _invited(task: Task) -> frozenset[PartyId]:
    return frozenset(task.invitation.roster.ids).difference(task.scheme.helpers)


def _until(seconds: float) -> Iterator[None]:
    """Again and again, until the time is over."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        yield
        time.sleep(0.01)


def _end(home: Path, servers: dict[str, subprocess.Popen[bytes]]) -> None:
    for server in servers.values():
        server.kill()
        server.communicate()
    shutil.rmtree(home)
