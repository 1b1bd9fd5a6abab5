"""The adapter under the suite that every adapter inherits."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

pytest.importorskip("flwr", reason="flwr is not installed: pip install 'secagg[flower]'")

from protocols.adapters.flower import secure_aggregation_mod
from protocols.testing import (
    AdapterConformance,
    Federation,
)
from secagg.errors import SecAggError


class TestFlower(AdapterConformance):
    @pytest.fixture(autouse=True)
    def _with_flower(self, flower: Callable[..., Federation]) -> None:
        self._flower = flower

    def federation(self, **options: Any) -> Federation:
        return self._flower(**options)


# -- the suite notices what it is for ---------------------------------------------------------


def chatty(message: Any, context: Any, call_next: Any) -> Any:
    """Tells the server the number of examples, as if it were harmless."""
    reply = call_next(message, context)
    if reply.has_content():
        reply.content["hints"] = type(reply.content["secagg"])({"examples": 120})
    return reply


def forgetful(message: Any, context: Any, call_next: Any) -> Any:
    """Keeps no state between messages."""
    context.state.clear()
    return call_next(message, context)


@pytest.mark.parametrize(
    ("culprit", "test"),
    [
        (chatty, "test_nothing_but_protocol_frames_leaves_a_client"),
        (forgetful, "test_the_model_is_the_weighted_mean_in_every_dtype"),
        (forgetful, "test_three_exchanges_in_the_first_round_and_two_in_the_others"),
    ],
)
def test_the_suite_fails_on_a_client_that_misbehaves(
    culprit: Any, test: str, flower: Callable[..., Federation]
) -> None:
    class Sabotaged(AdapterConformance):
        def federation(self, **options: Any) -> Federation:
            return flower(mods=(culprit, secure_aggregation_mod), **options)

    with pytest.raises((AssertionError, SecAggError, TypeError)):
        getattr(Sabotaged(), test)()
