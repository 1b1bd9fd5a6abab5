"""Sums over sites through the library's masked sum: the server sees the total and nothing else.

A site that believes in other settings has another context: nobody hears it, and the sum is that of
the others.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from protocols.simulate import phases
from secagg import (
    SERVER,
    Aborted,
    Aggregate,
    Failed,
    Finished,
    Identity,
    Machine,
    Rand,
    Roster,
    Round,
)
from secagg.primitives.ring import word
from secagg.schemes.secagg_plus import SecAggPlus

from apiwatch.errors import ParameterError, RoundFailed
from apiwatch.settings import require

__all__ = ["PHASES", "Members", "Summed", "ended", "length_of", "secure_sum"]

_Integers = NDArray[np.int64]
PHASES = phases(SecAggPlus(clients=5, length=1, width=32))
"""In which a site can fall silent, in order."""


@dataclass(frozen=True, kw_only=True)
class Summed:
    """A sum and how it came about.

    total: (d,) int64. included: the sites in it. bytes_up: of frames, per site. refused: sites that
    had proved nothing, where a proof was due.
    """

    total: _Integers
    included: frozenset[int]
    bytes_up: Mapping[int, int]
    refused: frozenset[int] = frozenset()


@dataclass(frozen=True)
class Members:
    """Long-term keys of the server and the sites, here in one process."""

    server: Identity
    sites: Mapping[int, Identity]

    @classmethod
    def generate(cls, sites: Iterable[int], rand: Rand = os.urandom) -> Members:
        """Fresh keys; site ids are 1 or more."""
        return cls(Identity.generate(rand), {site: Identity.generate(rand) for site in sites})

    def only(self, sites: frozenset[int]) -> Members:
        """Those of these sites: who is invited to the next round."""
        return Members(self.server, {site: self.sites[site] for site in sorted(sites)})


def secure_sum(
    vectors: Mapping[int, _Integers],
    members: Members,
    *,
    bound: int,
    model: bytes,
    drops: Mapping[int, str] | None = None,
    astray: Mapping[int, bytes] | None = None,
    corrupt: float = 0.2,
    dropout: float = 0.25,
    rand: Rand = os.urandom,
) -> Summed:
    """The sum of the vectors of the sites that stay, exact.

    vectors: (d,) int64 of each member, in [0, bound]. model: 32 bytes that all must agree on.
    drops: sites, and the phase of `PHASES` in which each falls silent. astray: sites, and what
    they believe `model` to be. corrupt and dropout: fractions of the cohort that the scheme
    withstands.

    Raises `ParameterError` where a vector is out of bounds or the sum could wrap, and `RoundFailed`
    where the round ends without a sum.
    """
    drops = drops or {}
    width = _check(vectors, members, bound, drops)
    scheme = SecAggPlus(
        clients=len(vectors),
        length=next(iter(vectors.values())).size,
        width=width,
        corrupt=corrupt,
        dropout=dropout,
    )
    roster = Roster(members.server.public, {i: k.public for i, k in members.sites.items()})
    this = Round(session=rand(16), number=0, model=model, roster=roster)
    server = scheme.server(this, members.server, rand=rand)
    believed = {i: replace(this, model=(astray or {}).get(i, model)) for i in members.sites}
    sites = {i: scheme.client(believed[i], k, i, rand=rand) for i, k in members.sites.items()}
    for site, machine in sites.items():
        machine.submit(vectors[site].astype(word(width)))
    allowed = {i: PHASES.index(drops[i]) if i in drops else len(PHASES) for i in sites}
    sent = _exchange(server, sites, allowed)
    aggregate = ended(server)
    total = aggregate.total.astype(np.int64)
    return Summed(total=total, included=aggregate.included, bytes_up=sent)


def length_of(vectors: Mapping[int, _Integers], members: Members) -> int:
    """That of every vector. Raises `ParameterError` unless all members have int64 of one length."""
    require(vectors.keys() == members.sites.keys(), "sites with vectors == members", set(vectors))
    shapes = {vector.shape for vector in vectors.values()}
    require(len(shapes) == 1 and len(next(iter(shapes))) == 1, "vectors have one length", shapes)
    for site, vector in vectors.items():
        require(vector.dtype == np.int64, f"dtype == int64 at site {site}", str(vector.dtype))
    return int(next(iter(vectors.values())).size)


def _check(
    vectors: Mapping[int, _Integers], members: Members, bound: int, drops: Mapping[int, str]
) -> int:
    """The width of the ring that the sum fits into."""
    length_of(vectors, members)
    require(set(drops) <= set(vectors), "drops <= sites", set(drops))
    require(set(drops.values()) <= set(PHASES), f"drops in {PHASES}", set(drops.values()))
    for site, vector in vectors.items():
        if vector.min() < 0 or vector.max() > bound:
            raise ParameterError(f"0 <= vector <= {bound} must hold at site {site}")
    most = bound * len(vectors)
    require(most < 1 << 63, "bound * sites < 2**63", most)
    return max(2, most.bit_length())


def _exchange(
    server: Machine[Any], sites: Mapping[int, Machine[Any]], allowed: dict[int, int]
) -> dict[int, int]:
    """Move frames until nobody has more to say. Each phase is one frame of a site."""
    sent = dict.fromkeys(sites, 0)
    while True:
        moved = 0
        for site, machine in sites.items():
            for _, frame in machine.to_send():
                if allowed[site] > 0:
                    allowed[site] -= 1
                    sent[site] += len(frame)
                    moved += 1
                    server.receive(site, frame)
        for to, frame in server.to_send():
            if allowed[to] > 0:
                moved += 1
                _guarded(sites[to].receive, frame)
        if moved == 0 and server.ended:
            return sent
        if moved == 0:
            server.deadline()


def _guarded(receive: Callable[[int, bytes], None], frame: bytes) -> None:
    """A site that gives up says nothing more; the server's deadline sees to it."""
    with suppress(Aborted):
        receive(SERVER, frame)


def ended(server: Machine[Any]) -> Aggregate:
    """What a server's machine releases. Raises `RoundFailed` where it released nothing."""
    while (event := server.next_event()) is not None:
        if isinstance(event, Failed):
            raise RoundFailed(
                f"the secure sum ended without output: {event.error}"
            ) from event.error
        if isinstance(event, Finished) and event.aggregate is not None:
            return event.aggregate
    raise RoundFailed("the secure sum ended without output or reason")
