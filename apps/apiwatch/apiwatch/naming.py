"""What an alert is called: the class of C, or unknown, with the tags that a SIEM knows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from apiwatch.classes import ClassModel
from apiwatch.errors import ParameterError

__all__ = ["TECHNIQUE", "Name", "Namer", "Tag", "level_for", "tag_of"]


@dataclass(frozen=True, slots=True)
class Tag:
    """A pattern of CAPEC, by number and title."""

    capec: str
    title: str


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


@dataclass(frozen=True, slots=True)
class Name:
    """confidence: 0 … 1. label: a class, or "unknown"; "structure" for what is no text, and
    "anomaly" for everything where there is no class model.
    """

    label: str
    confidence: float


class Namer:
    """Names blamed values. P has decided already: whatever this says, the alert stays.

    level: a value that no class responds to by more is unknown. In the benchmark this tells new
    classes from known ones better than the distance to the nearest known attacks, and needs none.
    """

    def __init__(self, model: ClassModel, level: float) -> None:
        self._model = model
        self._level = level

    def names(self, texts: Sequence[str]) -> list[Name]:
        """One name per text."""
        if not texts:
            return []
        return [
            Name(label if response >= self._level else "unknown", min(max(response, 0.0), 1.0))
            for label, response in self._model.names(texts)
        ]


def level_for(model: ClassModel, attacks: Sequence[str]) -> float:
    """What 95 % of known attacks exceed; they must not be in the model."""
    if not attacks:
        raise ParameterError("len(attacks) >= 1 must hold: no level without them")
    return float(np.quantile([response for _, response in model.names(attacks)], 0.05))
