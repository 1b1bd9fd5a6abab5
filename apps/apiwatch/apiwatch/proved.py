"""Sums in which each site proves what its vector is: two aggregators, one message of each site.

    proved_sum(vectors, members, bound=...)   like `secure_sum`; who is beyond a bound is left out
    ProvedFederation({1: gather(...), ...}, settings, bound=...)   like `Federation`

A site scales its counters down to a norm (`contributions.limited`), so that however much it
repeats a request, it adds no more than the bound to any set of counters. A norm says nothing of
single counters: a site within it can put all of it into one, or below zero. What says which cells
it has set is therefore proven cell by cell, to be 0 or 1: then a cell's sum is how many sites have
set it, and with a support of k no k - 1 sites can make it count for another, whatever they send.
Who lies is named and in neither [spec/pine.md].
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from secagg import SERVER, Identity, InputRefused, Machine, Rand, Roster, Round
from secagg import ParameterError as Refused
from secagg.primitives.ring import Words, centered, reduce, word
from secagg.schemes.pine import HELPER, Entries, TwoAggregators

from apiwatch.contributions import limited
from apiwatch.errors import ParameterError
from apiwatch.event import Field
from apiwatch.federation import Federation
from apiwatch.secure import Members, Summed, ended, length_of
from apiwatch.settings import Settings, require
from apiwatch.table import Table

__all__ = ["ProvedFederation", "proved_sum"]

_Integers = NDArray[np.int64]


def proved_sum(
    vectors: Mapping[int, _Integers],
    members: Members,
    *,
    bound: int,
    model: bytes,
    minimum: int,
    flags: int = 0,
    corrupt: float = 0.2,
    silent: frozenset[int] = frozenset(),
    rand: Rand = os.urandom,
) -> Summed:
    """The sum of the vectors of all sites that prove theirs.

    vectors: (d,) int64 of each member. flags: how many at the end of each are 0 or 1. bound: of the
    Euclidean norm of the others, and 0 where there are none. minimum: fewest sites in a sum.
    silent: sites that say nothing. `Summed.refused` has those that are beyond a bound: an honest
    site's own machine refuses, and says nothing.

    Raises `ParameterError` for parameters that the scheme has no proof for, and `RoundFailed` where
    fewer than `minimum` are left.
    """
    length = length_of(vectors, members)
    _check(vectors, bound, silent)
    width = (2 * max(bound, 1) * len(vectors)).bit_length() + 1
    scheme = _scheme(
        clients=len(vectors),
        length=length,
        width=width,
        bound=bound,
        flags=flags,
        minimum=minimum,
        corrupt=corrupt,
    )
    helper = Identity.generate(rand)
    this = Round(session=rand(16), number=0, model=model, roster=_roster(members, helper))
    server = scheme.server(this, members.server, rand=rand)
    second = scheme.helper(this, helper, rand=rand)
    sent, refused = dict.fromkeys(vectors, 0), set()
    for site in sorted(vectors.keys() - silent):
        machine = scheme.client(this, members.sites[site], site, rand=rand)
        try:
            machine.submit(_residues(vectors[site], width))
        except InputRefused:
            refused.add(site)
            continue
        for _, frame in machine.to_send():
            sent[site] += len(frame)
            server.receive(site, frame)
        _relay(server, second)
    server.deadline()
    _relay(server, second)
    aggregate = ended(server)
    return Summed(
        total=centered(aggregate.total, width).astype(np.int64),
        included=aggregate.included,
        bytes_up=sent,
        refused=frozenset(refused) | aggregate.refused,
    )


class ProvedFederation(Federation):
    """A federation in which no site can say that more than itself has set a cell.

    The first sum is a proved one, of counters within a norm and of the flags of cells; the second,
    of calibration, is masked and proves nothing, among the sites of the first. A counter that only
    a liar brings below zero is zero. `refused`: the sites that proved nothing.

    bound: of the norm of a site's counters, to which it scales them down. minimum: fewest sites in
    the first sum. corrupt: fraction that may collude with an aggregator.
    """

    def __init__(
        self,
        sites: Mapping[int, Mapping[Field, int]],
        settings: Settings,
        *,
        bound: int,
        minimum: int,
        corrupt: float = 0.2,
    ) -> None:
        super().__init__(sites, settings)
        require(type(bound) is int and bound >= 1, "bound >= 1, an int,", bound)
        self._bound, self._minimum, self._corrupt = bound, minimum, corrupt
        self.refused: frozenset[int] = frozenset()

    def count(self, drops: Mapping[int, str] | None = None) -> None:
        """The first sum. drops: sites that say nothing; there is one phase that they could."""
        drops, cells = drops or {}, 1 << self.settings.cells
        require(set(drops.values()) <= {"reports"}, "drops in reports", set(drops.values()))
        vectors = {site: self._vector(site) for site in self.tables}
        summed = proved_sum(
            vectors,
            self.members,
            bound=self._bound,
            flags=cells,
            model=self.settings.digest,
            minimum=self._minimum,
            corrupt=self._corrupt,
            silent=frozenset(drops),
        )
        self._ended("counters and support, proved", summed)
        self.included, self.refused = summed.included, summed.refused
        self._count(summed.total[:cells])
        self.sites_per_cell = summed.total[cells:]

    def _count(self, counted: _Integers) -> None:
        """Keep a sum, below zero where a liar brought it, so that a site can be taken out of it."""
        self._counted = counted
        self.total = Table(self.settings, np.maximum(counted, 0))

    def _take_away(self, gone: Table) -> None:
        self._count(self._counted - gone.counts)

    def _given(self, site: int) -> Table:
        """Its counters within the norm: it relies on all that it has counted itself."""
        return Table(self.settings, limited(self.tables[site].counts, self._bound))

    def _sums_at(self, site: int) -> tuple[Table, _Integers]:
        """Never less than its own, which a liar may have counted down."""
        total, sites = super()._sums_at(site)
        return Table(self.settings, np.maximum(total.counts, self.tables[site].counts)), sites


def _check(vectors: Mapping[int, _Integers], bound: int, silent: frozenset[int]) -> None:
    require(HELPER not in vectors, f"site ids != {HELPER}", HELPER)
    require(type(bound) is int and bound >= 0, "bound >= 0, an int,", bound)
    require(silent <= vectors.keys(), "silent <= sites", set(silent))


def _scheme(*, flags: int, **parameters: Any) -> TwoAggregators:
    try:
        return TwoAggregators(entries=Entries(count=flags) if flags else None, **parameters)
    except Refused as error:
        raise ParameterError(str(error)) from error


def _residues(vector: _Integers, width: int) -> Words:
    """Of signed integers. Raises `InputRefused` for one that would stand for another."""
    if np.any((vector < -(1 << width - 1)) | (vector >= 1 << width - 1)):  # -2**63 has no absolute
        raise InputRefused(f"|entry| < 2**{width - 1} must hold for every entry")
    return reduce(vector.astype(word(width)), width)


def _roster(members: Members, helper: Identity) -> Roster:
    parties = {**members.sites, HELPER: helper}
    return Roster(
        members.server.public,
        {i: key.public for i, key in parties.items()},
        {i: key.share_key for i, key in parties.items()},
        members.server.share_key,
    )


def _relay(server: Machine[Any], helper: Machine[Any]) -> None:
    """Frames between the aggregators until both are quiet; nobody else is sent anything."""
    moved = True
    while moved:
        moved = False
        for to, frame in server.to_send():
            if to == HELPER:
                helper.receive(SERVER, frame)
                moved = True
        for _, frame in helper.to_send():
            server.receive(HELPER, frame)
            moved = True
