"""The profile is a sum: it adds up, comes apart, and finds what is unusual."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from traffic import attacks, usual

from apiwatch import Calibration, Detector, Field, Place, Request, Settings, Table, gather
from apiwatch.detector import threshold_for
from apiwatch.errors import ParameterError, ProfileMismatch
from apiwatch.features import events, shape_text
from apiwatch.surprise import surprises
from apiwatch.table import cells_of

SETTINGS = Settings(cells=16, slots=8, salt=b"0123456789abcdef")
TRAFFIC = usual(600)


def same(one: Table, other: Table) -> bool:
    return bool(np.array_equal(one.counts, other.counts))


@given(st.integers(0, 60), st.randoms(use_true_random=False))
def test_a_table_is_the_sum_of_its_parts_whatever_the_split(cut, dice) -> None:
    shuffled = dice.sample(TRAFFIC[:60], 60)
    whole = Table.learn(gather(shuffled), SETTINGS)
    first = Table.learn(gather(shuffled[:cut]), SETTINGS)
    second = Table.learn(gather(shuffled[cut:]), SETTINGS)
    assert same(first + second, whole)
    assert same(whole - second, first)


def test_batches_do_not_change_the_table(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = Table.learn(gather(TRAFFIC), SETTINGS)
    monkeypatch.setattr("apiwatch.table._BATCH", 7)
    assert same(Table.learn(gather(TRAFFIC), SETTINGS), whole)


def test_what_is_not_in_a_table_is_not_taken_away() -> None:
    one, other = (Table.learn(gather(usual(50, seed)), SETTINGS) for seed in (1, 2))
    assert same(one - one, Table.empty(SETTINGS))
    with pytest.raises(ProfileMismatch, match="not part of this one"):
        one - other


def test_other_settings_do_not_mix() -> None:
    salted = Settings(cells=16, slots=8, salt=b"another salt of 16")
    one, other = Table.empty(SETTINGS), Table.empty(salted)
    assert same(one + Table.empty(SETTINGS), one)
    with pytest.raises(ProfileMismatch, match="different settings"):
        one + other
    with pytest.raises(ProfileMismatch, match="different settings"):
        Detector(one, Calibration.learn({}, other))


def test_unusual_requests_stand_out() -> None:
    detector = Detector.learn(TRAFFIC, SETTINGS)
    usual_scores = detector.scores(usual(400, seed=9))
    assert detector.scores(attacks()).min() > np.quantile(usual_scores, 0.995)


def test_the_field_that_is_blamed_holds_the_attack() -> None:
    detector = Detector.learn(TRAFFIC, SETTINGS)
    blamed = [judged.field for judged in detector.judge(attacks())]
    assert [field.place for field in blamed[:1] + blamed[2:]] == [
        Place.QUERY,
        Place.JSON,
        Place.COOKIE,
    ]
    assert blamed[0].value == "asc' or 1=1--"


def test_padding_does_not_hide() -> None:
    detector = Detector.learn(TRAFFIC, SETTINGS)
    plain, padded = (
        Request(method="GET", target=f"/items/1?sort={pad}'%20or%201=1--")
        for pad in ("", "a" * 5000)
    )
    assert detector.scores([padded])[0] >= detector.scores([plain])[0]


def test_memory_changes_no_verdict(monkeypatch: pytest.MonkeyPatch) -> None:
    detector = Detector.learn(TRAFFIC, SETTINGS)
    first = detector.scores(TRAFFIC)
    assert np.array_equal(detector.scores(TRAFFIC), first)
    monkeypatch.setattr("apiwatch.detector._REMEMBERED_CHARACTERS", 500)
    assert np.array_equal(detector.scores(TRAFFIC), first)
    monkeypatch.setattr("apiwatch.detector._REMEMBERED", 1)
    monkeypatch.setattr("apiwatch.detector._BATCH", 11)
    monkeypatch.setattr("apiwatch.detector._BATCH_CHARACTERS", 300)
    assert np.array_equal(Detector.learn(TRAFFIC, SETTINGS).scores(TRAFFIC), first)


def test_held_out_fields_are_judged_by_the_others() -> None:
    """A calibration of a field that occurs once equals that without it in the table."""
    field = Field(Place.QUERY, "/items/0", "sort", "x;y")
    counts = gather(TRAFFIC)
    with_it = Table.learn(counts | {field: 1}, SETTINGS)
    without = Table.learn(counts, SETTINGS)
    one = Calibration.learn({field: 1}, with_it).sums
    shown = events([field], SETTINGS.salt)
    scores = Detector(without, Calibration.learn(counts, without))
    assert one[:, 0].sum() == 1
    bits = surprises(shown, cells_of(shown, SETTINGS), without, held_out=False)
    assert np.array_equal(one[one[:, 0] == 1][0, 1:8], np.rint(bits[0] * 16).astype(np.int64))
    assert scores.field_scores([field]).shape == (1, 7)


@given(st.text())
def test_any_value_has_a_score(value: str) -> None:
    fields = [Field(Place.QUERY, "/", "q", value), Field(Place.METHOD, "/", "", value)]
    detector = Detector(Table.empty(SETTINGS), Calibration.learn({}, Table.empty(SETTINGS)))
    assert np.isfinite(detector.field_scores(fields)).all()


@given(st.text())
def test_grams_are_distinct_and_ascend_by_field(value: str) -> None:
    found = events([Field(Place.QUERY, "/", "q", value)] * 2, SETTINGS.salt)
    pairs = list(zip(found.owner_gram.tolist(), found.gram.tolist(), strict=True))
    assert pairs == sorted(set(pairs))
    assert len(found.shape) == 2
    assert found.shape[0] == found.shape[1]


TEXTS = st.lists(st.text(alphabet="ab01'<é\x00 /", max_size=40), min_size=1, max_size=6)


@given(TEXTS, st.integers(1, 20))
def test_slices_of_long_values_change_no_event(texts: list[str], size: int) -> None:
    fields = [Field(Place.QUERY, "/", "q", text) for text in texts]
    whole = events(fields, SETTINGS.salt)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("apiwatch.features._SLICE", size)
        sliced = events(fields, SETTINGS.salt)
    for name in ("gram", "owner_gram", "char", "owner_char", "shape"):
        assert np.array_equal(getattr(whole, name), getattr(sliced, name))


def test_shapes_for_people() -> None:
    assert shape_text("anna42@mail.example") == "a0@a.a"
    assert shape_text("") == ""
    assert shape_text("ñ\x00") == "é\x01"


def test_alerts_per_day_set_the_threshold() -> None:
    scores = np.arange(1000.0)
    threshold = threshold_for(scores, requests=100_000, alerts=1000)
    assert (scores > threshold).sum() == 10
    with pytest.raises(ParameterError, match="scores >= 3"):
        threshold_for(scores, requests=100_000, alerts=20)


def test_a_cell_counts_for_others_with_enough_sites() -> None:
    settings = Settings(cells=16, slots=8, support=2, salt=b"0123456789abcdef")
    tables = [Table.learn(gather(usual(60, seed)), settings) for seed in range(3)]
    total = tables[0] + tables[1] + tables[2]
    sites = np.sum([table.bits for table in tables], axis=0)
    mine = tables[0].supported(total, sites)
    assert np.array_equal(mine.counts[sites >= 2], total.counts[sites >= 2])
    assert np.array_equal(mine.counts[sites < 2], tables[0].counts[sites < 2])
    with pytest.raises(ProfileMismatch, match="not part of the total"):
        tables[0].supported(tables[1], sites)


def test_decay_forgets_what_was_seen_once_first() -> None:
    table = Table.learn(gather(TRAFFIC), SETTINGS)
    assert same(table.decayed(0), table)
    assert np.array_equal(table.decayed(1).counts, table.counts // 2)
    with pytest.raises(ParameterError, match="0 <= halvings <= 64"):
        table.decayed(-1)


@pytest.mark.parametrize(
    ("change", "inequality"),
    [
        ({"cells": 7}, "8 <= cells <= 24"),
        ({"slots": 21}, "4 <= slots <= 20"),
        ({"support": 0}, "1 <= support"),
        ({"support": True}, "type"),
        ({"salt": b"short"}, "16 <= len"),
    ],
)
def test_settings_are_checked(change, inequality) -> None:
    good = {"cells": 8, "slots": 4, "support": 1, "salt": bytes(16)}
    assert len(Settings(**good).digest) == 32
    with pytest.raises(ParameterError, match=inequality):
        Settings(**good | change)


def test_the_salt_is_in_no_text() -> None:
    assert "0123" not in repr(SETTINGS)
