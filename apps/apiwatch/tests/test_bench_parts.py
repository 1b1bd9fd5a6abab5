"""Benchmarks in parts: what is done is not done again, and a file of something else is refused."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from test_cli import run

from apiwatch import bench_parts
from apiwatch.bench import BENCHES
from apiwatch.bench_parts import Part, Results, rows_of, sources, whole
from apiwatch.errors import ParameterError
from apiwatch.figures import Figures

ROW = Figures.of("a", np.arange(400.0), np.arange(400.0), np.arange(100.0, 500.0))


class Counted:
    """A benchmark of three parts, of which each goes on where the last one ended."""

    def __init__(self, *, dies_at: int = 9) -> None:
        self.ran: list[int] = []
        self.dies_at = dies_at

    def __call__(self, folder: Path, half: str):
        for number in range(3):
            yield Part(name=f"part {number}", run=lambda state, n=number: self._run(n, state))

    def _run(self, number: int, state: str) -> tuple[list, str]:
        if number == self.dies_at:
            raise KeyboardInterrupt
        self.ran.append(number)
        return [{"number": number, "after": state, "of": (1, 2)}, ROW], f"{state}{number}"


def rows(bench, path: Path | None = None, half: str = "final") -> list:
    return [*rows_of("made", bench, Path(), half, Results(path, "s"))]


def test_what_was_stopped_goes_on_where_it_ended(tmp_path: Path) -> None:
    path, expected = tmp_path / "results", rows(Counted())
    stopped, again, done = Counted(dies_at=2), Counted(), Counted(dies_at=0)
    with pytest.raises(KeyboardInterrupt):
        rows(stopped, path)
    with path.open("ab") as file:
        file.write(path.read_bytes()[:30])  # as if it had been killed while it wrote
    assert rows(again, path) == expected == rows(done, path)
    assert (stopped.ran, again.ran, done.ran) == ([0, 1], [2], [])
    assert [found[1][0]["after"] for found in expected] == ["", "0", "01"]
    other = Counted()
    assert rows(other, path, half="development") == expected
    assert other.ran == [0, 1, 2]
    assert path.stat().st_mode & 0o777 == 0o600


def test_no_figure_is_cut_off_on_a_narrow_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "40")
    monkeypatch.setitem(BENCHES, "made", Counted())
    table = run("bench", ".", "made").stdout
    assert table.count(f" {ROW.auroc:.4f} ") == 3
    assert table.count(f" {ROW.per_million:,} ") >= 3
    assert "…" not in table


def test_results_of_something_else_are_refused_by_their_line(tmp_path: Path) -> None:
    path = tmp_path / "results"
    rows(Counted(), path)
    first, *rest = path.read_text().splitlines(keepends=True)
    with pytest.raises(ParameterError, match="line 1: a result of other sources or data"):
        Results(path, "others")
    entry = json.loads(first)
    for wrong, problem in (
        ("x", "Expecting value"),
        ("[]", "a line has the fields"),
        (json.dumps(entry | {"more": 1}), "a line has the fields"),
        (json.dumps(entry | {"format": 2}), "format must be 1"),
        (json.dumps(entry | {"rows": [1]}), "figures or row"),
        (json.dumps(entry | {"rows": [{"figures": {}}]}), "missing"),
        (json.dumps(entry | {"rows": 7}), "not iterable"),
    ):
        path.write_text("".join([*rest, wrong + "\n"]))
        with pytest.raises(ParameterError, match=f"line 3: .*{problem}"):
            Results(path, "s")


@pytest.mark.parametrize("other", [b"a letter", b'{"a": 1}', b"\0\1", b'{"format": 1}\nnotes'])
def test_a_file_of_something_else_is_not_written_to(tmp_path: Path, other: bytes) -> None:
    """Though its last line has no end, as that of a benchmark that was killed."""
    path = tmp_path / "notes"
    path.write_bytes(other)
    with pytest.raises(ParameterError, match=r"line [12]: "):
        Results(path, "s")
    assert path.read_bytes() == other


def test_the_sources_of_the_library_count(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = {sources(tmp_path)}
    for gone in bench_parts._PACKAGES:
        rest = [name for name in bench_parts._PACKAGES if name != gone]
        with monkeypatch.context() as patch:
            patch.setattr(bench_parts, "_PACKAGES", rest)
            found.add(sources(tmp_path))
    assert len(found) == 5


def test_a_half_that_there_is_not_is_refused(tmp_path: Path) -> None:
    wrong = run("bench", tmp_path, "csic", "--half", "finall")
    assert (wrong.exit_code, "half in development, final, both" in wrong.stderr) == (2, True)


def test_sources_are_of_the_package_and_the_data(tmp_path: Path) -> None:
    before = sources(tmp_path)
    (tmp_path / "notes").write_text("x")
    assert sources(tmp_path) == before
    (tmp_path / "a.jsonl.gz").write_bytes(b"x")
    assert len({before, sources(tmp_path)}) == 2


def test_the_command_keeps_results(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made, path = Counted(), tmp_path / "results"
    monkeypatch.setitem(BENCHES, "made", made)
    monkeypatch.setitem(BENCHES, "one", whole(lambda folder, half: [{"of": half}]))
    asked = ("bench", tmp_path, "made", "one", "--results", path, "--half", "development")
    first, second = run(*asked, "--json"), run(*asked, "--json")
    assert (first.exit_code, made.ran) == (0, [0, 1, 2])
    assert first.stdout == second.stdout
    assert json.loads(first.stdout)["one"] == [{"of": "development"}]
    assert "made part 1: done" in first.stderr
    assert "number: 2" in run(*asked).stdout
    wrong = run("bench", tmp_path, "nothing")
    assert (wrong.exit_code, "names in csic" in wrong.stderr) == (2, True)
