"""`learn-privately`, `ledger`, `bench`, from the command line."""

from __future__ import annotations

import json
import warnings
from pathlib import Path

import pytest
from traffic import attacks, usual

from apiwatch.alone import alone_file, learnt_alone
from apiwatch.errors import ProfileUnreadable
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


def test_sites_together_leave_what_one_would_have_been_alone(
    logs: list[str], tmp_path: Path
) -> None:
    file, html = tmp_path / "profile", tmp_path / "page.html"
    known = tmp_path / "known.jsonl"
    rows = ({"method": r.method, "target": r.target, "body": r.body} for r in attacks())
    known.write_text("\n".join(json.dumps(row) for row in rows))
    asked = ("report", logs[1], "--html", str(html), "--attacks", str(known), "-p", str(file))
    assert run("learn", "--together", *logs, "-p", str(file)).exit_code == 0
    alone = Profile.load(alone_file(file))
    assert alone.pooled == alone.beside == Profile.load(file).detector.digest
    assert alone.table.counts.sum() < Profile.load(file).table.counts.sum()
    assert run(*asked).exit_code == 0
    assert "this site alone" in html.read_text("utf-8")
    assert "the same SHA-256" in html.read_text("utf-8")
    (tmp_path / "other").mkdir()
    copies = [tmp_path / "other.profile", tmp_path / "other" / "other.profile"]
    for copy in copies:
        copy.write_bytes(file.read_bytes())
    beside = [part for copy in copies for part in ("--compare", str(copy))]
    assert run(*asked, *beside).exit_code == 0
    assert html.read_text("utf-8").count("<polyline") == 8  # four curves in two pictures
    assert run("learn", "--more", logs[0], "-p", str(file)).exit_code == 0
    assert run(*asked).exit_code == 0
    assert "Nobody has the pooled" in html.read_text("utf-8")
    rest = [part for log in [*logs, logs[0]] for part in ("--rest", log)][2:]
    assert run("forget", logs[0], *rest, "-p", str(file)).exit_code == 0
    assert not alone_file(file).exists()
    assert run(*asked).exit_code == 0
    assert "this site alone" not in html.read_text("utf-8")


def test_what_was_learned_beside_another_profile_is_not_shown(
    logs: list[str], tmp_path: Path
) -> None:
    file = tmp_path / "profile"
    assert run("learn", "--together", *logs, "-p", str(file)).exit_code == 0
    assert learnt_alone(Profile.load(file), file) is not None
    assert run("learn", logs[0], "-p", str(file)).exit_code == 0
    assert learnt_alone(Profile.load(file), file) is None
    alone_file(file).write_bytes(b"not a profile")
    with pytest.raises(ProfileUnreadable):
        learnt_alone(Profile.load(file), file)
