"""Standings, contributions and fairness, from verdicts and from what was opened."""

from __future__ import annotations

import io
import json
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from protocols.report import summary as module
from protocols.report.page import page
from protocols.report.recorded import Recorded
from protocols.report.summary import (
    Summary,
    contributions_of,
    fairness_of,
    summary_document,
    summary_of,
    trails_of,
)
from protocols.report.terminal import hit, standings
from protocols.report.words import changes, strip
from robust.decide import Verdict, Verdicts
from robust.errors import ObservationError
from robust.observe import Norms, Public, Sketches
from robust.reputation import ReputationRule, Standing

QUICK = ReputationRule(decay=0.5, readmit_after=2, probation=2)


def judged(number: int, out: Sequence[int], present: Sequence[int] = (1, 2, 3)) -> Verdicts:
    verdicts = tuple(Verdict(client=one, excluded=one in out, findings=()) for one in present)
    return Verdicts(number=number, verdicts=verdicts, abstained=())


def sketches(number: int, rows: object, root: object = (1.0, 0.0)) -> Sketches:
    found = np.asarray(rows, dtype=np.float64)
    public = Public(known=np.zeros((0, 2)), root=None if root is None else np.asarray(root))
    return Sketches(
        number=number, clients=tuple(range(1, len(found) + 1)), rows=found, public=public
    )


def shown(summary: Summary) -> str:
    console = Console(file=io.StringIO(), width=200)
    console.print(standings(summary, {1: "delta"}))
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def test_who_stops_attacking_is_let_in_again() -> None:
    outs = [[1], [1], [], [], [], [], []]
    history = [judged(number, out) for number, out in enumerate(outs)]
    first, second, _ = trails_of(history, QUICK)
    assert strip(first) == "xx.....".replace(".", "·")
    assert first.changes == (
        (1, Standing.EXCLUDED), (3, Standing.PROBATION), (5, Standing.MEMBER),
    )  # fmt: skip
    assert changes(first) == "member in 5, probation in 3, excluded in 1"
    assert not first.spotless
    assert second.spotless
    assert (changes(second), second.record.score) == ("member", 1.0)


def test_who_is_absent_leaves_a_gap_and_loses_nothing() -> None:
    history = [judged(0, [1]), judged(1, [], [2, 3]), judged(2, [])]
    first = trails_of(history)[0]
    assert first.kept == (False, None, True)
    assert strip(first) == "x ·"
    assert first.record.rounds == 2


@given(
    st.lists(st.lists(st.booleans(), min_size=3, max_size=3), min_size=1, max_size=12),
)
def test_a_trail_agrees_with_the_verdicts(outs: list[list[bool]]) -> None:
    history = [
        judged(number, [client for client, bad in enumerate(row, 1) if bad])
        for number, row in enumerate(outs)
    ]
    for trail in trails_of(history):
        due = tuple(not row[trail.client - 1] for row in outs)
        assert trail.kept == due
        assert trail.spotless is all(due)
        standing = trail.changes[-1][1] if trail.changes else Standing.MEMBER
        assert trail.record.standing is standing


def test_rounds_must_ascend() -> None:
    with pytest.raises(ObservationError, match="number > 1 must hold"):
        trails_of([judged(1, []), judged(1, [])])


def test_a_contribution_is_along_the_root_and_against_the_others() -> None:
    rows = [[2.0, 5.0], [4.0, -5.0], [0.0, 1.0]]
    found = contributions_of([sketches(0, rows, (2.0, 0.0)), sketches(1, rows, (2.0, 0.0))])
    assert found is not None
    assert found.clients == (1, 2, 3)
    assert found.scores == pytest.approx([0.0, 1.0, -1.0])
    assert found.errors == pytest.approx([0.0, 0.0, 0.0], abs=1e-12)


