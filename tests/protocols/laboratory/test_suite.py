"""The whole suite, its page and its commands, in small; and the helper for tests of a project."""

from __future__ import annotations

import dataclasses
import importlib.util
import json
import math
import time
import warnings
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dp.audit.measure import Figure, Interval
from dp.audit.member_correlation import Correlation
from dp.audit.member_whitened import Whitened
from dp.audit.testing import assert_leakage_below, exchanged
from dp.calibrate import noise_multiplier
from protocols import CentralNoise, DistributedNoise, RoundPlan
from protocols.audit import audit_noise
from protocols.federation.data import digits, split
from protocols.laboratory.exposure import Exposure, Row, Skipped
from protocols.laboratory.membership import sum_trials, users
from protocols.laboratory.modes import NOTHING, Kind, Mode
from protocols.laboratory.page import document, page
from protocols.laboratory.suite import rows
from protocols.planfile import PlanFile
from protocols.presets import plain_insecure
from protocols.screening import SketchScreen
from secagg.errors import Aborted, ParameterError
from secagg.quantize import NormClip
from secagg.schemes.plain import PlainInsecure

with warnings.catch_warnings():
    # typer 0.20, the last that Flower allows, imports names that click 8.5 deprecates
    warnings.simplefilter("ignore", DeprecationWarning)
    from typer.testing import CliRunner, Result

    from protocols.cli import app
    from protocols.cli_shared import planned

encrypted = pytest.mark.skipif(
    importlib.util.find_spec("tenseal") is None, reason="secagg[he] is not installed"
)
PLAN = "[scheme]\nclients = 12\n[quantize]\nbound = 1.0\nmax_weight = 1\n[privacy]\nepsilon = {}\n"


def secagg(*arguments: object) -> Result:
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def row(**changes: Any) -> Row:
    found = Interval(value=0.9, low=0.8, high=1.0)
    control = Interval(value=0.5, low=0.4, high=0.6)
    fields = {"attack": "a & b", "metric": "area", "trials": 7, "bound": None} | changes
    figure = Figure(found=found, control=control, **fields)
    return Row(question="who?", seen="<sum>", exposure=Exposure(clients=3), figure=figure)


