"""The steps in which sites learn together: profiles over the network, names, and forgetting."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from collections import Counter
from collections.abc import Sequence
from contextlib import ExitStack
from typing import Any

import numpy as np

from apiwatch.agreement import Agreement, load_key, new_key, write_secret
from apiwatch.calibration import Calibration
from apiwatch.classes import ClassModel, ClassSums, class_weights, learn_together
from apiwatch.demo.sites import learnt_from
from apiwatch.demo.stage import Stage
from apiwatch.demo.traffic import ATTACKS, UNKNOWN, examples
from apiwatch.detector import Detector
from apiwatch.errors import StoryFailed
from apiwatch.event import Field
from apiwatch.federation import Federation
from apiwatch.naming import level_for
from apiwatch.secure import Members, secure_sum
from apiwatch.settings import Settings
from apiwatch.table import Table, gather

__all__ = ["agree", "forget", "learn", "learn_names", "pooled_digest", "spread"]

# generated attacks get responses near 1; a class named from a dozen examples is not so sure
_LEVEL = 0.6
_HOST = 4  # sites in one process
_NAMERS = range(1, 7)


def agree(stage: Stage) -> Settings:
    """Keys of everybody, a salt, and two agreements: of all sites, and of those that stay."""
    salt = os.urandom(32)
    settings = Settings(cells=16, slots=11, salt=salt)
    write_secret(stage.folder / "salt", salt)
    server = new_key(stage.folder / "server.key").public
    keys = {site: new_key(stage.file(site, "key")).public for site in stage.sites}
    Agreement.of(settings, server, keys).save(stage.folder / "agreement.json")
    return settings


def learn(stage: Stage, suffix: str, *, kill: bool, sites: Sequence[int]) -> dict[str, Any]:
    """One learning round between real processes. kill: the last of them in mid-round."""
    agreement = stage.folder / "agreement.json"
    if len(sites) < len(stage.sites):
        whole = Agreement.load(agreement)
        keys = {site: load_key(stage.file(site, "key")).public for site in sites}
        salt = bytes.fromhex((stage.folder / "salt").read_text("ascii"))
        Agreement.of(whole.settings_with(salt), whole.roster.server, keys).save(agreement)
    serving = ("round", "serve", agreement, "--key", stage.folder / "server.key")
    with stage.process("apiwatch.cli", *serving, "--listen", "127.0.0.1:0") as server:
        assert server.stderr is not None
        address = server.stderr.readline().rpartition(" ")[2].strip()
        groups = [sites[at : at + _HOST] for at in range(0, len(sites), _HOST)]
        with ExitStack() as ending:
            hosts = [
                ending.enter_context(
                    stage.process("apiwatch.demo.sites", stage.folder, address, suffix, *group)
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


def learn_names(stage: Stage, settings: Settings) -> tuple[ClassSums, float, int]:
    """Class sums over six sites with two known classes each, the level of the unknown, and the
    bytes that a site sent.
    """
    labels = tuple(ATTACKS)
    sites = {
        site: examples(stage.dice, (labels[site % 4], labels[(site + 1) % 4]), 40)
        for site in _NAMERS
    }
    members = Members.generate(sites)
    sums, rounds = learn_together(sites, (*labels, "benign"), members, model=settings.digest)
    fresh = [ATTACKS[label](stage.dice) for label in labels for _ in range(60)]
    sent = sum(max(summed.bytes_up.values()) for summed in rounds)
    return sums, min(level_for(ClassModel(sums), fresh), _LEVEL), sent


def spread(stage: Stage, settings: Settings, known: ClassSums, values: Sequence[str]) -> ClassSums:
    """What one site calls a cluster of its own, added to the class sums of all by one sum.

    Nobody learns which site it was: the others add nothing, and that looks the same.
    """
    labels = (*known.labels, UNKNOWN)
    counts = dict(zip(known.labels, known.counts.tolist(), strict=True)) | {UNKNOWN: len(values)}
    own = ClassSums.learn([(value, UNKNOWN) for value in values], labels, class_weights(counts))
    nothing = ClassSums.empty(labels).vector
    vectors = {site: own.vector if site == 1 else nothing for site in _NAMERS}
    members = Members.generate(_NAMERS)
    summed = secure_sum(vectors, members, bound=int(own.vector.max()), model=settings.digest)
    stage.claim(f"the sum of {len(summed.included)} sites has the new class", holds=bool(values))
    return known + ClassSums.from_vector(summed.total, own.labels)


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
