"""What watching costs: the scorer one request at a time, the middleware, and a server under load.

    python -m apiwatch.bench_live [--data ../shared/data] [--json]

Processor time, not waiting time: a busy machine changes it little. Without the data the requests
are the generated ones of the demonstration, and the output says so.
"""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from multiprocessing import get_context
from pathlib import Path
from time import perf_counter, sleep, thread_time
from typing import Annotated, Any

import numpy as np
import typer
from rich.console import Console
from rich.table import Table as Grid

from apiwatch.asgi import Application, Middleware, Receive, Send
from apiwatch.asgi_body import Scope
from apiwatch.datasets import csic, csic_stream
from apiwatch.demo.drive import as_request, drive, encoded
from apiwatch.demo.files import SITES, site_file
from apiwatch.demo.traffic import ATTACKS, attack, usual
from apiwatch.event import Request
from apiwatch.policy import Mode, Policy
from apiwatch.settings import Settings
from apiwatch.store import Profile
from apiwatch.table import gather
from apiwatch.watch import Watcher
from apiwatch.work import learnt

__all__ = ["main"]

SALT = b"apiwatch benchmark"
_LOAD = 300  # requests of each of twenty clients
_Row = dict[str, Any]


def bench_scorer(folder: Path, data: Path | None) -> list[_Row]:
    """Each request judged and decided by itself, each stream by a process of its own that remembers
    nothing at the start.
    """
    train, streams = _streams(data)
    profile = learnt(gather(train), Settings(salt=SALT), None)
    profile.threshold = float(np.quantile(profile.detector.scores(train), 0.999))
    path = folder / "profile"
    profile.save(path)
    tasks = [(name, requests, path) for name, requests in streams.items()]
    with get_context("spawn").Pool(1, maxtasksperchild=1) as pool:
        return pool.starmap(_scored, tasks, chunksize=1)


def _streams(data: Path | None) -> tuple[list[Request], dict[str, Sequence[Request]]]:
    if data is not None:
        split = csic(data, half="final")
        return split.train, {
            "CSIC 2010 as it came, with repeats": csic_stream(data),
            "CSIC 2010, all distinct": [*split.normal, *split.attacks],
        }
    dice = np.random.default_rng(1)
    asked = [one for site in range(SITES) for one in usual(dice, site, 500)]
    attacks = [attack(dice, label, n, n) for n in range(100) for label in ATTACKS]
    requests = [as_request(one) for one in (*asked, *attacks)]
    distinct = list({(r.method, r.target, r.body): r for r in requests}.values())
    return requests[:5000], {"generated": requests, "generated, all distinct": distinct}


def _scored(name: str, requests: Sequence[Request], path: Path) -> _Row:
    watcher = Watcher(path)
    watcher.reload()
    seconds = np.empty(len(requests))
    alerts = 0
    for number, request in enumerate(requests):
        start = thread_time()
        judgment = watcher.judge(request)
        assert judgment is not None
        alerts += watcher.decide(judgment).alert is not None
        seconds[number] = thread_time() - start
    low, middle, high = np.quantile(seconds, (0.5, 0.99, 0.999)) * 1e6
    return {
        "scorer": name,
        "requests": f"{len(requests):,}",
        "alerts": f"{alerts:,}",
        "a second": f"{len(requests) / seconds.sum():,.0f}",
        "p50, µs": f"{low:.0f}",
        "p99, µs": f"{middle:.0f}",
        "p99.9, µs": f"{high:.0f}",
    }


def bench_middleware(folder: Path, _data: Path | None) -> list[_Row]:
    """An application that answers at once, alone and behind the middleware."""
    path = _demo_profile(folder)
    dice = np.random.default_rng(2)
    asked = [encoded(one) for site in range(SITES) for one in usual(dice, site, 150)]
    rows = []
    for name in ("alone", *Mode):
        app: Application = _answer
        if name != "alone":
            watcher = Watcher(path, policy=Policy(mode=Mode(name)))
            watcher.reload()
            app = Middleware(_answer, watcher=watcher)
        rows.append({"middleware": str(name)} | asyncio.run(_called(app, asked)))
    return rows


def _demo_profile(folder: Path) -> Path:
    dice = np.random.default_rng(1)
    requests = [as_request(one) for site in range(SITES) for one in usual(dice, site, 200)]
    path = folder / "demo profile"
    profile = learnt(gather(requests), Settings(salt=SALT), None)
    profile.save(path)
    return path


