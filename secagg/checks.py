"""Checks of parameters at construction: an error states the inequality that fails."""

from __future__ import annotations

from secagg.errors import ParameterError

__all__ = ["require", "require_int"]


def require(holds: bool, inequality: str, found: object) -> None:
    """`ParameterError` unless it holds."""
    if not holds:
        raise ParameterError(f"{inequality} must hold, got {found}")


def require_int(name: str, value: object, least: int, most: int) -> None:
    """`ParameterError` unless it is an int, and no bool, in [least, most]."""
    holds = type(value) is int and least <= value <= most
    require(holds, f"{least} <= {name} <= {most}, an int,", repr(value)[:40])
