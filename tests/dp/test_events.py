"""Events: what they refuse, and that a document gives the same event again."""

from __future__ import annotations

import json
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dp import DiscreteGaussian, ParameterError, Skellam
from dp.errors import DecodeError, DPError, UnknownEvent
from dp.events import Composed, Event, Gaussian, Release, Sampled, event_of
from dp.sensitivity import Sensitivity

INTEGERS = Sensitivity(squared=Fraction(100), coordinates=8, integral=True)
REALS = Sensitivity(squared=Fraction(100), coordinates=8, integral=False)
RELEASE = Release(Skellam(400), 10, INTEGERS)

rationals = st.fractions(Fraction(1, 1000), 10**9, max_denominator=10**9)
noises = st.builds(lambda law, v: law(v), st.sampled_from([Skellam, DiscreteGaussian]), rationals)
sensitivities = st.builds(
    lambda squared, size: Sensitivity(squared=squared, coordinates=size, integral=True),
    rationals,
    st.integers(1, 10**9),
)
gaussians = st.builds(Gaussian, st.floats(2.0**-500, 2.0**500))
releases = st.builds(Release, noises, st.integers(1, 10**6), sensitivities)
singles = gaussians | releases
leaves = singles | st.builds(Sampled, st.floats(0, 1, exclude_min=True), singles)
pairs = st.tuples(leaves, st.integers(1, (1 << 63) - 1))
events = leaves | st.builds(Composed, st.lists(pairs, max_size=4).map(tuple))
jsons = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=9),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=9), inner),
    max_leaves=8,
)


@given(events)
def test_a_document_gives_the_same_event_again(event: Event) -> None:
    again = event_of(json.loads(json.dumps(event.document(), allow_nan=False)))
    assert again == event
    assert hash(again) == hash(event)
    assert again.document() == event.document()


@given(jsons)
def test_other_documents_are_refused(document: Any) -> None:
    with pytest.raises(DecodeError):
        event_of(document)


@given(st.data(), events)
def test_a_changed_document_is_refused_or_another_event(data: st.DataObject, event: Event) -> None:
    """Whatever one field is replaced by: no other error, and nothing that reads as the same."""
    document = event.document()
    key = data.draw(st.sampled_from(sorted(document)))
    document[key] = data.draw(jsons)
    try:
        found = event_of(document)
    except DecodeError:
        return
    # 1 == 1.0 == True in Python, and not in a document
    assert json.dumps(found.document()) == json.dumps(document)


GAUSSIAN = Gaussian(1.5).document()
HOSTILE: list[Any] = [
    {},
    {"event": []},
    GAUSSIAN | {"noise_multiplier": 1},
    GAUSSIAN | {"noise_multiplier": True},
    GAUSSIAN | {"noise_multiplier": float("nan")},
    GAUSSIAN | {"noise_multiplier": float("inf")},
    GAUSSIAN | {"noise_multiplier": -1.0},
    GAUSSIAN | {"more": 1},
    {"event": "gaussian"},
    RELEASE.document() | {"noise": "laplace"},
    RELEASE.document() | {"noise": ["skellam"]},
    RELEASE.document() | {"sigma_squared": 400},
    RELEASE.document() | {"sigma_squared": "0"},
    RELEASE.document() | {"sigma_squared": "-4"},
    RELEASE.document() | {"sigma_squared": "800/2"},
    RELEASE.document() | {"sigma_squared": " 400"},
    RELEASE.document() | {"sigma_squared": "400/0"},
    RELEASE.document() | {"sigma_squared": "4" * 5000},
    RELEASE.document() | {"sigma_squared": "4" * 1000},
    RELEASE.document() | {"squared": "1/" + "9" * 1200},
    RELEASE.document() | {"parts": 0},
    RELEASE.document() | {"parts": 1.0},
    RELEASE.document() | {"parts": True},
    RELEASE.document() | {"coordinates": -8},
    {"event": "sampled", "probability": 0.0, "of": GAUSSIAN},
    {"event": "sampled", "probability": 1.5, "of": GAUSSIAN},
    {"event": "sampled", "probability": 0.5, "of": Sampled(0.5, RELEASE).document()},
    {"event": "composed", "events": GAUSSIAN},
    {"event": "composed", "events": [GAUSSIAN]},
    {"event": "composed", "events": [[GAUSSIAN, 0]]},
    {"event": "composed", "events": [[GAUSSIAN, 1 << 63]]},
    {"event": "composed", "events": [[GAUSSIAN, 1, 1]]},
    {"event": "composed", "events": [[Composed.of(RELEASE).document(), 1]]},
]


