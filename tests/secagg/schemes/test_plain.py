"""The plain scheme keeps every promise of a scheme, but for hiding the inputs."""

from __future__ import annotations

import pytest
from hypothesis import settings

from secagg.errors import ParameterError
from secagg.scheme import Scheme
from secagg.schemes.plain import PlainInsecure
from secagg.testing.conformance import SchemeConformance
from secagg.testing.stateful import RoundRules


class TestPlainInsecure(SchemeConformance):
    hides_inputs = False

    def scheme(self, clients: int, length: int, width: int) -> Scheme:
        return PlainInsecure(clients=clients, length=length, width=width)


class TestPlainInsecureWithManyDropouts(SchemeConformance):
    hides_inputs = False

    def scheme(self, clients: int, length: int, width: int) -> Scheme:
        return PlainInsecure(clients=clients, length=length, width=width, dropout=0.6)


class PlainRounds(RoundRules):
    def scheme(self) -> Scheme:
        return PlainInsecure(clients=5, length=3, width=20, dropout=0.4)


TestPlainRounds = PlainRounds.TestCase
TestPlainRounds.settings = settings(deadline=None, max_examples=30, stateful_step_count=30)


def test_the_name_says_what_it_is() -> None:
    assert "INSECURE" in PlainInsecure.name
    assert "Insecure" in PlainInsecure.__name__


def test_some_client_must_be_left() -> None:
    assert PlainInsecure(clients=10, length=1, width=8, dropout=0.9).survivors == 1
    with pytest.raises(ParameterError, match="dropout < 1"):
        PlainInsecure(clients=10, length=1, width=8, dropout=1.0)
