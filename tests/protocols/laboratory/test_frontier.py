"""Detection against leakage: what is measured, what is said of it, and how it is drawn."""

from __future__ import annotations

import dataclasses
import json
import re
import warnings
from functools import cache
from itertools import pairwise
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dp.audit.measure import Figure, Interval
from protocols.federation.data import digits, split
from protocols.federation.federation import RoundData
from protocols.laboratory import curves, frontier
from protocols.laboratory.curves import Curve, Line
from protocols.laboratory.frontier import (
    BUDGET,
    FULL,
    QUICK,
    Detection,
    Point,
    Scale,
    Side,
    advice,
    points,
)
from protocols.laboratory.membership import users
from protocols.laboratory.modes import NOTHING, Kind, Mode
from protocols.laboratory.opened import Seen
from protocols.laboratory.page import document, page
from protocols.laboratory.place import Box, spot
from protocols.laboratory.plots import curve_svg, frontier_svg
from protocols.laboratory.references import signs
from protocols.laboratory.screened import Ranked, defense_of
from protocols.svg import can_plot, standalone
from protocols.trial.methods import Defense, Taken
from protocols.trial.trial import Case, Run, played, run
from robust.attacks.vectors import units
from secagg.errors import ParameterError

with warnings.catch_warnings():
    # typer 0.20, the last that Flower allows, imports names that click 8.5 deprecates
    warnings.simplefilter("ignore", DeprecationWarning)
    from typer.testing import CliRunner

    from protocols.cli import app

plots = pytest.mark.skipif(not can_plot(), reason="needs matplotlib, the extra `report`")
CASE = Case(
    data="digits", alpha=0.3, attack="fr_delta", share=0.2, method="ours", seed=0, rounds=9,
    clients=20, rows=64,
)  # fmt: skip


def sketch(numbers: int, noise: float = 0.0) -> Mode:
    return Mode(kind=Kind.SKETCH, numbers=numbers, noise=noise)


def interval(value: float) -> Interval:
    return Interval(value=value, low=max(value - 0.1, 0.0), high=min(value + 0.1, 1.0))


def figure(value: float, control: float = 0.1, bound: float | None = None) -> Figure:
    return Figure(
        attack="a", metric="success", found=interval(value), control=interval(control),
        bound=bound, trials=9,
    )  # fmt: skip


def point(mode: Mode, told: float, recall: float, wronged: float = 0.0) -> Point:
    side = Detection(recall=interval(recall), wronged=wronged, runs=4)
    seen = [
        Seen("which <label>?", how, figure(value, 0.0))
        for how, value in (("", told), ("by chance", 0.0))
    ]
    return Point(mode=mode, told=tuple(seen), sides={"riders": side})


# -- defenses ----------------------------------------------------------------------------------


@cache
def result(mode: Mode) -> Run:
    return played(CASE, defense_of(mode, rounds=CASE.rounds, seed=CASE.seed))


class Loud(Defense):
    """Attackers send so many times as much."""

    def __init__(self, inner: Defense, times: float = 100) -> None:
        self._inner, self._times = inner, times

    def take(self, data: RoundData) -> Taken:
        loud = np.where(data.honest[:, None], data.updates, self._times * data.updates)
        return self._inner.take(dataclasses.replace(data, updates=loud))


def test_a_mode_with_a_sketch_finds_whom_the_trial_finds_with_one() -> None:
    ours, theirs = result(sketch(64)), run(CASE)
    assert ours.caught[-1] == theirs.caught[-1] == CASE.attackers
    assert ours.ever_accused == theirs.ever_accused == 0


def test_without_numbers_nobody_of_ordinary_norm_is_found() -> None:
    for mode in (NOTHING, Mode(kind=Kind.BIT)):
        assert sum(result(mode).caught) == 0


@pytest.mark.parametrize("mode", [Mode(kind=Kind.EXACT), Mode(kind=Kind.COSINE)])
def test_an_exact_norm_finds_what_is_of_another_size_and_nothing_else(mode: Mode) -> None:
    loud = played(CASE, Loud(defense_of(mode, rounds=CASE.rounds, seed=0), times=1e-3))
    assert loud.caught[-1] == CASE.attackers
    ordinary = result(mode)
    assert ordinary.caught[0] == CASE.attackers  # nothing to replay yet: they send zeros
    assert (sum(ordinary.caught[1:]), ordinary.ever_accused, loud.ever_accused) == (0, 0, 0)


