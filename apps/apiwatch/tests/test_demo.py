"""The demonstration: what it generates, and that it shows what it says."""

from __future__ import annotations

import io
import sys
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from apiwatch.demo.drive import as_request, encoded
from apiwatch.demo.stage import Stage
from apiwatch.demo.traffic import ATTACKS, UNKNOWN, attack, changed, usual
from apiwatch.errors import StoryFailed


def test_what_is_generated_is_what_a_seed_gives_and_can_be_sent() -> None:
    for site in range(1, 21):
        one, other = (list(usual(np.random.default_rng(3), site, 20)) for _ in range(2))
        assert one == other
        for asked in one:
            request = as_request(asked)
            assert (request.method, request.target.partition("?")[0]) == (asked.method, asked.path)
            assert encoded(asked).endswith(request.body.encode())
    assert all("currency=" in as_request(a).target for a in changed(np.random.default_rng(3), 9))


def test_every_attack_is_of_a_class_from_a_source_of_its_own() -> None:
    dice = np.random.default_rng(3)
    labels = (*ATTACKS, UNKNOWN)
    found = [
        attack(dice, label, site, 70_000 + i) for i, label in enumerate(labels) for site in (1, 4)
    ]
    assert [asked.label for asked in found] == [label for label in labels for _ in (1, 4)]
    assert len({asked.source for asked in found}) == len(labels)


def test_a_claim_that_does_not_hold_is_said_and_kept(tmp_path: Path) -> None:
    told = io.StringIO()
    stage = Stage(tmp_path, Console(file=told))
    stage.claim("one", holds=True)
    stage.claim("two", holds=False)
    assert stage.claims == [("one", True), ("two", False)]
    assert [line.split()[0] for line in told.getvalue().splitlines()] == ["shown", "NOT"]


def test_what_never_comes_ends_the_story_by_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("apiwatch.demo.stage._PATIENCE", 0.1)
    stage = Stage(tmp_path, Console(file=io.StringIO()))
    stage.wait(lambda: True, "what is there")
    with pytest.raises(StoryFailed, match="what never comes"):
        stage.wait(lambda: False, "what never comes")


@pytest.mark.slow
def test_everything_is_shown_as_it_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("river")
    monkeypatch.setenv("PYTHONPATH", ":".join(sys.path))
    tell = pytest.importorskip("apiwatch.demo.story").tell
    told = io.StringIO()
    assert tell(tmp_path, Console(file=told)), told.getvalue()
    assert "NOT SHOWN" not in told.getvalue()
    assert (tmp_path / "report.html").is_file()
