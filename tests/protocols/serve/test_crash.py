"""Leader and helper are killed at every moment, for real: no report is lost, none counts twice."""

from __future__ import annotations

import random
import threading
import time
from typing import Any

import pytest

ALL = [1, 2, 3, 4, 5]
LEADER_COMMITS = 8  # the round, five reports, closed, done
HELPER_COMMITS = 3  # the round, one job, the sum


def require_exact(place: Any) -> None:
    outcome = place.outcome()
    assert outcome["failure"] is None
    assert outcome["included"] == ALL
    assert outcome["refused"] == {}
    assert outcome["sum"] == place.expected(ALL)
    assert outcome["sum"] != place.expected([*ALL, 3])


@pytest.mark.parametrize(("at", "when"), [(4, "after")])
def test_a_leader_killed_at_a_commit_goes_on(deployment: Any, at: int, when: str) -> None:
    deployment.finish({"leader": [at, when]})
    require_exact(deployment)


@pytest.mark.parametrize(("at", "when"), [(2, "after")])
def test_a_helper_killed_at_a_commit_goes_on(deployment: Any, at: int, when: str) -> None:
    deployment.finish({"helper": [at, when]})
    require_exact(deployment)


@pytest.mark.slow
@pytest.mark.parametrize(("at", "when"), [(1, "after"), (2, "before"), (3, "before"), (3, "after")])
def test_a_helper_killed_at_another_commit_goes_on(deployment: Any, at: int, when: str) -> None:
    deployment.finish({"helper": [at, when]})
    require_exact(deployment)


@pytest.mark.slow
def test_the_crash_points_are_all_there_are(deployment: Any) -> None:
    """One commit more than the last and nobody is killed."""
    crash = {"leader": [LEADER_COMMITS + 1, "before"], "helper": [HELPER_COMMITS + 1, "before"]}
    deployment.finish(crash)
    require_exact(deployment)
    assert [server.ended(0.0) for server in deployment.servers] == [None, 0]


@pytest.mark.slow
@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("leader", range(1, LEADER_COMMITS + 1))
def test_both_killed(deployment: Any, leader: int, when: str) -> None:
    helper = (leader + (when == "after")) % HELPER_COMMITS + 1
    deployment.finish({"leader": [leader, when], "helper": [helper, when]})
    require_exact(deployment)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(1, 8))
def test_random_kills_lose_and_repeat_nothing(deployment: Any, seed: int) -> None:
    hurt(deployment, random.Random(seed), kills=10)
    require_exact(deployment)


def hurt(place: Any, rng: random.Random, kills: int) -> None:
    """Clients that ask again, beside somebody who kills either server at random times."""
    running = {"helper": place.helper(), "leader": place.leader()}
    clients = [threading.Thread(target=place.upload, args=(i, 60.0)) for i in ALL]
    for client in clients:
        client.start()
    for _ in range(kills):
        time.sleep(rng.uniform(0.0, 0.15))
        name = rng.choice(["helper", "leader"])
        running[name].kill()
        if name == "leader" and running[name].status == 0:
            break
        running[name] = getattr(place, name)()
    until = time.monotonic() + 60
    while running["leader"].ended(0.05) is None:
        assert time.monotonic() < until
    assert running["leader"].status == 0, running["leader"].text()
    for client in clients:
        client.join()
