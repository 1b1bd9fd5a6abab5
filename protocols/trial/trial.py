"""One run: a federation with attackers, a defense in its loop, and what happened in each round.

Deterministic: a case has one result. Runs of one seed share data, partition, model and batches, so
two cases that differ by the method or by the attack differ by nothing else.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from functools import lru_cache
from typing import Any, Self

import numpy as np

from protocols.federation import data as data_sets
from protocols.federation.data import Owners, Split
from protocols.federation.federation import Federation
from protocols.trial.attacks import attack_names, attacks, trigger_of
from protocols.trial.methods import Defense, Setting, Taken, method_of
from robust.attacks.attack import Examples
from secagg.errors import ParameterError

__all__ = ["NO_ATTACK", "Case", "Run", "played", "run"]

NO_ATTACK = "none"
_EXPECTED = 0.2  # share of attackers that a defense is told to expect, where it must be told
_HIDDEN = 96
_ROOT = 10
_RECENT = 5
_TENTH = 10
_KINDS: Mapping[str, tuple[type, ...]] = {"str": (str,), "float": (int, float), "int": (int,)}


@dataclass(frozen=True, kw_only=True)
class Case:
    """What is run. Raises `ParameterError` for what cannot be.

    Attributes
    ----------
    data: `digits`, `mnist`, or a name of `protocols.federation.data.keel_names`.
    alpha: of the Dirichlet draw of labels, > 0; 0 for a random partition of equal parts (IID).
    attack: a name of `attack_names`, or "none".
    share: of the clients that attack, in [0, 1); 0 exactly where nobody does.
    method: a name of `METHODS`.
    seed: of everything, >= 0.
    rounds, clients: >= 1. rows: numbers of a sketch.
    """

    data: str
    alpha: float
    attack: str
    share: float
    method: str
    seed: int
    rounds: int = 12
    clients: int = 40
    rows: int = 256

    def __post_init__(self) -> None:
        for item in fields(self):
            value = getattr(self, item.name)
            if type(value) not in _KINDS[str(item.type)]:
                raise ParameterError(f"{item.name} must be of type {item.type}")
        method_of(self.method)
        if self.attack != NO_ATTACK and self.attack not in attack_names():
            raise ParameterError(f"attack must be one of {', '.join(attack_names())}")
        if not (0 <= self.alpha < math.inf and self.seed >= 0 and 0 <= self.share < 1):
            raise ParameterError("0 <= alpha < inf, seed >= 0 and 0 <= share < 1 must hold")
        if min(self.rounds, self.clients, self.rows) < 1:
            raise ParameterError("rounds, clients, rows >= 1 must hold")
        if (self.attackers == 0) != (self.attack == NO_ATTACK):
            raise ParameterError("round(share * clients) == 0 must hold for no attack, and only so")

    @property
    def attackers(self) -> int:
        """How many clients attack."""
        return round(self.share * self.clients)

    @property
    def partition(self) -> str:
        """How clients share the data, in words."""
        return f"Dir({self.alpha:g})" if self.alpha else "IID"

    @property
    def key(self) -> str:
        """One text for one case."""
        return json.dumps(asdict(self), sort_keys=True)


@dataclass(frozen=True, kw_only=True)
class Run:
    """What happened, by round.

    Attributes
    ----------
    case: what was run.
    caught, accused: attackers, and honest clients, that were left out of each round.
    accuracy: of the model after the round, on the test set.
    success: the share of other classes that the trigger turns into its target.
    often_caught, often_accused: who was left out of more than half of the last five rounds.
    ever_accused: honest clients that were left out of at least one round.
    short: rounds in which fewer were left than the scheme would sum.
    """

    case: Case
    caught: tuple[int, ...]
    accused: tuple[int, ...]
    accuracy: tuple[float, ...]
    success: tuple[float, ...]
    often_caught: int
    often_accused: int
    ever_accused: int
    short: int

    @property
    def honest(self) -> int:
        """Clients that do not attack."""
        return self.case.clients - self.case.attackers

    @property
    def by_tenth(self) -> float:
        """Share of the attackers that round 10 leaves out, or the last one of a shorter run."""
        return self.caught[:_TENTH][-1] / max(self.case.attackers, 1)

    @property
    def detection(self) -> tuple[float, float]:
        """True and false positive rate at the end: left out of most of the last five rounds."""
        return self.often_caught / max(self.case.attackers, 1), self.often_accused / self.honest

    @property
    def wronged(self) -> float:
        """Share of the honest clients that were ever left out."""
        return self.ever_accused / self.honest

    def document(self) -> dict[str, Any]:
        """Everything, as JSON knows it."""
        return asdict(self)

    @classmethod
    def from_document(cls, document: object) -> Self:
        """What `document` gave. Raises `ParameterError` for anything else."""
        values = _fields_of(cls, document)
        case = Case(**_fields_of(Case, values.pop("case")))
        series: dict[str, Any] = {
            name: _series(name, values.pop(name), case.rounds)
            for name in ("caught", "accused", "accuracy", "success")
        }
        for name, value in values.items():
            if type(value) is not int or not 0 <= value <= max(case.clients, case.rounds):
                raise ParameterError(f"{name} must be a count")
        return cls(case=case, **series, **values)


def run(case: Case) -> Run:
    """Plays all rounds. Raises `ImportError` where the data set, or scikit-learn, is missing."""
    return played(case, method_of(case.method).start(_setting(case)))


def played(case: Case, defense: Defense) -> Run:
    """The same with another defense than the case names, one that has not seen a round."""
    split, owners = _shared(case.data, case.alpha, case.clients, case.seed)
    shape = split.train.inputs.shape[1], split.train.classes
    sides = [(attacks(*shape)[case.attack], case.attackers)] if case.attackers else []
    federation = Federation(
        split=split, owners=owners, seed=case.seed, attackers=sides, hidden=_HIDDEN
    )
    taken: list[Taken] = []
    accuracy, success = [], []
    for _ in range(case.rounds):
        taken.append(defense.take(federation.round()))
        federation.apply(taken[-1].update)
        accuracy.append(federation.accuracy())
        success.append(federation.attack_success(trigger_of(*shape)))
    malicious = frozenset(federation.malicious)
    return Run(
        case=case,
        accuracy=tuple(accuracy),
        success=tuple(success),
        short=sum(one.short for one in taken),
        **_counts([one.left_out for one in taken], malicious),
    )


def _setting(case: Case) -> Setting:
    return Setting(
        clients=case.clients,
        rounds=case.rounds,
        rows=case.rows,
        corrupt=round(_EXPECTED * case.clients),
        seed=case.seed,
    )


def _counts(left_out: list[frozenset[int]], malicious: frozenset[int]) -> dict[str, Any]:
    recent = left_out[-_RECENT:]
    everybody = frozenset().union(*left_out)
    often = {one for one in everybody if 2 * sum(one in out for out in recent) > len(recent)}
    return {
        "caught": tuple(len(out & malicious) for out in left_out),
        "accused": tuple(len(out - malicious) for out in left_out),
        "often_caught": len(often & malicious),
        "often_accused": len(often - malicious),
        "ever_accused": len(everybody - malicious),
    }


@lru_cache(maxsize=4)
def _examples(name: str) -> Examples:
    images = {"digits": data_sets.digits, "mnist": data_sets.mnist}
    return images[name]() if name in images else data_sets.keel(name)


@lru_cache(maxsize=4)
def _shared(name: str, alpha: float, clients: int, seed: int) -> tuple[Split, Owners]:
    rng = np.random.default_rng(seed)
    parts = data_sets.split(_examples(name), rng, root=_ROOT)
    if alpha == 0:
        return parts, data_sets.owners_iid(parts.train, clients, rng)
    return parts, data_sets.owners_dirichlet(parts.train, clients, alpha, rng)


def _fields_of(kind: type[Any], document: object) -> dict[str, Any]:
    names = {item.name for item in fields(kind)}
    if not isinstance(document, Mapping) or set(document) != names:
        raise ParameterError(f"a {kind.__name__.lower()} has the fields {', '.join(sorted(names))}")
    return dict(document)


def _series(name: str, values: object, rounds: int) -> tuple[Any, ...]:
    if not isinstance(values, list | tuple) or len(values) != rounds:
        raise ParameterError(f"{name} must have one entry for each of {rounds} rounds")
    if not all(type(value) in (int, float) and 0 <= value < math.inf for value in values):
        raise ParameterError(f"{name} must hold numbers >= 0")
    return tuple(values)
