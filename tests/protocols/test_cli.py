"""The command line: exit codes, machine-readable output, and errors of one line."""

from __future__ import annotations

import dataclasses
import importlib.util
import json
import os
import subprocess
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from protocols import RoundPlan, simulate
from protocols.demo import training

with warnings.catch_warnings():
    # typer 0.20, the last that Flower allows, imports names that click 8.5 deprecates
    warnings.simplefilter("ignore", DeprecationWarning)
    from typer.testing import CliRunner, Result

    from protocols import cli

ROOT = Path(__file__).parents[2]
SMALL = ("--clients", "6", "--rounds", "2")


QUICK = """
[scheme]
name = "{name}"
clients = 5
dropout = 0.2
[training]
rounds = 2
drop = 0.2
epochs = 1
batch = 128
seed = {seed}
"""


def secagg(*arguments: object) -> Result:
    return CliRunner().invoke(cli.app, [str(argument) for argument in arguments])


def refused(result: Result, message: str) -> None:
    assert result.exit_code == 2
    assert result.stdout == ""
    assert message in result.stderr
    assert result.stderr.count("\n") == 1
    assert result.stderr.startswith("secagg")


@pytest.fixture
def quick(tmp_path: Path) -> Callable[..., Path]:
    """A plan file whose run takes half a second."""

    def write(name: str = "secagg_plus", seed: int = 0) -> Path:
        path = tmp_path / "quick.toml"
        path.write_text(QUICK.format(name=name, seed=seed), encoding="utf-8")
        return path

    return write


# -- demo -------------------------------------------------------------------------------------


def test_demo_prints_one_document_for_machines() -> None:
    result = secagg("demo", *SMALL, "--json")
    assert (result.exit_code, result.stderr) == (0, "")
    document = json.loads(result.stdout)
    assert document["exact"] is True
    assert document["scheme"] == "secagg_plus"
    assert document["clients"] == 6
    assert document["parameters"] == 64 * 64 + 64 + 64 * 10 + 10
    assert [row["number"] for row in document["rounds"]] == [1, 2]
    for row in document["rounds"]:
        assert row["exact"] is True
        assert row["failure"] is None
        assert 0 < row["deviation"] < 1e-5
        assert sum(row["dropped"].values()) == 1
        assert row["bytes_up"] > 4 * document["parameters"]
        assert row["client_cpu"] > 0 < row["server_cpu"]
        assert 0 < row["accuracy"] <= 1


def test_demo_prints_a_table_and_ends_with_the_verdict() -> None:
    result = secagg("demo", *SMALL)
    assert result.exit_code == 0
    lines = result.stdout.rstrip().splitlines()
    assert lines[0] == "Federated averaging by secure sums"
    assert any(line.startswith("✓ all sums were exact: 2 of 2 rounds") for line in lines)
    assert any("racy" in line and "exact" in line for line in lines)
    assert "no noise is added" in result.stdout
    assert all(len(line) <= 80 for line in lines)


needs_tenseal = pytest.mark.skipif(
    importlib.util.find_spec("tenseal") is None, reason="secagg[he] is not installed"
)


@pytest.mark.parametrize(
    ("scheme", "stages", "warning"),
    [
        ("semi-honest", 4, "a lying server reads updates"),
        ("plain-insecure", 1, "INSECURE: the server reads the update"),
        pytest.param("ckks", 1, "encrypted to a key authority", marks=needs_tenseal),
        pytest.param("ckks-rounded", 1, "a key authority that rounds", marks=needs_tenseal),
    ],
)
def test_runs_of_other_schemes_say_whom_they_trust(
    quick: Callable[..., Path], scheme: str, stages: int, warning: str
) -> None:
    path = quick(scheme)
    assert warning in " ".join(secagg("run", path).stdout.split())
    document = json.loads(secagg("run", path, "--json").stdout)
    assert document["exact"] is True
    assert len(document["rounds"][0]["dropped"]) == stages


def test_two_aggregators_are_servers_of_their_own(
    quick: Callable[..., Path], tmp_path: Path
) -> None:
    pytest.importorskip("starlette", reason="secagg[serve] is not installed")
    result = secagg("run", quick("pine"), "--record", tmp_path / "frames")
    assert result.exit_code == 0
    shown = " ".join(result.stdout.split())
    assert "private unless both collude" in shown
    assert "silent at clients gone before sending: reports" in shown
    assert "✓ all sums were exact: 2 of 2 rounds" in shown
    assert len(list((tmp_path / "frames").glob("round-00?-*-reports-client-*.frame"))) == 8


