"""Saved statistics, a JSON file that `secagg screen` reads, and the state it goes on from.

    {"format": 1,
     "rounds": [{"number": 0,                  >= 0, ascending
                 "clients": [1, 2, 5],         ids >= 0, strictly ascending
                 "rows": [[...], ...],         (n, k): row i belongs to clients[i]
                 "noise": 0.0,                 optional: its standard deviation in each number
                 "public": {"known": [[...]],  (h, k), h >= 0: what anybody could send
                            "root": [...],     optional: (k,), the server's own update
                            "classes": [...]}  optional: (c, k), one update for each class
                }, ...],
     "subgroups": {"1": "north"},              optional: for the report on fairness
     "sizes": {"1": 120}}                      optional: data of each client

What the fields mean is in `robust.observe`. A round may have "norms" (n,) and optionally "bound"
in the place of rows, noise and public; then only tests on norms take part. Numbers are finite:
NaN and Infinity are refused, as are names that are not in this list, and names that occur twice.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from protocols.files import replace
from robust.decide import Cascade, Screening, Verdict, Verdicts
from robust.errors import RobustError
from robust.observe import Norms, Public, Sketches
from robust.rule import Finding, Seen
from secagg.errors import DecodeError, ParameterError

__all__ = [
    "Recorded",
    "judged",
    "load_rounds",
    "save_rounds",
    "save_state",
    "screening_of",
    "verdict_document",
]

_T = TypeVar("_T")

_FORMAT = 1
_MOST_BYTES = 256 << 20
_MOST_ROUNDS = 10_000
_MOST_CLIENTS = 100_000
_MOST_NUMBERS = 1 << 14
_LONGEST_NAME = 100


@dataclass(frozen=True, kw_only=True)
class Recorded:
    """A file of saved statistics: rounds, and what clients declared of themselves."""

    rounds: tuple[Seen, ...]
    subgroups: Mapping[int, str] = field(default_factory=dict)
    sizes: Mapping[int, int] = field(default_factory=dict)


def load_rounds(path: Path) -> Recorded:
    """The file at `path`. Raises `DecodeError` with its name for anything that is not as above."""
    document = _document(path)
    try:
        found = _fields(document, "the file", {"format", "rounds"}, {"subgroups", "sizes"})
        _check(found["format"] == _FORMAT, f"format must be {_FORMAT}")
        rounds = found["rounds"]
        _check(isinstance(rounds, list) and bool(rounds), "rounds must be a list, not empty")
        _check(len(rounds) <= _MOST_ROUNDS, f"at most {_MOST_ROUNDS} rounds must be given")
        return Recorded(
            rounds=tuple(_round(at, one) for at, one in enumerate(rounds)),
            subgroups=_declared("subgroups", found.get("subgroups", {}), _subgroup),
            sizes=_declared("sizes", found.get("sizes", {}), _size),
        )
    except _Malformed as error:
        raise DecodeError(f"{path}: {error}") from None


def save_rounds(path: Path, saved: Recorded) -> None:
    """Writes what `load_rounds` reads."""
    document = {
        "format": _FORMAT,
        "rounds": [_plain(seen) for seen in saved.rounds],
        "subgroups": {str(client): name for client, name in saved.subgroups.items()},
        "sizes": {str(client): size for client, size in saved.sizes.items()},
    }
    replace(path, json.dumps(document, allow_nan=False).encode())


def judged(path: Path, screening: Screening, rounds: Sequence[Seen]) -> list[Verdicts]:
    """Verdicts of the rounds of `path`. Raises `DecodeError` where numbers do not ascend."""
    try:
        return [screening.judge(seen) for seen in rounds]
    except RobustError as error:
        raise DecodeError(f"{path}: {error}") from None


def screening_of(
    path: Path | None, *, rounds: int | None = None, budget: float | None = None
) -> Screening:
    """A screening by the default cascade: a new one, or the one that `save_state` wrote to `path`.

    Raises `ParameterError` for options that do not fit, or that a state already decides, and
    `DecodeError` for a file that is no state.
    """
    if path is None:
        return Screening(
            _cascade(20 if rounds is None else rounds, 0.03 if budget is None else budget)
        )
    if rounds is not None or budget is not None:
        raise ParameterError("--rounds and --budget are in the state: give them once")
    document = _document(path)
    try:
        found = _fields(document, "a state", {"format", "rounds", "budget", "screening"})
        _check(found["format"] == _FORMAT, f"format must be {_FORMAT}")
        return Screening.load(_cascade(found["rounds"], found["budget"]), found["screening"])
    except (_Malformed, RobustError, ParameterError) as error:
        raise DecodeError(f"{path}: {error}") from None


def save_state(path: Path, screening: Screening) -> None:
    """Writes what `screening_of` reads."""
    document = {
        "format": _FORMAT,
        "rounds": screening.cascade.rounds,
        "budget": screening.cascade.budget,
        "screening": screening.export(),
    }
    replace(path, json.dumps(document, allow_nan=False).encode())


def verdict_document(verdicts: Verdicts) -> dict[str, Any]:
    """One round, as JSON knows it."""
    return {
        "number": verdicts.number,
        "excluded": list(verdicts.excluded),
        "abstained": {one.detector: one.reason.value for one in verdicts.abstained},
        "clients": {str(one.client): _verdict(one) for one in verdicts.verdicts},
    }


def _plain(seen: Seen) -> dict[str, Any]:
    """A round, as JSON knows it."""
    common: dict[str, Any] = {"number": seen.number, "clients": list(seen.clients)}
    if isinstance(seen, Norms):
        return {**common, "norms": seen.norms.tolist(), "bound": seen.bound}
    public, parts = seen.public, ("known", "root", "classes")
    arrays = {name: getattr(public, name) for name in parts if getattr(public, name) is not None}
    plain = {name: array.tolist() for name, array in arrays.items()}
    return {**common, "rows": seen.rows.tolist(), "noise": seen.noise, "public": plain}


class _Malformed(Exception):
    """What is wrong with a file, without its name."""


def _verdict(verdict: Verdict) -> dict[str, Any]:
    return {"excluded": verdict.excluded, "findings": [_finding(one) for one in verdict.findings]}


def _finding(finding: Finding) -> dict[str, Any]:
    return {
        "test": finding.test,
        "figure": _finite(finding.figure),
        "threshold": _finite(finding.threshold),
        "p_value": _finite(finding.p_value),
        "excludes": finding.excludes,
        "in_words": finding.in_words,
    }


def _finite(value: float | None) -> float | None:
    """JSON has no NaN: None where there is no number."""
    return value if value is not None and abs(value) < float("inf") else None


def _cascade(rounds: Any, budget: Any) -> Cascade:
    try:
        return Cascade(rounds=rounds, budget=budget)
    except RobustError as error:
        raise ParameterError(str(error)) from None


def _document(path: Path) -> object:
    size = path.stat().st_size
    if size > _MOST_BYTES:
        raise DecodeError(f"{path}: at most {_MOST_BYTES >> 20} MiB must hold, got {size} bytes")
    try:
        return json.loads(path.read_bytes(), parse_constant=_no_constant, object_pairs_hook=_unique)
    except _Malformed as error:
        raise DecodeError(f"{path}: {error}") from None
    except (ValueError, RecursionError) as error:
        raise DecodeError(f"{path}: not JSON: {error!s:.100}") from None


def _no_constant(name: str) -> object:
    raise _Malformed(f"{name} is no finite number")


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise _Malformed("a name occurs twice in one object")
    return found


def _fields(
    value: object, what: str, due: Collection[str], optional: Collection[str] = ()
) -> dict[str, Any]:
    """`value`, an object with the names that are `due` and no others but the `optional` ones."""
    if not isinstance(value, dict):
        raise _Malformed(f"{what} must be an object")
    for name in sorted(set(due) - value.keys()):
        raise _Malformed(f"{what} must have {name}")
    for name in sorted(value.keys() - set(due) - set(optional)):
        raise _Malformed(f"{what} must not have {name!r:.40}")
    return value


def _check(holds: bool, rule: str) -> None:
    if not holds:
        raise _Malformed(rule)


def _round(at: int, value: object) -> Seen:
    what = f"round at position {at}"
    try:
        if isinstance(value, dict) and "norms" in value:
            return _norms(_fields(value, what, {"number", "clients", "norms"}, {"bound"}), what)
        due, optional = {"number", "clients", "rows", "public"}, {"noise"}
        return _sketches(_fields(value, what, due, optional), what)
    except (RobustError, ValueError, OverflowError) as error:
        raise _Malformed(f"{what}: {error}") from None


def _norms(value: dict[str, Any], what: str) -> Norms:
    clients = _clients(value["clients"], what)
    return Norms(
        number=value["number"], clients=clients, norms=value["norms"], bound=value.get("bound")
    )


def _sketches(value: dict[str, Any], what: str) -> Sketches:
    rows = value["rows"]
    size = len(rows[0]) if isinstance(rows, list) and rows and isinstance(rows[0], list) else 0
    _check(1 <= size <= _MOST_NUMBERS, f"{what}: rows must have 1 to {_MOST_NUMBERS} numbers")
    return Sketches(
        number=value["number"],
        clients=_clients(value["clients"], what),
        rows=rows,
        public=_public(value["public"], size, f"{what}: public"),
        noise=value.get("noise", 0.0),
    )


def _public(value: object, size: int, what: str) -> Public:
    found = _fields(value, what, {"known"}, {"root", "classes"})
    # an empty list has no columns to tell the size from
    known = Public.nothing(size).known if found["known"] == [] else found["known"]
    return Public(known=known, root=found.get("root"), classes=found.get("classes"))


def _clients(value: object, what: str) -> tuple[Any, ...]:
    if not isinstance(value, list):
        raise _Malformed(f"{what}: clients must be a list")
    _check(len(value) <= _MOST_CLIENTS, f"{what}: at most {_MOST_CLIENTS} clients must be given")
    return tuple(value)


def _declared(name: str, value: object, part: Callable[[object], _T]) -> dict[int, _T]:
    if not isinstance(value, dict):
        raise _Malformed(f"{name} must be an object")
    for client in value:
        plain = client.isascii() and client.isdigit() and len(client) < 20
        _check(plain and str(int(client)) == client, f"{name}: {client!r:.40} is no client id")
    return {int(client): part(declared) for client, declared in value.items()}


def _subgroup(value: object) -> str:
    if isinstance(value, str) and 1 <= len(value) <= _LONGEST_NAME and value.isprintable():
        return value
    raise _Malformed(f"subgroups must be texts of 1 to {_LONGEST_NAME} printable characters")


def _size(value: object) -> int:
    if type(value) is int and 0 <= value < 1 << 53:
        return value
    raise _Malformed("sizes must be integers in [0, 2**53)")
