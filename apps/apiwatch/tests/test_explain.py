"""An explanation points at the attack, shows what is usual, and says what would clear it."""

from __future__ import annotations

import numpy as np
import pytest
from traffic import attacks, usual

from apiwatch import Detector, Field, Place, Request, Settings, gather
from apiwatch.explain import Usual, character_bits, explain, score_without

SETTINGS = Settings(cells=16, slots=8, salt=b"0123456789abcdef")
TRAFFIC = usual(600)
COUNTS = gather(TRAFFIC)
DETECTOR = Detector.learn(TRAFFIC, SETTINGS)
THRESHOLD = float(np.quantile(DETECTOR.scores(usual(400, seed=9)), 0.995))
SITES = DETECTOR.table.bits


def told(request: Request, sites=SITES):
    (judged,) = DETECTOR.judge([request])
    return explain(judged, DETECTOR, Usual.learn(COUNTS), sites=sites, threshold=THRESHOLD)


@pytest.mark.parametrize("attack", attacks())
def test_a_usual_value_clears_every_attack(attack: Request) -> None:
    explanation = told(attack)
    assert explanation.judged.score > THRESHOLD
    assert explanation.cleared <= THRESHOLD


def test_another_field_does_not_clear_it() -> None:
    (judged,) = DETECTOR.judge([attacks()[0]])
    other = Field(Place.HEADER, "", "user-agent", "shop/1")
    wrong = type(judged)(judged.request, judged.endpoint, judged.score, other, judged.kind)
    assert score_without(wrong, DETECTOR, THRESHOLD) == pytest.approx(judged.score)


def test_the_strange_characters_are_marked() -> None:
    field = Field(Place.QUERY, "/items/0", "sort", "asc';desc")
    bits = character_bits(DETECTOR, field)
    assert bits.shape == (9,)
    assert set(np.argsort(-bits)[:2].tolist()) == {3, 4}
    assert character_bits(DETECTOR, Field(Place.QUERY, "", "q", "")).shape == (0,)


def test_usual_shapes_are_shown_with_support_only() -> None:
    attack = attacks()[3]
    assert told(attack).usual == ("0",)
    settings = Settings(cells=16, slots=8, support=2, salt=b"0123456789abcdef")
    detector = Detector.learn(TRAFFIC, settings)
    (judged,) = detector.judge([attack])
    shapes = Usual.learn(COUNTS)
    alone = explain(judged, detector, shapes, sites=SITES, threshold=THRESHOLD)
    agreed = explain(judged, detector, shapes, sites=2 * SITES, threshold=THRESHOLD)
    assert (alone.usual, agreed.usual) == ((), ("0",))


@pytest.mark.parametrize(
    ("target", "place"),
    [("/items/3?sort=asc&debug=1", Place.NAME), ("/admin/config.bak?sort=asc", Place.PATH)],
)
def test_structure_is_cleared_with_what_hangs_on_it(target: str, place: Place) -> None:
    request = Request(method="GET", target=target, headers=usual(1)[0].headers)
    explanation = told(request)
    assert explanation.judged.score > THRESHOLD
    assert explanation.cleared <= THRESHOLD
    assert explanation.judged.field.place in (place, Place.NAMES, Place.QUERY)


@pytest.mark.parametrize("target", ["/orders.bak", "/items/3/.old", "/items/3.php"])
def test_a_kind_of_file_that_is_never_served_is_strange(target: str) -> None:
    headers = usual(1)[0].headers
    known = Request(method="GET", target="/items/3?sort=asc", headers=headers)
    assert told(known).judged.score <= THRESHOLD
    explanation = told(Request(method="GET", target=target, headers=headers))
    assert explanation.judged.score > 5 * THRESHOLD
    assert explanation.cleared <= THRESHOLD