def test_the_seed_fixes_data_and_dropouts_but_no_key(
    quick: Callable[..., Path], tmp_path: Path
) -> None:
    def run(folder: str) -> tuple[Any, list[bytes]]:
        result = secagg("run", quick(seed=7), "--json", "--record", tmp_path / folder)
        rounds = json.loads(result.stdout)["rounds"]
        frames = [path.read_bytes() for path in sorted((tmp_path / folder).iterdir())]
        return [(row["dropped"], row["included"]) for row in rounds], frames

    first, first_frames = run("a")
    again, again_frames = run("b")
    assert first == again
    assert len(first_frames) == len(again_frames)
    assert not set(first_frames) & set(again_frames)


def test_a_sum_that_is_not_exact_is_exit_status_1(
    quick: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    def wrong(*args: Any, **options: Any) -> simulate.Outcome:
        return dataclasses.replace(simulate.run_round(*args, **options), exact=False)

    monkeypatch.setattr(training, "run_round", wrong)
    result = secagg("run", quick())
    assert result.exit_code == 1
    assert "✗ not all sums were exact: 0 of 2 rounds\n" in result.stdout
    document = secagg("run", quick(), "--json")
    assert document.exit_code == 1
    assert json.loads(document.stdout)["exact"] is False
    monkeypatch.undo()
    assert secagg("run", quick()).exit_code == 0


def test_a_round_without_a_sum_is_exit_status_1(
    quick: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    def everybody_leaves(number: int, clients: list[int], *rest: object) -> dict[int, str]:
        return dict.fromkeys(clients[:4], "masked") if number == 2 else {}

    monkeypatch.setattr(training, "fallen_silent", everybody_leaves)
    result = secagg("run", quick())
    assert result.exit_code == 1
    assert "round 2: aborted in phase 'masked'" in " ".join(result.stdout.split())
    document = json.loads(secagg("run", quick(), "--json").stdout)
    assert document["rounds"][0]["failure"] is None
    assert document["rounds"][1]["deviation"] is None
    assert "aborted" in document["rounds"][1]["failure"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--clients", "1"), "clients >= 2, an integer, must hold, got 1"),
        (("--clients", "500", "--scheme", "plain-insecure"), "5 * clients <= 1437 digits"),
        (("--rounds", "0"), "1 <= rounds <= 1000 must hold, got 0"),
        (("--drop", "1.0"), "0 <= drop < 1 must hold, got 1.0"),
        (("--drop", "0.6"), "floor((n + corrupt)/2) + 1 <= n - dropped must hold"),
        (("--seed", "-1"), "0 <= seed < 2**32 must hold, got -1"),
        (("--scheme", "secagg"), "name cannot be 'secagg'; did you mean 'secagg_plus'?"),
        (("--rounds", "many"), "Invalid value for '--rounds'"),
        (("--cleints", "3"), "--cleints"),
    ],
)
def test_demo_refuses_in_one_line(arguments: tuple[str, ...], message: str) -> None:
    result = secagg("demo", *arguments)
    refused(result, message)
    assert "secagg demo --help" in result.stderr


def test_a_missing_extra_is_named() -> None:
    code = (
        "import sys; sys.modules['torch'] = None\n"
        "sys.argv = ['secagg', 'demo']\n"
        "from protocols.cli import main; main()"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert done.stderr == (
        "secagg demo: the demo needs PyTorch and scikit-learn: pip install 'secagg[demo]'\n"
    )


def test_the_missing_extra_of_servers_is_named() -> None:
    words = "leader --listen 127.0.0.1:0 --roster r --plan p --key k --helper http://127.0.0.1:1"
    code = (
        "import sys; sys.modules['uvicorn'] = None\n"
        f"sys.argv = ['secagg', *{words!r}.split()]\n"
        "from protocols.cli import main; main()"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert done.stderr.endswith("uvicorn and httpx: pip install 'secagg[serve]'\n")
    assert done.stderr.count("\n") == 1


def test_other_commands_do_not_import_the_extra() -> None:
    code = (
        "import sys\n"
        "import protocols.cli, protocols.simulate, protocols.presets\n"
        "assert not {'torch', 'sklearn', 'scipy'} & sys.modules.keys()"
    )
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)


PRIVATE = """
[scheme]
clients = 8
corrupt = 0.13
dropout = 0.26
[quantize]
bound = 1.0
max_weight = 1
[privacy]
epsilon = {epsilon}
noise_multiplier = {multiplier}
by = "{by}"
quantile = {quantile}
[training]
rounds = {rounds}
drop = 0.0
epochs = 1
batch = 128
"""


def private(folder: Path, **changes: object) -> Path:
    values = {"epsilon": 8.0, "multiplier": 0.0, "by": "clients", "quantile": 0.0, "rounds": 2}
    path = folder / "private.toml"
    path.write_text(PRIVATE.format(**(values | changes)), encoding="utf-8")
    return path


@pytest.mark.parametrize("by", ["clients", "server"])
def test_a_budget_is_spent_by_exactly_the_rounds_it_was_planned_for(
    tmp_path: Path, by: str
) -> None:
    document = json.loads(secagg("run", private(tmp_path, by=by), "--json").stdout)
    spent = [row["epsilon"] for row in document["rounds"]]
    assert len(spent) == 2
    assert spent[0] < spent[1] <= 8.0
    assert spent[1] == pytest.approx(8.0, rel=1e-6)
    assert document["stopped"] is None
    assert document["exact"] is True


def test_a_run_stops_where_its_budget_ends_and_keeps_the_model(tmp_path: Path) -> None:
    path = private(tmp_path, epsilon=5.0, multiplier=1.0, rounds=4)
    document = json.loads(secagg("run", path, "--json").stdout)
    assert len(document["rounds"]) == 1
    assert document["rounds"][0]["epsilon"] == pytest.approx(4.377, abs=1e-3)
    assert "epsilon <= 5 at delta 1e-05 must hold" in document["stopped"]
    shown = secagg("run", path)
    assert shown.exit_code == 0
    assert "the privacy budget affords no further round, the model so far has" in shown.stdout
    assert all(len(line) <= 80 for line in shown.stdout.splitlines())


def test_a_budget_for_no_round_at_all_is_exit_status_1(tmp_path: Path) -> None:
    path = private(tmp_path, epsilon=1.0, multiplier=1.0)
    result = secagg("run", path)
    assert result.exit_code == 1
    assert "no round was run" in result.stdout
    assert "there is no model" in result.stdout
    assert json.loads(secagg("run", path, "--json").stdout)["rounds"] == []


def test_the_clip_follows_a_quantile_of_the_norms(tmp_path: Path) -> None:
    path = private(tmp_path, epsilon=1e6, multiplier=0.01, quantile=0.9, rounds=4)
    document = json.loads(secagg("run", path, "--json").stdout)
    clips = [row["clip"] for row in document["rounds"]]
    assert clips[0] == 1.0
    assert len(set(clips)) == 4


def test_demo_takes_a_budget() -> None:
    result = secagg("demo", *SMALL, "--epsilon", 8)
    assert result.exit_code == 0
    assert "epsilon 8 at delta 1e-05 for all rounds" in result.stdout
    assert "no noise is added" not in result.stdout
    assert all(len(line) <= 80 for line in result.stdout.splitlines())
    trusting = secagg("demo", *SMALL, "--epsilon", 8, "--noise-by", "server")
    assert "by the server, which is TRUSTED with" in trusting.stdout


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--epsilon", "nan"), "0 <= epsilon < inf must hold"),
        (("--epsilon", "-1"), "0 <= epsilon < inf must hold"),
        (("--epsilon", "inf"), "0 <= epsilon < inf must hold"),
        (("--epsilon", "8", "--delta", "0"), "0 < delta < 1 must hold"),
        (("--epsilon", "8", "--delta", "1"), "0 < delta < 1 must hold"),
        (("--epsilon", "8", "--delta", "nan"), "0 < delta < 1 must hold"),
        (("--epsilon", "8", "--noise-by", "nobody"), "by cannot be 'nobody'"),
    ],
)
def test_demo_refuses_bad_budgets_in_one_line(options: tuple[str, ...], message: str) -> None:
    refused(secagg("demo", *SMALL, *options), message)