async def _answer(scope: Scope, receive: Receive, send: Send) -> None:
    del scope
    while (await receive()).get("more_body", False):
        pass
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"ok"})


async def _called(app: Application, asked: Sequence[bytes]) -> _Row:
    seconds = np.empty(len(asked))
    for number, raw in enumerate(asked):
        scope, body = _scope(raw)

        async def receive(body: bytes = body) -> dict[str, Any]:
            return {"type": "http.request", "body": body, "more_body": False}

        async def send(message: Any) -> None:
            del message

        start = thread_time()
        await app(scope, receive, send)
        seconds[number] = thread_time() - start
    middle, high = np.quantile(seconds, (0.5, 0.99)) * 1e6
    return {"p50, µs": f"{middle:.0f}", "p99, µs": f"{high:.0f}"}


def _scope(raw: bytes) -> tuple[Scope, bytes]:
    head, _, body = raw.partition(b"\r\n\r\n")
    line, *headers = head.split(b"\r\n")
    method, target, _ = line.split(b" ")
    path, _, query = target.partition(b"?")
    pairs = [(name, value) for name, _, value in (h.partition(b": ") for h in headers)]
    return {
        "type": "http",
        "http_version": "1.1",
        "method": method.decode(),
        "path": path.decode(),
        "raw_path": path,
        "query_string": query,
        "headers": pairs,
        "client": ("192.0.2.1", 1),
    }, body


def bench_server(folder: Path, _data: Path | None) -> list[_Row]:
    """The sample API under load, all in one process: without profiles, then with them."""
    rows = []
    for name in ("records only", "records, judges, blocks"):
        place = folder / name
        place.mkdir()
        if name != "records only":
            profile = Profile.load(_demo_profile(folder))
            for site in range(1, SITES + 1):
                profile.save(site_file(place, site, "profile"))
        rows.append({"server": name} | _loaded(place))
    return rows


def _loaded(place: Path) -> _Row:
    dice = np.random.default_rng(3)
    planned = {site: list(usual(dice, site, _LOAD)) for site in range(1, SITES + 1)}
    with _api(place) as (ports, process):
        asyncio.run(drive(ports, {site: asked[:20] for site, asked in planned.items()}))
        begun, before = perf_counter(), _processor_seconds(process)
        answered = asyncio.run(drive(ports, planned))
        elapsed, spent = perf_counter() - begun, _processor_seconds(process) - before
    return {
        "requests": f"{len(answered):,}",
        "a second, waiting": f"{len(answered) / elapsed:,.0f}",
        "processor time each, µs": f"{1e6 * spent / len(answered):.0f}",
        "refused": sum(one.status == 403 for one in answered),
    }


def _processor_seconds(process: int) -> float:
    """Of a process that runs, where the system has /proc."""
    fields = Path(f"/proc/{process}/stat").read_text("ascii").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


@contextmanager
def _api(folder: Path) -> Iterator[tuple[dict[int, int], int]]:
    command = [sys.executable, "-m", "apiwatch.demo.api", str(folder)]
    with subprocess.Popen(command) as started:  # noqa: S603 -- our own
        try:
            while not (folder / "ports.json").is_file():
                if started.poll() is not None:
                    raise typer.Exit(2)
                sleep(0.1)
            ports = json.loads((folder / "ports.json").read_text())
            yield {int(site): port for site, port in ports.items()}, started.pid
        finally:
            started.terminate()


BENCHES = {"scorer": bench_scorer, "middleware": bench_middleware, "server": bench_server}


def run(
    names: Annotated[list[str] | None, typer.Argument(help=f"Of {', '.join(BENCHES)}.")] = None,
    *,
    data: Annotated[Path | None, typer.Option(help="Where the data sets are.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON document.")] = False,
) -> None:
    """Measure what watching costs."""
    with tempfile.TemporaryDirectory() as folder:
        found = {name: BENCHES[name](Path(folder), data) for name in names or BENCHES}
    if as_json:
        typer.echo(json.dumps(found, indent=1))
        return
    for rows in found.values():
        grid = Grid(*rows[0])
        for row in rows:
            grid.add_row(*(str(cell) for cell in row.values()))
        Console(width=120).print(grid)


def main() -> None:
    """`python -m apiwatch.bench_live`."""
    typer.run(run)


if __name__ == "__main__":
    main()
