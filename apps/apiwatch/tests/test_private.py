"""What noise promises: bounded contributions, noise of the promised size, epsilon by `dp`."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from traffic import attacks, usual

from apiwatch import Request, Settings, Table
from apiwatch.contributions import counted, measured
from apiwatch.errors import ParameterError
from apiwatch.ledger import Ledger, Sent
from apiwatch.private import Privacy, PrivateFederation, Protects

SETTINGS = Settings(cells=10, slots=5, salt=b"0123456789abcdef")
SITES = {site: usual(30, seed=site) for site in range(1, 9)}
TABLE = Table(SETTINGS, counted(usual(50), SETTINGS, None, 1))
LOOSE = Privacy(epsilon=50.0, corrupt=0.1, dropout=0.25)
text = st.text(max_size=40)


@settings(max_examples=25)
@given(st.builds(Request, method=text, target=text, body=text), st.floats(1, 60))
def test_a_request_adds_no_more_than_the_norm(request_: Request, clip: float) -> None:
    for vector in (
        counted([request_], SETTINGS, clip, 16),
        measured([request_], TABLE, clip, 16),
    ):
        assert vector.min() >= 0
        assert 0 < int((vector**2).sum()) <= (16 * clip) ** 2


def test_without_a_clip_a_request_counts_once_in_each_cell() -> None:
    one = counted([attacks()[0]], SETTINGS, None, 16)
    assert set(np.unique(one).tolist()) == {0, 16}
    assert np.array_equal(counted([attacks()[0]] * 3, SETTINGS, None, 16), 3 * one)


def learned(privacy: Privacy, drops=None) -> PrivateFederation:
    federation = PrivateFederation(SITES, SETTINGS, privacy)
    federation.learn(drops)
    return federation


def test_the_noise_is_that_of_the_sites_in_the_sum() -> None:
    federation = learned(LOOSE, drops={2: "masked"})
    exact = sum(counted(SITES[s], SETTINGS, 14.0, 16) for s in SITES if s != 2)
    noise = federation.rounds[0].total - (1 << 29) * 7 - exact
    variance = float(federation.releases[0].noise.sigma_squared) * 7
    assert federation.included == set(SITES) - {2}
    assert abs(noise.mean()) < 5 * math.sqrt(variance / noise.size)
    assert 0.8 < noise.var() / variance < 1.25


@pytest.mark.parametrize("protects", list(Protects))
def test_epsilon_is_what_was_promised_or_a_little_less(protects: Protects) -> None:
    federation = learned(Privacy(epsilon=2.0, dropout=0.25, protects=protects))
    assert 1.9 < federation.epsilon <= 2.0
    assert [entry.what for entry in federation.ledger.sent] == ["counters", "calibration"]


@pytest.mark.slow
def test_much_noise_hides_what_little_noise_shows() -> None:
    clear, hidden = (
        learned(Privacy(epsilon=e, dropout=0.25)).total.counts.astype(float) for e in (100.0, 0.05)
    )
    exact = np.sum([counted(r, SETTINGS, None, 1) for r in SITES.values()], axis=0)
    assert np.corrcoef(clear, exact)[0, 1] > 0.9
    assert np.corrcoef(hidden, exact)[0, 1] < 0.5


@pytest.mark.parametrize(
    "wrong", [{"epsilon": 0.0}, {"delta": 1.0}, {"counters": 0.5}, {"calibration": 2.0**21}]
)
def test_privacy_states_its_inequality(wrong: dict[str, float]) -> None:
    assert Privacy(epsilon=1.0).delta == 1e-5
    with pytest.raises(ParameterError, match="must hold"):
        Privacy(**{"epsilon": 1.0} | wrong)


def test_support_is_not_promised() -> None:
    several = Settings(cells=10, slots=5, support=2, salt=SETTINGS.salt)
    with pytest.raises(ParameterError, match="support == 1"):
        PrivateFederation(SITES, several, LOOSE)


def test_a_ledger_is_written_and_read_and_one_exact_sum_ends_privacy() -> None:
    ledger = learned(LOOSE).ledger
    again = Ledger.read(json.loads(json.dumps(ledger.document)))
    assert again == ledger
    assert again.epsilon(1e-5) == ledger.epsilon(1e-5) <= 50
    exact = Ledger((Sent(what="classes", coordinates=9, bytes_up=99, sites=5, lost=0),))
    assert (ledger + exact).epsilon(1e-5) == math.inf
    assert Ledger().epsilon(1e-5) == 0.0
    with pytest.raises(ParameterError, match="lost >= 0"):
        Sent(what="classes", coordinates=9, bytes_up=99, sites=5, lost=-1)
