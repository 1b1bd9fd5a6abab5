"""The sample API in a process of its own, under load: every answer is the right one."""

from __future__ import annotations

import io
import re
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from apiwatch import Settings, gather
from apiwatch.demo.drive import as_request
from apiwatch.demo.stage import Stage
from apiwatch.demo.traffic import ATTACKS, attack, examples, usual
from apiwatch.event import Request
from apiwatch.work import learnt, taught

SETTINGS = Settings(cells=14, slots=8, salt=b"0123456789abcdef")
SITES = range(1, 5)
_JUDGED = ("user-agent", "content-type")


def judged_part(request: Request) -> Request:
    headers = tuple(pair for pair in request.headers if pair[0] in _JUDGED)
    return Request(method=request.method, target=request.target, headers=headers, body=request.body)


@pytest.fixture
def stage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("PYTHONPATH", ":".join(sys.path))
    dice = np.random.default_rng(5)
    requests = [judged_part(as_request(a)) for s in range(1, 21) for a in usual(dice, s, 200)]
    profile = learnt(gather(requests), SETTINGS, None)
    taught(profile, examples(dice, tuple(ATTACKS), 60))
    profile.threshold = float(np.quantile(profile.detector.scores(requests), 0.999)) + 1.0
    for site in SITES:
        profile.save(tmp_path / f"site{site:02d}.profile")
    with Stage(tmp_path, Console(file=io.StringIO())) as stage:
        stage.published(SITES, 1.0)
        yield stage


@pytest.mark.slow
def test_usual_requests_are_answered_and_attacks_refused_under_load(stage: Stage) -> None:
    dice = np.random.default_rng(6)
    planned = {site: list(usual(dice, site, 250)) for site in SITES}
    for site in SITES:
        for number in range(40):
            label = list(ATTACKS)[number % 4]
            planned[site].insert(6 * number, attack(dice, label, site, 1000 * site + number))
    before = stage.counted("apiwatch_scoring_seconds_count")
    answered = stage.send(planned)
    assert {one.status for one in answered} == {200, 201, 403}
    refused = Counter(bool(one.asked.label) for one in answered if one.status == 403)
    assert refused[True] >= 0.9 * 160
    assert refused[False] <= 5
    assert stage.counted("apiwatch_scoring_seconds_count") - before == len(answered) == 1160
    blocked = stage.counted("apiwatch_actions_total")
    assert blocked == sum(refused.values())
    assert stage.counted("apiwatch_errors_total") == 0
    for site in SITES:
        recorded = stage.file(site, "log").read_bytes().splitlines()
        alerts = stage.file(site, "alerts").read_bytes().splitlines()
        assert len(recorded) >= 290
        counted = re.findall(r"^apiwatch_alerts_total{.*} (\S+)$", stage.metrics(site), re.M)
        assert len(alerts) == sum(map(float, counted)) >= 30
