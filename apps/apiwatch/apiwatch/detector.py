"""P decides: a request is as suspicious as the most suspicious of its fields."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from hashlib import sha256
from itertools import chain, filterfalse, islice
from operator import itemgetter
from typing import Self

import numpy as np
from numpy.typing import NDArray

from apiwatch.calibration import Calibration, total
from apiwatch.errors import ParameterError, ProfileMismatch
from apiwatch.event import Field, Place, Request
from apiwatch.features import events
from apiwatch.fields import Group, fields, split
from apiwatch.quick import LONGEST, Quick, Verdict
from apiwatch.settings import Settings
from apiwatch.surprise import KINDS, surprises
from apiwatch.table import Table, cells_of, gather

__all__ = ["Detector", "Judged", "threshold_for"]

_BATCH = 1 << 12
_BATCH_CHARACTERS = 1 << 24
_MANY = 64  # new fields, of which arrays are faster
_PART = 1 << 13  # fields at a time
_REMEMBERED = 1 << 17
_REMEMBERED_CHARACTERS = 1 << 26
_GROUPS = 1 << 13  # of fields, remembered as a whole
_Worst = tuple[Verdict, Field]
_verdict = itemgetter(0)


@dataclass(frozen=True, slots=True)
class Judged:
    """A request and what the profile makes of it.

    score: of the worst field, weighted standard deviations above what is usual. kind: which of
    `KINDS` has most part in it.
    """

    request: Request
    endpoint: str
    score: float
    field: Field
    kind: str


class Detector:
    """Scores requests against a profile. Distinct fields are judged once and remembered.

    Not thread-safe. What is remembered is bounded: beyond 131,072 distinct fields, or 2**26
    characters of them, it starts anew.
    """

    def __init__(self, table: Table, calibration: Calibration) -> None:
        if table.settings != calibration.settings:
            raise ProfileMismatch("table and calibration are under different settings")
        self.table = table
        self.calibration = calibration
        self._memory: dict[Field, Verdict] = {}
        self._groups: dict[Group, _Worst] = {}
        self._characters = 0
        self._quick = Quick(table, calibration)

    @classmethod
    def learn(cls, requests: Iterable[Request], settings: Settings) -> Self:
        """From the traffic of one site alone."""
        counts = gather(requests)
        table = Table.learn(counts, settings)
        return cls(table, Calibration.learn(counts, table))

    @property
    def digest(self) -> str:
        """SHA-256 over settings and all sums: two profiles are the same exactly if this is."""
        state = sha256(self.table.settings.digest)
        state.update(self.table.counts.astype("<i8").tobytes())
        state.update(self.calibration.sums.astype("<i8").tobytes())
        return state.hexdigest()

    def judge_one(self, request: Request, *, partial: bool = False) -> Judged:
        """One request, at once. partial: it has parts that are not here, so what it lacks says
        nothing.
        """
        endpoint, groups, content = split(request)
        if partial:
            steps, structure = groups
            groups = steps, tuple(one for one in structure if one.place is not Place.NAMES)
        found = [self._worst_of_group(group) for group in groups if group]
        if content:
            self._learn_verdicts(content)
            found.append(self._worst(content))
        return _judged(request, endpoint, max(found, key=_verdict))

    def seen_at(self, field: Field) -> int:
        """How many fields were learnt in the place of this one."""
        return self._quick.seen_at(field)

    def judge(self, requests: Iterable[Request]) -> Iterable[Judged]:
        """Each request judged, in their order, some thousand at a time."""
        for batch in _batches(requests):
            split_up = [fields(request) for request in batch]
            self._learn_verdicts(chain.from_iterable(found for _, found in split_up))
            for request, (endpoint, found) in zip(batch, split_up, strict=True):
                yield _judged(request, endpoint, self._worst(found))

    def scores(self, requests: Iterable[Request]) -> NDArray[np.float64]:
        """The scores alone, (n,)."""
        return np.fromiter((judged.score for judged in self.judge(requests)), np.float64)

    def field_scores(self, found: Sequence[Field]) -> NDArray[np.float64]:
        """(f, 7) scores of the fields by kind; `calibration.total` makes one of them."""
        shown = events(found, self.table.settings.salt)
        bits = surprises(shown, cells_of(shown, self.table.settings), self.table, held_out=False)
        return self.calibration.standardized(bits, shown)

    def _learn_verdicts(self, found: Iterable[Field]) -> None:
        if len(self._memory) > _REMEMBERED or self._characters > _REMEMBERED_CHARACTERS:
            self._memory.clear()
            self._groups.clear()
            self._characters = 0
        new = [*dict.fromkeys(filterfalse(self._memory.__contains__, found))]
        # both give the same score to the last bit, so which it is is a matter of time alone
        longest = LONGEST if len(new) <= _MANY else -1
        verdict, memory, characters = self._quick.verdict, self._memory, 0
        for field in new:
            _, scope, name, value = field
            characters += len(scope) + len(name) + len(value)
            if len(value) <= longest:
                memory[field] = verdict(field)
        self._characters += characters
        remaining = iter([field for field in new if field not in memory])
        while part := list(islice(remaining, _PART)):
            scores = self.field_scores(part)
            verdicts = zip(total(scores).tolist(), scores.argmax(axis=1).tolist(), strict=True)
            self._memory.update(zip(part, verdicts, strict=True))

    def _worst_of_group(self, group: Group) -> _Worst:
        """Remembered: the same path or structure comes again, with other values."""
        known = self._groups.get(group)
        if known is None:
            self._learn_verdicts(group)
            known = self._worst(group)
            if len(self._groups) >= _GROUPS:
                self._groups.clear()
            if len(group) <= _MANY:
                self._groups[group] = known
        return known

    def _worst(self, found: Sequence[Field]) -> _Worst:
        """The most suspicious of what is in memory, the first of equals."""
        verdicts = [*map(self._memory.__getitem__, found)]
        worst = max(verdicts)
        return worst, found[verdicts.index(worst)]


def _judged(request: Request, endpoint: str, worst: _Worst) -> Judged:
    (score, kind), field = worst
    return Judged(request, endpoint, score, field, KINDS[kind])


def _batches(requests: Iterable[Request]) -> Iterator[list[Request]]:
    """Some thousand requests at a time, and fewer where they are long."""
    batch: list[Request] = []
    size = 0
    for request in requests:
        batch.append(request)
        size += len(request.target) + len(request.body)
        if len(batch) >= _BATCH or size >= _BATCH_CHARACTERS:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch


def threshold_for(scores: NDArray[np.float64], *, requests: int, alerts: int) -> float:
    """The least threshold by which `scores` of usual traffic give the alerts asked for.

    alerts: how many are wanted in `requests` requests, such as those of a day; a request alerts
    when its score is above the threshold. Raises `ParameterError` where the scores are too few to
    tell: one alert must be worth at least three of them [rule of three].
    """
    if scores.size == 0 or requests < 1 or alerts < 0:
        raise ParameterError("len(scores) >= 1, requests >= 1 and alerts >= 0 must hold")
    allowed = scores.size * alerts / requests
    if allowed < 3 and alerts < requests:
        least = -(-3 * requests // max(alerts, 1))
        raise ParameterError(
            f"scores >= 3 * requests / alerts = {least} must hold, got {scores.size}: "
            "so few scores say nothing of so rare alerts"
        )
    ordered = np.sort(scores)[::-1]
    return float(ordered[min(int(allowed), scores.size - 1)])
