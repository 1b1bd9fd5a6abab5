"""What follows from an alert, and what is remembered and counted of it."""

from __future__ import annotations

import dataclasses

import pytest
from hypothesis import given
from hypothesis import strategies as st
from traffic import attacks, usual

from apiwatch import Detector, Settings, gather
from apiwatch.alerts import group
from apiwatch.errors import ParameterError
from apiwatch.naming import Name
from apiwatch.policy import Action, Level, Mode, Policy, Sources
from apiwatch.sinks import throttled
from apiwatch.watch import Loaded, Seen
from apiwatch.work import learnt

NAMELESS = ("unknown", "anomaly", "structure")
SETTINGS = Settings(cells=14, slots=8, salt=b"0123456789abcdef")


@given(mode=st.sampled_from(Mode), level=st.sampled_from(Level), repeated=st.booleans())
def test_p_alone_never_acts(mode: Mode, level: Level, repeated: bool) -> None:
    policy = Policy(mode=mode)
    most = {Mode.OBSERVE: Action.PASS, Mode.DELAY: Action.DELAY, Mode.BLOCK: Action.BLOCK}[mode]
    for label in (*NAMELESS, "sqli"):
        convicted = level >= Level.SOME and (repeated or label == "sqli")
        found = policy.action(label, level, repeated=repeated)
        assert found is (most if convicted else Action.PASS)


def test_levels_follow_what_was_learnt() -> None:
    assert [Level.of(n) for n in (0, 1, 29, 30, 299, 300)] == [0, 1, 1, 2, 2, 3]


def test_sources_are_remembered_for_the_window_and_not_without_bound() -> None:
    sources = Sources(2)
    assert [sources.alerted("a", t, 10.0) for t in (0.0, 10.0, 20.1)] == [False, True, False]
    assert not sources.alerted("", 0.0, 10.0)
    assert not sources.alerted("", 0.0, 10.0)
    for other in ("b", "c"):
        sources.alerted(other, 21.0, 10.0)
    assert len(sources) == 2
    assert not sources.alerted("a", 22.0, 10.0)


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("2001:db8::1", "2001:db8::ffff:1", True),
        ("2001:db8::1", "2001:db8:0:1::1", False),
        ("192.0.2.1", "192.0.2.2", False),
        ("192.0.2.1", "::ffff:192.0.2.1", True),
        ("::ffff:192.0.2.1", "::ffff:192.0.2.2", False),
        ("unix:a", "unix:b", False),
    ],
)
def test_who_owns_an_address_is_one_source(one: str, other: str, same: bool) -> None:
    sources = Sources(9)
    sources.alerted(one, 0.0, 10.0)
    assert sources.alerted(other, 0.0, 10.0) is same


@pytest.mark.parametrize(
    "wrong", [{"window": 0.0}, {"delay": float("nan")}, {"most_delayed": 0}, {"mode": "block"}]
)
def test_parameters_are_checked(wrong) -> None:
    Policy(mode=Mode.BLOCK, window=1.0, delay=0.1, most_delayed=1)
    with pytest.raises(ParameterError, match="must hold"):
        Policy(**wrong)


def judged():
    detector = Detector.learn(usual(300), SETTINGS)
    return detector, list(detector.judge([usual(1)[0], attacks()[0]]))


def test_a_flood_of_one_kind_is_few_lines_with_its_count() -> None:
    _, (_, attack) = judged()
    now, written = [0.0], []
    sink = throttled(lambda alert: written.append(alert.count), 60.0, clock=lambda: now[0])
    for at in (0.0, 1.0, 59.9, 60.0, 61.0):
        now[0] = at
        sink(group([attack], [Name("sqli", 1.0)])[0])
    assert written == [1, 3]


def test_all_of_it_is_counted_and_no_label_is_the_attacker_s() -> None:
    metrics = pytest.importorskip("apiwatch.metrics").Metrics()
    detector, (usual_one, attack) = judged()
    metrics.loaded(Loaded.of(learnt(gather(usual(300)), SETTINGS, None)))
    (alert,) = group([attack], [Name("sqli", 1.0)])
    metrics.seen(Seen(usual_one, Level.MANY, 1e-4))
    metrics.seen(Seen(attack, Level.MANY, 1e-4, alert, Action.BLOCK))
    invented = dataclasses.replace(attack, endpoint="/made/up")
    metrics.seen(Seen(invented, Level.NEW, 1e-4, alert))
    metrics.unjudged("body")
    metrics.failed("sink")
    value = metrics.registry.get_sample_value
    assert value("apiwatch_requests_total", {"level": "many"}) == 2
    assert value("apiwatch_alerts_total", {"name": "sqli"}) == 2
    assert value("apiwatch_actions_total", {"action": "block"}) == 1
    assert value("apiwatch_unjudged_total", {"reason": "body"}) == 1
    assert value("apiwatch_errors_total", {"where": "sink"}) == 1
    assert value("apiwatch_scoring_seconds_count") == 3
    assert value("apiwatch_profile_info", {"digest": detector.digest}) == 1
    assert value("apiwatch_endpoint_level", {"endpoint": attack.endpoint}) == 3
    assert value("apiwatch_endpoint_level", {"endpoint": "/made/up"}) is None
