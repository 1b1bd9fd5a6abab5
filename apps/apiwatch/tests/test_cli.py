"""The command, as a person or a pipe uses it: exit status, streams, one line for an error."""

from __future__ import annotations

import io
import json
import re
import warnings
from pathlib import Path

import pytest
from traffic import attacks, usual

from apiwatch import gather
from apiwatch.event import Field, Place, Request
from apiwatch.logs import Log, request_to_json
from apiwatch.naming import text_of
from apiwatch.pending import Pending, pending_file
from apiwatch.store import Profile
from apiwatch.work import learnt, taught

with warnings.catch_warnings():
    # typer 0.20, the last that Flower allows, imports names that click 8.5 deprecates
    warnings.simplefilter("ignore", DeprecationWarning)
    from typer.testing import CliRunner, Result

    from apiwatch.cli import app


def log(path: Path, requests, start: float = 1.7e9) -> Path:
    entries = (request_to_json(r) | {"time": start + 60 * i} for i, r in enumerate(requests))
    path.write_text("".join(json.dumps(entry) + "\n" for entry in entries))
    return path


def run(*arguments: object, stdin: bytes | None = None) -> Result:
    source = io.BytesIO(stdin) if stdin is not None else None
    return CliRunner().invoke(app, [str(a) for a in arguments], input=source)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("logs")
    for site in range(5):
        log(folder / f"site{site}", usual(120, seed=site))
    log(folder / "usual", usual(1000, seed=77))
    log(folder / "more", usual(300, seed=78))
    log(folder / "attacked", [*usual(200, seed=79), *attacks() * 3])
    return folder


@pytest.fixture
def profile(folder: Path, tmp_path: Path) -> Path:
    path = tmp_path / "profile"
    sites = [folder / f"site{site}" for site in range(5)]
    assert run("learn", *sites, "-p", path).exit_code == 0
    done = run(
        "threshold", folder / "usual", "-p", path, "--alerts-per-day", 4, "--requests-per-day", 1000
    )
    assert done.exit_code == 0
    return path


def test_attacks_are_found_and_the_status_says_so(folder: Path, profile: Path) -> None:
    found = run("score", folder / "attacked", "-p", profile)
    assert found.exit_code == 1
    assert len(found.stdout.splitlines()) >= 4
    clean = log(folder / "clean", usual(1, seed=5))
    quiet = run("score", clean, "-p", profile)
    assert (quiet.exit_code, quiet.stdout) == (0, "")


def test_standard_input_is_a_log(folder: Path, profile: Path) -> None:
    data = (folder / "attacked").read_bytes()
    piped = run("score", "-", "-p", profile, "--format", "ocsf", stdin=data)
    assert piped.exit_code == 1
    assert {json.loads(line)["class_uid"] for line in piped.stdout.splitlines()} == {2004}


def test_an_alert_is_explained(folder: Path, profile: Path) -> None:
    lines = run("score", folder / "attacked", "-p", profile).stdout.splitlines()
    told = run("explain", lines[0][:16], folder / "attacked", "-p", profile)
    assert told.exit_code == 0
    assert re.search(r"with a usual value in its place: -?[\d.]+, below", told.stdout)
    assert run("explain", "f" * 16, folder / "attacked", "-p", profile).exit_code == 2


def test_sites_learn_together_what_one_would_learn_from_all(folder: Path, tmp_path: Path) -> None:
    sites = [folder / f"site{site}" for site in range(5)]
    path = tmp_path / "together"
    assert run("learn", "--together", *sites, "-p", path).exit_code == 0
    assert run("score", folder / "attacked", "-p", path).exit_code == 1
    few = run("learn", "--together", *sites[:4], "-p", path)
    assert few.exit_code == 2
    assert "sites >= 5 must hold" in few.stderr


def test_sites_that_learn_together_prove_what_they_say(folder: Path, tmp_path: Path) -> None:
    sites = [folder / f"site{site}" for site in range(5)]
    path = tmp_path / "proved"
    options = ("--support", 2, "--proved", 1 << 15)
    assert run("learn", "--together", *sites, *options, "-p", path).exit_code == 0
    assert "counters and support, proved: " in run("ledger", "-p", path).stdout
    masked = tmp_path / "masked"
    assert run("learn", "--together", *sites, "--support", 2, "-p", masked).exit_code == 0
    assert Profile.load(path).sites.max() == Profile.load(masked).sites.max() == 5
    alone = run("learn", sites[0], "--proved", 9, "-p", tmp_path / "alone")
    assert alone.exit_code == 2
    assert "proved = 0 without --together must hold" in alone.stderr
    for wrong, reason in (
        (("--proved", 40_000_000), "must hold for sound wrap-around checks of bound 40000000"),
        (("--support", 6), "support <= 5 sites must hold"),
    ):
        refused = run("learn", "--together", *sites, *wrong, "-p", tmp_path / "refused")
        assert refused.exit_code == 2
        assert reason in " ".join(refused.stderr.split())


