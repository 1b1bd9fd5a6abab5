"""The story of the demonstration, step by step. Each step says what it shows, and checks it."""

from __future__ import annotations

import os
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from rich.console import Console
from sklearn.metrics import roc_auc_score

from apiwatch.demo import together
from apiwatch.demo.drive import Answered
from apiwatch.demo.sites import learnt_from
from apiwatch.demo.stage import Stage
from apiwatch.demo.traffic import ATTACKS, KINDS, UNKNOWN, Asked, attack, changed, usual
from apiwatch.detector import Detector, Judged, threshold_for
from apiwatch.drift import changes
from apiwatch.event import Request
from apiwatch.naming import text_of
from apiwatch.report import page
from apiwatch.settings import Settings
from apiwatch.store import Profile
from apiwatch.table import gather
from apiwatch.work import alerts_of, learnt, unknown_clusters

__all__ = ["tell"]

_LEARN, _HELD, _SCORED = 110, 60, 30  # usual requests of each site
_LEVEL = 0.6  # generated attacks are so alike that their responses are near 1
_JUDGING = 6  # gateways that judge as requests come; each holds class sums of 33 MB


class _Story:
    """What later steps need of earlier ones."""

    def __init__(self, stage: Stage) -> None:
        self.stage = stage
        self.settings: Settings = together.agree(stage)
        self.live: list[int] = []
        self.judging: list[int] = []
        self.profiles: dict[int, Profile] = {}
        self.number = 0

    def attacks(self, label: str, site: int, count: int) -> list[Asked]:
        """Of one class, each from a source of its own."""
        self.number += count
        numbers = range(self.number - count, self.number)
        return [attack(self.stage.dice, label, site, n) for n in numbers]


def tell(folder: Path, console: Console) -> bool:
    """All steps; whether everything was shown. What was written stays in `folder`."""
    start = time.monotonic()
    console.print("All traffic here is generated; no figure below is about a real site.\n")
    with Stage(folder, console) as stage:
        story = _Story(stage)
        for step in (_record, _learn, _score, _block, _unknown, _drift, _forget, _report):
            began = time.monotonic()
            console.rule(f"[bold]{(step.__doc__ or '').splitlines()[0]}", align="left")
            step(story)
            console.print(f"  [dim]{time.monotonic() - began:.1f} s[/]\n")
    failed = [text for text, holds in stage.claims if not holds]
    times = os.times()
    spent = times.user + times.system + times.children_user + times.children_system
    console.print(
        f"{len(stage.claims) - len(failed)} of {len(stage.claims)} claims shown, {stage.asked:,} "
        f"requests over HTTP, {time.monotonic() - start:.0f} s, {spent:.0f} s of processor time"
    )
    return not failed


def _usual(stage: Stage, count: int) -> list[Answered]:
    return stage.send({site: list(usual(stage.dice, site, count)) for site in stage.sites})


def _record(story: _Story) -> None:
    """1. Twenty gateways record usual traffic of one API"""
    stage = story.stage
    answered = _usual(stage, _LEARN)
    stage.put_away("first")
    answered += _usual(stage, _HELD)
    stage.put_away("held")
    lines = sum(
        len(stage.file(site, suffix).read_bytes().splitlines())
        for site in stage.sites
        for suffix in ("first", "held")
    )
    good = all(one.status in (200, 201) for one in answered)
    stage.claim(f"{len(answered):,} requests were answered as without gateways", holds=good)
    stage.claim(f"{lines:,} are recorded, each at its own site", holds=lines == len(answered))


def _learn(story: _Story) -> None:
    """2. They learn together over the network; four are killed in mid-round"""
    stage = story.stage
    outcome = together.learn(stage, "first", kill=True, sites=list(stage.sites))
    story.live = [site for site in stage.sites if stage.file(site, "learnt").is_file()]
    sent = max(outcome["bytes_up"].values())
    stage.table(
        "two secure sums between processes",
        ("", ""),
        [
            ("sites in the first sum, the counters", len(outcome["counted"])),
            ("in the second, the calibration", len(outcome["calibrated"])),
            ("sent by one site, MB", f"{sent / 1e6:.1f}"),
            ("SHA-256 of what came out", outcome["digest"][:32]),
        ],
    )
    killed = len(stage.sites) - len(outcome["calibrated"])
    stage.claim(
        f"{killed} killed sites are not missed", holds=killed == 4 and len(story.live) == 16
    )
    same = together.pooled_digest(stage, story.settings, outcome, "first") == outcome["digest"]
    stage.claim("the profile is that of the sites' pooled requests, to the bit", holds=same)


