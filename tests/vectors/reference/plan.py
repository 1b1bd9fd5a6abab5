"""The public plan of a round: what follows from it, its one text, and the context.

Thresholds are derived here in exact integers, without logarithms, from the inequalities alone.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from reference.hashing import digest
from reference.refused import require

__all__ = ["CODES", "Derived", "Plan", "context", "derive", "encoded", "roster_digest"]

CODES = {"secagg_plus": 2, "secagg_plus_semi_honest": 3}
COMPLETE_UP_TO = 200
CHECK_BITS = 64
SECRECY_BITS = 40
GRINDING_BITS = 64  # orders of the ring that whoever advertises last may try
CORRECTNESS_BITS = 20


@dataclass(frozen=True, kw_only=True)
class Plan:
    """The stated parameters. Fractions stay the text they were written as: the context has it."""

    scheme: str
    clients: int
    length: int
    width: int
    corrupt: str
    dropout: str
    threshold: int | None

    @classmethod
    def read(cls, data: Mapping[str, Any]) -> Plan:
        """The plan in a vector; another key or another scheme is refused."""
        require(data.get("scheme") in CODES, "the scheme is one of secagg_plus")
        require(set(data) == set(cls.__dataclass_fields__), "a plan has exactly its fields")
        return cls(**data)

    @property
    def corrupt_clients(self) -> int:
        """The most clients that are corrupt."""
        return _share(self.corrupt, self.clients)

    @property
    def dropped_clients(self) -> int:
        """The most clients that drop out."""
        return _share(self.dropout, self.clients)

    @property
    def survivors(self) -> int:
        """The fewest clients that remain."""
        return self.clients - self.dropped_clients

    @property
    def consents(self) -> bool:
        """Whether there is a consent round."""
        return self.scheme == "secagg_plus"


@dataclass(frozen=True, kw_only=True)
class Derived:
    """What follows from a plan, in the order in which the context lists it."""

    degree: int
    threshold: int
    window: int
    window_floor: int
    survivors: int
    quorum: int
    check_count: int

    @property
    def reach(self) -> int:
        """Neighbours on each side of the ring; of the complete graph, more than enough."""
        return (self.degree + 1) // 2


def derive(plan: Plan) -> Derived:
    """Every derived parameter; `Refused` for a plan that no round may run with."""
    require(plan.survivors - plan.corrupt_clients >= 2, "two honest clients remain")
    degree, threshold, window, floor = _neighbourhood(plan)
    return Derived(
        degree=degree,
        threshold=_threshold(plan, degree, threshold, floor),
        window=window,
        window_floor=floor,
        survivors=plan.survivors,
        quorum=_quorum(plan) if plan.consents else 0,
        check_count=-(-CHECK_BITS // plan.width),
    )


def encoded(plan: Plan, derived: Derived) -> bytes:
    """The one text of the parameters: a line `name=value` each, behind the scheme's name."""
    values: dict[str, object] = {
        "clients": plan.clients,
        "length": plan.length,
        "width": plan.width,
        "corrupt": plan.corrupt,
        "dropout": plan.dropout,
        "threshold": derived.threshold,  # the one in force, stated or not
        "degree": derived.degree,
        "window": derived.window,
        "window_floor": derived.window_floor,
        "survivors": derived.survivors,
        "quorum": derived.quorum,
        "check_count": derived.check_count,
    }
    return "\n".join([plan.scheme, *(f"{k}={v}" for k, v in values.items())]).encode()


def roster_digest(server: bytes, clients: Mapping[int, bytes]) -> bytes:
    """The digest of the server's key and of every client's id and key, ascending by id."""
    rows = (client.to_bytes(4, "little") + clients[client] for client in sorted(clients))
    return digest("roster", server, *rows)


def context(
    scheme: str, parameters: bytes, session: bytes, number: int, model: bytes, roster: bytes
) -> bytes:
    """The 32 bytes that bind every message to the round."""
    code = bytes((CODES[scheme],))
    return digest("context", code, parameters, session, number.to_bytes(8, "little"), model, roster)


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None


