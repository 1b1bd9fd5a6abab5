"""Every variant of the scheme keeps every promise of a scheme, on every kind of graph."""

from __future__ import annotations

from functools import cached_property
from typing import Any

from secagg.parameters import Neighbourhood
from secagg.scheme import Scheme
from secagg.schemes.secagg_plus import (
    Contribution,
    SecAggPlus,
    SecAggPlusBrief,
    SecAggPlusSemiHonest,
)
from secagg.testing.conformance import SchemeConformance
from secagg.testing.conformance.dropouts import Dropouts

STATEMENT = bytes(range(32))


class TestSecAggPlus(SchemeConformance):
    def scheme(self, clients: int, length: int, width: int) -> Scheme:
        return SecAggPlus(clients=clients, length=length, width=width)


class TestSecAggPlusSemiHonest(SchemeConformance):
    def scheme(self, clients: int, length: int, width: int) -> Scheme:
        return SecAggPlusSemiHonest(clients=clients, length=length, width=width)


class TestSecAggPlusWithManyDropouts(Dropouts):
    """Two of five may go, in any two phases."""

    patterns = 80

    def scheme(self, clients: int, length: int, width: int) -> Scheme:
        return SecAggPlus(clients=clients, length=length, width=width, corrupt=0.0, dropout=0.4)


class TestSecAggPlusBrief(SchemeConformance):
    """Inputs come with a statement, and the server submits its own."""

    def scheme(self, clients: int, length: int, width: int) -> Scheme:
        dropout = 0.2 if clients >= 5 else 0.0
        return SecAggPlusBrief(clients=clients, length=length, width=width, dropout=dropout)

    def wrap(self, vector: Any) -> Contribution:
        return Contribution(vector, STATEMENT)

    def server_input(self) -> bytes:
        return STATEMENT


class SparseMalicious(SecAggPlus):
    """A ring of six or more with two neighbours on each side, as the scheme has them above 200."""

    @cached_property
    def neighbourhood(self) -> Neighbourhood:
        return Neighbourhood(clients=self.clients, degree=4, threshold=2, window=2)


class SparseSemiHonest(SecAggPlusSemiHonest):
    """The same ring without windows."""

    @cached_property
    def neighbourhood(self) -> Neighbourhood:
        return Neighbourhood(clients=self.clients, degree=4, threshold=2)


class TestSparseMalicious(SchemeConformance):
    clients = 7
    cohorts = (7, 9)
    widths = (20,)
    patterns = 15

    def scheme(self, clients: int, length: int, width: int) -> Scheme:
        gone = 1 / clients
        return SparseMalicious(
            clients=clients, length=length, width=width, corrupt=0.0, dropout=gone
        )


class TestSparseSemiHonest(SchemeConformance):
    clients = 7
    cohorts = (7, 9)
    widths = (20,)
    patterns = 15

    def scheme(self, clients: int, length: int, width: int) -> Scheme:
        gone = 1 / clients
        return SparseSemiHonest(
            clients=clients, length=length, width=width, corrupt=0.0, dropout=gone
        )
