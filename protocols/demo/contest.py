"""The story of the demo with attackers: one federation screened through the real protocol, and the
same without protection beside it.

Both start from one model and see the same data, batches and attacks. In the screened one the server
never sees an update: it has the sum of whom it accepted, and of each client the numbers that the
plan opens.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from dp.audit.measure import Figure
from protocols.audit_rounds import AuditRounds
from protocols.demo.leak import labels_read
from protocols.demo.training import fallen_silent
from protocols.federation.data import Owners, Split, digits, owners_dirichlet, parts, split
from protocols.federation.federation import Federation, RoundData
from protocols.federation.observe import known
from protocols.plan import RoundPlan, model_digest
from protocols.screening import SketchScreen, observed
from protocols.simulate import Outcome, Population, phases, run_round
from protocols.trial.statistics import unclipped
from robust.attacks.attack import Attack, Goal
from robust.attacks.catalog import backdoors, free_riders, poisoners
from robust.attacks.trigger import Trigger
from robust.decide import Cascade, Screening, Verdict, Verdicts, rooted
from robust.observe import Sketches
from robust.rule import Finding
from secagg.errors import ParameterError
from secagg.event import Statistics
from secagg.identity import PartyId
from secagg.quantize import FixedPoint, NormClip
from secagg.schemes.secagg_plus.verified import SecAggPlusVerified
from secagg.sketch import slack

__all__ = ["ATTACKS", "Contest", "Match", "Settings", "last_verdicts"]

TRIGGER = Trigger(indices=(0, 1, 8, 9), value=3.0, target=3)
"""The upper left corner of the image is bright; it is then to be taken for a 3."""

ATTACKS: Mapping[str, Attack] = {
    f"{prefix}_{attack.name.replace(', ', '-').replace(' ', '-')}": attack
    for prefix, attacks in (
        ("fr", free_riders()),
        ("po", poisoners()),
        ("bd", backdoors(TRIGGER)),
    )
    for attack in attacks
    if attack.name != "null space"  # it needs a sketch that is known beforehand
}
"""By the name that the command line gives them."""

_CLIP = 4.0
_ROOT = 10


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What is run.

    attacks: names in `ATTACKS`, each made by `attackers` clients of `clients`. drop: fraction that
    falls silent in a round. rows: numbers that are opened of each update. alpha: of the Dirichlet
    draw of labels. audit: every so many rounds of the screened run are audit rounds; 0 for none.
    """

    attacks: tuple[str, ...]
    clients: int = 40
    attackers: int = 3
    rounds: int = 12
    drop: float = 0.05
    rows: int = 256
    alpha: float = 0.3
    hidden: int = 64
    audit: int = 0
    seed: int = 0

    def __post_init__(self) -> None:
        for name in self.attacks:
            if name not in ATTACKS:
                raise ParameterError(f"unknown attack {name!r}; known are {', '.join(ATTACKS)}")
        if not 1 <= self.attackers * len(self.attacks) < self.clients / 2:
            raise ParameterError("1 <= attackers * attacks < clients / 2 must hold")
        if self.audit < 0:
            raise ParameterError(f"audit >= 0 must hold, got {self.audit}")


@dataclass(frozen=True, kw_only=True)
class Match:
    """One round of both, from 1.

    audited: whether the screened run spent it on an audit.
    accuracy, success: of the screened model on the test set, and the share of other digits that
    the trigger turns into its target; open_accuracy, open_success without screening.
    outcome: of the secure round. seen: what detectors saw of it, of those within the bounds.
    verdicts: on everybody whose update arrived. beyond: who was not within the bounds.
    excluded: attackers whose update was kept out, and honest clients whose update was.
    opened: numbers opened of each client. read: how often they tell an honest client's most
    frequent digit.
    """

    number: int
    audited: bool
    accuracy: float
    success: float
    open_accuracy: float
    open_success: float
    outcome: Outcome
    seen: Sketches
    verdicts: Verdicts
    beyond: frozenset[PartyId]
    excluded: tuple[frozenset[PartyId], frozenset[PartyId]]
    opened: int
    read: Figure | None
    seconds: float = 0.0


