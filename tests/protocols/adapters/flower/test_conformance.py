"""The adapter under the suite that every adapter inherits."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

pytest.importorskip("flwr", reason="flwr is not installed: pip install 'secagg[flower]'")

from protocols.adapters.flower import secure_aggregation_mod, terms
from protocols.screening import SketchScreen
from protocols.testing import MODEL, AdapterConformance, Fault, Federation, everybody
from secagg.errors import Aborted, SecAggError
from secagg.schemes.secagg_plus.verified import Screen


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


# -- rounds of a plan with a screen -----------------------------------------------------------


class TestFlowerScreened(AdapterConformance):
    """The same suite, where each round has six exchanges and leaves nothing for the next.

    Its model is small: a screen of two rows says little of it, and what it lets pass is not the
    matter here.
    """

    stages = ("adverts", "shares", "train", "screen", "consent", "unmask")
    late = ("consent", "unmask")

    @pytest.fixture(autouse=True)
    def _with_flower(
        self, flower: Callable[..., Federation], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(Screen, "least_rows", 2)
        monkeypatch.setattr(terms, "check_side", lambda screen, side: None)
        self._flower = flower

    def federation(self, **options: Any) -> Federation:
        return self._flower(
            screen=SketchScreen(rows=2), config={"secagg-floor-opened": 3}, **options
        )

    def summed(self, stage: str, party: int) -> list[int]:
        """Who is in the sum if that client is lost in that stage."""
        return everybody(but=() if stage in self.late else {party})

    def test_three_exchanges_in_the_first_round_and_two_in_the_others(self) -> None:
        federation = self.make()
        federation.run(MODEL, 2)
        assert list(federation.exchanges) == [*self.stages, *self.stages]

    def test_a_client_lost_in_any_exchange(self) -> None:
        for stage in self.stages:
            outcomes = self.make(Fault("late", stage, 2)).run(MODEL, 2)
            self.check_mean(outcomes[0], self.summed(stage, 2))
            self.check_mean(outcomes[1], everybody(), outcomes[0].model)

    def test_lost_and_stale_state_is_a_loss_of_that_client(self) -> None:
        for stage in self.stages[1:]:
            for kind in ("forgotten", "stale"):
                federation = self.make(Fault(kind, stage, 4))
                outcomes = federation.run(MODEL, 2)
                self.check_mean(outcomes[0], self.summed(stage, 4))
                self.check_mean(outcomes[1], everybody(), outcomes[0].model)
                errors = [reply.error or "" for reply in federation.replies]
                named = ("LocalProtocolError: ", "Aborted: ")  # by whom it lacks, and what it does
                assert any(error.startswith(named) for error in errors), (stage, kind)

    def test_a_changed_frame_is_a_loss_of_its_client(self) -> None:
        for stage in self.stages:
            for kind in ("garbled", "forged"):
                if (kind, stage) == ("garbled", self.stages[0]):
                    continue  # no frame goes down before an advert
                outcomes = self.make(Fault(kind, stage, 5)).run(MODEL, 1)
                self.check_mean(outcomes[0], self.summed(stage, 5))

    def test_a_message_that_is_sent_again_gives_no_second_update(self) -> None:
        for stage in self.stages:
            federation = self.make(Fault("twice", stage, 2))
            outcomes = federation.run(MODEL, 2)
            self.check_mean(outcomes[0], self.summed(stage, 2))
            second = [r for r in federation.replies if r.party == 2 and r.stage == stage][1]
            assert "LocalProtocolError" in str(second.error)
            assert not second.records
            self.check_mean(outcomes[1], everybody(), outcomes[0].model)

    def test_two_models_shown_to_two_groups_release_nothing(self) -> None:
        outcomes = self.make(*(Fault("model", "train", party) for party in (1, 2))).run(MODEL, 1)
        assert isinstance(outcomes[0].error, Aborted)

    def test_a_client_that_was_shown_another_model_is_not_in_the_sum(self) -> None:
        (outcome,) = self.make(Fault("model", "train", 1)).run(MODEL, 1)
        self.check_mean(outcome, everybody(but={1}))

    def test_too_many_losses_release_nothing_and_the_next_round_works(self) -> None:
        for stage in self.stages:
            outcomes = self.make(Fault("lost", stage, 1), Fault("lost", stage, 2)).run(MODEL, 2)
            assert isinstance(outcomes[0].error, Aborted), stage
            self.check_mean(outcomes[1], everybody())
