"""The demo with attackers: screened through the real protocol, with the open run beside it."""

from __future__ import annotations

import dataclasses
import json
import re
import warnings
from pathlib import Path

import pytest
from rich.console import Console

from protocols.demo import contest_report, contest_table
from protocols.demo.contest import ATTACKS, Contest, Match, Settings, last_verdicts
from robust.attacks.attack import Goal
from robust.decide import Cascade
from secagg.errors import Aborted, ParameterError

with warnings.catch_warnings():
    # typer 0.20, the last that Flower allows, imports names that click 8.5 deprecates
    warnings.simplefilter("ignore", DeprecationWarning)
    from typer.testing import CliRunner

    from protocols.cli import app

SMALL = {"clients": 20, "attackers": 2, "rounds": 3, "hidden": 16, "rows": 64, "drop": 0.0}


@pytest.fixture(scope="module")
def played() -> tuple[Contest, list[Match]]:
    settings = Settings(attacks=("fr_delta", "bd_model-replacement"), **SMALL)  # type: ignore[arg-type]
    contest = Contest(settings, Cascade(rounds=3))
    return contest, list(contest.rounds())


def test_every_sum_is_exact_and_without_those_kept_out(
    played: tuple[Contest, list[Match]],
) -> None:
    _, matches = played
    assert [match.number for match in matches] == [1, 2, 3]
    for match in matches:
        assert match.outcome.exact
        result = match.outcome.result
        assert result is not None
        out = match.excluded[0] | match.excluded[1]
        assert result.refused == out
        assert match.beyond <= out
    assert contest_table.all_exact(matches)


def test_a_backdoor_beyond_the_bound_is_kept_out_and_free_riders_are_found(
    played: tuple[Contest, list[Match]],
) -> None:
    contest, matches = played
    sides = {client: contest.screened.attack_of(client) for client in contest.screened.malicious}
    scaled = {client for client, attack in sides.items() if attack and attack.trains}
    assert len(scaled) == 2
    assert all(scaled <= match.beyond for match in matches)
    assert matches[-1].open_success > 0.9
    assert matches[-1].success < 0.7 * matches[-1].open_success


def test_both_runs_start_alike_and_differ_by_the_screening_alone(
    played: tuple[Contest, list[Match]],
) -> None:
    contest, _ = played
    fresh = Contest(contest.settings)
    one, other = fresh.screened.round(), fresh.unprotected.round()
    assert (one.updates == other.updates).all()
    assert one.clients == other.clients


def test_what_is_printed_names_every_client_kept_out_and_why(
    played: tuple[Contest, list[Match]],
) -> None:
    contest, matches = played
    console = Console(width=300)
    with console.capture() as capture:
        console.print(contest_table.heading(contest))
        console.print(contest_table.rounds_table(contest, matches))
        console.print(contest_table.reasons(contest, matches))
        console.print(contest_table.verdict(contest, matches, 1.0))
    shown = capture.get()
    named = set(map(int, re.findall(r"\d+", " ".join(re.findall(r"clients? ([\d, ]+)", shown)))))
    assert set().union(*(match.beyond for match in matches)) <= last_verdicts(matches).keys()
    assert last_verdicts(matches).keys() <= named
    assert "beyond the norm bound" in shown
    assert "3 of 3 sums exact" in shown
    assert f"{contest.plan.scheme.opened} numbers opened" in shown


def test_a_round_without_a_sum_says_why(played: tuple[Contest, list[Match]]) -> None:
    matches = played[1]
    assert not contest_table.failures(matches)
    reason = Aborted("decide", "11 clients accepted, at least 14 are needed")
    failed = [
        dataclasses.replace(match, outcome=dataclasses.replace(match.outcome, failure=reason))
        for match in matches
    ]
    shown = str(contest_table.failures(failed))
    assert shown.startswith("no sum in 1 to 3: ")
    assert "11 clients accepted, at least 14 are needed" in shown


def test_the_json_document_is_json(played: tuple[Contest, list[Match]]) -> None:
    contest, matches = played
    document = json.loads(json.dumps(contest_table.json_document(contest, matches, 1.0)))
    assert document["exact"] is True
    assert len(document["rounds"]) == 3
    assert document["rounds"][0]["opened"] == 65
    assert sorted(map(int, document["attackers"])) == list(contest.screened.malicious)


