"""`learn-privately`, `ledger`, `bench`, from the command line."""

from __future__ import annotations

import json
import warnings
from pathlib import Path

import pytest
from traffic import usual

from apiwatch.store import Profile

with warnings.catch_warnings():
    # typer 0.20, the last that Flower allows, imports names that click 8.5 deprecates
    warnings.simplefilter("ignore", DeprecationWarning)
    from typer.testing import CliRunner

    from apiwatch.cli import app


@pytest.fixture(scope="module")
def logs(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    folder = tmp_path_factory.mktemp("sites")
    for site in range(5):
        rows = ({"method": r.method, "target": r.target, "body": r.body} for r in usual(40, site))
        (folder / f"{site}.jsonl").write_text("\n".join(json.dumps(row) for row in rows))
    return [str(folder / f"{site}.jsonl") for site in range(5)]


def run(*arguments: str):
    return CliRunner().invoke(app, list(arguments))


def test_what_was_learned_privately_says_what_it_cost(logs: list[str], tmp_path: Path) -> None:
    profile = str(tmp_path / "profile")
    learned = run("learn-privately", *logs, "-p", profile, "--epsilon", "4")
    assert learned.exit_code == 0
    assert learned.stderr.startswith("epsilon 3.9")
    told = run("ledger", "-p", profile).stdout.splitlines()
    assert [line.split(":")[0] for line in told[:2]] == ["counters", "calibration"]
    assert told[2].startswith("epsilon 3.9")
    assert 3.9 < Profile.load(Path(profile)).ledger.epsilon(1e-5) <= 4
    page = tmp_path / "page.html"
    assert run("report", logs[0], "--html", str(page), "-p", profile).exit_code == 0
    assert "All sums together: epsilon 3.9" in page.read_text("utf-8")


def test_exact_sums_promise_nothing_and_say_so(logs: list[str], tmp_path: Path) -> None:
    profile = str(tmp_path / "profile")
    assert run("learn", logs[0], "-p", profile).exit_code == 0
    assert "nothing has left" in run("ledger", "-p", profile).stdout
    assert run("learn", "--together", *logs, "-p", profile).exit_code == 0
    assert "no epsilon" in run("ledger", "-p", profile).stdout


@pytest.mark.parametrize(
    "wrong", [("--epsilon", "0"), ("--delta", "1"), ("--counters", "0.1")], ids=lambda w: w[0]
)
def test_a_wrong_promise_is_one_line(logs: list[str], tmp_path: Path, wrong) -> None:
    found = run("learn-privately", *logs, "-p", str(tmp_path / "p"), *wrong)
    assert found.exit_code == 2
    assert "must hold" in found.stderr
    assert not (tmp_path / "p").exists()


def test_a_bench_without_its_data_is_one_line(tmp_path: Path) -> None:
    found = run("bench", str(tmp_path), "csic")
    assert found.exit_code == 2
    assert "is not there" in found.stderr
