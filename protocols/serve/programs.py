"""Leader and helper as programs: from files and options to a server that runs until it is told."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from starlette.applications import Starlette

from protocols import files
from protocols.enrollment import load_identity, load_roster
from protocols.serve.answers import Answers
from protocols.serve.helper import HelperService, helper_app
from protocols.serve.intake import Bounds
from protocols.serve.judge import ByCascade, Judge, all_within_bounds, cascade_of
from protocols.serve.leader import LeaderService, leader_app
from protocols.serve.listen import Listening, Server, server_of
from protocols.serve.log import Log
from protocols.serve.outcome import earlier_means
from protocols.serve.peer import Peer
from protocols.serve.reports import Reports
from protocols.serve.rounds import Ending, Rounds
from protocols.serve.task import Task, Tasks
from secagg.errors import ParameterError
from secagg.identity import SERVER, THIRD, Identity, PartyId

__all__ = ["Watcher", "Workplace", "run_helper", "run_leader"]

Watcher = Callable[[Task, int, int], None]


@dataclass(frozen=True, kw_only=True)
class Workplace:
    """What both servers need.

    plan: a plan file with `[task]`, or a folder of them. most_bytes: of the store. until_eof:
    whether the end of the standard input stops the server, as when the program that started it
    is gone.
    """

    listening: Listening
    bounds: Bounds
    roster: Path
    plan: Path
    key: Path
    store: Path
    most_bytes: int
    until_eof: bool = False

    def owner(self, party: PartyId, name: str) -> Identity:
        """Whose key file it is; `ParameterError` unless the roster lists it as that party."""
        identity = load_identity(self.key)
        if load_roster(self.roster).public(party) != identity.public:
            raise ParameterError(f"{self.key}: the roster lists another key as its {name}")
        return identity

    def tasks(self, log: Log, check: Callable[[Task], None] | None = None) -> Tasks:
        """What is served. check: see `Tasks`."""
        roster = load_roster(self.roster)
        return Tasks(self.plan, roster, lambda error: log("plan refused", reason=str(error)), check)

    def server(self, app: Starlette) -> Server:
        """A server that `run` runs."""
        return server_of(app, self.listening, self.bounds)

    def run(self, server: Server, log: Log) -> None:
        """Listen until a signal, or until the server is told to exit."""
        with self.listening.bound() as socket:
            log.attach()
            server.ready = partial(log, "listening", url=self.listening.url(socket))
            if self.until_eof:
                threading.Thread(target=_stop_at_eof, args=(server,), daemon=True).start()
            server.run(sockets=[socket])


def _stop_at_eof(server: Server) -> None:
    while os.read(0, 1 << 12):
        continue
    server.should_exit = True


def run_helper(place: Workplace) -> None:
    """Serve until it is stopped."""
    log = Log("helper")
    owner, tasks = place.owner(THIRD, "helper"), place.tasks(log)
    with ExitStack() as opened:
        answers = Answers(place.store, most_bytes=place.most_bytes)
        opened.callback(answers.close)
        service = HelperService(tasks, owner, answers, log)
        place.run(place.server(helper_app(service, place.bounds, log)), log)


def run_leader(
    place: Workplace, helper: Peer, *, ending: Ending, cascade: int, out: Path, watch: Watcher
) -> list[dict[str, Any]]:
    """Serve until the round of the plan file is over, or with a folder until it is stopped.

    cascade: over how many rounds the default cascade judges what is opened; 0 for no judge.
    Returns the outcomes of the rounds that ended meanwhile; raises what ended it early.
    """
    log = Log("leader")
    owner, rules = place.owner(SERVER, "leader"), cascade_of(cascade) if cascade else None
    files.make_folder(out)
    with ExitStack() as opened:
        reports = Reports(place.store, most_bytes=place.most_bytes)
        opened.callback(reports.close)
        judge: Judge = all_within_bounds
        if rules is not None:
            judge = ByCascade(rules, reports, partial(earlier_means, out), log).judged
        tasks = place.tasks(log, None if rules is None else ByCascade.check)
        rounds = Rounds(
            tasks,
            owner,
            reports,
            helper,
            judge=judge,
            ending=ending,
            folder=out,
            log=log,
            watch=watch,
            done=lambda: setattr(server, "should_exit", True),
        )
        service = LeaderService(tasks, owner, reports, log, rounds.wake)
        server = place.server(leader_app(service, rounds, place.bounds, log))
        place.run(server, log)
    if rounds.error is not None:
        raise rounds.error
    if rounds.broke_off:
        raise AssertionError("the thread that ends rounds broke off: its traceback is above")
    return rounds.outcomes
