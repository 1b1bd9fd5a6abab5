"""The page: everything on it, nothing of a request unescaped, and its figures right."""

from __future__ import annotations

from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import pytest
from traffic import attacks, usual

from apiwatch import Request, Settings, gather
from apiwatch.ledger import Ledger, Sent
from apiwatch.plots import curves, misses, scatter, timeline
from apiwatch.report import page
from apiwatch.report_compared import compared
from apiwatch.store import Profile
from apiwatch.work import learnt, taught

SETTINGS = Settings(cells=20, slots=8, salt=b"0123456789abcdef")
EXAMPLES = [(f"name{i}", "benign") for i in range(30)]
EXAMPLES += [(f"<script>alert({i})</script>", "xss") for i in range(30)]


@pytest.fixture(scope="module")
def profile() -> Profile:
    made = learnt(gather(usual(300)), SETTINGS, None)
    taught(made, EXAMPLES)
    return made


class _Tags(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []

    def handle_starttag(self, tag, attrs) -> None:
        self.tags.append(tag)


def shown(profile: Profile, requests: list[Request], **options) -> str:
    judged = list(profile.detector.judge(requests))
    return page(profile, judged, **{"redact": True} | options)


def test_all_sections_are_there_and_nothing_runs(profile: Profile) -> None:
    others = {"<i>other": learnt(gather(usual(30, 3)), SETTINGS, None)}
    known = list(profile.detector.judge(attacks()))
    text = shown(profile, [*usual(200, 1), *attacks()], attacks=known, others=others)
    for title in ("Scores", "Alerts", "Endpoints", "Unknown attacks", "Over time", "Known attacks"):
        assert f"<h2>{title}</h2>" in text
    parser = _Tags()
    parser.feed(text)
    assert not {"script", "i", "img", "a"} & set(parser.tags)
    assert parser.tags.count("polyline") == 4
    assert "&lt;i&gt;other" in text


def test_what_was_learned_alone_is_drawn_beside(profile: Profile) -> None:
    alone = learnt(gather(usual(30, 3)), SETTINGS, None)
    clean, known = (list(profile.detector.judge(part)) for part in (usual(50, 4), attacks()))
    told = {
        profile.detector.digest: "gave a profile with the same SHA-256",
        "0" * 64: "is another",
        "": "Nobody has",
    }
    for pooled, text in told.items():
        alone.pooled = pooled
        section = compared(profile, alone, {}, clean, known)
        assert section.count("<polyline") == 4
        same = pooled == profile.detector.digest
        assert ("together = pooled" if same else "sites together") in section
        assert "this site alone" in section
        assert "4 known attacks and 50 requests" in section
        assert text in section
    assert "alone" not in compared(profile, None, {}, clean, known)


@pytest.mark.parametrize("name", ["this site alone", "sites together", "another"])
def test_no_profile_takes_the_curve_of_another(profile: Profile, name: str) -> None:
    alone = learnt(gather(usual(30, 3)), SETTINGS, None)
    others = {name: learnt(gather(usual(20, 5)), SETTINGS, None)}
    clean, known = (list(profile.detector.judge(part)) for part in (usual(50, 4), attacks()))
    section = compared(profile, alone, others, clean, known)
    assert section.count("<polyline") == 6
    for curve in (
        "sites together",
        "this site alone",
        "another" if name == "another" else "other:",
    ):
        assert f">{curve}" in section


@pytest.mark.parametrize(
    ("support", "pooled", "told"),
    [
        (1, "0" * 64, "scaled to the norm"),
        (2, "0" * 64, "need support"),
        (1, "", "exact sums of what sites gave."),
        (2, "", "count where 2 sites agree."),
    ],
)
def test_the_caption_says_why_a_pooled_profile_is_another(
    support: int, pooled: str, told: str
) -> None:
    settings = Settings(cells=12, slots=6, support=support, salt=b"0123456789abcdef")
    shared, alone = (learnt(gather(usual(40, seed)), settings, None) for seed in (1, 2))
    alone.pooled = pooled
    clean, known = (list(shared.detector.judge(part)) for part in (usual(20, 4), attacks()))
    section = compared(shared, alone, {}, clean, known)
    assert told in section
    assert "would give" not in section


@pytest.mark.parametrize("redact", [True, False])
def test_requests_cannot_put_tags_on_the_page(profile: Profile, redact: bool) -> None:
    evil = Request(method="<b>", target="/<u>/x?<em>=<img src=x onerror=y>", body="\x1b[2J<svg>")
    parser = _Tags()
    parser.feed(shown(profile, [evil, *usual(5)], redact=redact))
    assert not {"b", "u", "em", "img", "script"} & set(parser.tags)


def test_the_ledger_tells_epsilon_or_that_there_is_none(profile: Profile) -> None:
    assert "Nothing has left" in shown(profile, usual(5))
    entry = Sent(what="counters", coordinates=8, bytes_up=1234, sites=5, lost=1)
    text = shown(replace(profile, ledger=Ledger((entry,))), usual(5))
    assert "1,234" in text
    assert "no epsilon" in text


def test_endpoints_show_how_many_requests_were_learned(profile: Profile) -> None:
    learned = sum(r.target == "/orders" for r in usual(300))
    text = shown(profile, [*usual(20, 2), Request(method="GET", target="/nowhere")])
    assert f"<code>/orders</code><td>known<td class=n>{learned}" in text
    assert "<code>/nowhere</code><td>never seen<td class=n>0" in text


def test_a_day_is_told_where_the_log_tells_times(profile: Profile) -> None:
    timed = [replace(r, time=3600.0 * i) for i, r in enumerate([*usual(24), *attacks()])]
    assert " a day" in shown(profile, timed)
    assert " a day" not in shown(profile, usual(24))


def test_a_curve_goes_through_what_can_be_counted() -> None:
    usual_scores, found = np.array([0.0, 1.0, 2.0, 3.0]), np.array([2.5, 2.5, 9.0, 0.5])
    text = curves({"one": (usual_scores, found)})
    # at one false alarm in four, the one attack above all; at a half, three of four attacks
    assert text.count("<polyline") == 1
    line = text.split('points="')[1].split('"')[0].split()
    assert len(line) == 4
    heights = [float(point.split(",")[1]) for point in line]
    assert heights == pytest.approx([10 + 230 * (1 - y) for y in (0.25, 0.75, 0.75, 1.0)], abs=0.1)


def test_misses_are_the_same_points_on_a_logarithmic_axis() -> None:
    text = misses({"one": (np.array([0.0, 1.0, 2.0, 3.0]), np.array([2.5, 2.5, 9.0, 0.5]))})
    line = text.split('points="')[1].split('"')[0].split()
    heights = [float(point.split(",")[1]) for point in line]
    logs = [1 + np.log10(max(miss, 1e-3)) / 3 for miss in (0.75, 0.25, 0.25, 0.0)]
    assert heights == pytest.approx([10 + 230 * (1 - y) for y in logs], abs=0.1)


def test_pictures_of_little_are_pictures() -> None:
    assert "<svg" in timeline(np.array([True]), [(0.5, "a <b>")])
    assert "&lt;b&gt;" in timeline(np.array([True]), [(0.5, "a <b>")])
    assert scatter(np.zeros((3, 2)), ["alone"] * 3, ["x"] * 3).count("<circle") == 3