def test_what_is_forgotten_was_never_there(folder: Path, profile: Path) -> None:
    stay = [folder / f"site{site}" for site in range(4)]
    options = [option for path in stay for option in ("--rest", path)]
    done = run("forget", folder / "site4", *options, "-p", profile)
    assert done.exit_code == 0
    loaded = Profile.load(profile)
    counts = gather(r for path in stay for r in Log(path.read_bytes().splitlines()))
    never = learnt(counts, loaded.table.settings, None)
    assert loaded.detector.digest == never.detector.digest
    again = run("forget", folder / "site4", *options, "-p", profile)
    assert again.exit_code == 2


def test_examples_that_are_forgotten_were_never_taught(
    folder: Path, profile: Path, tmp_path: Path
) -> None:
    def written(name: str, *pairs: tuple[str, str]) -> Path:
        lines = (json.dumps({"value": value, "label": label}) + "\n" for value, label in pairs)
        (tmp_path / name).write_text("".join(lines))
        return tmp_path / name

    stay = [(f"anna {i}", "benign") for i in range(20)]
    stay += [(f"{i}' or {i}={i}--", "sqli") for i in range(9)]
    gone = [*((f"<script>{i}", "xss") for i in range(9)), stay[-1], ("x' or 1=1", "sqli")]
    files = written("stay", *stay), written("gone", *gone)
    loaded = Profile.load(profile)
    taught(loaded, [*stay, *gone])
    loaded.save(profile)
    kept = profile.read_bytes()
    waiting = Pending(pending_file(profile))
    waiting.add([gone[-1], stay[-1], ("y", "other")])
    rest = [part for site in range(4) for part in ("--rest", folder / f"site{site}")]
    asked = ("forget", folder / "site4", *rest, "-p", profile)
    refused = run(*asked, "--examples", files[1])
    assert (refused.exit_code, "`round leave`" in refused.stderr) == (2, True)
    assert profile.read_bytes() == kept
    alone = run(*asked, "--rest-examples", files[0])
    assert (alone.exit_code, "--rest-examples with --examples" in alone.stderr) == (2, True)

    done = run(*asked, "--examples", files[1], "--rest-examples", files[0])
    assert done.exit_code == 0
    mine = Profile.load(profile)
    taught(loaded, stay)
    assert (mine.classes.digest, mine.level) == (loaded.classes.digest, loaded.level)
    assert Pending(waiting.path).pairs == [stay[-1], ("y", "other")]
    profile.write_bytes(kept)
    said = run(*asked)
    assert (said.exit_code, "names stay as they are" in said.stderr) == (0, True)


def test_more_is_added(folder: Path, profile: Path) -> None:
    before = Profile.load(profile).table
    assert run("learn", "--more", folder / "more", "-p", profile).exit_code == 0
    assert Profile.load(profile).table.counts.sum() > before.counts.sum()


def test_names_are_taught_and_given(folder: Path, profile: Path, tmp_path: Path) -> None:
    examples = tmp_path / "examples"
    pairs = [(f"{word}' or {i}={i}--", "sqli") for i in range(9) for word in ("asc", "b", "9")]
    pairs += [(f"anna {i}", "benign") for i in range(30)]
    lines = (json.dumps({"value": v, "label": name}) + "\n" for v, name in pairs)
    examples.write_text("".join(lines))
    assert run("teach", examples, "-p", profile).exit_code == 0
    assert "sqli" in run("score", folder / "attacked", "-p", profile).stdout
    examples.write_text("{}\n")
    refused = run("teach", examples, "-p", profile)
    assert refused.exit_code == 2
    assert "line 1" in refused.stderr


def test_a_cluster_gets_a_name(profile: Path, tmp_path: Path) -> None:
    strange = [
        r.__class__(method="GET", target=f"/items/1?sort=${{jndi:ldap://{'ab.' * i}x/{i}}}")
        for i, r in enumerate(usual(12))
    ]
    attacked = log(tmp_path / "attacked", strange)
    found = run("clusters", attacked, "-p", profile)
    assert found.exit_code == 1
    assert "cluster 0" in found.stdout
    done = run("label", 0, "log4shell", attacked, "-p", profile)
    assert done.exit_code == 0
    waiting = Pending(pending_file(profile))
    assert f"{len(waiting.pairs)} examples of log4shell; {waiting.path} has them" in done.stderr
    assert all("jndi" in value and label == "log4shell" for value, label in waiting.pairs)
    assert "log4shell" in run("score", attacked, "-p", profile).stdout
    assert run("label", 99, "x", attacked, "-p", profile).exit_code == 2


