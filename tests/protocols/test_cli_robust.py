"""`secagg benchmark-detectors` and `secagg screen`."""

from __future__ import annotations

import json
import warnings
from pathlib import Path

import numpy as np
import pytest

from protocols.report.recorded import Recorded, save_rounds
from protocols.trial import grid as grids
from protocols.trial.grid import Grid
from protocols.trial.trial import Case
from robust.observe import Public, Sketches

with warnings.catch_warnings():
    # typer 0.20, the last that Flower allows, imports names that click 8.5 deprecates
    warnings.simplefilter("ignore", DeprecationWarning)
    import typer
    from typer.testing import CliRunner, Result

    from protocols.cli_robust import benchmark_detectors, screen
    from protocols.cli_shared import Commands

CLIENTS, SIZE = 12, 48


def secagg(*arguments: object) -> Result:
    app = typer.Typer(cls=Commands, pretty_exceptions_enable=False)
    app.command("benchmark-detectors")(benchmark_detectors)
    app.command()(screen)
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def refused(result: Result, message: str) -> None:
    assert result.exit_code == 2
    assert result.stdout == ""
    assert message in result.stderr
    assert result.stderr.count("\n") == 1
    assert result.stderr.startswith("secagg")


def sketches(number: int) -> Sketches:
    """Clients 1 and 2 send noise of their own; the others share what the data of the round is."""
    rng = np.random.default_rng(number)
    common = rng.normal(size=SIZE)
    rows = common + 0.3 * rng.normal(size=(CLIENTS, SIZE))
    rows[:2] = rng.normal(size=(2, SIZE))
    public = Public(known=rng.normal(size=(1, SIZE)))
    return Sketches(number=number, clients=tuple(range(1, CLIENTS + 1)), rows=rows, public=public)


def saved(path: Path, *numbers: int) -> Path:
    groups = {client: "north" if client % 2 else "south" for client in range(1, CLIENTS + 1)}
    rounds = tuple(sketches(number) for number in numbers)
    save_rounds(path, Recorded(rounds=rounds, subgroups=groups))
    return path


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> Grid:
    """Three runs of two rounds in the place of every grid."""
    cases = tuple(
        Case(
            data="digits", alpha=0.3, attack="fr_delta", share=0.2, method=method, seed=0,
            rounds=2, clients=20, rows=64,
        )
        for method in ("mean", "bounds", "ours")
    )  # fmt: skip
    found = [
        Grid(name=name, cases=cases, held_out=name == "held-out") for name in ("quick", "held-out")
    ]
    monkeypatch.setattr(grids, "GRIDS", tuple(found))
    return found[0]


# -- benchmark-detectors ----------------------------------------------------------------------


def test_a_grid_is_run_once_and_printed(small: Grid, tmp_path: Path) -> None:
    results, page = tmp_path / "results.jsonl", tmp_path / "page.md"
    options = ("benchmark-detectors", "--results", results, "--write", page)
    first = secagg(*options)
    assert (first.exit_code, first.stderr) == (0, "")
    assert "fr_delta" in first.stdout
    assert "free-riders without data, 20% of the clients" in first.stdout
    assert "3 of 3 runs" in first.stdout
    assert "| fr_delta |" in page.read_text("utf-8")
    lines = results.read_bytes()
    assert lines.count(b"\n") == 3
    second = secagg(*options)
    assert second.stdout == first.stdout
    assert results.read_bytes() == lines


def test_what_was_cut_off_is_run_again_alone(small: Grid, tmp_path: Path) -> None:
    results = tmp_path / "results.jsonl"
    secagg("benchmark-detectors", "--results", results)
    lines = results.read_bytes().splitlines(keepends=True)
    results.write_bytes(b"".join(lines[:2]) + lines[2][:30])
    assert secagg("benchmark-detectors", "--results", results).exit_code == 0
    again = results.read_bytes().splitlines(keepends=True)
    assert again[:2] == lines[:2]
    assert json.loads(again[2])["run"] == json.loads(lines[2])["run"]