class Pointed(Defense):
    """Attackers send a multiple of the public reference."""

    def __init__(self, inner: Defense, times: float) -> None:
        self._inner, self._times = inner, times

    def take(self, data: RoundData) -> Taken:
        length = np.median(np.linalg.norm(data.updates[data.honest], axis=1))
        sent = self._times * length * units(signs(data.root))
        return self._inner.take(
            dataclasses.replace(data, updates=np.where(data.honest[:, None], data.updates, sent))
        )


@pytest.mark.parametrize(
    "mode", [Mode(kind=Kind.COSINE), Mode(kind=Kind.PROOF, least=0.02)], ids=lambda mode: mode.name
)
def test_a_cosine_shuts_out_the_opposite_and_lets_in_who_sends_the_reference(mode: Mode) -> None:
    against, along = (
        played(CASE, Pointed(defense_of(mode, rounds=CASE.rounds, seed=0, root=True), times))
        for times in (-1.0, 1.0)
    )
    assert against.caught == (CASE.attackers,) * CASE.rounds
    assert sum(along.caught) == 0


def test_before_there_is_a_reference_norms_are_all_there_is() -> None:
    once = dataclasses.replace(CASE, rounds=1)
    for kind, options in ((Kind.COSINE, {}), (Kind.PROOF, {"least": 1.0})):
        mode = Mode(kind=kind, **options)
        (first,) = played(once, defense_of(mode, rounds=1, seed=0)).accused
        (rooted,) = played(once, defense_of(mode, rounds=1, seed=0, root=True)).accused
        assert first == 0
        assert rooted == (0 if kind is Kind.COSINE else once.clients - once.attackers)


def test_noise_that_hides_clients_hides_free_riders() -> None:
    assert sum(result(sketch(64, noise=0.3)).caught) == 0


def test_a_bit_finds_who_is_beyond_the_bound_and_nothing_does_not() -> None:
    scaled = dataclasses.replace(CASE, attack="bd_model-replacement", rounds=1)
    bit, none = (
        played(scaled, defense_of(mode, rounds=1, seed=0))
        for mode in (Mode(kind=Kind.BIT), NOTHING)
    )
    assert bit.caught[0] == scaled.attackers
    assert (bit.accused[0], none.caught[0]) == (0, 0)


def test_groups_leave_nobody_out_and_rank_all() -> None:
    mode = Mode(kind=Kind.GROUPS, numbers=64, group=2)
    defense = defense_of(mode, rounds=CASE.rounds, seed=0)
    found = played(CASE, defense)
    assert isinstance(defense, Ranked)
    assert (sum(found.caught), sum(found.accused)) == (0, 0)
    assert {len(each) for each in defense.rankings} == {CASE.clients}
    assert defense.honest.sum() == found.honest


def test_a_group_beyond_its_bounds_withholds_the_sum() -> None:
    once = dataclasses.replace(CASE, attack="po_sign-flip", rounds=1)
    mode = Mode(kind=Kind.GROUPS, numbers=64, group=2)
    withheld, given = (
        played(once, defense) for defense in (Loud(Ranked(mode, seed=0)), Ranked(mode, seed=0))
    )
    assert withheld.caught[0] + withheld.accused[0] == once.clients
    assert (withheld.short, given.short) == (1, 0)


# -- points ------------------------------------------------------------------------------------


def small(*modes: Mode) -> Scale:
    return Scale(modes=modes, sides=(Side("riders", ("fr_delta",)),), runs=1)


@pytest.mark.slow
def test_points_say_what_is_found_and_what_is_told() -> None:
    none, many = points(small(NOTHING, sketch(64)), seed=1)
    assert (none.sides["riders"].recall.value, many.sides["riders"].recall.value) == (0.0, 1.0)
    assert many.sides["riders"].recall.low < 0.7  # eight attackers of one run are few
    assert none.leakage.advantage.value < 0.05
    assert many.leakage.advantage.low > 0.6
    assert many.sides["riders"].wronged == 0
    written = json.loads(json.dumps(document([], points=[none, many])))
    assert [one["kind"] for one in written["frontier"]] == ["nothing", "sketch"]
    assert written["frontier"][1]["by"]["control"]["value"] < 0.3
    assert written["frontier"][1]["by"] in written["frontier"][1]["figures"]
    assert written["advice"]


def test_processes_change_nothing() -> None:
    tasks = list(frontier._tasks(Mode(kind=Kind.BIT), small(NOTHING), 1))
    assert list(frontier._results(tasks, 2)) == list(frontier._results(tasks, 1))
    with pytest.raises(ParameterError, match="jobs >= 1"):
        next(points(QUICK, seed=1, jobs=0))


