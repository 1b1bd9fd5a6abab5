"""What an alert is called: the class of C, or unknown, with the tags that a SIEM knows."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from apiwatch.classes import ClassModel
from apiwatch.errors import ParameterError
from apiwatch.event import Field, Place, Request
from apiwatch.normalize import decode
from apiwatch.settings import require

__all__ = [
    "MOST_LEVEL",
    "TECHNIQUE",
    "UNKNOWN_SHARE",
    "Name",
    "Namer",
    "Tag",
    "counted",
    "level_for",
    "level_of",
    "tag_of",
    "text_of",
]

_Floats = NDArray[np.float64]
_Integers = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Tag:
    """A pattern of CAPEC, by number and title."""

    capec: str
    title: str


MOST_LEVEL = 0.8
"""Where all examples are alike, all responses are 1 but for rounding, which must not decide."""

UNKNOWN_SHARE = 0.12
"""Of fresh known attacks that are called unknown. With this share, classes that are left out of
what is learned fall below the level most often beside known ones: `bench_level` found it.
"""

TECHNIQUE = ("T1190", "Exploit Public-Facing Application", "TA0001", "Initial Access")
"""The technique and tactic of ATT&CK that all of these are."""

_TAGS = {
    "sqli": Tag("CAPEC-66", "SQL Injection"),
    "xss": Tag("CAPEC-63", "Cross-Site Scripting (XSS)"),
    "rce": Tag("CAPEC-88", "OS Command Injection"),
    "lfi": Tag("CAPEC-126", "Path Traversal"),
    "java": Tag("CAPEC-242", "Code Injection"),
    "php": Tag("CAPEC-242", "Code Injection"),
    "logforge": Tag("CAPEC-93", "Log Injection-Tampering-Forging"),
}


def tag_of(label: str) -> Tag | None:
    """The pattern of a class; None for one that somebody here gave a name to."""
    return _TAGS.get(label)


def text_of(request: Request, field: Field) -> str:
    """What a name is given to: the value of a field; of a path that climbs, all of it from there.

    A traversal is in no single segment. Other paths are not shown whole: their slashes alone would
    make them look like one.
    """
    if field.place is not Place.PATH:
        return field.value
    path = decode(request.target.partition("?")[0].partition("#")[0], plus=False)
    climbs = path.find("..")
    return path[climbs:] if climbs >= 0 else field.value


@dataclass(frozen=True, slots=True)
class Name:
    """confidence: 0 … 1. label: a class, or "unknown"; "structure" for what is no text, and
    "anomaly" for everything where there is no class model.
    """

    label: str
    confidence: float


class Namer:
    """Names blamed values. P has decided already: whatever this says, the alert stays.

    Of the classes that answer, the one is named whose response is largest beside what fresh
    examples of it usually get. level: a class answers if its response reaches it; by no stored
    examples at all, this tells new classes from known ones better than the distance to the nearest.
    later: classes that were not there when the level was set. They have few examples and small
    responses, and answer above their own floors where these are lower.

    Raises `ParameterError` where `later` is not among the classes.
    """

    def __init__(self, model: ClassModel, level: float, later: Collection[str] = ()) -> None:
        labels = model.attacks
        require(set(later) <= set(labels), "later <= attacks", sorted(later))
        is_later = np.array([label in later for label in labels])
        self._model = model
        self._levels = np.where(is_later, np.minimum(model.floors, level), level)

    def names(self, texts: Sequence[str]) -> list[Name]:
        """One name per text."""
        if not texts:
            return []
        labels = self._model.attacks
        responses = self._model.attacked(texts)
        parts = np.where(responses >= self._levels, responses / self._model.usual, -np.inf)
        best, most = parts.argmax(axis=1), np.clip(parts.max(axis=1), 0.0, 1.0)
        answered = np.isfinite(parts.max(axis=1))
        strongest = np.clip(responses.max(axis=1), 0.0, 1.0)
        return [
            Name(labels[i], float(part)) if one else Name("unknown", float(weak))
            for i, part, one, weak in zip(best, most, answered, strongest, strict=True)
        ]


def level_for(model: ClassModel, attacks: Sequence[str]) -> float:
    """What 88 % of known attacks exceed, 0.8 at most; they must not be in the model."""
    if not attacks:
        raise ParameterError("len(attacks) >= 1 must hold: no level without them")
    strongest = model.attacked(attacks).max(axis=1)
    return min(float(np.quantile(strongest, UNKNOWN_SHARE)), MOST_LEVEL)


def counted(strongest: _Floats, steps: int) -> _Integers:
    """(steps,) how many of the strongest responses (n,) are in each of so many steps of [0, 1]."""
    found = np.clip(np.floor(strongest * steps), 0, steps - 1).astype(np.int64)
    return np.bincount(found, minlength=steps)


def level_of(counts: _Integers) -> float:
    """What 88 % of responses that were `counted` reach, 0.8 at most. Noise may be in the counts.

    Raises `ParameterError` where they come to nothing.
    """
    reached = counts[::-1].cumsum()[::-1]  # by how many, from each step on
    require(reached[0] > 0, "responses >= 1", int(reached[0]))
    step = int(np.flatnonzero(reached >= (1.0 - UNKNOWN_SHARE) * reached[0])[-1])
    return min(step / len(counts), MOST_LEVEL)
