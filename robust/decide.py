"""A cascade of rules: whom to leave out of a round, and why, in words.

Each rule judges the survivors of those before it: where most clients are free-riders, whoever is
compared with "the others" must be compared with those that train. Clones come first: identical
updates inflate what is typical, and honest clients would look poor beside them. Then evidence of
training, without trimming (a majority without data must not trim away the honest ones) and with it
(a clique must not vouch for itself); then copies and norms. What needs a root set, or votes, comes
last, if at all.

False exclusions. `budget` bounds the expected share of honest clients that are excluded at least
once in a run of `rounds` rounds: by the union bound, each rule works at the level
budget/(rounds * rules) in each round. It is a statement about the whole run: windows of successive
rounds overlap, which the union bound covers, as it covers rules that judge the same numbers. The
bound holds for honest clients that fit the honest model which each rule's docstring states, and
for no others: not for one whose labels nobody else has, nor for the norms of honest clients among a
majority of free-riders with short updates that the rules before have not found yet. What a rule
cannot reach at its level, it does not decide.

From the first round on: rules whose thresholds follow from the number of rounds seen exclude hardly
anybody at first and more as evidence adds up. A client is judged anew in every round, by its last
`window` rounds, and comes back when those are clean.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np

from robust.detect import Abstained
from robust.detect_evidence import EvidenceOfTraining
from robust.errors import ObservationError, require
from robust.features import between, whole_number
from robust.observe import Mask
from robust.rule import Finding, Found, Rule, Seen, view
from robust.rule_coalition import CoalitionRule
from robust.rule_evidence import CopyRule, TrainingRule
from robust.rule_reference import ReferenceRule
from robust.rule_shape import CloneRule, NormRule
from robust.window import Memory

__all__ = ["Cascade", "Screening", "Verdict", "Verdicts", "default_rules", "rooted"]

_VERSION = 1


def default_rules() -> tuple[Rule[Any], ...]:
    """Clones, evidence without and with trimming, copies, norms."""
    # who is compared with all others too, shares more evenly than who is compared with the far ones
    untrimmed = TrainingRule(detector=EvidenceOfTraining(trim=0.0), wander=0.1, poor=0.0)
    return CloneRule(), untrimmed, TrainingRule(), CopyRule(), NormRule()


def rooted(rounds: int) -> Cascade:
    """The default and, last, what needs a root set: the server's own direction, and coalitions.

    EXPERIMENTAL. The budget does not bound what the rule on coalitions excludes.
    """
    rules = (*default_rules(), ReferenceRule(), CoalitionRule())
    return Cascade(rules=rules, rounds=rounds)


@dataclass(frozen=True, kw_only=True)
class Cascade:
    """The public configuration of a screening.

    Attributes
    ----------
    rules: in order; at least one.
    window: rounds of a client that count, >= 1.
    rounds: of the whole run, >= 1, over which the budget holds.
    budget: expected share of honest clients excluded at least once, in (0, 1).
    memory: rounds that are remembered, >= window; more help clients that are seldom there.

    Raises `ParameterError` for a rule that could exclude nobody at its level.
    """

    rules: tuple[Rule[Any], ...] = field(default_factory=default_rules)
    window: int = 10
    rounds: int = 20
    budget: float = 0.03
    memory: int = 20

    def __post_init__(self) -> None:
        require(len(self.rules) >= 1, "at least one rule")
        whole_number("window", self.window, 1)
        whole_number("rounds", self.rounds, 1)
        whole_number("memory", self.memory, self.window)
        between("budget", self.budget, 0.0, 1.0)
        for rule in self.rules:
            rule.check(self.level, self.window)

    @property
    def level(self) -> float:
        """Probability with which one rule may exclude one honest client in one round."""
        return self.budget / (self.rounds * len(self.rules))


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """Of one client in one round: excluded or not, and what each rule found that judged it."""

    client: int
    excluded: bool
    findings: tuple[Finding, ...]

    @property
    def reasons(self) -> tuple[Finding, ...]:
        """The findings that exclude."""
        return tuple(finding for finding in self.findings if finding.excludes)


@dataclass(frozen=True, kw_only=True)
class Verdicts:
    """Of one round: a verdict for each client seen, and who of the rules abstained."""

    number: int
    verdicts: tuple[Verdict, ...]
    abstained: tuple[Abstained, ...]

    @property
    def excluded(self) -> tuple[int, ...]:
        """Ids to leave out."""
        return tuple(verdict.client for verdict in self.verdicts if verdict.excluded)

    @cached_property
    def by_client(self) -> Mapping[int, Verdict]:
        """Id -> verdict."""
        return {verdict.client: verdict for verdict in self.verdicts}


class Screening:
    """Judges round after round by one cascade. The only state is what it remembers of rounds."""

    def __init__(self, cascade: Cascade) -> None:
        self.cascade = cascade
        self._last = -1
        self._memories = [Memory(cascade.memory) for _ in cascade.rules]

    @property
    def last(self) -> int:
        """Number of the last round that was judged; -1 before any."""
        return self._last

    def judge(self, seen: Seen) -> Verdicts:
        """Verdicts of one round.

        Rules that need more than `seen` tells take no part: with `Norms`, only those on norms do.
        Raises `ObservationError` unless round numbers ascend; nothing is remembered then. And where
        a rule cannot reckon with what it remembers, since a state was loaded that no round gave:
        this screening cannot go on.
        """
        if seen.number <= self._last:
            raise ObservationError(f"rounds must ascend, got {seen.number} after {self._last}")
        self._last = seen.number
        clients = np.array(seen.clients)
        findings: dict[int, list[Finding]] = {client: [] for client in seen.clients}
        abstained, keep = [], np.ones(len(clients), dtype=bool)
        for rule, memory in zip(self.cascade.rules, self._memories, strict=True):
            found = self._found(rule, memory, seen, keep)
            if isinstance(found, Abstained):
                abstained.append(found)
            elif found is not None:
                for at, client in enumerate(clients[keep].tolist()):
                    findings[client].append(rule.finding(found, at))
                keep[keep] = ~found.excludes
        verdicts = (
            Verdict(client=client, excluded=not kept, findings=tuple(findings[client]))
            for client, kept in zip(seen.clients, keep.tolist(), strict=True)
        )
        return Verdicts(number=seen.number, verdicts=tuple(verdicts), abstained=tuple(abstained))

    def _found(
        self, rule: Rule[Any], memory: Memory, seen: Seen, keep: Mask
    ) -> Found | Abstained | None:
        """What `rule` finds of those in `keep`; None if there is nothing to look at."""
        part = view(seen, rule.sees)
        if part is None or not keep.any():
            return None
        part = part.only(keep)
        figures = rule.measure(part)
        if isinstance(figures, Abstained):
            return figures
        memory.add(part.number, part.clients, figures)
        past = memory.past(part.clients, self.cascade.window)
        try:
            with np.errstate(divide="raise", over="raise", invalid="raise"):
                found = rule.find(past, self.cascade.level)
        except FloatingPointError as error:
            raise ObservationError(f"{rule.name}: remembered figures out of range") from error
        memory.amend(rule.remembered(found))
        return found

    def export(self) -> dict[str, object]:
        """The state as lists, numbers and strings, fit for JSON."""
        rules = [
            {"name": rule.name, "rounds": memory.export()}
            for rule, memory in zip(self.cascade.rules, self._memories, strict=True)
        ]
        return {"version": _VERSION, "last": self._last, "rules": rules}

    @classmethod
    def load(cls, cascade: Cascade, document: object) -> Screening:
        """A screening that goes on where `export` was taken, under the same cascade.

        Raises `ObservationError` for a document that is none of this version and these rules.
        """
        screening = cls(cascade)
        if not isinstance(document, dict) or set(document) != {"version", "last", "rules"}:
            raise ObservationError("a state must have version, last and rules")
        last, rules = document["last"], document["rules"]
        if document["version"] != _VERSION:
            raise ObservationError(f"version {_VERSION} must hold")
        if not isinstance(last, int) or isinstance(last, bool) or last < -1:
            raise ObservationError("last must be an integer >= -1")
        screening._last = last
        screening._memories = _memories(cascade, rules)
        return screening


def _memories(cascade: Cascade, rules: object) -> list[Memory]:
    names = [rule.name for rule in cascade.rules]
    if not isinstance(rules, list) or not all(isinstance(rule, dict) for rule in rules):
        raise ObservationError("rules of a state must be a list of documents")
    if [rule.get("name") for rule in rules] != names:
        raise ObservationError(f"rules of a state must be {', '.join(names)}")
    return [Memory.load(cascade.memory, rule.get("rounds")) for rule in rules]
