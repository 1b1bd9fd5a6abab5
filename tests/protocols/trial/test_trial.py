"""Runs, grids, results in files, freezing, tables."""

from __future__ import annotations

import dataclasses
import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rich.console import Console

from protocols.trial import freeze as freezing
from protocols.trial import tables
from protocols.trial.attacks import attack_names, attacks, first_names, trigger_of
from protocols.trial.grid import GRIDS, dataless_names, grid_of
from protocols.trial.methods import METHODS
from protocols.trial.results import Results, Timed, ran
from protocols.trial.trial import Case, Run, run
from robust.attacks.poison_labels import TargetedLabelFlip
from secagg.errors import ParameterError

SOURCES = "ab" * 32
FAST = Case(
    data="digits", alpha=0.3, attack="fr_delta", share=0.2, method="ours", seed=0, rounds=4,
    clients=20, rows=64,
)  # fmt: skip


@pytest.fixture(scope="module")
def played() -> Run:
    return run(FAST)


def made(case: Case, caught: int = 0, success: float = 0.0, ever: int = 0, short: int = 0) -> Run:
    """A run that did not take place."""
    n = case.rounds
    return Run(
        case=case, caught=(caught,) * n, accused=(0,) * n, accuracy=(0.5,) * n,
        success=(success,) * n, often_caught=caught, often_accused=0, ever_accused=ever,
        short=short,
    )  # fmt: skip


# -- attacks ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("features", "classes"), [(64, 10), (16, 26), (19, 7), (36, 6), (4, 3), (10, 2)]
)
def test_attacks_fit_every_data_set(features: int, classes: int) -> None:
    found = attacks(features, classes)
    assert tuple(found) == attack_names()
    trigger = trigger_of(features, classes)
    assert len(trigger.indices) == 4
    assert max(trigger.indices) < features
    assert trigger.target < classes
    flips = [one for one in found.values() if isinstance(one, TargetedLabelFlip)]
    assert [(one.source, one.target) for one in flips] == [
        (min(1, classes - 2), min(7, classes - 1))
    ]


def test_a_data_set_may_be_too_small_for_attacks() -> None:
    with pytest.raises(ParameterError, match="features >= 4 and classes >= 2"):
        attacks(3, 10)
    with pytest.raises(ParameterError, match="features >= 4 and classes >= 2"):
        attacks(64, 1)


def test_those_without_data_are_named() -> None:
    assert len(dataless_names()) == 11
    assert not {"fr_lazy", "fr_copycat"} & set(dataless_names())


# -- runs -------------------------------------------------------------------------------------


def test_a_run_repeats_itself(played: Run) -> None:
    assert run(FAST) == played


def test_free_riders_are_caught_and_the_model_learns(played: Run) -> None:
    assert played.caught[-1] == 4
    assert played.ever_accused == 0
    assert played.by_tenth == 1.0
    assert played.accuracy[-1] > played.accuracy[0]
    assert len(played.success) == FAST.rounds


def test_methods_of_one_seed_meet_the_same_data() -> None:
    """Where nobody attacks, no defense and bounds that nobody reaches differ by rounding alone."""
    quiet = dataclasses.replace(FAST, attack="none", share=0.0)
    mean, bounds = (run(dataclasses.replace(quiet, method=name)) for name in ("mean", "bounds"))
    assert bounds.accused == mean.accused == (0,) * FAST.rounds
    assert bounds.accuracy == pytest.approx(mean.accuracy, abs=0.01)


def test_at_the_end_counts_who_was_out_of_most_of_five_rounds() -> None:
    found = dataclasses.replace(made(FAST), often_caught=3, often_accused=4, ever_accused=8)
    assert found.detection == (0.75, 0.25)
    assert found.wronged == 0.5


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"method": "median"}, "method must be one of"),
        ({"attack": "fr_sloth"}, "attack must be one of"),
        ({"alpha": -0.1}, "0 <= alpha < inf"),
        ({"alpha": float("nan")}, "0 <= alpha < inf"),
        ({"seed": -1}, "seed >= 0"),
        ({"share": 1.0}, "share < 1"),
        ({"share": 0.0}, "for no attack, and only so"),
        ({"attack": "none"}, "for no attack, and only so"),
        ({"rounds": 0}, "rounds, clients, rows >= 1"),
        ({"rounds": True}, "rounds must be of type int"),
        ({"data": 3}, "data must be of type str"),
    ],
)
def test_cases_that_cannot_be(change: dict[str, Any], message: str) -> None:
    assert dataclasses.replace(FAST, seed=7).seed == 7
    with pytest.raises(ParameterError, match=message):
        dataclasses.replace(FAST, **change)


