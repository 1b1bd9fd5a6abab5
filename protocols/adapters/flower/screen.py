"""What is opened of each update, among the terms of a run: how a call carries it.

    {"sketch": {"rows": 256, "noise": 0.0, "tables": 3, "buckets": 8192}}        a screen
    {"every": 3, "relative": 1.0}                                                its audit rounds

Every field of it, so that a client builds the very plan that the server has. A plan without a
screen says nothing of one.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from protocols.audit_rounds import AuditRounds
from protocols.screening import GroupScreen, MaskedScreen, NormScreen, SketchScreen
from secagg.errors import ParameterError

__all__ = [
    "audit_of",
    "check_audit",
    "check_screen",
    "check_side",
    "screen_document",
    "screen_of",
]

_KINDS: Mapping[str, type[MaskedScreen]] = {
    "norm": NormScreen,
    "sketch": SketchScreen,
    "group": GroupScreen,
}


def check_screen(screen: object, privacy: object) -> None:
    """Raise `ParameterError` for what a call cannot carry, and for a screen beside noise."""
    if type(screen) not in _KINDS.values():
        raise ParameterError(
            f"screen: NormScreen, SketchScreen or GroupScreen, got {type(screen).__name__}"
        )
    if privacy is not None:
        raise ParameterError(
            "screen and privacy exclude each other: a screen opens numbers of each update, and no "
            "privacy budget counts them"
        )


def check_audit(audit: object, screen: object) -> None:
    """Raise `ParameterError` for what is no `AuditRounds`, and for one in which nobody looks."""
    if type(audit) is not AuditRounds:
        raise ParameterError(f"audit: AuditRounds, got {type(audit).__name__}")
    if screen is None:
        raise ParameterError("audit rounds need a screen: without one they show nothing")


def check_side(screen: MaskedScreen, side: int) -> None:
    """Raise `ParameterError` for so many metrics and integers that little of a sketch is left when
    they are taken out of it.
    """
    if 8 * side > screen.rows:
        raise ParameterError(
            f"8 * side <= rows must hold, got {side} metrics and integer coordinates for "
            f"{screen.rows} rows of a sketch"
        )


def screen_document(screen: MaskedScreen) -> dict[str, Any]:
    """The JSON of a screen that `check_screen` has passed."""
    (name,) = (name for name, kind in _KINDS.items() if type(screen) is kind)
    return {name: dataclasses.asdict(screen)}


def screen_of(document: Any) -> MaskedScreen:
    """What `screen_document` wrote. Raises `ParameterError` for numbers out of range, and
    `ValueError`, `KeyError`, `TypeError` or `AttributeError` for what it never writes.
    """
    ((name, values),) = document.items()
    kind = _KINDS[name]
    if values.keys() != {field.name for field in dataclasses.fields(kind)}:
        raise ValueError
    return kind(**values)


def audit_of(document: Any) -> AuditRounds:
    """The audit rounds of which a call has every field. Raises as `screen_of`."""
    if document.keys() != {field.name for field in dataclasses.fields(AuditRounds)}:
        raise ValueError
    return AuditRounds(**document)
