"""A round vector as it lies in a file: JSON, byte strings in hexadecimal, ids as decimal keys."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from reference.frame import Frame, parse
from reference.plan import Plan
from reference.refused import Refused, require

__all__ = ["Checks", "Secrets", "Sent", "Vector"]

_FIELDS = {
    *("kind", "description", "plan", "round", "identities"),
    *("secrets", "frames", "outcome", "derived"),
}
_PARTS = ("mask_private", "share_private", "self_seed", "coefficients")


class Checks:
    """Counts the comparisons that held, by name; the first that does not is raised."""

    def __init__(self) -> None:
        self.held: Counter[str] = Counter()

    def equal(self, what: str, found: object, expected: object) -> None:
        """Count one comparison, or raise `Refused`."""
        if found != expected:
            raise Refused(f"{what}: {_short(found)} is not {_short(expected)}")
        self.held[what] += 1


@dataclass(frozen=True, kw_only=True)
class Secrets:
    """What one client drew and put in, in the order of the draws; None for what never showed."""

    mask_private: bytes
    share_private: bytes
    self_seed: bytes | None
    coefficients: bytes | None
    input: tuple[int, ...] | None


@dataclass(frozen=True)
class Sent:
    """One frame on its way."""

    sender: int
    receivers: tuple[int, ...]
    data: bytes
    frame: Frame


@dataclass(frozen=True, kw_only=True)
class Vector:
    """A whole recorded round."""

    plan: Plan
    session: bytes
    number: int
    model: bytes
    server: bytes
    clients: Mapping[int, bytes]
    identities: Mapping[int, bytes]
    secrets: Mapping[int, Secrets]
    frames: tuple[Sent, ...]
    outcome: Mapping[str, Any]
    derived: Mapping[str, Any]

    @classmethod
    def read(cls, data: Mapping[str, Any]) -> Vector:
        """The vector, with its frames cut into fields; `Refused` where that is not possible."""
        require(set(data) == _FIELDS, "a round vector has exactly its fields")
        names = data["round"]
        return cls(
            plan=Plan.read(data["plan"]),
            session=bytes.fromhex(names["session"]),
            number=names["number"],
            model=bytes.fromhex(names["model"]),
            server=bytes.fromhex(names["server"]),
            clients=_by_id(names["clients"]),
            identities=_by_id(data["identities"]),
            secrets={int(party): _secrets(drawn) for party, drawn in data["secrets"].items()},
            frames=tuple(_sent(entry) for entry in data["frames"]),
            outcome=data["outcome"],
            derived=data["derived"],
        )


def _by_id(table: Mapping[str, str]) -> dict[int, bytes]:
    return {int(party): bytes.fromhex(value) for party, value in table.items()}


def _secrets(drawn: Mapping[str, Any]) -> Secrets:
    require(set(drawn) <= {*_PARTS, "input"}, "secrets have no other parts")
    parts = {name: bytes.fromhex(drawn[name]) if name in drawn else None for name in _PARTS}
    given = drawn.get("input")
    return Secrets(input=None if given is None else tuple(given), **parts)  # type: ignore[arg-type]


def _sent(entry: Mapping[str, Any]) -> Sent:
    data = bytes.fromhex(entry["frame"])
    return Sent(entry["from"], tuple(entry["to"]), data, parse(data))


def _short(value: object) -> str:
    text = value.hex() if isinstance(value, bytes) else repr(value)
    return text if len(text) <= 60 else f"{text[:60]}…"