@pytest.mark.slow
def test_a_backdoor_is_unlearned_in_the_loop() -> None:
    case = Case(
        data="digits", alpha=0.3, attack="bd_norm-matched", share=0.2, method="ours", seed=0,
        rounds=4, clients=20,
    )  # fmt: skip
    kept, mended = run(case), run(dataclasses.replace(case, method="ours+mending"))
    assert kept.success[-1] > 0.9
    assert mended.success[-1] < 0.3
    assert mended.accuracy[-1] > kept.accuracy[-1] - 0.05
    assert mended.caught == kept.caught  # nobody is excluded for it


def test_a_run_survives_json(played: Run) -> None:
    assert Run.from_document(json.loads(json.dumps(played.document()))) == played


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"extra": 1}, "a run has the fields"),
        ({"caught": [1]}, "caught must have one entry for each of 4 rounds"),
        ({"accuracy": [0.1, 0.2, 0.3, float("nan")]}, "accuracy must hold numbers"),
        ({"short": -1}, "short must be a count"),
        ({"ever_accused": "2"}, "ever_accused must be a count"),
        ({"case": []}, "a case has the fields"),
    ],
)
def test_documents_that_are_no_run(played: Run, change: dict[str, Any], message: str) -> None:
    with pytest.raises(ParameterError, match=message):
        Run.from_document({**played.document(), **change})


# -- grids ------------------------------------------------------------------------------------


EVIDENCE = "follow-up-4", "follow-up-5", "follow-up-6"
"""Of the rules on evidence, one after the other."""


def test_grids_are_disjoint_and_complete() -> None:
    development, held_out = grid_of("development"), grid_of("held-out")
    assert held_out.held_out
    assert not development.held_out
    sets = [{case.data for case in grid.cases} for grid in (development, held_out)]
    assert not sets[0] & sets[1]
    for grid in (development, held_out):
        assert len(set(grid.cases)) == len(grid.cases)
        assert len({case.seed for case in grid.cases}) >= 3
        assert {case.alpha for case in grid.cases} == {0.0, 0.3, 0.1}
        assert {case.attack for case in grid.cases} == {"none", *first_names()}
        first = {one.name for one in METHODS if "mending" not in one.name}
        assert {case.method for case in grid.cases} == first
        assert {case.share for case in grid.cases} == {0.0, 0.1, 0.2, 0.5, 0.6, 0.7}


def test_the_second_held_out_grid_has_sets_of_its_own_and_the_attacks_that_adapt() -> None:
    grids = {grid.name: grid for grid in GRIDS}
    second = grids["held-out-2"]
    assert second.held_out
    assert len(set(second.cases)) == len(second.cases)
    later = grids["follow-up-2"]
    after = (second, later, grids["mending"])
    before = [grid for grid in GRIDS if grid not in after and grid.name not in EVIDENCE]
    others = {c.data for grid in before for c in grid.cases}
    assert not {case.data for case in second.cases} & others
    assert {(c.data, c.seed) for c in later.cases} == {(c.data, c.seed) for c in second.cases}
    attacked = {case.attack for case in second.cases}
    assert attacked == {"none", *(one for one in attack_names() if not one.startswith("fr_"))}
    assert len([one for one in attacked if one.startswith("bd_")]) == 10
    looked_at = {case.data for case in grids["coalitions"].cases}
    assert looked_at == {
        case.data for name in ("development", "held-out") for case in grids[name].cases
    }
    assert {case.seed for case in grids["coalitions"].cases}.isdisjoint({0, 1, 2, 100, 101, 102})