class Texts(HTMLParser):
    """What a reader sees, and the tags that are open at the end."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.seen: list[str] = []
        self.open: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: object) -> None:
        if tag != "meta":
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.seen.append(data)


@pytest.mark.slow
def test_every_attack_that_applies_is_run() -> None:
    exposure = Exposure(clients=2, mode=Mode(kind=Kind.SKETCH, numbers=16))
    found = [one for one in rows(exposure, np.random.default_rng(1)) if isinstance(one, Row)]
    assert {each.question for each in found} == {
        "the label of a record?",
        "the most frequent label of 20?",
        "which client was it before?",
        "is a client in the sum?",
        "is a record in the sum?",
        "which image was it?",
    }
    assert all(each.figure.bound is None for each in found)
    leaks = {each.question for each in found if each.figure.leaks}
    assert "is a client in the sum?" in leaks
    assert "which image was it?" in leaks
    pictures = [each.pictures for each in found if each.pictures is not None]
    assert [each.shape for each in pictures] == [(2, 2, 64), (2, 1, 64), (2, 2, 64), (2, 2, 64)]
    np.testing.assert_allclose(pictures[0][0], pictures[0][1], atol=1e-3)


def test_noise_comes_with_bounds_and_what_is_not_opened_is_not_attacked() -> None:
    every = list(rows(Exposure(clients=40, noise=8.0), np.random.default_rng(2)))
    found = [one for one in every if isinstance(one, Row)]
    skipped = {one.attack: one.why for one in every if isinstance(one, Skipped)}
    assert skipped.keys() == {"whitened", "inversion"}
    assert "sums of 5 clients at most" in skipped["inversion"]
    assert {each.question for each in found} == {"is a client in the sum?", "which image was it?"}
    bounds = [each.figure.bound for each in found if each.question.startswith("is a client")]
    assert None not in bounds
    assert not any(each.figure.leaks or each.figure.exceeds for each in found)


def test_the_exposure_of_a_plan_is_its_worst() -> None:
    template = np.zeros(3000)
    clip = NormClip(1.0)
    exact = RoundPlan.for_update(template, clients=10, clip=clip)
    assert Exposure.of(exact) == Exposure(clients=exact.scheme.honest_inputs)
    noisy = RoundPlan.for_update(
        template, clients=10, clip=clip, privacy=DistributedNoise(multiplier=1.5)
    )
    assert Exposure.of(noisy).noise == pytest.approx(1.5, rel=1e-2)
    assert Exposure.of(exact).mode == NOTHING
    screen = SketchScreen(rows=64, tables=4, buckets=1 << 11)
    screened = RoundPlan.for_update(template, clients=10, clip=clip, screen=screen)
    assert Exposure.of(screened).mode == Mode(kind=Kind.SKETCH, numbers=64)
    assert Exposure.of(plain_insecure(template, clients=10, clip=clip)).clients == 1
    large = RoundPlan.for_update(template, clients=1000, clip=clip)
    assert Exposure.of(large).clients == 400


def test_noise_counts_as_far_as_the_server_sees_it() -> None:
    """Not what it adds itself, to a sum that it has seen; of one update the share of one client."""
    template, clip, noise = np.zeros(3000), NormClip(1.0), DistributedNoise(multiplier=1.5)
    central = RoundPlan.for_update(
        template, clients=20, clip=clip, privacy=CentralNoise(multiplier=1.5)
    )
    assert Exposure.of(central) == Exposure(clients=central.scheme.honest_inputs)
    distributed = RoundPlan.for_update(template, clients=20, clip=clip, privacy=noise)
    assert Exposure.of(distributed).noise == pytest.approx(1.5, rel=1e-2)
    read = RoundPlan.for_update(
        template, clients=20, clip=clip, privacy=noise, scheme=PlainInsecure
    )
    shares = read.scheme.honest_inputs
    assert shares > 10
    assert Exposure.of(read).clients == 1
    assert Exposure.of(read).noise == pytest.approx(1.5 / math.sqrt(shares), rel=1e-2)


@pytest.mark.parametrize(
    "options",
    [{"clients": 0}, {"clients": 401}, {"clients": 1, "noise": -1.0}],
)
def test_impossible_exposures_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(ParameterError, match="1 <= clients <= 400"):
        Exposure(**options)


def test_a_page_escapes_what_it_shows_and_closes_what_it_opens() -> None:
    text = page([row(), row(bound=0.7)], title="a < b", command="x & y")
    found = Texts(text)
    assert found.open == []
    assert {"a < b", "a & b", "<sum>", "x & y", "leaks", "beyond the bound"} <= set(found.seen)
    assert "<script" not in text
    assert "default-src 'none'" in text


def test_a_question_has_one_table_whatever_is_asked_in_between() -> None:
    other = dataclasses.replace(row(), question="when?")
    text = page([row(), other, row()], title="t", command="c")
    assert (text.count(">who?</h2>"), text.count(">when?</h2>")) == (1, 1)
    assert text.count("<tr class=leaks>") == 3


def test_a_page_shows_images_above_what_was_found_of_them() -> None:
    pictures = np.stack([np.zeros((3, 64)), np.ones((3, 64))])
    text = page([dataclasses.replace(row(), pictures=pictures)], title="t", command="c")
    assert Texts(text).open == []
    assert text.count('fill="#ffffff"') == text.count('fill="#000000"') == 3 * 64
    assert 'aria-label="a &amp; b, from &lt;sum&gt;' in text
    assert "<svg" not in page([row()], title="t", command="c")


def test_what_was_not_run_is_on_the_page_and_in_the_document() -> None:
    skipped = Skipped(question="who & when?", attack="inversion", why="no <model>")
    text = page([row(), skipped], title="t", command="c")
    assert {"who & when?", "inversion", "no <model>", "Not run"} <= set(Texts(text).seen)
    assert document([skipped])["skipped"] == [dataclasses.asdict(skipped)]
    assert "Not run" not in page([row()], title="t", command="c")


def test_a_document_has_figures_with_their_lines() -> None:
    (found,) = document([row(bound=0.95)])["rows"]
    assert found["found"] == {"value": 0.9, "low": 0.8, "high": 1.0}
    assert found["control"]["high"] == 0.6
    assert found["bound"] == 0.95
    assert (found["leaks"], found["exceeds"]) == (True, False)
    json.dumps(found)


def test_the_command_writes_page_and_figures(tmp_path: Path) -> None:
    (tmp_path / "plan.toml").write_text(PLAN.format(1.0))
    done = secagg(
        "audit", tmp_path / "plan.toml", "--json", "-o", tmp_path / "out", "--attacks-only"
    )
    assert done.exit_code == 0, done.output
    written = json.loads((tmp_path / "out" / "leakage.json").read_text())
    assert json.loads(done.stdout) == written
    assert written["rows"][0]["exposure"]["noise"] > 1
    assert Texts((tmp_path / "out" / "leakage.html").read_text()).open == []


@pytest.mark.parametrize(
    ("tables", "due"),
    [
        ('name = "pine"\n[screen]\nopens = "norm"', Mode(kind=Kind.EXACT)),
        ('[screen]\nopens = "norm"', Mode(kind=Kind.NORM, numbers=64)),
        (
            "corrupt = 0.0\n[screen]\nopens = 'groups'\ngroup = 4",
            Mode(kind=Kind.GROUPS, numbers=256, group=4),
        ),
    ],
)
def test_the_screen_of_a_plan_file_is_exposed(tables: str, due: Mode) -> None:
    file = PlanFile.parse(f"[scheme]\nclients = 12\n{tables}\n")
    assert Exposure.of(file.plan(np.zeros(3000))).mode == due


@encrypted
def test_a_plan_with_a_key_authority_is_attacked_like_any_other(tmp_path: Path) -> None:
    text = '[scheme]\nname = "ckks"\nclients = 12\n[screen]\nopens = "sketch"\n'
    (tmp_path / "plan.toml").write_text(text)
    done = secagg("audit", tmp_path / "plan.toml", "--seconds", 0)
    assert done.exit_code == 0, done.output
    assert "a sum of 7 clients, no noise; opened beside it: sketch, 256 numbers" in done.stdout


@encrypted
def test_a_plan_with_a_key_authority_is_audited_by_both_commands(tmp_path: Path) -> None:
    path = tmp_path / "plan.toml"
    path.write_text(PLAN.format(0.3).replace("clients", 'name = "ckks"\nclients'))
    canaries = secagg("audit", "epsilon", path, "--runs", 3, "--json")
    assert canaries.exit_code == 0, canaries.output
    assert json.loads(canaries.stdout)["canaries"] == 36
    noise = secagg("audit", "noise", path, "--length", 1 << 14, "--json")
    assert noise.exit_code == 0, noise.output
    assert json.loads(noise.stdout)["clients"] == 12
    forgotten = secagg("audit", "noise", path, "--length", 1 << 14, "--skip", 4, "--json")
    assert forgotten.exit_code == 1
    assert not json.loads(forgotten.stdout)["passed"]


@encrypted
def test_an_audit_without_the_authority_of_the_plan_ends_by_name(tmp_path: Path) -> None:
    path = tmp_path / "plan.toml"
    path.write_text(PLAN.format(0.3).replace("clients", 'name = "ckks"\nclients'))
    promised, authority = planned(PlanFile.load(path), np.zeros(1 << 14))
    assert audit_noise(promised, authority=authority).verdict.passed
    with pytest.raises(Aborted, match="the key authority did not answer"):
        audit_noise(promised)


def test_noise_of_aggregators_is_that_of_one(tmp_path: Path) -> None:
    text = PLAN.format(2.0).replace("clients", 'name = "pine"\nclients') + 'by = "aggregators"\n'
    (tmp_path / "plan.toml").write_text(text)
    file = PlanFile.load(tmp_path / "plan.toml")
    exposure = Exposure.of(file.plan(np.zeros(100)))
    due = noise_multiplier(2.0, 1e-5, rounds=file.training.rounds)
    assert exposure.noise == pytest.approx(due, rel=1e-2)
    assert exposure.mode == Mode(kind=Kind.BIT)


@pytest.mark.parametrize(
    ("exact", "due"), [("norm", "exact norm"), ("cosine", "exact norm and cosine")]
)
def test_what_two_aggregators_open_needs_no_plan_file(exact: str, due: str) -> None:
    done = secagg("audit", "leakage", "--clients", 3, "--exact", exact, "--seconds", 0)
    assert done.exit_code == 0, done.output
    assert f"a sum of 3 clients, no noise; opened beside it: {due}" in " ".join(done.stdout.split())


def test_the_command_stops_in_time_and_says_so(tmp_path: Path) -> None:
    command = ("audit", "leakage", "--clients", 3, "--seconds", 0)
    done = secagg(*command)
    assert done.exit_code == 0, done.output
    assert "a sum of 3 clients, no noise" in done.stdout
    assert "some attacks were not run" in done.stdout
    done = secagg(*command, "--json", "-o", tmp_path / "new" / "out")
    assert "some attacks were not run" in done.stderr
    assert json.loads(done.stdout)["complete"] is False
    assert "Stopped before the end" in (tmp_path / "new" / "out" / "leakage.html").read_text()


def test_a_whole_page_does_not_say_that_it_stopped() -> None:
    assert "Stopped before" not in page([row()], title="t", command="c")
    assert "Stopped before" in page([row()], title="t", command="c", late=True)
    assert [document([], late=late)["complete"] for late in (False, True)] == [True, False]


def test_a_folder_that_cannot_be_made_is_said_before_anything_is_run(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    started = time.monotonic()
    done = secagg("audit", "leakage", "-o", tmp_path / "file" / "out", "--full")
    assert (done.exit_code, len(done.stderr.splitlines())) == (2, 1)
    assert "Not a directory" in done.stderr
    assert time.monotonic() - started < 30  # of the minutes that it takes


def test_names_of_extras_are_printed_as_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    skipped = Skipped(question="who?", attack="a", why="pip install 'secagg[torch]'")
    monkeypatch.setattr("protocols.laboratory.suite.rows", lambda *_, **__: iter([skipped]))
    done = secagg("audit", "leakage", "--clients", 3)
    assert "secagg[torch]" in done.stdout


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--clients", 0], "1 <= clients <= 400"),
        (["--opened", 4, "--group", 0], "2 <= group <= 2**20"),
        (["--opened-noise", 1], "1 <= numbers <= 16384"),
        (["--model", "a:b"], "--model and --data go together"),
        (["plan.toml", "--opened", 4], "what is opened is in the plan file"),
        (["plan.toml", "--exact", "norm"], "what is opened is in the plan file"),
        (["--opened", 4, "--exact", "norm"], "--exact goes without --opened"),
        (["plan.toml", "--clients", 4], "--clients and --noise are in the plan file"),
        (["plan.toml", "--noise", 0], "--clients and --noise are in the plan file"),
        (["--seconds", "nan"], "seconds >= 0 must hold, got nan"),
        (["--seed", -1], "'--seed'"),
        (["--jobs", 0], "'--jobs'"),
        (["plan.toml"], "plan.toml: No such file"),
    ],
)
def test_the_command_refuses_what_cannot_be_attacked(options: list[object], words: str) -> None:
    done = secagg("audit", "leakage", *options)
    assert done.exit_code == 2
    assert words in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_a_word_that_is_no_plan_is_no_command() -> None:
    done = secagg("audit", "leekage")
    assert done.exit_code == 2
    assert "leekage" in done.stderr


def test_epsilon_is_audited_by_a_command(tmp_path: Path) -> None:
    (tmp_path / "plan.toml").write_text(PLAN.format(2.0))
    done = secagg("audit", "epsilon", tmp_path / "plan.toml", "--runs", 3, "--json")
    assert done.exit_code == 0, done.output
    found = json.loads(done.stdout)
    assert found["passed"]
    assert found["canaries"] == 36
    assert 0 < found["claimed"] < 2  # of one round; the budget is for several
    done = secagg("audit", "epsilon", tmp_path / "plan.toml", "--runs", 1)
    assert (done.exit_code, len(done.stderr.splitlines())) == (2, 1)
    assert "12 canaries refute an epsilon of 0 at most" in done.stderr


def test_a_limit_on_leakage_is_kept_or_raises() -> None:
    pool = users(split(digits(), np.random.default_rng(3)), np.random.default_rng(4))
    alone, crowd = (
        sum_trials(pool, np.random.default_rng(5), clients=clients, noise=noise)
        for clients, noise in ((1, 0.0), (20, 1.0))
    )
    figure = assert_leakage_below(Whitened(), crowd, 0.7, exposed=alone)
    assert figure.found.high < 0.7
    with pytest.raises(AssertionError, match=r"area < 0\.7 must hold"):
        assert_leakage_below(Whitened(), alone, 0.7, exposed=alone)
    with pytest.raises(AssertionError, match=r"must find more than 0\.7 where nothing is"):
        assert_leakage_below(Correlation(), crowd, 0.7, exposed=exchanged(alone))
    for nothing in (1.0, 1.5, math.nan):  # that no attack could exceed
        with pytest.raises(AssertionError, match="must find more than"):
            assert_leakage_below(Whitened(), crowd, nothing, exposed=alone)
    with pytest.raises(AssertionError, match="must hold"):  # of so few no trial says anything
        assert_leakage_below(Correlation(), crowd[:2], 0.7, exposed=alone)
