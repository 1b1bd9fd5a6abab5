"""What a client's verdicts add up to over rounds: a score, a standing, and a way back.

After every round each client seen gets a mark in [0, 1], 1 for nothing to hold against it. Its
score is an exponential mean of marks, score <- decay score + (1 - decay) mark, and its standing is

    MEMBER     --score < exclude_below-->            EXCLUDED
    EXCLUDED   --readmit_after clean rounds on end--> PROBATION
    PROBATION  --one round that is not clean-->      EXCLUDED
    PROBATION  --probation clean rounds on end-->    MEMBER

where a round is clean for a client whose mark is at least `clean`. An excluded client still takes
part, with weight 0: without its updates nobody could see that it stopped attacking, and an honest
client that was excluded by mistake would never come back.

A client that is absent stays as it is: staying away neither heals nor harms. A client under a new
id starts as anybody does, so scores bind nobody to whom identities are free.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from types import MappingProxyType
from typing import Any, Self

import numpy as np

from robust.errors import ObservationError, ParameterError, require
from robust.observe import Array

__all__ = ["Record", "Reputation", "ReputationRule", "Standing"]

_FORMAT = 1
_SLACK = 1e-12


class Standing(enum.Enum):
    """What a client's updates count for."""

    MEMBER = "member"
    """With its full weight."""

    PROBATION = "probation"
    """With `probation_weight`."""

    EXCLUDED = "excluded"
    """Not at all."""


@dataclass(frozen=True, kw_only=True)
class ReputationRule:
    """How marks become standings; `ParameterError` for what breaks an inequality.

    Attributes
    ----------
    decay: of the score, 0 <= decay < 1.
    exclude_below: score under which a member is excluded, 0 < exclude_below <= clean.
    clean: the least mark of a clean round, in (0, 1].
    readmit_after: k >= 1, clean rounds on end that end an exclusion.
    probation: p >= 1, clean rounds on end that end a probation. Then a score that was 0 is at
        least clean (1 - decay^(k + p)), and that must reach `exclude_below`: else who becomes a
        member again would be excluded for nothing new.
    probation_weight: in [0, 1].
    start: score of a client never seen before, in [exclude_below, 1].
    """

    decay: float = 0.8
    exclude_below: float = 0.5
    clean: float = 0.75
    readmit_after: int = 5
    probation: int = 5
    probation_weight: float = 0.5
    start: float = 1.0

    def __post_init__(self) -> None:
        for item in fields(self):
            value = getattr(self, item.name)
            whole = item.name in {"readmit_after", "probation"}
            kinds = int if whole else (int, float)
            good = isinstance(value, kinds) and not isinstance(value, bool)
            require(good and value >= 0, f"0 <= {item.name}, a number, here {value!r},")
        require(self.decay < 1, f"decay < 1, here {self.decay},")
        require(0 < self.clean <= 1, f"0 < clean <= 1, here {self.clean},")
        require(0 < self.exclude_below <= self.clean, "0 < exclude_below <= clean")
        require(self.readmit_after >= 1 and self.probation >= 1, "readmit_after, probation >= 1")
        require(self.probation_weight <= 1, "probation_weight <= 1")
        require(self.exclude_below <= self.start <= 1, "exclude_below <= start <= 1")
        least = self.clean * (1 - self.decay ** (self.readmit_after + self.probation))
        require(
            least + _SLACK >= self.exclude_below,
            f"clean (1 - decay^(readmit_after + probation)) = {least:.4g} >= exclude_below = "
            f"{self.exclude_below}",
        )

    def after(self, record: Record, mark: float) -> Record:
        """The record of a client after one more round, in which it got `mark`."""
        score = self.decay * record.score + (1 - self.decay) * mark
        streak = record.streak + 1 if mark >= self.clean else 0
        standing = self._standing(record.standing, score, streak)
        changed = standing is not record.standing
        return Record(
            score=min(max(score, 0.0), 1.0),
            standing=standing,
            streak=0 if changed else streak,
            rounds=record.rounds + 1,
        )

    def weight(self, standing: Standing) -> float:
        """What an update counts for, in [0, 1]."""
        return {
            Standing.MEMBER: 1.0,
            Standing.PROBATION: self.probation_weight,
            Standing.EXCLUDED: 0.0,
        }[standing]

    def _standing(self, standing: Standing, score: float, streak: int) -> Standing:
        if standing is Standing.MEMBER:
            # the slack forgives rounding to a score that is at the bound by construction
            below = score < self.exclude_below - _SLACK
            return Standing.EXCLUDED if below else Standing.MEMBER
        if standing is Standing.EXCLUDED:
            return Standing.PROBATION if streak >= self.readmit_after else Standing.EXCLUDED
        if streak == 0:
            return Standing.EXCLUDED
        return Standing.MEMBER if streak >= self.probation else Standing.PROBATION