def _score(story: _Story) -> None:
    """3. Attacks get through while nobody judges; judged afterwards, they are found"""
    stage = story.stage
    names, sent = together.learn_names(stage)
    stage.send({site: usual(stage.dice, site, _SCORED) for site in stage.sites})
    stage.put_away("clean")
    planned = {s: [a for label in ATTACKS for a in story.attacks(label, s, 2)] for s in story.live}
    answered = stage.send(planned)
    stage.put_away("attacked")
    stage.claim(
        "without a profile every attack was answered",
        holds=all(one.status in (200, 201) for one in answered),
    )
    held = {site: _requests(stage, site, "held") for site in story.live}
    for site in story.live:
        story.profiles[site] = Profile.load(stage.file(site, "learnt"))
    scores = np.concatenate([story.profiles[s].detector.scores(held[s]) for s in story.live])
    threshold = threshold_for(scores, requests=200, alerts=1)
    for profile in story.profiles.values():
        profile.threshold, profile.classes = threshold, names.classes
        profile.level = min(names.level, _LEVEL)
    found, false = _rates(story, "attacked", "clean")
    alone_false = _alone(story)
    stage.table(
        f"judged off-line; the threshold gives one alert in 200 of other usual requests; names: "
        f"{sent / 1e6:.0f} MB sent by a site",
        ("", "share"),
        [
            ("attacks found", f"{found:.1%}"),
            ("false alarms on fresh usual requests", f"{false:.1%}"),
            ("false alarms of a site alone, on usual requests of others", f"{alone_false:.0%}"),
        ],
    )
    stage.claim(
        "9 of 10 attacks are found with 1 false alarm in 50", holds=found > 0.9 and false < 0.02
    )
    stage.claim("a site alone takes others' usual requests for attacks", holds=alone_false > 0.3)


def _requests(stage: Stage, site: int, suffix: str) -> list[Request]:
    return list(learnt_from(stage.folder, site, suffix))


def _above(profile: Profile, requests: Sequence[Request]) -> float:
    return float((profile.detector.scores(requests) > profile.threshold).mean())


def _rates(story: _Story, attacked: str, clean: str) -> tuple[float, float]:
    rates = [
        [_above(story.profiles[s], _requests(story.stage, s, suffix)) for s in story.live]
        for suffix in (attacked, clean)
    ]
    return float(np.mean(rates[0])), float(np.mean(rates[1]))


def _alone(story: _Story) -> float:
    """False alarms of the first site, had it learnt alone, on the traffic of other kinds."""
    stage, site = story.stage, story.live[0]
    alone = Detector.learn(_requests(stage, site, "first"), story.settings)
    own = alone.scores(_requests(stage, site, "held"))
    threshold = threshold_for(own, requests=20, alerts=1)
    others = [r for s in story.live[1:] for r in _requests(stage, s, "clean")]
    return float((alone.scores(others) > threshold).mean())


def _publish(story: _Story) -> None:
    """Put the profiles where the gateways look, and wait until they have them."""
    since = time.time()
    for site in story.judging:
        story.profiles[site].save(story.stage.file(site, "profile"))
    story.stage.published(story.judging, since)
    story.stage.put_away("nudged")


def _block(story: _Story) -> None:
    """4. Profiles in place, no restart: known attacks are refused as they come"""
    stage = story.stage
    story.judging = story.live[:_JUDGING]
    _publish(story)
    planned = {site: list(usual(stage.dice, site, 40)) for site in story.judging}
    for site in story.judging:
        for label in ATTACKS:
            planned[site] += story.attacks(label, site, 5)
    answered = stage.send(planned)
    stage.put_away("blocked")
    sent = Counter(one.asked.label for one in answered)
    refused = Counter(one.asked.label for one in answered if one.status == 403)
    stage.table(
        "near real time, each attack from a source of its own",
        ("", "sent", "refused"),
        [(label or "usual", sent[label], refused[label]) for label in ("", *ATTACKS)],
    )
    known = sum(refused[label] for label in ATTACKS) / sum(sent[label] for label in ATTACKS)
    stage.claim(f"{known:.0%} of attacks of known classes are refused", holds=known > 0.8)
    wrong = refused[""] / sent[""]
    stage.claim(f"{wrong:.1%} of usual requests are", holds=wrong < 0.01)
    alerts = stage.counted("apiwatch_alerts_total")
    judged = stage.counted("apiwatch_scoring_seconds_count")
    stage.claim(
        f"metrics have {judged:.0f} judged requests and {alerts:.0f} alerts of them",
        holds=judged >= len(answered) and alerts >= sum(refused.values()),
    )