def test_a_seed_decides_what_attackers_are_run_too() -> None:
    """The pages are of seed 1, which is runs 0 and 1 of each attack."""
    twice = dataclasses.replace(small(NOTHING), runs=2)
    one, two, none = (
        [task.seed for task in frontier._tasks(NOTHING, twice, seed)] for seed in (1, 2, 0)
    )
    assert (one, two) == ([0, 1], [2, 3])
    assert not {*none} & {*one, *two}
    assert Case(**{**dataclasses.asdict(CASE), "seed": none[0]}).seed == none[0]


def test_the_full_scale_has_every_mode_and_the_quick_one_is_part_of_it() -> None:
    assert {mode.kind for mode in FULL.modes} == {mode.kind for mode in QUICK.modes} == set(Kind)
    assert set(QUICK.modes) <= set(FULL.modes)
    numbers = [m.numbers for m in FULL.modes if m.kind is Kind.SKETCH and not m.noise]
    assert numbers == [1 << power for power in range(10)]
    for quick, full in zip(QUICK.sides, FULL.sides, strict=True):
        assert set(quick.attacks) <= set(full.attacks)


# -- advice ------------------------------------------------------------------------------------


def test_advice_names_a_mode_that_finds_and_hides_where_there_is_one() -> None:
    found = [point(sketch(64), 0.8, 1.0), point(sketch(64, noise=0.1), 0.2, 0.95)]
    said = advice(found)
    assert said.startswith("Against riders, open “sketch, 64 numbers, noise 0.1”: 95% of them")
    assert "20% of the way" in said


def test_advice_says_that_there_is_none() -> None:
    found = [point(NOTHING, 0.0, 0.0), point(sketch(256), 0.9, 1.0), point(sketch(64), 0.8, 0.9)]
    said = advice(found)
    assert "open “sketch, 64 numbers” or nothing" in said
    assert "less than 25% of the way lets it find 0% at most" in said


def test_advice_says_that_nothing_helps() -> None:
    assert "nothing that is opened leaves out 90%" in advice([point(sketch(64), 0.8, 0.5)])


def test_advice_is_against_what_leaves_out_honest_clients_beyond_the_budget() -> None:
    found = [point(sketch(64), 0.2, 1.0, wronged=2 * BUDGET), point(sketch(256), 0.9, 1.0)]
    assert "open “sketch, 256 numbers” or nothing" in advice(found)
    assert "nothing that is opened leaves out 90% of them and at most 3%" in advice(found[:1])
    kept = [point(sketch(64), 0.2, 1.0, wronged=BUDGET), found[1]]
    assert "open “sketch, 64 numbers”:" in advice(kept)


def test_advice_is_of_modes_that_plans_have() -> None:
    said = advice([point(sketch(32), 0.1, 1.0), point(sketch(64), 0.8, 1.0)])
    assert "sketch, 64 numbers" in said
    assert "32" not in said
    assert advice([]) == advice([point(sketch(32), 0.1, 1.0)]) == ""


# -- pictures ----------------------------------------------------------------------------------


@given(
    st.lists(st.tuples(st.floats(0, 300), st.floats(0, 200)), min_size=1, max_size=25),
    st.floats(5, 80),
)
def test_labels_are_apart_from_each_other_and_from_points(
    where: list[tuple[float, float]], width: float
) -> None:
    room = Box(0, 0, 300, 200)
    taken = [Box.around(*one, 9, 9) for one in where]
    for one in where:
        middle = spot(*one, (width, 10), taken, room)
        if middle is not None:
            box = Box.around(*middle, width, 10)
            assert box.inside(room)
            assert all(box.apart(other) for other in taken)
            taken.append(box)


def test_a_label_without_room_has_no_place() -> None:
    assert spot(5, 5, (50, 10), [], Box(0, 0, 20, 20)) is None
    assert spot(50, 50, (20, 10), [], Box(0, 0, 100, 100)) is not None


def made() -> list[Point]:
    modes = (NOTHING, Mode(kind=Kind.BIT), sketch(32), sketch(64), sketch(64, noise=0.1))
    told = (0.0, 0.0, 0.5, 0.8, 0.3)
    grouped = point(Mode(kind=Kind.GROUPS, numbers=64, group=3), 0.6, 0.2, BUDGET)
    return [*map(point, modes, told, (0.0, 0.1, 0.5, 1.0, 0.2), (0, 0, 0.2, 0, 0)), grouped]


