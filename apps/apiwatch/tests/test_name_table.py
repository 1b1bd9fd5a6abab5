"""Names that nobody agreed on come out of a sum of integers, with their numbers, or not at all."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from apiwatch.errors import ParameterError, RoundFailed
from apiwatch.name_table import LENGTH, MOST, MOST_EXAMPLES, MOST_NAMES, entries, names_in

KEY = b"a session of 16 "
NAMES = st.text(st.characters(categories=("L", "N", "P", "Zs")), min_size=1, max_size=8).filter(
    lambda name: name.isprintable() and name not in ("unknown", "anomaly", "structure")
)


@settings(max_examples=25)
@given(st.lists(st.dictionaries(NAMES, st.integers(1, 1 << 12), max_size=8), max_size=6))
def test_the_sum_of_tables_is_the_table_of_all_names(sites: list[dict[str, int]]) -> None:
    total = sum((entries(names, KEY) for names in sites), np.zeros(LENGTH, np.int64))
    assert names_in(total, KEY) == dict(sorted(sum(map(Counter, sites), Counter()).items()))
    assert total.min() >= 0
    assert all(entries(names, KEY).max() < MOST for names in sites)


def test_as_many_names_as_are_allowed_come_out() -> None:
    many = {f"name {i}": 1 + i for i in range(MOST_NAMES)}
    assert names_in(entries(many, KEY), KEY) == dict(sorted(many.items()))
    whole = sum((entries({f"{i}": 1}, KEY) for i in range(MOST_NAMES + 1)), np.int64(0))
    with pytest.raises(RoundFailed, match="64 names at most"):
        names_in(whole, KEY)


@pytest.mark.parametrize(
    ("names", "problem"),
    [
        ({"": 1}, "1 <= bytes of a name <= 32"),
        ({"ä" * 17: 1}, "1 <= bytes of a name <= 32"),
        ({"a\x1b[2J": 1}, "names are printable"),
        ({"\ud800": 1}, "names are printable"),
        ({"unknown": 1}, "name not in"),
        ({"a": 0}, "examples of a name >= 1"),
        ({"a": MOST_EXAMPLES + 1}, "examples <= 1048576"),
        ({f"{i}": 1 for i in range(65)}, "names <= 64"),
    ],
)
def test_names_are_checked_where_they_are_encoded(names: dict[str, int], problem: str) -> None:
    assert entries({"ä" * 16: MOST_EXAMPLES}, KEY).max() < MOST
    with pytest.raises(ParameterError, match=problem):
        entries(names, KEY)


def test_what_is_no_sum_of_names_is_refused() -> None:
    good = entries({"sqli": 3, "xss": 2}, KEY)
    assert names_in(good, KEY) == {"sqli": 3, "xss": 2}
    dice = np.random.default_rng(1)
    for at in [*np.flatnonzero(good).tolist(), *dice.integers(LENGTH, size=20).tolist()]:
        for change in (1, -1, 1 << 20):
            bad = good.copy()
            bad[at] += change
            with pytest.raises(RoundFailed, match="not one of 64 names"):
                names_in(bad, KEY)
    with pytest.raises(RoundFailed):
        names_in(dice.integers(0, 1 << 40, LENGTH), KEY)
    with pytest.raises(RoundFailed):
        names_in(good, b"another session ")


def test_a_name_that_would_harm_a_terminal_is_refused_by_who_reads_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with monkeypatch.context() as careless:
        careless.setattr("apiwatch.name_table.check_name", lambda name: None)
        bad = entries({"\x1b[2J": 2}, KEY)
        assert names_in(bad, KEY) == {"\x1b[2J": 2}
    with pytest.raises(RoundFailed):
        names_in(bad, KEY)