def test_the_third_held_out_grid_has_sets_that_no_other_has() -> None:
    third = grid_of("held-out-3")
    assert third.held_out
    assert len(set(third.cases)) == len(third.cases)
    after = (third, grid_of("mending"))
    before = [grid for grid in GRIDS if grid not in after and grid.name not in EVIDENCE]
    others = {case.data for grid in before for case in grid.cases}
    assert not {case.data for case in third.cases} & others
    named = {case.attack for case in third.cases}
    assert named == {case.attack for case in grid_of("held-out-2").cases}
    before = [grid for grid in GRIDS if grid not in (third, grid_of("mending"))]
    seeds = {case.seed for grid in before for case in grid.cases}
    assert not {case.seed for case in third.cases} & seeds


def test_mending_is_run_where_others_were_and_then_on_a_set_that_no_other_grid_has() -> None:
    mending, fourth = grid_of("mending"), grid_of("held-out-4")
    assert (mending.held_out, fourth.held_out) == (False, True)
    for grid in (mending, fourth):
        assert len(set(grid.cases)) == len(grid.cases)
        assert len({one.attack for one in grid.cases if one.attack.startswith("bd_")}) == 10
    met = {
        (one.data, one.seed)
        for name in ("held-out-2", "held-out-3")
        for one in grid_of(name).cases
        if one.method == "krum"
    }
    assert {(one.data, one.seed) for one in mending.cases} <= met
    others = {case.data for grid in GRIDS if grid is not fourth for case in grid.cases}
    assert {case.data for case in fourth.cases} == {"mnist"}
    assert "mnist" not in others


def test_the_last_held_out_grids_have_sets_on_which_nothing_was_unlearned() -> None:
    fifth, sixth = grid_of("held-out-5"), grid_of("held-out-6")
    others = [case for grid in GRIDS if grid not in (fifth, sixth) for case in grid.cases]
    mended = {case.data for case in others if case.method.endswith("mending")}
    for grid in (fifth, sixth):
        assert grid.held_out
        assert len(set(grid.cases)) == len(grid.cases)
        assert not {case.seed for case in grid.cases} & {case.seed for case in others}
        assert not {case.data for case in grid.cases} & mended
    both = fifth.cases + sixth.cases
    partitions = {(case.alpha, case.seed) for case in both}
    assert sorted(partitions) == [(0.0, 1203), (0.1, 1204), (0.3, 1200), (0.3, 1201), (0.3, 1202)]
    assert len({(case.alpha, case.seed, case.data) for case in both}) == 4 * len(partitions)


def test_what_followed_has_two_sets_that_no_grid_had_before_and_then_three() -> None:
    seen = {case.data for grid in GRIDS if grid.name not in EVIDENCE for case in grid.cases}
    new = [{"twonorm", "wdbc"}, {"segment0", "ionosphere", "bands"}, set()]
    for name, added in zip(EVIDENCE, new, strict=True):
        grid = grid_of(name)
        assert len(set(grid.cases)) == len(grid.cases)
        assert {case.data for case in grid.cases} - seen == added
        seen |= added
        seeds = {case.seed for other in GRIDS if other is not grid for case in other.cases}
        assert not {case.seed for case in grid.cases} & seeds
    assert [name for name in EVIDENCE if grid_of(name).held_out] == ["follow-up-5"]


def test_the_benchmark_of_free_riders_has_both_cohorts_and_all_shares() -> None:
    grid = grid_of("free-rider-benchmark")
    assert not grid.held_out
    assert len({case.key for case in grid.cases}) == len(grid.cases)
    assert {case.data for case in grid.cases} == {"digits"}
    assert {(case.alpha, case.rounds) for case in grid.cases} == {(1.0, 20)}
    assert {(case.clients, case.attackers) for case in grid.cases} == {
        (10, 0), (10, 1), (10, 3), (10, 7), (100, 0), (100, 10), (100, 30), (100, 70),
    }  # fmt: skip
    assert {case.attack for case in grid.cases} <= {"none", *dataless_names()}


def test_cohorts_have_tables_of_their_own_and_one_mean_f1() -> None:
    cases = [case for case in grid_of("free-rider-benchmark").cases if case.method == "ours"]
    runs = [made(case, caught=case.attackers) for case in cases]
    titles = [sheet.title for sheet in tables.sheets(runs)]
    for clients in (10, 100):
        assert sum(f"share of {clients} clients" in title for title in titles) == 1
    assert any(
        "mean F1 at the end 1.000" in line.text and line.met for line in tables.summary(runs)
    )
    missed = [made(case) for case in cases]
    assert any(
        "F1 at the end 0.000" in line.text and not line.met for line in tables.summary(missed)
    )
    assert not any("F1" in line.text for line in tables.summary(runs[:1]))


