"""The steps in which sites learn together: profiles over the network, names, and forgetting."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from collections import Counter
from collections.abc import Sequence
from contextlib import ExitStack
from itertools import chain
from typing import Any

import numpy as np

from apiwatch.agreement import Agreement, load_key, new_key, write_secret
from apiwatch.calibration import Calibration
from apiwatch.classes import ClassSums, class_weights
from apiwatch.demo.sites import NAMES, learnt_from
from apiwatch.demo.stage import Stage
from apiwatch.demo.traffic import ATTACKS, UNKNOWN, examples
from apiwatch.detector import Detector
from apiwatch.errors import StoryFailed
from apiwatch.event import Field
from apiwatch.federation import Federation
from apiwatch.pending import Pending, pending_file
from apiwatch.settings import Settings
from apiwatch.store import Profile
from apiwatch.table import Table, gather

__all__ = ["agree", "forget", "learn", "learn_names", "pooled_digest", "spread"]

_ALL, _SOME = "agreement.json", "agreement of names.json"
_HOST = 4  # sites in one process
_NAMERS = range(1, 6)


def agree(stage: Stage) -> Settings:
    """Keys of everybody, a salt, and two agreements: of all sites, and of those that give names."""
    salt = os.urandom(32)
    settings = Settings(cells=16, slots=11, salt=salt)
    write_secret(stage.folder / "salt", salt)
    server = new_key(stage.folder / "server.key").public
    keys = {site: new_key(stage.file(site, "key")).public for site in stage.sites}
    Agreement.of(settings, server, keys).save(stage.folder / _ALL)
    some = {site: keys[site] for site in _NAMERS}
    Agreement.of(settings, server, some).save(stage.folder / _SOME)
    return settings


def learn(stage: Stage, suffix: str, *, kill: bool, sites: Sequence[int]) -> dict[str, Any]:
    """One learning round between real processes. kill: the last of them in mid-round."""
    agreement = stage.folder / _ALL
    if len(sites) < len(stage.sites):
        whole = Agreement.load(agreement)
        keys = {site: load_key(stage.file(site, "key")).public for site in sites}
        salt = bytes.fromhex((stage.folder / "salt").read_text("ascii"))
        Agreement.of(whole.settings_with(salt), whole.roster.server, keys).save(agreement)
    return _round(stage, _ALL, suffix, kill=kill, sites=sites)


def _round(
    stage: Stage, file: str, suffix: str, *, kill: bool, sites: Sequence[int]
) -> dict[str, Any]:
    """What the server has printed."""
    what = "names" if suffix == NAMES else "profile"
    serving = ("round", "serve", stage.folder / file, "--key", stage.folder / "server.key")
    with stage.process(
        "apiwatch.cli", *serving, "--what", what, "--listen", "127.0.0.1:0"
    ) as server:
        assert server.stderr is not None
        address = server.stderr.readline().rpartition(" ")[2].strip()
        groups = [sites[at : at + _HOST] for at in range(0, len(sites), _HOST)]
        with ExitStack() as ending:
            hosts = [
                ending.enter_context(
                    stage.process(
                        "apiwatch.demo.sites", stage.folder, file, address, suffix, *group
                    )
                )
                for group in groups
            ]
            if kill:
                _kill_in_mid_round(hosts.pop())
            said, errors = server.communicate(timeout=90)
            for host in hosts:
                host.communicate(timeout=60)
    if server.returncode != 0:
        raise StoryFailed(f"the round ended without sums: {errors.strip().splitlines()[-1]}")
    outcome: dict[str, Any] = json.loads(said)
    return outcome


def _kill_in_mid_round(host: subprocess.Popen[str]) -> None:
    assert host.stdout is not None
    for line in host.stdout:
        if "sum 0: shares" in line:
            host.send_signal(signal.SIGKILL)
            return
    raise StoryFailed("the sites that were to be killed ended by themselves")


def pooled_digest(stage: Stage, settings: Settings, outcome: dict[str, Any], suffix: str) -> str:
    """The digest that the requests of these sites in one place give."""
    first, second = (
        sum(
            (gather(learnt_from(stage.folder, s, suffix)) for s in outcome[which]), Counter[Field]()
        )
        for which in ("counted", "calibrated")
    )
    table = Table.learn(first, settings)
    return Detector(table, Calibration.learn(second, table)).digest


def learn_names(stage: Stage) -> tuple[Profile, int]:
    """A profile with names, of five sites with two known classes each, and the bytes that a site
    sent for them.
    """
    labels = tuple(ATTACKS)
    given = {
        site: examples(stage.dice, (labels[site % 4], labels[(site + 1) % 4]), 40)
        for site in _NAMERS
    }
    for site, pairs in given.items():
        Pending(pending_file(stage.file(site, "learnt"))).add(pairs)
    outcome = _round(stage, _SOME, NAMES, kill=False, sites=_NAMERS)
    pooled = list(chain(*given.values()))
    weights = class_weights(Counter(label for _, label in pooled))
    same = ClassSums.learn(pooled, weights, weights).digest == outcome["classes"]
    stage.claim(
        f"{len(outcome['named'])} sites learn names together: to the bit, those of their pooled "
        f"{len(pooled)} examples",
        holds=same,
    )
    return Profile.load(stage.file(1, "learnt")), max(outcome["bytes_up"].values())


def spread(stage: Stage, values: Sequence[str]) -> Profile:
    """A profile with what one site calls a cluster of its own, after one more round of names.

    Nobody learns which site it was: the others add nothing, and that looks the same.
    """
    Pending(pending_file(stage.file(1, "learnt"))).add((value, UNKNOWN) for value in values)
    outcome = _round(stage, _SOME, NAMES, kill=False, sites=_NAMERS)
    stage.claim(
        f"the sum of {len(outcome['named'])} sites has the new class",
        holds=outcome["names"] == {UNKNOWN: len(values)},
    )
    return Profile.load(stage.file(2, "learnt"))


def forget(stage: Stage, settings: Settings, sites: Sequence[int], gone: int) -> tuple[str, str]:
    """Digests of the federation after `gone` left, and of one that never had it."""
    counts = {site: gather(learnt_from(stage.folder, site, "first")) for site in sites}
    federation = Federation(counts, settings)
    federation.learn()
    federation.forget(gone)
    stay = sum((counts[site] for site in sites if site != gone), Counter[Field]())
    table = Table.learn(stay, settings)
    assert np.array_equal(table.counts, federation.total.counts)
    return federation.shared.digest, Detector(table, Calibration.learn(stay, table)).digest
