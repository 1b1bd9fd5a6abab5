"""What follows from an alert: nothing, a pause, or a refusal, and how much must be known for it.

P alone never refuses a request. It takes the name of a known class as well, or a second alert of
the same source within a window; and it takes a place of which enough usual traffic was seen, since
where little is known everything is unusual.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import OrderedDict
from dataclasses import dataclass
from enum import IntEnum, StrEnum
from ipaddress import IPv6Address, ip_address
from math import isfinite

from apiwatch.settings import require

__all__ = ["Action", "Level", "Mode", "Policy", "Sources"]

_NAMELESS = ("unknown", "anomaly", "structure")
_STEPS = (1, 30, 300)


class Level(IntEnum):
    """How well a place is known: by how many of its usual fields were learnt."""

    NEW = 0
    FEW = 1
    SOME = 2
    MANY = 3

    @classmethod
    def of(cls, seen: int) -> Level:
        """FEW from 1, SOME from 30, MANY from 300."""
        return _LEVELS[bisect_right(_STEPS, seen)]


_LEVELS = tuple(Level)


class Mode(StrEnum):
    """The most that may happen to a request."""

    OBSERVE = "observe"
    DELAY = "delay"
    BLOCK = "block"


class Action(StrEnum):
    """What happens to one."""

    PASS = "pass"  # noqa: S105 -- an action
    DELAY = "delay"
    BLOCK = "block"


@dataclass(frozen=True, kw_only=True)
class Policy:
    """When to act.

    mode: the most that may happen. act_from: the least level of the blamed place. window: seconds
    in which a second alert of a source counts. delay: seconds that a request is held up.
    most_delayed: requests held up at a time; beyond them none is, since each costs a connection.
    sources: how many are remembered, the latest.
    """

    mode: Mode = Mode.OBSERVE
    act_from: Level = Level.SOME
    window: float = 300.0
    delay: float = 2.0
    most_delayed: int = 100
    sources: int = 1 << 16

    def __post_init__(self) -> None:
        require(isinstance(self.mode, Mode), "mode is a Mode", self.mode)
        require(isinstance(self.act_from, Level), "act_from is a Level", self.act_from)
        for name in ("window", "delay"):
            value = getattr(self, name)
            require(isfinite(value) and value > 0, f"0 < {name} < infinity", value)
        for name in ("most_delayed", "sources"):
            require(getattr(self, name) >= 1, f"{name} >= 1", getattr(self, name))

    def action(self, label: str, level: Level, *, repeated: bool) -> Action:
        """For an alert that C calls `label`. repeated: its source alerted within the window."""
        convicted = level >= self.act_from and (repeated or label not in _NAMELESS)
        if not convicted or self.mode is Mode.OBSERVE:
            return Action.PASS
        return Action.BLOCK if self.mode is Mode.BLOCK else Action.DELAY


class Sources:
    """When each source last alerted, of the latest sources only.

    A source is an address, or the upper 64 bits of an IPv6 one: its owner has all of the rest.
    Times are of a clock that never goes back.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._last: OrderedDict[str, float] = OrderedDict()

    def __len__(self) -> int:
        return len(self._last)

    def alerted(self, source: str, now: float, window: float) -> bool:
        """Remember an alert; whether there was one before it within `window` seconds."""
        if not source:
            return False
        key = _owner(source)
        before = self._last.pop(key, None)
        self._last[key] = now
        while len(self._last) > self._most:
            self._last.popitem(last=False)
        return before is not None and now - before <= window


def _owner(source: str) -> str:
    try:
        address = ip_address(source.partition("%")[0])
    except ValueError:
        return source
    if isinstance(address, IPv6Address) and address.ipv4_mapped is None:
        return str(IPv6Address(int(address) >> 64 << 64))
    return str(getattr(address, "ipv4_mapped", None) or address)