def test_unknown_grids_are_refused() -> None:
    assert [grid_of(grid.name) for grid in GRIDS] == list(GRIDS)
    names = "one of quick, preview, development, follow-up, free-rider-benchmark, held-out, "
    names += "coalitions, held-out-2, follow-up-2, follow-up-3, held-out-3, follow-up-4, mending, "
    names += "held-out-4, held-out-5, held-out-6"
    with pytest.raises(ParameterError, match=names):
        grid_of("all")


# -- results in files -------------------------------------------------------------------------


def cases() -> Iterator[Case]:
    for seed in range(3):
        yield dataclasses.replace(FAST, seed=seed)


def test_results_are_kept_and_not_run_again(tmp_path: Path) -> None:
    path = tmp_path / "results.jsonl"
    book = Results(path, SOURCES)
    assert book.missing(cases()) == list(cases())
    first = next(cases())
    book.add(Timed(run=made(first, caught=2), seconds=1.5))
    again = Results(path, SOURCES)
    assert again.missing(cases()) == list(cases())[1:]
    assert again.of(cases()) == [Timed(run=made(first, caught=2), seconds=1.5)]


def test_a_line_that_was_cut_off_is_overwritten(tmp_path: Path) -> None:
    path = tmp_path / "results.jsonl"
    chosen = list(cases())
    for case in chosen[:2]:
        Results(path, SOURCES).add(Timed(run=made(case), seconds=0.0))
    whole = path.read_bytes()
    path.write_bytes(whole[:-20])
    book = Results(path, SOURCES)
    assert book.missing(chosen) == chosen[1:]
    book.add(Timed(run=made(chosen[1]), seconds=0.0))
    assert path.read_bytes() == whole


@pytest.mark.parametrize("text", [b'{"mine": 1}', b"notes", b'{"format": 1, "sources": "cd'])
def test_a_last_line_of_another_kind_is_not_overwritten(tmp_path: Path, text: bytes) -> None:
    path = tmp_path / "runs.jsonl"
    path.write_bytes(text)
    with pytest.raises(ParameterError, match="would be written over"):
        Results(path, SOURCES)
    assert path.read_bytes() == text
    path.write_bytes(b'{"format": 1, "sour')
    Results(path, SOURCES).add(Timed(run=made(FAST), seconds=0.0))
    assert len(Results(path, SOURCES).runs) == 1


def test_results_of_other_sources_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "results.jsonl"
    Results(path, SOURCES).add(Timed(run=made(FAST), seconds=0.0))
    with pytest.raises(ParameterError, match=r"results.jsonl, line 1: a result of other sources"):
        Results(path, "cd" * 32)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (b"{}", "a line has the fields"),
        (b"[]", "a line has the fields"),
        (b"\xff", "line 1"),
        (b"nonsense", "line 1: Expecting value"),
        (b'{"format":2,"sources":"","seconds":0,"run":{}}', "format must be 1"),
    ],
)
def test_files_that_are_no_results(tmp_path: Path, line: bytes, message: str) -> None:
    path = tmp_path / "results.jsonl"
    path.write_bytes(line + b"\n")
    with pytest.raises(ParameterError, match=message):
        Results(path, SOURCES)


def test_processes_find_what_one_finds() -> None:
    chosen = [dataclasses.replace(FAST, rounds=2, method=name) for name in ("mean", "bounds")]
    alone, together = ([timed.run for timed in ran(chosen, jobs)] for jobs in (1, 2))
    assert alone == together
    with pytest.raises(ParameterError, match="jobs >= 1"):
        list(ran(chosen, 0))


# -- freezing ---------------------------------------------------------------------------------


def test_what_is_frozen_stays_so(tmp_path: Path) -> None:
    path = tmp_path / "frozen.json"
    grid = grid_of("held-out")
    found = freezing.freeze(path, grid)
    assert found == freezing.sources(grid) == freezing.frozen(path)
    assert freezing.require_frozen(path, grid) == found
    assert found != freezing.sources(grid_of("development"))
    with pytest.raises(ParameterError, match="what is frozen stays so"):
        freezing.freeze(path, grid)
    with pytest.raises(ParameterError, match="changed: the grid"):
        freezing.require_frozen(path, grid_of("held-out-2"))
    with pytest.raises(ParameterError, match="only a grid that is held out is frozen"):
        freezing.freeze(tmp_path / "other.json", grid_of("development"))