def _unknown(story: _Story) -> None:
    """5. A class that nobody knows: clustered, named once, and refused everywhere"""
    stage, first = story.stage, story.live[0]
    planned = {first: story.attacks(UNKNOWN, first, 90)}
    answered = stage.send(planned)
    stage.put_away("strange")
    through = sum(one.status != 403 for one in answered) / len(answered)
    profile = story.profiles[first]
    requests = _requests(stage, first, "strange")
    clusters = unknown_clusters(profile, requests, 5)
    found = [alert for number, alerts in clusters.items() if number >= 0 for alert in alerts]
    values = [text_of(alert.first.request, alert.first.field) for alert in found]
    pure = sum("{{" in value for value in values) / max(len(values), 1)
    stage.claim(f"{through:.0%} get through: P alone refuses nothing", holds=through > 0.5)
    stage.claim(
        f"site {first} sees {len(values)} kinds of them in clusters, {pure:.0%} of one class",
        holds=len(values) >= 5 and pure >= 0.95,
    )
    spread = together.spread(stage, values)
    for one in story.profiles.values():
        one.classes, one.later = spread.classes, spread.later
    _publish(story)
    others = story.judging[1:]
    answered = stage.send({site: story.attacks(UNKNOWN, site, 6) for site in others})
    refused = sum(one.status == 403 for one in answered) / len(answered)
    stage.put_away("strange again")
    stage.claim(
        f"{len(others)} sites that never saw it refuse {refused:.0%} of it, by its name",
        holds=refused >= 0.8,
    )


def _drift(story: _Story) -> None:
    """6. Clients change: false alarms, noticed, and gone after one more round"""
    stage = story.stage
    sites = [site for site in story.live if KINDS[0] in (KINDS[site % 5], KINDS[(site + 1) % 5])]
    planned = {site: usual(stage.dice, site, 5) for site in story.live}
    stage.send(planned | {site: changed(stage.dice, 40) for site in sites})
    stage.put_away("changed")
    before = float(
        np.mean([_above(story.profiles[s], _requests(stage, s, "changed")) for s in sites])
    )
    site = sites[0]
    stream = [r for part in ("first", "held", "changed") for r in _requests(stage, site, part)]
    noticed = changes(story.profiles[site].detector.judge(stream), story.profiles[site].threshold)
    outcome = together.learn(stage, "changed", kill=False, sites=story.live)
    for one in story.live:
        old, new = story.profiles[one], Profile.load(stage.file(one, "learnt"))
        new.threshold, new.classes = old.threshold, old.classes
        new.level, new.later = old.level, old.later
        story.profiles[one] = new
    _publish(story)
    stage.send({site: list(changed(stage.dice, 20)) for site in sites})
    stage.put_away("changed again")
    after = float(
        np.mean([_above(story.profiles[s], _requests(stage, s, "changed again")) for s in sites])
    )
    stage.table(
        "clients that browse ask for prices in a currency",
        ("", ""),
        [
            ("ADWIN notices it at", ", ".join(one.endpoint for one in noticed) or "no endpoint"),
            ("false alarms on the new requests, before", f"{before:.0%}"),
            (
                f"after a round of {len(outcome['counted'])} sites that adds to the profile",
                f"{after:.1%}",
            ),
        ],
    )
    stage.claim(
        "the change is noticed where it is", holds=[c.endpoint for c in noticed] == ["/items"]
    )
    stage.claim("one more round ends the false alarms", holds=before > 0.8 and after < 0.05)
    known = _above(story.profiles[site], _requests(stage, site, "attacked"))
    stage.claim(f"attacks are found as before: {known:.0%}", holds=known > 0.8)


def _forget(story: _Story) -> None:
    """7. A site leaves, and what it taught goes with it"""
    stage, gone = story.stage, story.live[-1]
    left, never = together.forget(stage, story.settings, story.live, gone)
    stage.claim(
        f"without site {gone}: SHA-256 {left[:16]} is that of who never had it", holds=left == never
    )


def _report(story: _Story) -> None:
    """8. The report of one site, and what it would have found alone"""
    stage, site = story.stage, story.live[0]
    profile = story.profiles[site]
    requests = [
        r for part in ("clean", "attacked", "strange") for r in _requests(stage, site, part)
    ]
    judged: list[Judged] = list(profile.detector.judge(requests))
    usual, attacks = (
        list(profile.detector.judge(r for s in story.live for r in _requests(stage, s, part)))
        for part in ("clean", "attacked")
    )
    own = [r for part in ("first", "changed") for r in _requests(stage, site, part)]
    alone = learnt(gather(own), story.settings, None)
    html = stage.folder / "report.html"
    shown = page(profile, judged, redact=False, usual=usual, attacks=attacks, alone=alone)
    html.write_text(shown, encoding="utf-8")
    alerts = alerts_of(profile, requests)
    stage.claim(f"{len(alerts)} groups of alerts in {html}", holds=len(alerts) > 5)
    together, single = (_area(one, usual, attacks) for one in (profile, alone))
    stage.claim(
        f"on the traffic of all sites, AUROC {together:.3f} together and {single:.3f} alone",
        holds=together > single,
    )


def _area(profile: Profile, usual: Sequence[Judged], attacks: Sequence[Judged]) -> float:
    scores = [profile.detector.scores([one.request for one in part]) for part in (usual, attacks)]
    truth = np.repeat([0, 1], [len(usual), len(attacks)])
    return float(roc_auc_score(truth, np.concatenate(scores)))
