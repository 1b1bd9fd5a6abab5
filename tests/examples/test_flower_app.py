"""The Flower example in the simulation engine, and as a deployment that loses two clients."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

EXAMPLE = Path(__file__).parents[2] / "examples" / "flower-digits"
ROUNDING = 1e-5

pytestmark = pytest.mark.slow


def require(*modules: str) -> None:
    for module in modules:
        if importlib.util.find_spec(module) is None:
            pytest.skip(f"{module} is not installed: `make demo-flower` installs it")


def rounds_of(script: str, *options: str, seconds: float) -> list[dict[str, Any]]:
    """What the script printed. It is asked, not forced, to end: it has processes of its own."""
    command = [sys.executable, str(EXAMPLE / script), "--json", *options]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        try:
            printed, complaint = process.communicate(timeout=seconds)
        finally:
            process.terminate()
    assert process.returncode == 0, printed + complaint
    return json.loads(printed)


def check(found: list[dict[str, Any]], included: list[list[int]]) -> None:
    """Each released model is the plaintext mean of these partitions, and of no others."""
    assert [each["included"] for each in found] == included
    for each in found:
        assert each["deviation"] <= ROUNDING < each["nearest"], each


def test_a_simulation_of_ten_nodes() -> None:
    require("flwr", "ray", "torch", "sklearn", "psutil")
    found = rounds_of("simulate.py", "--clients", "10", "--rounds", "2", seconds=300)
    check(found, [[*range(10)]] * 2)
    assert [each["exchanges"] for each in found] == [3, 2]
    assert found[-1]["accuracy"] > 0.6


def test_a_deployment_that_loses_two_clients() -> None:
    require("flwr", "torch", "sklearn", "psutil")
    # `make demo-flower-deploy` kills both, and waits for Flower's heartbeats.
    found = rounds_of("deploy.py", "--rounds", "2", "--orderly", seconds=600)
    check(found, [[0, 2, 3, 4], [0, 2, 3, 4]])
    assert [each["exchanges"] for each in found] == [3, 3]
    assert found[-1]["accuracy"] > 0.6


def test_no_process_outlives_its_run(tmp_path: Path) -> None:
    """Not even one that left its parent's session, as Flower's and Ray's do."""
    psutil = pytest.importorskip("psutil")
    module = importlib.util.spec_from_file_location("processes", EXAMPLE / "processes.py")
    assert module is not None
    assert module.loader is not None
    processes = importlib.util.module_from_spec(module)
    module.loader.exec_module(processes)
    code = (
        "import subprocess, sys, time;"
        "child = subprocess.Popen(['sleep', '600'], start_new_session=True);"
        "print(child.pid, flush=True)"
    )
    group = processes.Processes(tmp_path, dict(os.environ))
    group.start("parent", Path(sys.executable).name, "-c", code).wait(30)
    orphan = psutil.Process(int(group.log("parent").read_text()))
    assert orphan.is_running()
    group.end()
    assert not orphan.is_running() or orphan.status() == psutil.STATUS_ZOMBIE