def test_without_a_root_or_company_there_is_none() -> None:
    rows = [[1.0, 0.0], [0.5, 0.0]]
    norms = Norms(number=0, clients=(1, 2), norms=np.ones(2))
    for seen in (
        sketches(0, rows, None),
        sketches(0, rows, (0.0, 0.0)),
        sketches(0, rows[:1]),
        norms,
    ):
        assert contributions_of([seen]) is None
    assert contributions_of([norms, sketches(1, rows)]) is not None


def test_where_rounds_are_many_the_last_count(monkeypatch: pytest.MonkeyPatch) -> None:
    old, new = sketches(0, [[9.0, 0.0], [0.0, 0.0]]), sketches(1, [[0.0, 0.0], [1.0, 0.0]])
    monkeypatch.setattr(module, "_MOST_CELLS", 4)
    found = contributions_of([old, new])
    assert found is not None
    assert found.scores == pytest.approx([-0.5, 0.5])
    monkeypatch.setattr(module, "_MOST_CELLS", 3)
    assert contributions_of([old, new]) is None


def test_known_attackers_are_set_aside() -> None:
    saved = Recorded(rounds=(), sizes={1: 5, 2: 9, 3: 20})
    history = [judged(0, [1]), judged(1, [1])]
    unknown, known = fairness_of(saved, history), fairness_of(saved, history, [1])
    assert unknown is not None
    assert known is not None
    assert (unknown.all.excluded, known.all.excluded) == (1, 0)
    assert (known.attackers, known.all.clients) == (1, 2)
    assert fairness_of(Recorded(rounds=()), history) is None


def test_terminal_page_and_document_say_the_same() -> None:
    rows = [[2.0, 5.0], [4.0, -5.0], [0.0, 1.0]]
    rounds = tuple(sketches(number, rows) for number in range(3))
    saved = Recorded(rounds=rounds, subgroups={1: "north"}, sizes={1: 3, 2: 5})
    history = [judged(number, [1]) for number in range(3)]
    summary = summary_of(saved, history)
    text = shown(summary)
    assert "delta" in text
    assert "xxx" in text
    assert "2 clients were never left out; their median contribution: +0.00" in text
    whole = page(history, title="A run", summary=summary)
    assert "<h2>Standings</h2>" in whole
    assert "<code>xxx</code>" in whole
    assert "By data size" in whole
    document = json.loads(json.dumps(summary_document(summary), allow_nan=False))
    assert document["1"]["score"] == pytest.approx(0.8**3)
    assert document["2"]["contribution"]["score"] == pytest.approx(2.0)


def test_an_unknown_error_is_a_dash_and_no_infinity() -> None:
    saved = Recorded(rounds=(sketches(0, [[1.0, 0.0], [0.5, 0.0], [0.0, 0.0]]),))
    summary = summary_of(saved, [judged(0, [1])])
    assert " - " in shown(summary) + " "
    document = json.loads(json.dumps(summary_document(summary), allow_nan=False))
    assert document["1"]["contribution"]["error"] is None


def test_a_page_of_many_lists_those_left_out() -> None:
    many = range(1, 151)
    history = [judged(0, [7], many)]
    summary = summary_of(Recorded(rounds=()), history)
    assert "149 clients never left out are not listed" in page(
        history, title="A run", summary=summary
    )


def test_whom_exclusions_hit_in_short() -> None:
    sizes = {client: 10 * client for client in range(1, 41)}
    history = [judged(number, range(1, 11), range(1, 41)) for number in range(4)]
    report = fairness_of(Recorded(rounds=(), sizes=sizes), history, [])
    assert report is not None
    console = Console(file=io.StringIO(), width=300)
    console.print(hit(report))
    assert isinstance(console.file, io.StringIO)
    text = console.file.getvalue()
    assert "10 of 40 honest clients left out in at least 50% of their rounds" in text
    assert "smallest quarter 10/10 100% lost (differs from the others)" in text
    assert "largest quarter 0/10" in text