@dataclass(frozen=True, kw_only=True)
class Record:
    """What is known of one client.

    Attributes
    ----------
    score: in [0, 1].
    standing: see `Standing`.
    streak: clean rounds on end since the standing last changed, >= 0.
    rounds: rounds in which it was seen, >= 0.
    """

    score: float
    standing: Standing = Standing.MEMBER
    streak: int = 0
    rounds: int = 0

    def __post_init__(self) -> None:
        if not _is_number(self.score) or not 0 <= self.score <= 1:
            raise ObservationError(f"0 <= score <= 1 must hold, got {self.score!r}")
        if not isinstance(self.standing, Standing):
            raise ObservationError(f"standing must be a Standing, got {self.standing!r}")
        for name, value in (("streak", self.streak), ("rounds", self.rounds)):
            if not _is_id(value):
                raise ObservationError(f"{name} >= 0 must hold for an integer, got {value!r}")
        if self.streak > self.rounds:
            raise ObservationError(f"streak <= rounds must hold: {self.streak} > {self.rounds}")


@dataclass(frozen=True, kw_only=True)
class Reputation:
    """The state after some round; `after` gives the next one and leaves this as it was.

    Attributes
    ----------
    rule: see `ReputationRule`.
    number: of the last round, -1 before the first.
    records: client -> `Record`, read-only.
    """

    rule: ReputationRule
    number: int = -1
    records: Mapping[int, Record] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not isinstance(self.number, int) or isinstance(self.number, bool) or self.number < -1:
            raise ObservationError(f"number >= -1 must hold for an integer, got {self.number!r}")
        if not all(_is_id(client) for client in self.records):
            raise ObservationError("clients must be integers >= 0")
        ordered = {client: self.records[client] for client in sorted(self.records)}
        object.__setattr__(self, "records", MappingProxyType(ordered))

    def after(self, number: int, marks: Mapping[int, float]) -> Self:
        """The state after round `number` > self.number, in which clients got `marks` in [0, 1].

        Raises `ObservationError` for another number or mark; this state is unchanged.
        """
        if not _is_id(number) or number <= self.number:
            raise ObservationError(f"number > {self.number} must hold, got {number!r}")
        for client, mark in marks.items():
            if not _is_number(mark) or not 0 <= mark <= 1:
                raise ObservationError(f"0 <= mark <= 1 must hold for client {client}")
        updated = {
            client: self.rule.after(self.record(client), mark) for client, mark in marks.items()
        }
        return type(self)(rule=self.rule, number=number, records={**self.records, **updated})

    def record(self, client: int) -> Record:
        """Of a client; of one never seen, what it starts with."""
        return self.records.get(client, Record(score=self.rule.start))

    def weights(self, clients: Sequence[int]) -> Array:
        """(n,) in [0, 1], what the update of each of `clients` counts for."""
        return np.array([self.rule.weight(self.record(one).standing) for one in clients])

    def to_document(self) -> dict[str, Any]:
        """Everything, as what JSON knows: dicts with text keys, lists, numbers and text."""
        return {
            "format": _FORMAT,
            "rule": asdict(self.rule),
            "number": self.number,
            "records": [
                [client, one.score, one.standing.value, one.streak, one.rounds]
                for client, one in self.records.items()
            ],
        }

    @classmethod
    def from_document(cls, document: object) -> Self:
        """What `to_document` gave; `ObservationError` for anything else, and nothing is built."""
        found = _object(document, {"format", "rule", "number", "records"})
        if found["format"] != _FORMAT:
            raise ObservationError(f"format must be {_FORMAT}, got {found['format']!r:.40}")
        names = {item.name for item in fields(ReputationRule)}
        try:
            rule = ReputationRule(**_object(found["rule"], names))
        except ParameterError as error:
            raise ObservationError(f"rule: {error}") from error
        return cls(rule=rule, number=found["number"], records=_records(found["records"]))


def _records(rows: object) -> dict[int, Record]:
    if not isinstance(rows, list):
        raise ObservationError("records must be a list")
    found: dict[int, Record] = {}
    last = -1
    for row in rows:
        if not isinstance(row, list) or len(row) != 5:
            raise ObservationError("a record must be a list of 5")
        client, score, standing, streak, rounds = row
        if not _is_id(client) or client <= last:
            raise ObservationError(f"clients must be integers and strictly ascend: {client!r:.40}")
        if standing not in [one.value for one in Standing]:
            raise ObservationError(f"standing must be one of Standing, got {standing!r:.40}")
        found[client] = Record(
            score=score, standing=Standing(standing), streak=streak, rounds=rounds
        )
        last = client
    return found


def _object(document: object, names: set[str]) -> dict[str, Any]:
    if not isinstance(document, dict) or set(document) != names:
        raise ObservationError(f"a document must have exactly the fields {sorted(names)}")
    return document


def _is_number(value: object) -> bool:
    number = isinstance(value, (int, float, np.floating))
    return number and not isinstance(value, bool)


def _is_id(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0