def test_the_hash_covers_the_detectors_and_the_federation(tmp_path: Path) -> None:
    path = tmp_path / "frozen.json"
    freezing.freeze(path, grid_of("held-out"))
    names = set(json.loads(path.read_text())["files"])
    assert {
        "robust/decide.py", "robust/attacks/catalog.py", "protocols/federation/federation.py",
        "protocols/screening.py", "protocols/trial/methods.py", "secagg/sketch.py",
    } <= names  # fmt: skip
    assert "protocols/trial/tables.py" not in names


def test_changed_sources_are_named(tmp_path: Path) -> None:
    path = tmp_path / "frozen.json"
    freezing.freeze(path, grid_of("held-out"))
    document = json.loads(path.read_text())
    document["files"]["robust/decide.py"] = document["sources"] = "0" * 64
    path.write_text(json.dumps(document))
    with pytest.raises(ParameterError, match=r"are not those of .*: changed: robust/decide\.py$"):
        freezing.require_frozen(path, grid_of("held-out"))


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"format": 1, "sources": "xyz"}'])
def test_files_that_freeze_nothing(tmp_path: Path, text: str) -> None:
    path = tmp_path / "frozen.json"
    path.write_text(text)
    with pytest.raises(ParameterError, match="not what freezing writes"):
        freezing.frozen(path)


# -- tables -----------------------------------------------------------------------------------


def backdoor(method: str, success: float) -> Run:
    case = dataclasses.replace(FAST, attack="bd_norm-matched", method=method)
    return made(case, success=success)


def lines(*runs: Run) -> str:
    return "\n".join(f"{line.met} {line.text}" for line in tables.summary(runs))


def test_targets_are_met_or_missed() -> None:
    riders = [made(case, caught=4) for case in cases()]
    assert "True free-riders without data, 20% of the clients: 1.000 caught" in lines(*riders)
    missed = [made(next(cases()), caught=3)]
    assert "False free-riders without data, 20% of the clients: 0.750 caught" in lines(*missed)
    most = dataclasses.replace(FAST, share=0.6)
    assert "True free-riders without data, 60%" in lines(made(most, caught=12))
    assert "False free-riders without data, 60%" in lines(made(most, caught=11))
    assert "True ours: honest clients ever excluded, 20 % attackers: 0.00%" in lines(*riders)
    assert "False ours: honest clients ever excluded, 20 % attackers: 6.25%" in lines(
        made(FAST, ever=1)
    )
    assert "in 3 of 4 rounds fewer clients were left" in lines(made(FAST, short=3))


def test_a_backdoor_counts_where_it_works_and_only_a_victory_is_one() -> None:
    mean = backdoor("mean", 0.9)
    assert "in 1 of 1 cells; it is the lowest of all methods in 1" in lines(
        mean, backdoor("ours", 0.04), backdoor("krum", 0.3)
    )
    assert "in 0 of 1 cells; it is the lowest of all methods in 0" in lines(
        mean, backdoor("ours", 0.3), backdoor("krum", 0.2)
    )
    # nobody stops it: equal failures are no victory
    assert "the lowest of all methods in 0" in lines(mean, backdoor("ours", 0.9))
    assert "backdoors" not in lines(backdoor("mean", 0.1), backdoor("ours", 0.0))