def test_privacy_says_what_a_budget_takes() -> None:
    result = secagg("privacy", 100, "--epsilon", 4, "--rounds", 10, "--json")
    document = json.loads(result.stdout)
    assert document["counted on"] == 50
    assert document["coordinates"] == 1 << 17
    assert document["multiplier"] == pytest.approx(3.42, abs=0.1)
    shown = secagg("privacy", 100, "--epsilon", 4, "--rounds", 10)
    assert shown.exit_code == 0
    assert "bytes a parameter" in shown.stdout


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--width", 8), "width >= 12 must hold"),
        (("--epsilon", 0), "epsilon"),
        (("--delta", 1), "delta"),
        (("--rounds", 0), "rounds"),
        (("--corrupt", 0.6, "--drop", 0.6), "must hold"),
    ],
)
def test_privacy_refuses_in_one_line(options: tuple[object, ...], message: str) -> None:
    refused(secagg("privacy", 100, *options), message)


# -- audit -------------------------------------------------------------------------------------


def test_audit_finds_the_noise_of_the_plan(tmp_path: Path) -> None:
    result = secagg("audit", "noise", private(tmp_path), "--length", 5000, "--json")
    assert result.exit_code == 0
    document = json.loads(result.stdout)
    assert document["passed"] is True
    assert document["clients"] == 8
    assert document["size"] == 8192
    shown = secagg("audit", "noise", private(tmp_path), "--length", 5000).stdout
    assert "✓ the sum holds the noise that the plan promises" in shown


