"""Where the demonstration takes place: a folder, processes, what was asked and what came of it."""

from __future__ import annotations

import asyncio
import json
import re
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table as Grid

from apiwatch.demo.drive import Answered, drive
from apiwatch.demo.files import METRICS, SITES, site_file
from apiwatch.demo.traffic import Asked, Dice
from apiwatch.errors import StoryFailed

__all__ = ["Stage"]

_PATIENCE = 60.0
_SEED = 9


class Stage:
    """Everything that the steps of the story share.

    claims: what was shown, and whether it was. Times are of this machine as busy as it is.
    """

    def __init__(self, folder: Path, console: Console) -> None:
        self.folder = folder
        self.console = console
        self.dice: Dice = np.random.default_rng(_SEED)
        self.claims: list[tuple[str, bool]] = []
        self.ports: dict[int, int] = {}
        self.asked = 0
        self._ending = ExitStack()

    def __enter__(self) -> Stage:
        self._ending.enter_context(self.process("apiwatch.demo.api", self.folder))
        file = self.folder / "ports.json"
        self.wait(file.is_file, "the sample API listens")
        self.ports = {int(site): port for site, port in json.loads(file.read_text()).items()}
        return self

    def __exit__(self, *_: object) -> None:
        self._ending.close()

    @property
    def sites(self) -> range:
        return range(1, SITES + 1)

    def file(self, site: int, suffix: str) -> Path:
        """Of a site."""
        return site_file(self.folder, site, suffix)

    def claim(self, text: str, *, holds: bool) -> None:
        """Say what a step has shown."""
        self.claims.append((text, holds))
        mark = "[green]shown[/]" if holds else "[bold red]NOT SHOWN[/]"
        self.console.print(f"  {mark}  {text}")

    def table(self, title: str, columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
        """A table on the terminal; the first column is text."""
        grid = Grid(title=title, title_justify="left")
        for number, column in enumerate(columns):
            grid.add_column(column, justify="right" if number else "left")
        for row in rows:
            grid.add_row(*(str(cell) for cell in row))
        self.console.print(grid)

    def send(self, planned: Mapping[int, Iterable[Asked]]) -> list[Answered]:
        """Over HTTP, to each site its requests."""
        answered = asyncio.run(drive(self.ports, planned))
        self.asked += len(answered)
        return answered

    def put_away(self, suffix: str) -> None:
        """What the gateways have recorded so far, under another name; they begin a new file."""
        for site in self.sites:
            log = self.file(site, "log")
            if log.is_file():
                log.replace(self.file(site, suffix))

    def published(self, sites: Iterable[int], since: float) -> None:
        """Wait until these gateways use profiles that were put there after `since`."""
        nudge = Asked(method="GET", path="/items/1")
        for site in sites:

            def taken(site: int = site) -> bool:
                self.send({site: [nudge]})
                found = re.search(
                    r"^apiwatch_profile_loaded_seconds (\S+)$", self.metrics(site), re.M
                )
                return found is not None and float(found[1]) >= since

            self.wait(taken, f"site {site} takes up its new profile")

    def metrics(self, site: int) -> str:
        """What Prometheus would read from a gateway."""
        address = f"http://127.0.0.1:{self.ports[site]}{METRICS}"
        with urllib.request.urlopen(address, timeout=_PATIENCE) as answer:
            text: str = answer.read().decode()
        return text

    def counted(self, name: str) -> float:
        """The sum of a metric over its labels and all gateways."""
        line = re.compile(rf"^{name}(?:{{[^}}]*}})? (\S+)$", re.MULTILINE)
        return sum(float(n) for site in self.sites for n in line.findall(self.metrics(site)))

    def wait(self, holds: Callable[[], bool], what: str) -> None:
        """Until `holds()`. Raises `StoryFailed` after a minute."""
        end = time.monotonic() + _PATIENCE
        while not holds():
            if time.monotonic() > end:
                raise StoryFailed(f"waited {_PATIENCE:.0f} s for this: {what}")
            time.sleep(0.2)

    @contextmanager
    def process(self, module: str, *arguments: object) -> Iterator[subprocess.Popen[str]]:
        """A program of this package; killed at the end if it still runs."""
        command = [sys.executable, "-m", module, *(str(argument) for argument in arguments)]
        pipe = subprocess.PIPE
        with subprocess.Popen(command, text=True, stdout=pipe, stderr=pipe) as started:  # noqa: S603
            try:
                yield started
            finally:
                started.kill()