def test_unlearning_is_held_against_its_peers_backdoor_by_backdoor() -> None:
    peers, mended = ("krum", "multi-krum", "fltrust", "flame"), "ours+root+mending"

    def runs(seed: int, attack: str, mine: float, *others: float) -> list[Run]:
        found = zip((mended, "mean", *peers), (mine, 0.9, *others), strict=True)
        return [
            made(dataclasses.replace(FAST, attack=attack, method=m, seed=seed), success=end)
            for m, end in found
        ]

    met = [
        *runs(0, "bd_norm-matched", 0.0, 0.0, 1.0, 1.0, 1.0),
        *runs(0, "bd_blend", 0.01, 0.02, 0.5, 0.5, 0.5),
        *runs(1, "bd_blend", 0.3, 0.29, 0.5, 0.5, 0.5),
        *runs(1, "bd_sybil", 0.3, 0.2, 0.5, 0.5, 0.5),
    ]
    said = "of 4 backdoors, seed by seed, 2 end at 0.01 or below; none of krum, multi-krum, fltrust"
    said += ", flame ends lower in 2, and one by more than 0.02 in 1; it is lower than each in 1; "
    assert f"None {mended}: {said}krum ends at 0 in 1" in lines(*met)
    sheet = tables.sheets(met)[-1]
    assert [row[1:9] for row in sheet.rows] == [
        ("2", "2", "2", "2", "0", "1", "1", "0.01"),
        ("2", "2", "0", "0", "1", "0", "0", "0.30"),
    ]
    assert sheet.rows[0][-2:] == ("-, -, -", "0.50, 0.50, 0.50")
    # a peer that was not run is no peer that lost
    assert "seed by seed" not in lines(*met[:5])
    assert "against" not in tables.sheets(met[:5])[-1].title


def test_what_a_root_set_costs_is_said_beside_what_it_gains() -> None:
    rooted = dataclasses.replace(FAST, method="ours+root")
    runs = [made(FAST), made(rooted, ever=1)]
    assert "False ours+root: honest clients ever excluded, 20 % attackers: 6.25%" in lines(*runs)
    (sheet,) = tables.sheets(runs)
    assert sheet.header[1:7] == (
        "caught", "accused", "ever", "caught, root", "accused, root", "ever, root",
    )  # fmt: skip
    assert sheet.rows[0][6] == "0.06"


def test_poisoning_is_judged_beside_the_best_peer() -> None:
    def flipped(method: str, accuracy: float) -> Run:
        case = dataclasses.replace(FAST, attack="po_sign-flip", method=method)
        return dataclasses.replace(made(case), accuracy=(accuracy,) * case.rounds)

    peers = [flipped(name, 0.5) for name in ("krum", "multi-krum", "flame")]
    for accuracy, count in ((0.6, 1), (0.595, 1), (0.55, 0)):
        found = lines(*peers, flipped("fltrust", 0.6), flipped("ours", accuracy))
        assert "ours: poisoning, accuracy no worse" in found
        assert f"in {count} of 1 cells" in found
    assert "poisoning" not in lines(flipped("ours", 0.6), *peers)


def test_the_tables_hold_what_was_run() -> None:
    runs = [backdoor("mean", 0.9), backdoor("ours", 0.04), *map(made, cases())]
    (sheet,) = tables.sheets(runs)
    assert sheet.title.startswith("digits, Dir(0.3), 20 clients, 4 rounds, 3 seeds")
    assert sheet.header == ("attack", "caught", "accused", "ever", "mean", "ours")
    assert sheet.rows == (
        ("fr_delta", "0.00", "0.00", "0.00", "-", "0.50"),
        ("bd_norm-matched", "0.00", "0.00", "0.00", "0.90", "0.04"),
    )
    page = tables.markdown(grid_of("quick"), runs, ["a note"])
    assert "| bd_norm-matched | 0.00 | 0.00 | 0.00 | 0.90 | 0.04 |" in page
    assert "a note" in page


def test_shares_of_free_riders_have_a_table_of_their_own() -> None:
    runs = [made(dataclasses.replace(FAST, share=share), caught=4) for share in (0.2, 0.6)]
    *_, sheet = tables.sheets(runs)
    assert sheet.header == ("attack", "20%", "60%")
    assert ("fr_delta", "1.000 / 0.000", "0.333 / 0.000") in sheet.rows
    assert np.array([len(row) == 3 for row in sheet.rows]).all()


def test_a_wide_table_is_cut_for_a_narrow_terminal() -> None:
    runs = [backdoor(one.name, 0.5) for one in METHODS]
    sheet, _ = tables.sheets(runs)
    for width, most in ((60, 60), (200, 200), (1, 60)):
        console = Console(file=io.StringIO(), width=max(width, most))
        console.print(tables.rendered(runs, width))
        assert isinstance(console.file, io.StringIO)
        text = console.file.getvalue()
        assert all(text.count(f" {name} ") >= 1 for name in sheet.header[1:-1])
        assert "…" not in text
        assert text.count("bd_norm-matched ") >= {60: 2, 200: 1, 1: 10}[width]