@pytest.mark.parametrize("document", HOSTILE, ids=lambda document: str(document)[:60])
def test_hostile_documents_are_refused(document: Any) -> None:
    with pytest.raises(DecodeError):
        event_of(document)


def test_the_documents_that_those_were_made_from_are_not() -> None:
    assert event_of(GAUSSIAN) == Gaussian(1.5)
    assert event_of(RELEASE.document()) == RELEASE
    assert event_of({"event": "composed", "events": [[GAUSSIAN, 1]]}) == Composed.of(Gaussian(1.5))
    half = {"event": "sampled", "probability": 0.5, "of": GAUSSIAN}
    assert event_of(half) == Sampled(0.5, Gaussian(1.5))


@pytest.mark.parametrize(
    "value", [0, -1, float("nan"), float("inf"), True, "1", None, 1j, 2.0**-501, 2.0**501]
)
def test_multipliers_that_are_none(value: Any) -> None:
    assert Gaussian(2) == Gaussian(2.0)
    with pytest.raises(ParameterError, match="noise_multiplier"):
        Gaussian(value)


@pytest.mark.parametrize("value", [0, -0.5, 1.0000001, float("nan"), True, "1", None])
def test_probabilities_that_are_none(value: Any) -> None:
    assert Sampled(1, RELEASE).probability == 1
    with pytest.raises(ParameterError, match="probability"):
        Sampled(value, RELEASE)


def test_releases_are_of_integers() -> None:
    assert Release(Skellam(400), 10, INTEGERS) == RELEASE
    for sensitivity in (REALS, 100, None):
        with pytest.raises(ParameterError, match="sensitivity"):
            Release(Skellam(400), 10, sensitivity)
    for parts in (0, -1, True, 1.5):
        with pytest.raises(ParameterError, match="parts >= 1"):
            Release(Skellam(400), parts, INTEGERS)
    with pytest.raises(ParameterError, match="IntegerNoise"):
        Release(400, 10, INTEGERS)


def test_events_nest_in_one_way_only() -> None:
    for inner in (Sampled(0.5, RELEASE), Composed.of(RELEASE), 1):
        with pytest.raises(ParameterError, match="one release"):
            Sampled(0.5, inner)
    for events in (
        ((Composed.of(RELEASE), 1),),
        ((RELEASE, 0),),
        ((RELEASE, True),),
        ((RELEASE, 1 << 63),),
        (RELEASE,),
        [(RELEASE, 1)],
    ):
        with pytest.raises(ParameterError):
            Composed(events)
    assert Composed(()).events == ()


def test_equal_events_are_counted_together() -> None:
    both = Composed.of(RELEASE, Gaussian(1), RELEASE, Composed(((Gaussian(1), 5),)))
    assert both.events == ((RELEASE, 2), (Gaussian(1), 6))
    assert Composed.of() == Composed(())


def test_noise_without_a_name_has_no_document() -> None:
    class Named(Skellam):
        pass

    assert RELEASE.document()["noise"] == "skellam"
    with pytest.raises(UnknownEvent, match="Named"):
        Release(Named(400), 1, INTEGERS).document()
    assert issubclass(UnknownEvent, DPError)
