"""Tables of a TOML document as dataclasses: fields are the keys, and their types are checked."""

from __future__ import annotations

import dataclasses
import difflib
import tomllib
from collections.abc import Collection
from typing import Any, TypeVar, get_type_hints

from secagg.errors import ParameterError

__all__ = ["nearest", "parsed", "read_table", "refuse_unknown"]

_WANTED = {int: "an integer", float: "a number", str: "a string", bool: "true or false"}

T = TypeVar("T")


def parsed(text: str) -> dict[str, Any]:
    """The document that a TOML text is; `ParameterError` for another text."""
    try:
        return tomllib.loads(text)
    except ValueError as error:  # TOMLDecodeError, or an integer of thousands of digits
        raise ParameterError(f"not TOML: {error}") from None


def read_table(kind: type[T], name: str, table: Any) -> T:
    """The dataclass `kind` with the keys of the table; `ParameterError` naming the key."""
    if not isinstance(table, dict):
        raise ParameterError(f"{name} must be a table: write [{name}] on a line of its own")
    hints = get_type_hints(kind)
    known = [item.name for item in dataclasses.fields(kind)]  # type: ignore[arg-type]
    refuse_unknown(table, known, f"key of [{name}]")
    values = {key: _typed(f"{name}.{key}", value, hints[key]) for key, value in table.items()}
    try:
        return kind(**values)
    except ParameterError as error:
        raise ParameterError(f"[{name}] {error}") from None


def refuse_unknown(found: dict[str, Any], known: list[str], what: str) -> None:
    """`ParameterError` for a key that is not known, with the nearest that is."""
    for key in found:
        if key not in known:
            raise ParameterError(f"unknown {what}: {key!r}; {nearest(key, known)}")


def nearest(name: str, known: Collection[str]) -> str:
    """What was meant by that name, for an error."""
    near = difflib.get_close_matches(name, known, n=1)
    return f"did you mean {near[0]!r}?" if near else f"known are {', '.join(known)}"


def _typed(key: str, value: Any, kind: type[Any]) -> Any:
    """`value`; an integer becomes a float where one is asked for."""
    if type(value) is int and not -(1 << 63) <= value < 1 << 63:
        raise ParameterError(f"{key} is beyond the 64 bits of a TOML integer")
    accepted = (int, float) if kind is float else (kind,)
    if type(value) not in accepted:
        wanted = _WANTED[kind]
        raise ParameterError(f"{key} must be {wanted}, got {value!r}")
    return kind(value)
