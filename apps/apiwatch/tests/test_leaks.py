"""Attacks on sums by who has the salt: they succeed on exact sums, and not where they must not."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from dp.audit.attack import Attack, Trial
from dp.audit.measure import measure
from dp.audit.member_whitened import Whitened
from dp.audit.testing import AttackConformance
from traffic import usual

from apiwatch import Field, Place, Settings
from apiwatch.leaks import GuessedValue, choice_trials, membership_trials
from apiwatch.private import Privacy

SETTINGS = Settings(cells=16, slots=5, salt=b"0123456789abcdef")
VALUES = [Field(Place.FORM, "/orders", "user", f"somebody{i}") for i in range(40)]


def choices(release=None) -> list[Trial]:
    rng = np.random.default_rng(3)
    return choice_trials(
        usual(60), VALUES, SETTINGS, candidates=8, trials=60, release=release, rng=rng
    )


class TestGuessedValue(AttackConformance):
    def attacks(self) -> Sequence[Attack]:
        return [GuessedValue()]

    def exposed(self, attack: Attack) -> Sequence[Trial]:
        return choices()


def test_noise_hides_a_value() -> None:
    release = Privacy(epsilon=1.0).releases(SETTINGS, 20)[0]
    clear, noisy = (
        measure(GuessedValue(), trials, np.random.default_rng(1))[0]
        for trials in (choices(), choices(release))
    )
    assert clear.found.value > 0.9
    assert noisy.found.value < 0.4


@pytest.mark.slow
def test_noise_hides_a_request() -> None:
    release = Privacy(epsilon=1.0).releases(SETTINGS, 20)[0]
    areas = []
    for each in (None, release):
        rng = np.random.default_rng(3)
        trials = membership_trials(usual(350), SETTINGS, size=18, trials=40, release=each, rng=rng)
        areas.append(measure(Whitened(), trials, rng)[0].found.value)
    assert areas[0] > 0.9
    assert areas[1] < 0.75