class Contest:
    """Two federations, and the screening of one of them. `examples`: of clients 1, 2, …"""

    def __init__(self, settings: Settings, cascade: Cascade | None = None) -> None:
        self.settings = settings
        chosen = [ATTACKS[name] for name in settings.attacks]
        shared = _shared(settings)
        self.examples = parts(shared[0].train, shared[1])
        self.screened, self.unprotected = (
            _federation(settings, shared, chosen) for _ in ("screened", "open")
        )
        self.cascade = cascade or rooted(settings.rounds)
        self._screening = Screening(self.cascade)
        self._rng = np.random.default_rng(settings.seed)
        size = self.screened.network.size
        self.plan = RoundPlan.for_update(
            np.zeros(size),
            clients=settings.clients,
            clip=NormClip(_CLIP),
            screen=SketchScreen(rows=settings.rows, tables=4, buckets=1 << 11),
        )
        self._labels = {
            client: int(np.bincount(owned.labels).argmax())
            for client, owned in enumerate(self.examples, start=1)
            if client not in self.screened.malicious
        }
        self._people = Population.generate(self.screened.clients)
        self._session = os.urandom(16)

    @property
    def has_backdoor(self) -> bool:
        """Whether some attack plants the trigger."""
        return any(ATTACKS[name].goal is Goal.BACKDOOR for name in self.settings.attacks)

    def rounds(self, watch: Callable[[str], None] = lambda _: None) -> Iterator[Match]:
        """The rounds, as they are done. `watch` is told what is going on."""
        for number in range(1, self.settings.rounds + 1):
            start = time.perf_counter()
            watch("clients train, attackers attack")
            added = self._perturbation(number)
            data, unguarded = self.screened.round(perturbation=added), self.unprotected.round()
            watch("one secure sum, screened")
            outcome, seen, verdicts = self._sum(number, data)
            if outcome.result is None or added is not None:
                self.screened.skip()
            else:
                self.screened.apply(outcome.result.mean)
            self.unprotected.apply(unguarded.mean())
            match = self._match(data, outcome, seen, verdicts)
            yield replace(match, seconds=time.perf_counter() - start)

    def _sum(self, number: int, data: RoundData) -> tuple[Outcome, Sketches, Verdicts]:
        judged: list[tuple[Sketches, Verdicts]] = []

        def judge(statistics: Statistics) -> Collection[PartyId]:
            seen = self._seen(number, statistics, data)
            verdicts = self._screening.judge(seen)
            judged.append((seen, verdicts))
            return statistics.eligible - set(verdicts.excluded)

        updates = {i: (row, 1) for i, row in zip(data.clients, data.updates, strict=True)}
        stages = [stage for stage in phases(self.plan.scheme) if stage in ("masked", "unmask")]
        outcome = run_round(
            self.plan,
            updates,
            drops=fallen_silent(
                number, list(updates), tuple(stages), self.settings.drop, self._rng
            ),
            vectors={i: unclipped(self.plan, updates[i][0]) for i in self._attacking(data)},
            judge=judge,
            population=self._people,
            session=self._session,
            number=number,
            model=model_digest(data.weights),
        )
        return outcome, *judged[-1]

    def _perturbation(self, number: int) -> NDArray[np.float64] | None:
        if not self.settings.audit:
            return None
        audit = AuditRounds(every=self.settings.audit)
        found: NDArray[np.float64] | None
        found = audit.perturbation(self.screened.weights, self._session, number)
        return found

    def _seen(self, number: int, statistics: Statistics, data: RoundData) -> Sketches:
        seen = observed(
            self.plan,
            statistics,
            number,
            known=known(data),
            root=data.root,
            classes=list(data.classes),
            imitate=data.imitate,
        )
        assert isinstance(seen, Sketches), "the plan opens sketches"
        return seen

    def _attacking(self, data: RoundData) -> list[PartyId]:
        return [i for i, honest in zip(data.clients, data.honest, strict=True) if not honest]

    def _match(
        self, data: RoundData, outcome: Outcome, seen: Sketches, verdicts: Verdicts
    ) -> Match:
        statistics = outcome.statistics
        assert statistics is not None, "somebody was judged"
        beyond = _beyond(self.plan, statistics)
        out = {*(one.client for one in beyond), *verdicts.excluded}
        attackers = frozenset(self._attacking(data))
        together = sorted((*beyond, *verdicts.verdicts), key=lambda one: one.client)
        return Match(
            number=verdicts.number,
            audited=data.perturbation is not None,
            accuracy=self.screened.accuracy(),
            success=self.screened.attack_success(TRIGGER),
            open_accuracy=self.unprotected.accuracy(),
            open_success=self.unprotected.attack_success(TRIGGER),
            outcome=outcome,
            seen=seen,
            verdicts=replace(verdicts, verdicts=tuple(together)),
            beyond=frozenset(one.client for one in beyond),
            excluded=(frozenset(out & attackers), frozenset(out - attackers)),
            opened=self.plan.scheme.opened,
            read=labels_read(seen, self._labels),
        )


def _beyond(plan: RoundPlan, statistics: Statistics) -> tuple[Verdict, ...]:
    """Of those whom the scheme itself refuses, in the words of a test."""
    scheme = plan.scheme
    assert isinstance(scheme, SecAggPlusVerified), "the plan has a screen"
    assert isinstance(plan.quantize, FixedPoint), "only exact plans have a screen"
    bound = plan.quantize.clip.bound * (1 + slack(scheme.screen.rows))
    sketch = scheme.opened_map(statistics.seed).sketch
    lengths = np.linalg.norm(statistics.rows.astype(np.float64), axis=1) / sketch.scale
    rows = zip(statistics.clients, lengths * plan.quantize.resolution, strict=True)
    return tuple(
        Verdict(client=client, excluded=True, findings=(_too_long(float(norm), bound),))
        for client, norm in rows
        if client not in statistics.eligible
    )


def _too_long(norm: float, bound: float) -> Finding:
    return Finding(
        test="bound",
        figure=norm,
        threshold=bound,
        excludes=True,
        p_value=None,
        in_words="Its update is beyond the norm bound that every client agreed on.",
    )


def last_verdicts(matches: Sequence[Match]) -> dict[PartyId, tuple[int, Verdict]]:
    """The last verdict on each client that was ever excluded, and its round."""
    found: dict[PartyId, tuple[int, Verdict]] = {}
    for match in matches:
        for client in match.verdicts.excluded:
            found[client] = match.number, match.verdicts.by_client[client]
    return found


def _shared(settings: Settings) -> tuple[Split, Owners]:
    rng = np.random.default_rng(settings.seed)
    data = split(digits(), rng, root=_ROOT)
    return data, owners_dirichlet(data.train, settings.clients, settings.alpha, rng)


def _federation(
    settings: Settings, shared: tuple[Split, Owners], chosen: Sequence[Attack]
) -> Federation:
    return Federation(
        split=shared[0],
        owners=shared[1],
        seed=settings.seed,
        attackers=[(attack, settings.attackers) for attack in chosen],
        hidden=settings.hidden,
    )