def _share(fraction: str, clients: int) -> int:
    """At most so many clients: the floor, with room for the rounding of the product."""
    require(repr(_number(fraction)) == fraction, "a fraction is the shortest text of a binary64")
    return math.floor((float(fraction) + 1e-14) * clients)


def _threshold(plan: Plan, degree: int, computed: int, floor: int) -> int:
    """The threshold in force: a stated one may differ, within what privacy and drop-out allow."""
    if degree == plan.clients - 1:
        least, most = max(plan.corrupt_clients + 1, 2), computed
    else:
        least, most = computed, max(computed, 2 * (floor + 1))
    threshold = computed if plan.threshold is None else plan.threshold
    require(least <= threshold <= most, "the threshold is within its bounds")
    return threshold


def _quorum(plan: Plan) -> int:
    """Two quorums share more clients than are corrupt."""
    quorum = (plan.clients + plan.corrupt_clients) // 2 + 1
    require(quorum <= plan.survivors, "the survivors can reach a quorum")
    return quorum


def _neighbourhood(plan: Plan) -> tuple[int, int, int, int]:
    """(degree, threshold, window, window floor); a floor of -1 means that no window is checked.

    Above 200 clients the sparse graph, where one meets the bounds; else the complete one.
    """
    found = None
    if plan.clients > COMPLETE_UP_TO:
        found = _windowed(plan) if plan.consents else _ring(plan)
    if found is None:
        threshold = plan.survivors - 1
        require(plan.corrupt_clients < threshold, "the corrupt are fewer than the threshold")
        found = plan.clients - 1, threshold, 0, -1
    return found


def _windowed(plan: Plan) -> tuple[int, int, int, int] | None:
    """The smallest window w, and for it the smallest floor c, with

    n * P[corrupt in a window > c] < 2^-104 and n * P[dropped in a window >= w - c] < 2^-20.
    """
    for window in range(1, plan.clients // 2):
        corrupt = _worst(plan.clients, plan.corrupt_clients, window, SECRECY_BITS + GRINDING_BITS)
        dropped = _worst(plan.clients, plan.dropped_clients, window, CORRECTNESS_BITS)
        if dropped < window - corrupt:
            return 2 * window, max(2 * corrupt + 1, 2), window, corrupt
    return None


def _ring(plan: Plan) -> tuple[int, int, int, int] | None:
    """[Bell20]: the smallest even degree k and for it the smallest threshold t with

    P[two arcs of k/2 are gone] < 2^-41, n * P[corrupt neighbours >= t] < 2^-41 and
    n * P[neighbours left < t] < 2^-20; t = 1 only where 2 would break the last one.
    """
    if float(plan.corrupt) + float(plan.dropout) > 0.9 + 1e-14:
        return None
    bits = SECRECY_BITS + 1  # half of the failures to each of the first two events
    for degree in range(2, plan.clients - 1, 2):
        least = _worst(plan.clients, plan.corrupt_clients, degree, bits) + 1
        alive = degree - _worst(plan.clients, plan.dropped_clients, degree, CORRECTNESS_BITS)
        if least <= alive and _connected(plan, degree, bits):
            return degree, max(least, min(2, alive)), 0, -1
    return None


def _connected(plan: Plan, degree: int, bits: int) -> bool:
    """n (n - k - 1) / 2 pairs of arcs, each gone with probability C(gone, k) / C(n, k)."""
    n, gone = plan.clients, plan.corrupt_clients + plan.dropped_clients
    pairs = n * (n - degree - 1)  # twice their number
    return (pairs * math.comb(gone, degree)) << bits < 2 * math.comb(n, degree)


def _worst(clients: int, marked: int, sample: int, bits: int) -> int:
    """The smallest x with clients * P[more than x of `sample` are marked] < 2^-bits."""
    whole = math.comb(clients, sample)
    ways = 0
    for count in range(min(marked, sample), 0, -1):
        ways += math.comb(marked, count) * math.comb(clients - marked, sample - count)
        if (clients * ways) << bits >= whole:
            return count
    return 0