def test_audit_finds_noise_that_is_missing(tmp_path: Path) -> None:
    arguments = ("audit", "noise", private(tmp_path), "--length", 5000, "--skip", 2)
    result = secagg(*arguments)
    assert result.exit_code == 1
    assert "less noise than promised" in result.stdout
    assert json.loads(secagg(*arguments, "--json").stdout)["passed"] is False


def test_audit_refuses_plans_that_it_cannot_test(tmp_path: Path, quick: Any) -> None:
    refused(secagg("audit", "noise", quick()), "this plan adds no noise")
    short = secagg("audit", "noise", private(tmp_path), "--length", 10)
    refused(short, "d >= 1000 must hold")
    assert short.stderr.startswith("secagg audit noise: ")
    refused(
        secagg("audit", "noise", private(tmp_path), "--length", 5000, "--skip", 99),
        "client 9 is not one of 8",
    )


# -- run --------------------------------------------------------------------------------------


def test_run_follows_the_file(quick: Callable[..., Path]) -> None:
    result = secagg("run", quick(), "--json")
    assert result.exit_code == 0
    document = json.loads(result.stdout)
    assert (document["clients"], len(document["rounds"])) == (5, 2)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[scheme]\ncleints = 5", "unknown key of [scheme]: 'cleints'; did you mean 'clients'?"),
        ("[scheme]\ncorrupt = 2", "0 <= corrupt < 1 must hold, got 2.0"),
        ("[quantize]\nwidth = 3", "2 * clients * max_weight < 2**(width - 1) must hold"),
        ("[[scheme]]", "scheme must be a table"),
        ("nonsense", "not TOML"),
    ],
)
def test_run_refuses_in_one_line(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "plan.toml"
    path.write_text(text, encoding="utf-8")
    result = secagg("run", path)
    refused(result, message)
    assert f"{path}: " in result.stderr


def test_run_without_a_file(tmp_path: Path) -> None:
    refused(secagg("run", tmp_path / "absent.toml"), "absent.toml: No such file or directory")
    refused(secagg("run", tmp_path), "Is a directory")
    refused(secagg("run"), "Missing argument 'PLAN.toml'")


def test_debug_raises_the_error_itself(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("SECAGG_DEBUG", "1")
    result = secagg("run", tmp_path / "absent.toml")
    assert isinstance(result.exception, FileNotFoundError)
    monkeypatch.delenv("SECAGG_DEBUG")
    assert isinstance(secagg("run", tmp_path / "absent.toml").exception, SystemExit)


# -- params -----------------------------------------------------------------------------------


def test_params_for_machines() -> None:
    document = json.loads(secagg("params", 1000, "--length", 3000, "--json").stdout)
    assert document.keys() == {
        "secagg_plus",
        "secagg_plus_semi_honest",
        "secagg_plus_brief",
        "secagg_plus_verified",
        "secagg_plus_verified, groups",
        "pine",
        "pine, entries",
        "ckks-exact",
    }
    strict, lean = document["secagg_plus"], document["secagg_plus_semi_honest"]
    assert strict["degree"] == 2 * strict["window"] > lean["degree"] > 0
    assert strict["quorum"] == 601
    assert lean["quorum"] == lean["window"] == 0
    assert strict["survivors"] == lean["survivors"] == 700
    assert strict["mask_keys"] == strict["degree"] + 1
    assert strict["up"] > strict["vector"] == 3001 * 4
    assert "impossible" in document["secagg_plus_verified, groups"], "it needs the complete graph"


def test_params_have_the_sizes_and_bounds_of_every_scheme() -> None:
    document = json.loads(secagg("params", 20, "--length", 3000, "--json").stdout)
    assert [found["messages"] for found in document.values()] == [5, 4, 3, 6, 6, 1, 1, 1]
    assert [found["opened"] for found in document.values()] == [0, 0, 0, 257, 257, 0, 0, 0]
    assert document["secagg_plus_verified, groups"]["opened_of"] == 6
    assert document["secagg_plus_brief"]["honest_inputs"] == 4
    assert document["pine"]["bound"] > 1 << 20
    ranged = document["pine, entries"]
    assert (ranged["largest"], ranged["soundness"]) == (1, 167)
    assert 8 * 3001 < ranged["up"] < document["pine"]["up"]
    assert 0 < document["pine"]["down"] + 1 < document["pine"]["up"]
    assert document["ckks-exact"]["up"] > 10 * 3001


def test_params_as_a_table() -> None:
    result = secagg("params", 20, "--corrupt", 0.1, "--drop", 0.2)
    assert result.exit_code == 0
    for heading in ("malicious server", "two aggregators", "encrypted", "screened, groups"):
        assert heading in result.stdout
    assert "…" not in result.stdout, "every figure is there, in eighty columns"
    assert "consents" in result.stdout


def test_params_say_what_only_some_schemes_can_do() -> None:
    result = secagg("params", 20, "--corrupt", 0.3, "--drop", 0.5)
    assert result.exit_code == 0
    assert "secagg_plus: floor((n + corrupt)/2) + 1 <= n - dropped must hold" in result.stdout
    document = json.loads(secagg("params", 20, "--drop", 0.5, "--json").stdout)
    assert "must hold" in document["secagg_plus"]["impossible"]
    assert document["secagg_plus_semi_honest"]["degree"] == 19
    assert document["ckks-exact"]["survivors"] == document["pine"]["survivors"] == 10


def test_params_refuse_in_one_line() -> None:
    refused(secagg("params", 1), "2 <= clients <= 1000000 must hold, got 1")
    refused(secagg("params", 20, "--drop", 0.95), "survivors - corrupt >= 2 must hold")
    refused(secagg("params", 20, "--width", 70), "2 <= width <= 64 must hold")


# -- inspect ----------------------------------------------------------------------------------


def test_recorded_frames_can_be_inspected(quick: Callable[..., Path], tmp_path: Path) -> None:
    folder = tmp_path / "new" / "frames"
    assert secagg("run", quick(), "--record", folder).exit_code == 0
    names = sorted(path.name for path in folder.iterdir())
    assert names[0] == "round-001-00001-adverts-client-1.frame"
    for name in names:
        document = json.loads(secagg("inspect", folder / name, "--json").stdout)
        assert document["phase"] in name
        assert document["size"] == (folder / name).stat().st_size
    shown = secagg("inspect", folder / names[0])
    assert shown.exit_code == 0
    assert "Advert" in shown.stdout
    assert "mask_key" in shown.stdout
    assert "not verified" in shown.stdout


def test_inspect_refuses_garbage(tmp_path: Path) -> None:
    path = tmp_path / "garbage"
    path.write_bytes(os.urandom(200))
    refused(secagg("inspect", path), "not a frame of this library")
    path.write_bytes(b"SA")
    refused(secagg("inspect", path), "a frame has at least 109 bytes, got 2")
    refused(secagg("inspect", tmp_path / "absent"), "No such file or directory")


# -- the whole command ------------------------------------------------------------------------


def test_unknown_commands_are_one_line() -> None:
    refused(secagg("dmeo"), "No such command 'dmeo'")


def test_help_names_every_command() -> None:
    shown = secagg("--help").stdout
    assert all(name in shown for name in ("demo", "run", "params", "inspect"))


def test_a_terminal_without_dots_and_check_marks_gets_question_marks(
    plan: RoundPlan, updates: dict[int, tuple[Any, int]], tmp_path: Path
) -> None:
    frames: list[simulate.Frame] = []
    simulate.run_round(plan, updates, on_frame=frames.append)
    path = tmp_path / "frame"
    path.write_bytes(frames[0].data)
    done = subprocess.run(
        [sys.executable, "-c", "from protocols.cli import main; main()", "inspect", str(path)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONIOENCODING": "ascii"},
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert f"{frames[0].data[5:13].hex()}?" in done.stdout