def test_every_attack_has_a_name_of_its_goal() -> None:
    prefixes = {Goal.FREE_RIDE: "fr_", Goal.POISON: "po_", Goal.BACKDOOR: "bd_"}
    assert len(ATTACKS) == len({attack.name for attack in ATTACKS.values()})
    for name, attack in ATTACKS.items():
        assert name.startswith(prefixes[attack.goal])
        assert " " not in name


@pytest.mark.parametrize(
    "wrong",
    [
        {"attacks": ("fr_nothing",)},
        {"attacks": ()},
        {"attacks": ("fr_delta",), "attackers": 10},
        {"attacks": ("fr_delta",), "attackers": 0},
        {"attacks": ("fr_delta",), "audit": -1},
    ],
)
def test_other_settings_are_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ParameterError):
        Settings(**{**SMALL, **wrong})  # type: ignore[arg-type]


def test_the_report_after_it_sets_attackers_aside(played: tuple[Contest, list[Match]]) -> None:
    contest, matches = played
    found = contest_report.summarized(contest, matches)
    assert [trail.client for trail in found.trails] == list(contest.screened.clients)
    assert {trail.client for trail in found.trails if not trail.spotless} == {
        client for match in matches for client in match.verdicts.excluded
    }
    assert found.contributions is not None
    assert found.fairness is not None
    assert found.fairness.attackers == len(contest.screened.malicious)
    assert found.fairness.all.clients == 16
    assert sum(part.clients for part in found.fairness.sizes) == 16
    assert sum(part.clients for part in found.fairness.subgroups) == 16
    page = contest_report.document_page(contest, matches)
    for client in last_verdicts(matches):
        assert f'id="client-{client}"' in page


def test_who_is_beyond_the_bound_is_so_by_the_figure_too(
    played: tuple[Contest, list[Match]],
) -> None:
    for match in played[1]:
        assert match.beyond
        for verdict in match.verdicts.verdicts:
            (bound,) = [one for one in verdict.findings if one.test == "bound"] or [None]
            assert (bound is not None) is (verdict.client in match.beyond)
            assert bound is None or bound.figure > bound.threshold


def test_an_audit_is_screened_and_leaves_the_model_alone() -> None:
    settings = Settings(attacks=("fr_delta",), **{**SMALL, "rounds": 2}, audit=2)  # type: ignore[arg-type]
    contest = Contest(settings, Cascade(rounds=2))
    rounds = contest.rounds()
    first, before = next(rounds), contest.screened.weights
    second = next(rounds)
    assert (first.audited, second.audited) == (False, True)
    assert (contest.screened.weights == before).all()
    assert contest.screened.number == 2
    assert second.outcome.exact
    # the first mean, the model that was sent, and the perturbation; in the first round the model
    assert (len(first.seen.public.known), len(second.seen.public.known)) == (1, 3)
    console = Console(width=120)
    with console.capture() as capture:
        console.print(contest_table.rounds_table(contest, [first, second]))
    assert "audit 2" in capture.get()
    assert "its mean was not applied" in capture.get()


def test_the_command_runs_it_and_lists_attacks(tmp_path: Path) -> None:
    runner = CliRunner()
    listed = runner.invoke(app, ["demo", "--attack", "list"])
    assert listed.exit_code == 0
    assert listed.output.split() == list(ATTACKS)
    ran = runner.invoke(
        app,
        [
            *["demo", "--attack", "fr_noise", "--clients", "20", "--rounds", "1", "--json"],
            *["--html", str(tmp_path / "page.html")],
        ],
    )
    assert ran.exit_code == 0
    document = json.loads(ran.output)
    assert document["exact"] is True
    assert document["standings"]["1"]["standing"] == "member"
    assert "Standings" in (tmp_path / "page.html").read_text("utf-8")


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--attack", "nonsense"], "unknown attack 'nonsense'"),
        (["--attack", "fr_delta", "--epsilon", "8"], "--epsilon and --attack do not go together"),
        (["--html", "page.html"], "--html goes with --attack"),
        (["--audit", "3"], "--audit goes with --attack"),
        (["--attack", "fr_delta", "--clients", "6"], "attackers * attacks < clients / 2"),
    ],
)
def test_the_command_refuses_in_one_line(options: list[str], words: str) -> None:
    ran = CliRunner().invoke(app, ["demo", *options])
    assert ran.exit_code == 2
    assert words in ran.output
    assert len(ran.output.splitlines()) == 1
