"""What is watched: a request, and the fields it falls into."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import NamedTuple

__all__ = ["Field", "Place", "Request"]


class Place(IntEnum):
    """Where in a request a field stands. The number is hashed: never reuse one."""

    METHOD = 0
    PATH = 1
    QUERY = 2
    FORM = 3
    JSON = 4
    HEADER = 5
    COOKIE = 6
    BODY = 7
    NAMES = 8
    NAME = 9
    XML = 10

    __hash__ = int.__hash__  # as fast as a number's: fields are looked up by the million

    @property
    def is_atom(self) -> bool:
        """Whether only the whole value says anything, and not its characters."""
        return self in (Place.METHOD, Place.NAMES, Place.NAME)


@dataclass(frozen=True, kw_only=True, slots=True)
class Request:
    """One request as a log or a gateway has it, nothing decoded.

    target: path and query. headers: pairs in order, repeated names included. body: text, or the
    latin-1 reading of bytes. time: seconds since the epoch, NaN where unknown. source: who asked.
    """

    method: str
    target: str
    headers: tuple[tuple[str, str], ...] = ()
    body: str = ""
    time: float = float("nan")
    source: str = ""


class Field(NamedTuple):
    """One part of a request, decoded.

    scope: where its usual values are the same, the endpoint or the path before a segment.
    name: of the parameter. value: decoded twice and folded to compatible characters.
    """

    place: Place
    scope: str
    name: str
    value: str

    @property
    def label(self) -> str:
        """How a person calls it."""
        return f"{self.place.name.lower()}:{self.name}" if self.name else self.place.name.lower()
