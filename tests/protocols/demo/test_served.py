"""The demo on servers: statistics, noise, and when a noisy sum is exact."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("starlette", reason="secagg[serve] is not installed")
pytest.importorskip("torch", reason="secagg[demo] is not installed")

from protocols.demo.served import Served, _Sent
from protocols.demo.training import Federation
from protocols.helper import HelperKeeper
from protocols.planfile import PlanFile
from protocols.serve.outcome import sum_digest
from protocols.serve.task import Task, load_task
from protocols.simulate import Population
from secagg.errors import ParameterError
from secagg.identity import Roster
from secagg.primitives.ring import centered

CLIENTS = [1, 2, 3, 4, 5, 6]
HEAD = """
[scheme]
name = "pine"
clients = 6
corrupt = 0.0
dropout = 0.34
[quantize]
max_weight = 1
"""
NOISE = '[privacy]\nepsilon = 8.0\nby = "aggregators"\n'
NORMS = '[screen]\nopens = "norm"\n'


@pytest.fixture
def people() -> Population:
    return Population.generate(CLIENTS)


def task_of(folder: Path, roster: Roster, more: str) -> Task:
    path = folder / "plan.toml"
    path.write_text(f'{HEAD}{more}[task]\nsession = "{"0f" * 16}"\nnumber = 1\nsize = 8\n')
    return load_task(path, roster)


def test_a_noisy_sum_is_exact_if_no_more_than_two_draws_are_beside_it(
    tmp_path: Path, people: Population
) -> None:
    task = task_of(tmp_path, HelperKeeper.generate().enrolled(people.roster), NOISE)
    plan, sent = task.invitation.plan, _Sent(task, people)
    for client in CLIENTS:
        sent.vectors[client] = plan.encode(np.ones(8) / client, 1, os.urandom, task.context)
    law: Any = task.scheme.noise
    noise = sum(law.sample(task.scheme.length, os.urandom) for _ in range(2))
    noisy = centered(sent.total(CLIENTS), plan.quantize.width) + noise
    far = noisy + 100 * int(float(law.variance) ** 0.5)
    assert sent.is_exact(sum_digest(noisy), noisy, CLIENTS)
    assert not sent.is_exact(sum_digest(far), far, CLIENTS)
    assert not sent.is_exact(sum_digest(noisy + 1), noisy, CLIENTS)


def test_a_clip_bound_that_follows_updates_is_refused_with_servers(people: Population) -> None:
    file = PlanFile.parse(f"{HEAD}{NOISE}quantile = 0.5\n")
    with pytest.raises(ParameterError, match="quantile = 0 must stand with two aggregators"):
        Served(file, people, size=8, reports=5)


def test_clients_of_the_demo_allow_what_its_plan_opens(tmp_path: Path, people: Population) -> None:
    task = task_of(tmp_path, HelperKeeper.generate().enrolled(people.roster), NORMS)
    assert task.scheme.opened == 2
    assert _Sent(task, people).frame(1, np.ones(8), 1)


@pytest.mark.slow
def test_noise_of_a_plan_file_is_served_and_exact_but_for_it() -> None:
    training = "[training]\nrounds = 1\ndrop = 0.17\n"
    (report,) = Federation(PlanFile.parse(f"{HEAD}{NOISE}{training}")).rounds()
    assert (report.exact, report.failure, report.included) == (True, None, 5)
