"""Starts a run's processes, and ends every one of them, whatever happens.

Not part of the app: `simulate.py` and `deploy.py` use it.
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

import psutil

__all__ = ["Processes", "Run", "free_ports"]

APP = Path(__file__).resolve().parent
_MARK = "FLOWER_DIGITS_RUN"
_QUIET = {
    "FLWR_TELEMETRY_ENABLED": "0",
    "FLWR_DISABLE_UPDATE_CHECK": "1",
    "FLWR_DISABLE_RUNTIME_DEPENDENCY_INSTALLATION": "1",
    "FLWR_SUPEREXEC_TASK_POLL_INTERVAL": "0.2",  # instead of 1 s, in every exchange
    "RAY_USAGE_STATS_ENABLED": "0",
    "OMP_NUM_THREADS": "1",
}
_PACKED = ("pyproject.toml", "client_app.py", "server_app.py", "task.py", "rehearsal.py")


class Processes:
    """Child processes, each with a log of its own, and everything that they started.

    Flower's and Ray's processes leave their parent's group, so all carry a mark in their
    environment, by which they are found and ended one by one.
    """

    def __init__(self, folder: Path, environment: dict[str, str]) -> None:
        self._folder = folder
        self._mark = uuid.uuid4().hex
        self._environment = environment | {_MARK: self._mark}
        self._started: dict[str, psutil.Popen] = {}

    def start(self, name: str, *command: str, **environment: str) -> psutil.Popen:
        """Start `command`, its program taken from beside this interpreter."""
        program = Path(sys.executable).parent / command[0]
        with self.log(name).open("wb") as log:
            self._started[name] = psutil.Popen(
                [str(program), *command[1:]],
                env=self._environment | environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # a Ctrl-C is ours alone, and we end them in order
            )
        return self._started[name]

    def log(self, name: str) -> Path:
        """Where the output of that process is."""
        return self._folder / f"{name}.log"

    def tail(self, name: str) -> str:
        """The end of that output, or nothing."""
        log = self.log(name)
        return log.read_text(errors="replace")[-6000:] if log.exists() else ""

    def ended(self, name: str) -> bool:
        """Whether that process was started and is over, for whatever reason."""
        return name in self._started and self._started[name].poll() is not None

    def require_alive(self) -> None:
        """Raise `RuntimeError` with the end of its log for a process that failed."""
        for name, process in self._started.items():
            if process.poll() not in (None, 0, -signal.SIGKILL):
                raise RuntimeError(f"{name} ended with {process.returncode}:\n{self.tail(name)}")

    def kill(self, name: str) -> None:
        """SIGKILL one process and all that it started, as a power cut would."""
        process = self._started[name]
        doomed = [process, *process.children(recursive=True)]
        for each in doomed:
            _ignoring_gone(each.kill)
        process.wait(10)

    def stop(self, name: str) -> None:
        """Ask one process to end, as a service manager would, and kill what is left of it."""
        process = self._started[name]
        family = [process, *process.children(recursive=True)]
        process.terminate()
        psutil.wait_procs([process], timeout=15)
        for each in family:
            _ignoring_gone(each.kill)
        process.wait(10)

    def end(self) -> None:
        """Ask every marked process to end, wait, and kill the rest. None is left on return."""
        for each in self._marked():
            _ignoring_gone(each.terminate)
        deadline = time.monotonic() + 8
        while self._marked() and time.monotonic() < deadline:
            time.sleep(0.1)
        while remaining := self._marked():
            for each in remaining:
                _ignoring_gone(each.kill)
            time.sleep(0.05)

    def _marked(self) -> list[psutil.Process]:
        for process in self._started.values():
            process.poll()  # a child that is not waited for stays in the table
        return [each for each in psutil.process_iter() if _mark_of(each) == self._mark]


class Run:
    """A temporary folder with a copy of the app, keys, logs and Flower's own files."""

    def __init__(self, folder: Path, *, superlink: int) -> None:
        self.folder = folder
        self.keys, self.seen, self._app = folder / "keys", folder / "seen", folder / "app"
        self.superlink = f"127.0.0.1:{superlink}"
        home = folder / "flwr"
        for each in (self.seen, self._app, home):
            each.mkdir()
        (home / "config.toml").write_text(
            f'[superlink]\ndefault = "here"\n\n[superlink.here]\naddress = "{self.superlink}"\n'
            "insecure = true\n"
        )
        environment = {**os.environ, **_QUIET, "FLWR_HOME": str(home), "RAY_TMPDIR": str(folder)}
        environment["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        self.processes = Processes(folder, environment | {"DIGITS_REHEARSAL": str(self.seen)})
        for name in _PACKED:
            shutil.copy(APP / name, self._app / name)
        self._rehearse()

    def _rehearse(self) -> None:
        """Let the copy run the app through `rehearsal`, which shows us what happens in it."""
        project = self._app / "pyproject.toml"
        text = project.read_text().replace('"task.py"]', '"task.py", "rehearsal.py"]')
        for side in ("client", "server"):
            text = text.replace(f'"{side}_app:app"', f'"rehearsal:{side}"')
        project.write_text(text)

    def enroll(self, clients: int) -> None:
        """Make everybody's identity, and the roster that lists them."""
        command = ["python", "-m", "protocols.adapters.flower", "enroll", str(self.keys)]
        self.processes.start("enroll", *command, "--clients", str(clients)).wait(120)
        self.processes.require_alive()

    def start_superlink(self, *options: str, **environment: str) -> None:
        """A SuperLink on 127.0.0.1, once it answers."""
        host, port = self.superlink.split(":")
        command = ["flower-superlink", "--insecure", "--host", host, "--port", port]
        command += ["--disable-runtime-dependency-installation", *options]
        self.processes.start("superlink", *command, **environment)
        self.wait(lambda: _answers(host, int(port)), 90, "the SuperLink")

    def submit(self, *options: str, **config: object) -> None:
        """`flwr run` of the app, with these run-config values."""
        config |= {"server_identity": self.keys / "server.key", "roster": self.keys / "roster.json"}
        given = " ".join(f"{key.replace('_', '-')}={_toml(value)}" for key, value in config.items())
        command = ["flwr", "run", str(self._app), "here", "--stream", *options]
        self.processes.start("run", *command, "--run-config", given)

    def finish(self, seconds: float) -> None:
        """Return once the app is through; `RuntimeError` with its log if it failed."""
        self.wait(lambda: self.processes.ended("run"), seconds, "the run")
        if not (self.seen / "finished").exists():
            raise RuntimeError(f"the run failed:\n{self.processes.tail('run')}")

    def wait(self, done: Callable[[], bool], seconds: float, what: str) -> None:
        """Return once `done()`. Raises `RuntimeError` with the logs' ends if that cannot be, or
        takes longer than so many seconds.
        """
        deadline = time.monotonic() + seconds
        while not done():
            self.processes.require_alive()
            if self.processes.ended("run") and not done():
                raise RuntimeError(f"{what}: the run is over:\n{self.processes.tail('run')}")
            if time.monotonic() > deadline:
                raise RuntimeError(f"{what}: not in {seconds:.0f} s:\n{self.processes.tail('run')}")
            time.sleep(0.1)


@contextmanager
def running(*, keep: bool = False) -> Iterator[Run]:
    """A `Run` whose processes and folder are gone afterwards; `keep` leaves the folder.

    Exits with a message where the run fails.
    """
    previous = signal.signal(signal.SIGTERM, _exit)
    folder = Path(tempfile.mkdtemp(prefix="fd-"))  # short: Ray's sockets are in it
    run = Run(folder, superlink=free_ports(1)[0])
    try:
        yield run
    except RuntimeError as error:
        sys.exit(f"{error}\n`--keep` leaves the logs")
    finally:
        run.processes.end()
        signal.signal(signal.SIGTERM, previous)
        if keep:
            print(f"kept {folder}", file=sys.stderr)
        else:
            shutil.rmtree(folder, ignore_errors=True)


def free_ports(count: int) -> list[int]:
    """Ports of 127.0.0.1 that nobody uses right now, all different."""
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    return ports


def _answers(host: str, port: int) -> bool:
    try:
        socket.create_connection((host, port), 1).close()
    except OSError:
        return False
    return True


def _exit(_: int, __: FrameType | None) -> None:
    raise SystemExit(143)


def _mark_of(process: psutil.Process) -> str | None:
    try:
        if process.status() == psutil.STATUS_ZOMBIE:
            return None
        mark: str | None = process.environ().get(_MARK)
    except (psutil.Error, OSError):
        return None  # gone meanwhile, or somebody else's
    return mark


def _ignoring_gone(action: Callable[[], None]) -> None:
    try:
        action()
    except psutil.NoSuchProcess:
        return


def _toml(value: object) -> str:
    return f'"{value}"' if isinstance(value, str | Path) else str(value)