def test_single_alerts_are_proposed_and_named(profile: Path, tmp_path: Path) -> None:
    (one,) = usual(1)
    values = [f"${{jndi:ldap://h{'.a' * i}}}" for i in range(6)] + ["%25s%25n" * 3]
    strange = [one.__class__(method="GET", target=f"/items/1?sort={value}") for value in values]
    attacked = log(tmp_path / "attacked", strange)
    shown = run("clusters", attacked, "-p", profile, "--propose", 3).stdout.splitlines()
    ids = [line.split()[0] for line in shown if " in query:sort of " in line]
    assert len(ids) == 3
    assert run("label", "0123456789abcdef", "x", attacked, "-p", profile).exit_code == 2
    named = run("label", ",".join([*ids, ids[0]]), "lookup", attacked, "-p", profile)
    assert (named.exit_code, "3 examples" in named.stderr) == (0, True)
    assert Profile.load(profile).classes.counts[1:].sum() == 3
    assert run("label", ids[0], "benign", attacked, "-p", profile).exit_code == 2


def test_a_path_is_named_from_where_it_climbs_or_by_its_segment(profile: Path) -> None:
    loaded = Profile.load(profile)
    paths = [f"/items/{'../' * n}etc/passwd?x" for n in range(2, 8)]
    requests = [Request(method="GET", target=path) for path in paths]
    texts = {
        text_of(judged.request, judged.field)
        for judged in loaded.detector.judge(requests)
        if judged.field.place is Place.PATH
    }
    assert texts
    assert all(text.startswith("../") and text.endswith("etc/passwd") for text in texts)
    segment = Field(Place.PATH, "/items/", "", "17")
    assert text_of(Request(method="GET", target="/items/17?x=.."), segment) == "17"
    field = Field(Place.QUERY, "/a", "b", "value")
    assert text_of(requests[0], field) == "value"


def test_drift_is_seen_where_it_is(folder: Path, profile: Path, tmp_path: Path) -> None:
    pytest.importorskip("river")
    quiet = run("drift", folder / "usual", "-p", profile)
    assert (quiet.exit_code, quiet.stdout) == (0, "")
    changed = [
        r.__class__(method="GET", target=f"/items/{i}?sort=price:{i % 7}!up", headers=r.headers)
        for i, r in enumerate(usual(300))
    ]
    both = log(tmp_path / "both", [*usual(1000, seed=77), *changed])
    found = run("drift", both, "-p", profile)
    assert found.exit_code == 1
    assert found.stdout.startswith("/items/0: after ")


def test_a_page_stands_alone_and_holds_no_markup_of_attacks(
    folder: Path, profile: Path, tmp_path: Path
) -> None:
    page = tmp_path / "page.html"
    done = run("report", folder / "attacked", "--html", page, "-p", profile, "--no-redact")
    assert done.exit_code == 0
    text = page.read_text("utf-8")
    assert "alerts in 212 requests" in text
    assert "<script" not in text
    assert not re.search(r"(src|href)=", text)
    plain = re.sub(r"<[^>]*>", "", text)
    assert "&lt;script&gt;alert(1)" in plain
    run("report", folder / "attacked", "--html", page, "-p", profile)
    assert "jndi" not in page.read_text("utf-8")


def test_the_doctor_says_what_is_missing(profile: Path, tmp_path: Path) -> None:
    healthy = run("doctor", "-p", profile)
    assert healthy.exit_code == 0
    assert "cells in use" in healthy.stdout
    assert run("doctor", "-p", tmp_path / "none").exit_code == 2
    profile.chmod(0o644)
    assert "chmod 600" in run("doctor", "-p", profile).stdout
    profile.write_bytes(b"x")
    assert run("doctor", "-p", profile).exit_code == 2


@pytest.mark.parametrize(
    "arguments",
    [
        ("score", "/no/such/log", "-p"),
        ("score", "LOG", "-p", "/no/such/profile"),
        ("threshold", "LOG", "--alerts-per-day", "-1", "-p"),
        ("learn",),
    ],
)
def test_errors_are_one_line(folder: Path, profile: Path, arguments) -> None:
    given = [str(folder / "usual") if a == "LOG" else a for a in arguments]
    given += [str(profile)] if given[-1] == "-p" else []
    done = run(*given)
    assert done.exit_code == 2
    assert "Traceback" not in done.output
    assert done.stdout == ""


def test_unreadable_lines_are_counted_on_the_error_stream(profile: Path, tmp_path: Path) -> None:
    path = log(tmp_path / "log", usual(3))
    path.write_bytes(path.read_bytes() + b"\xff\x00{\n")
    done = run("score", path, "-p", profile)
    assert "1 entries could not be read; entry 4" in done.stderr
