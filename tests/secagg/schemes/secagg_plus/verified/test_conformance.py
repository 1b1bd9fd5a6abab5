"""The verified variant keeps every promise of a scheme, for vectors within its bound."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property

import numpy as np

from secagg.event import FraudProven
from secagg.identity import SERVER, PartyId
from secagg.parameters import Neighbourhood
from secagg.primitives.ring import Words, reduce, word
from secagg.scheme import Scheme
from secagg.schemes.secagg_plus.verified import SecAggPlusVerified
from secagg.schemes.secagg_plus.verified.messages import Closing, Dispute, Edges, Strike
from secagg.testing import Lie, SeededRand
from secagg.testing.conformance import Provoked, SchemeConformance
from secagg.testing.network import RunResult
from secagg.testing.parties import Parties
from secagg.testing.secagg_plus.toy import FixedGroups, ToyScreen
from secagg.testing.secagg_plus.verified import about_all_edges, about_itself

LIAR = 5


def screen_for(width: int, group: int = 0) -> ToyScreen:
    """A bound of as many units as the ring has room for; few buckets, for the sake of time."""
    bound = 1 << (width - (14 if group else 12))
    return ToyScreen(bound=bound, rows=16, buckets=16, group=group)


class Small(SchemeConformance, Provoked):
    """Inputs are within the bound: others are left out, which is another test.

    Seven clients: one may lie, and one more be lost.
    """

    clients = 7
    widths = (16, 17, 24, 31, 32, 33, 48, 64)
    patterns = 12
    stores_inputs = True
    rare = frozenset({Dispute, Edges, Strike})
    parting = frozenset({Closing})

    def provocations(self, parties: Parties) -> Sequence[Mapping[PartyId, Lie]]:
        return {LIAR: about_all_edges}, {LIAR: about_itself}

    def least(self, result: RunResult) -> int:
        """Accepted are at least the survivors; of these, proven liars are taken out again."""
        struck = {
            each.peer
            for each in result.events[SERVER]
            if isinstance(each, FraudProven) and each.phase == "unmask"
        }
        return super().least(result) - len(struck)

    def inputs(self, parties: Parties, seed: object = 0) -> dict[PartyId, Words]:
        scheme = parties.scheme
        assert isinstance(scheme, SecAggPlusVerified)
        most = max(scheme.screen.bound // (2 * scheme.length), 1)
        rand = SeededRand(repr(("inputs", seed)))
        found = {}
        for party in parties.clients:
            drawn = np.frombuffer(rand(8 * scheme.length), "<i8") % (2 * most + 1) - most
            found[party] = reduce(drawn.astype(word(scheme.width)), scheme.width)
        return found


class TestSecAggPlusVerified(Small):
    def scheme(self, clients: int, length: int, width: int) -> Scheme:
        return SecAggPlusVerified(
            clients=clients, length=length, width=width, screen=screen_for(width)
        )


class TestGroups(Small):
    """Two groups of four, of which one client may be lost. Nothing is said of self masks, so nobody
    is convicted late.
    """

    clients = 8
    cohorts = (7, 8, 9)
    rare = frozenset({Dispute, Edges})

    def provocations(self, parties: Parties) -> Sequence[Mapping[PartyId, Lie]]:
        return ({LIAR: about_all_edges},)

    def scheme(self, clients: int, length: int, width: int) -> Scheme:
        return FixedGroups(
            clients=clients,
            length=length,
            width=width,
            corrupt=0.0,
            dropout=1 / clients,
            screen=screen_for(width, group=3),
        )


class SparseVerified(SecAggPlusVerified):
    """A ring of six or more with two neighbours on each side, as the scheme has them above 200."""

    @cached_property
    def neighbourhood(self) -> Neighbourhood:
        return Neighbourhood(clients=self.clients, degree=4, threshold=2, window=2)


class TestSparseVerified(Small):
    cohorts = (7, 9)
    widths = (20,)

    def scheme(self, clients: int, length: int, width: int) -> Scheme:
        return SparseVerified(
            clients=clients,
            length=length,
            width=width,
            corrupt=0.0,
            dropout=1 / clients,
            screen=screen_for(width),
        )
