"""The benchmarks of privacy and robustness: noise, attacks on sums, poisoners, proofs of norms."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from dp import Release
from dp.audit.measure import Figure, measure
from dp.audit.member_whitened import Whitened

from apiwatch.calibration import Calibration
from apiwatch.contributions import limited
from apiwatch.datasets import csic, csic_repeated
from apiwatch.detector import Detector
from apiwatch.event import Field, Place, Request
from apiwatch.figures import Figures
from apiwatch.leaks import GuessedValue, choice_trials, membership_trials
from apiwatch.private import Privacy, PrivateFederation, Protects
from apiwatch.proved import proved_sum
from apiwatch.secure import Members
from apiwatch.settings import Settings
from apiwatch.splits import SALT, SITES, dealt, injections
from apiwatch.table import Table, gather

__all__ = ["bench_leaks", "bench_privacy", "bench_proofs"]

_SITE_CLIPS = {"counters": 4000.0, "calibration": 600.0}
_MEMBERS, _CHOICES, _CANDIDATES = 200, 300, 20
_BACKGROUND = 1200  # requests that sums are drawn from


def bench_privacy(folder: Path, half: str) -> list[Any]:
    """What each epsilon, of both sums together, leaves of detection."""
    split = csic(folder, half=half)
    repeated = csic_repeated(folder)
    rows: list[Any] = []
    for name, requests, privacy in (
        ("distinct requests, epsilon 3", split.train, Privacy(epsilon=3.0)),
        ("as they came, epsilon 3", repeated, Privacy(epsilon=3.0)),
        ("sites, epsilon 8", repeated, Privacy(epsilon=8.0, protects=Protects.SITE, **_SITE_CLIPS)),
    ):
        groups = {site + 1: requests[site::SITES] for site in range(SITES)}
        federation = PrivateFederation(groups, Settings(salt=SALT), privacy)
        federation.learn()
        scores = federation.shared.scores
        parts = (split.calibration, split.normal, split.attacks)
        rows.append(Figures.of(name, *(scores(part) for part in parts)))
        rows.append(
            {
                "of": name,
                "requests": len(requests),
                "epsilon by the accountant": round(federation.epsilon, 4),
                "delta": privacy.delta,
                "multipliers": [round(_multiplier(r), 2) for r in federation.releases],
            }
        )
    return rows


def _multiplier(release: Release) -> float:
    """Deviation of the promised noise over the sensitivity."""
    return math.sqrt(release.noise.sigma_squared * release.parts) / release.sensitivity.l2


def bench_leaks(folder: Path, half: str) -> list[Any]:
    """Attacks by a site that has the salt, on exact sums and on noisy ones."""
    split = csic(folder, half=half)
    settings, rng = Settings(salt=SALT), np.random.default_rng(1)
    learned = gather(split.train)
    values = sorted(f for f in gather(split.normal) if _is_login(f) and f not in learned)
    rows: list[Any] = []
    for name, epsilon in (("exact", None), ("epsilon 8", 8.0), ("epsilon 3", 3.0)):
        release = None
        if epsilon is not None:
            release = Privacy(epsilon=epsilon).releases(settings, SITES)[0]
        mu = None if release is None else 1 / _multiplier(release)
        options: dict[str, Any] = {"release": release, "rng": rng}
        members = membership_trials(
            split.train[:_BACKGROUND], settings, size=60, trials=_MEMBERS, **options
        )
        choices = choice_trials(
            split.train, values, settings, candidates=_CANDIDATES, trials=_CHOICES, **options
        )
        found = [
            measure(Whitened(), members, rng, mu=mu)[0],
            measure(GuessedValue(), choices, rng, mu=mu)[0],
        ]
        rows += [{"sum": name} | _shown(figure) for figure in found]
    return rows


def _is_login(field: Field) -> bool:
    return (field.place, field.name) == (Place.FORM, "login")


def _shown(figure: Figure) -> dict[str, Any]:
    interval = f"{figure.found.value:.3f} ({figure.found.low:.3f} to {figure.found.high:.3f})"
    return {
        "attack": figure.attack,
        figure.metric: interval,
        "control": round(figure.control.value, 3),
        "no attack exceeds": None if figure.bound is None else round(figure.bound, 3),
        "trials": figure.trials,
    }


def bench_proofs(folder: Path, half: str) -> list[Any]:
    """Poisoners that repeat injections, when each site proves the norm of its counters."""
    split = csic(folder, half=half)
    taught, unseen = injections(split)
    settings = Settings(salt=SALT)
    groups = dealt(split.train)
    honest = {site: Table.learn(gather(part), settings).counts for site, part in groups.items()}
    bound = int(np.quantile([np.linalg.norm(counts) for counts in honest.values()], 0.5))
    vectors = {site: limited(counts, bound) for site, counts in honest.items()}
    members = Members.generate(vectors)
    rows: list[Any] = []
    for name, repeats, cut in (
        ("0 of 20 poison", 0, True),
        ("4 of 20 repeat injections 20 times, over the bound", 20, False),
        ("4 of 20 repeat injections 20 times, within the bound", 20, True),
    ):
        poison = {
            site: _poisoned(groups[site], taught, repeats, settings, bound if cut else None)
            for site in range(1, 5)
            if repeats
        }
        summed = proved_sum(
            vectors | poison, members, bound=bound, model=settings.digest, minimum=12
        )
        detector = _detector(Table(settings, summed.total), split.train)
        scores = (detector.scores(part) for part in (split.calibration, split.normal, unseen))
        figures = Figures.of(name, *scores)
        told = {"of": name, "bound": bound, "refused": sorted(summed.refused)}
        sent = {"MB sent by one site": round(max(summed.bytes_up.values()) / 1e6, 2)}
        rows += [figures, told | sent]
    return rows


def _poisoned(
    own: Sequence[Request],
    taught: Sequence[Request],
    repeats: int,
    settings: Settings,
    bound: int | None,
) -> Any:
    counts = Table.learn(gather([*own, *[*taught] * repeats]), settings).counts
    return counts if bound is None else limited(counts, bound)


def _detector(table: Table, requests: Sequence[Request]) -> Detector:
    return Detector(table, Calibration.learn(gather(requests), table))
