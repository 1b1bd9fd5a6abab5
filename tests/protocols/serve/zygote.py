"""Starts the command `secagg` in processes of their own, quickly: imported once, then forked.

One line of JSON asks, one answers: {"argv": […], "log": FILE, "crash": [N, "before" or "after"]}
starts one, which kills itself at its N-th commit, or with "asking" at its N-th request;
"folder" is where, "out" takes what it prints, "file_bytes" is the most of any file.
{"wait": PID, "seconds": S} waits for one.
"""

from __future__ import annotations

import json
import os
import resource
import signal
import sys
import time
import warnings
from typing import Any

sys.modules["numba"] = None  # type: ignore[assignment]  # numpy starts sooner
warnings.simplefilter("ignore")

from typer.main import get_command  # noqa: E402

from protocols import cli  # noqa: E402
from protocols.serve import peer, programs, store, upload  # noqa: E402, F401

COMMAND = get_command(cli.app)


def crash_at(owner: type[Any], name: str, number: int, when: str) -> None:
    """SIGKILL at that call of a method, just before it or just after it."""
    method, count = getattr(owner, name), 0

    def counted(self: Any, *given: Any) -> Any:
        nonlocal count
        count += 1
        mine = count == number
        if mine and when == "before":
            os.kill(os.getpid(), signal.SIGKILL)
        found = method(self, *given)
        if mine:
            os.kill(os.getpid(), signal.SIGKILL)
        return found

    setattr(owner, name, counted)


def child(asked: dict[str, Any]) -> None:
    log = os.open(asked["log"], os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    null = os.open(os.devnull, os.O_RDONLY)
    for stream, target in ((null, 0), (log, 1), (log, 2)):
        os.dup2(stream, target)
    os.chdir(asked.get("folder", "."))
    if asked.get("out"):
        os.dup2(os.open(asked["out"], os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), 1)
    if asked.get("crash"):
        crash_at(store.Store, "_commit", *asked["crash"])
    if asked.get("asking"):
        crash_at(peer.Peer, "post", *asked["asking"])
    if asked.get("file_bytes"):
        resource.setrlimit(resource.RLIMIT_FSIZE, (asked["file_bytes"], asked["file_bytes"]))
    status = 70
    try:
        COMMAND(asked["argv"], prog_name="secagg")
    except SystemExit as ended:
        status = ended.code if isinstance(ended.code, int) else 0
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)


def waited(process: int, seconds: float) -> int | None:
    """Its exit status, negative for a signal; None if it goes on."""
    until = time.monotonic() + seconds
    while True:
        found, status = os.waitpid(process, os.WNOHANG)
        if found:
            return os.waitstatus_to_exitcode(status)
        if time.monotonic() > until:
            return None
        time.sleep(0.005)


def main() -> None:
    running: set[int] = set()
    for line in sys.stdin:
        asked = json.loads(line)
        if "wait" in asked:
            answer = waited(asked["wait"], asked["seconds"])
            if answer is not None:
                running.discard(asked["wait"])
        else:
            answer = os.fork()
            if not answer:
                child(asked)
            running.add(answer)
        sys.stdout.write(json.dumps(answer) + "\n")
        sys.stdout.flush()
    for process in running:  # the tests broke off
        os.kill(process, signal.SIGKILL)


main()