def test_a_held_out_grid_is_frozen_first(small: Grid, tmp_path: Path) -> None:
    frozen, results = tmp_path / "frozen.json", tmp_path / "results.jsonl"
    options = ("benchmark-detectors", "--grid", "held-out", "--frozen", frozen)
    refused(secagg(*options), "is missing: freeze before a held-out grid is run")
    usual = ("benchmark-detectors", "--freeze", "--frozen", frozen)
    refused(secagg(*usual), "only a grid that is held out is frozen")
    written = secagg(*options, "--freeze")
    assert written.exit_code == 0
    assert json.loads(frozen.read_text())["sources"] in written.stdout
    refused(secagg(*options, "--freeze"), "stays so")
    assert secagg(*options, "--results", results).exit_code == 0
    document = json.loads(frozen.read_text())
    document["files"]["robust/decide.py"] = document["sources"] = "0" * 64
    frozen.write_text(json.dumps(document))
    refused(secagg(*options, "--results", results), "changed: robust/decide.py")
    refused(secagg(*options, "--results", results, "--table"), "a result of other sources")


def test_a_table_runs_nothing(small: Grid, tmp_path: Path) -> None:
    results = tmp_path / "results.jsonl"
    refused(secagg("benchmark-detectors", "--table"), "--results has no run of the grid quick")
    secagg("benchmark-detectors", "--results", results)
    results.write_bytes(results.read_bytes().splitlines(keepends=True)[0])
    printed = secagg("benchmark-detectors", "--table", "--results", results)
    assert "1 of 3 runs" in printed.stdout
    assert results.read_bytes().count(b"\n") == 1


def test_bad_options_are_refused_in_one_line(tmp_path: Path) -> None:
    refused(secagg("benchmark-detectors", "--grid", "all"), "--grid must be one of quick")
    refused(secagg("benchmark-detectors", "--jobs", 0), "--jobs >= 1 must hold")
    refused(secagg("benchmark-detectors", "--grid", "development"), "--results FILE is needed")
    broken = tmp_path / "results.jsonl"
    broken.write_text("{}\n")
    refused(secagg("benchmark-detectors", "--results", broken), "line 1: a line has the fields")


# -- screen -----------------------------------------------------------------------------------


def test_verdicts_with_words(tmp_path: Path) -> None:
    result = secagg("screen", saved(tmp_path / "rounds.json", *range(10)))
    assert (result.exit_code, result.stderr) == (0, "")
    assert "client 1  excluded in" in result.stdout
    assert "No evidence of training" in result.stdout
    assert "client 3  excluded" not in result.stdout
    assert "subgroup" in result.stdout


def test_verdicts_for_machines_go_on_from_a_state(tmp_path: Path) -> None:
    whole = secagg("screen", saved(tmp_path / "all.json", *range(10)), "--json", "--rounds", 10)
    state = tmp_path / "state.json"
    first = saved(tmp_path / "first.json", 0, 1)
    assert secagg("screen", first, "--rounds", 10, "--save-state", state).exit_code == 0
    second = saved(tmp_path / "second.json", *range(2, 10))
    rest = secagg("screen", second, "--state", state, "--save-state", state, "--json")
    due = json.loads(whole.stdout)["rounds"]
    assert json.loads(rest.stdout)["rounds"] == due[2:]
    assert due[-1]["excluded"] == [1, 2]
    refused(secagg("screen", second, "--state", state), "rounds must ascend, got 2 after 9")


def test_reasons_as_a_page(tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    rounds = saved(tmp_path / "rounds.json", *range(10))
    assert secagg("screen", rounds, "--html", page).exit_code == 0
    text = page.read_text("utf-8")
    assert text.startswith("<!doctype html>")
    assert "Screening of rounds.json" in text
    assert 'id="client-1"' in text
    assert "By subgroup" in text


def test_bad_files_are_refused_in_one_line(tmp_path: Path) -> None:
    good = saved(tmp_path / "rounds.json", 0)
    missing, broken = tmp_path / "nothing.json", tmp_path / "broken.json"
    broken.write_text('{"format": 1, "rounds": [{"number": NaN}]}')
    refused(secagg("screen", missing), "nothing.json: No such file or directory")
    refused(secagg("screen", broken), "broken.json: NaN is no finite number")
    refused(secagg("screen", good, "--state", broken), "broken.json: NaN is no finite number")
    refused(secagg("screen", good, "--budget", 2), "0 < budget < 1 must hold")
    refused(secagg("screen", good, "--rounds", 0), "rounds >= 1")