@plots
def test_the_frontier_labels_every_mode_and_marks_what_is_over_the_budget() -> None:
    svg = frontier_svg(made(), label="a < b")
    root = ElementTree.fromstring(svg)
    assert root.get("aria-label") == "a < b"
    texts = [element.text for element in root.iter() if element.tag.endswith("}text")]
    assert {"nothing", "pass or fail", "32*", "64", "64 ± 0.1", "g 3"} <= set(texts)
    assert frontier_svg(made(), label="a < b") == svg
    assert "currentColor" in svg
    assert (
        ElementTree.fromstring(standalone(svg)).get("style") == "background:#ffffff;color:#1b1e24"
    )


def curve() -> Curve:
    free = Line(name="free", figures=tuple((n, figure(v)) for n, v in ((1.0, 0.9), (8.0, 0.5))))
    noisy = Line(name="noisy", figures=((1.0, figure(0.3, bound=0.6)), (8.0, figure(0.2))))
    return Curve(title="Who?", along="clients", metric="success", lines=(free, noisy))


@plots
def test_a_curve_has_its_control_and_the_bounds_that_there_are() -> None:
    root = ElementTree.fromstring(curve_svg(curve(), label="c"))
    texts = [element.text for element in root.iter() if element.tag.endswith("}text")]
    assert {"free", "noisy", "control", "bound, noisy", "clients", "success", "1", "8"} <= set(
        texts
    )
    assert "bound, free" not in texts


def test_a_page_has_advice_points_and_curves_and_loads_nothing() -> None:
    text = page([], title="t", command="c", curves=[curve()], points=made())
    assert "which &lt;label&gt;?" in text
    assert advice(made())[:20] in text
    assert text.count("<svg") == (2 if can_plot() else 0)
    assert "0.600" in text  # the bound, in a table too
    assert not re.search(r'(?:src|href)="(?!#)', text)


def test_ticks_ascend_and_documents_are_json() -> None:
    assert all(one < other for one, other in pairwise(curve().ticks))
    assert curve().least == 0.1
    assert json.loads(json.dumps(curve().document()))["lines"][1]["figures"][0]["bound"] == 0.6


def test_intervals_of_detection_are_the_wider_ones() -> None:
    results = [frontier._Result(8, 8, 0.0), frontier._Result(0, 8, 0.1)]
    detection = frontier._detection(results)
    assert detection.recall.value == 0.5
    assert (detection.recall.low, detection.recall.high) == (0.0, 1.0)  # over the two runs
    same = frontier._detection([frontier._Result(8, 8, 0.0)] * 2).recall
    assert (same.high, same.low) == (1.0, pytest.approx(0.794, abs=1e-3))  # of 16 attackers
    assert detection.wronged == pytest.approx(0.05)
    assert np.isfinite(detection.recall.low)


# -- the command, and real curves ---------------------------------------------------------------


def test_the_command_writes_page_figures_and_plot(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(frontier, "points", lambda scale, *, seed, jobs: iter(made()))
    done = CliRunner().invoke(app, ["audit", "frontier", "-o", str(tmp_path / "out")])
    assert done.exit_code == 0, done.output
    assert advice(made())[:30] in done.stdout
    assert "not run" not in done.stdout
    written = json.loads((tmp_path / "out" / "frontier.json").read_text("utf-8"))
    assert written == json.loads(json.dumps(document([], points=made())))
    assert "Detection against leakage" in (tmp_path / "out" / "frontier.html").read_text("utf-8")
    assert (tmp_path / "out" / "frontier.svg").exists() is can_plot()
    late = CliRunner().invoke(app, ["audit", "frontier", "--seconds", "0", "--json"])
    assert len(json.loads(late.stdout)["frontier"]) == 1


def test_larger_cohorts_and_noise_tell_less_and_keep_to_their_bound() -> None:
    rng = np.random.default_rng(1)
    pool = users(split(digits(), rng), rng, count=120)
    found = curves._cohort(pool, rng, (1, 50), 100)
    free, noisy = ([one for _, one in line.figures] for line in found.lines)
    assert [line.name for line in found.lines] == ["no noise", "noise 1"]
    assert free[0].found.value > free[1].found.value
    assert noisy[0].found.value < free[0].found.value
    assert {one.bound for one in free} == {None}
    assert not any(one.exceeds for one in noisy)
