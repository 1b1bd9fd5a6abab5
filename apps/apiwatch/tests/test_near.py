"""Of texts that are nearly the same one is kept, whatever repeats in them."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from apiwatch import near
from apiwatch.near import apart


def alike(one: str, two: str) -> float:
    framed = (f"\x02\x02{text}\x03\x03" for text in (one, two))
    a, b = ({text[i : i + 3] for i in range(len(text) - 2)} for text in framed)
    return len(a & b) / len(a | b)


@given(st.lists(st.text("ab/.", max_size=8), max_size=30))
def test_no_two_that_are_kept_are_alike_and_each_that_is_not_is_like_one(texts: list[str]) -> None:
    before, near._BLOCK = near._BLOCK, 7
    try:
        kept = apart(texts)
    finally:
        near._BLOCK = before
    assert kept == sorted(set(kept)) == apart(texts)
    for number, text in enumerate(texts):
        like = [other for other in kept if other < number and alike(texts[other], text) >= 0.8]
        assert (number in kept) is (not like)


def test_repeats_are_the_same_and_others_are_not() -> None:
    texts = ["../../../etc/passwd", "../" * 9 + "etc/passwd", "' or 1=1--", "../../etc/shadow"]
    assert apart(texts) == [0, 2, 3]
    assert apart([]) == []
    assert apart(["", "", "a"]) == [0, 2]
