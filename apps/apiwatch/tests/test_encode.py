"""What a text becomes: small integers that neither its neighbors nor its case change."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from apiwatch.encode import NORM, SIZE, encode


def cosine(one: str, two: str) -> float:
    a, b = encode([one, two])[:, :-1]
    return float(a @ b / np.linalg.norm(a) / np.linalg.norm(b))


@given(st.lists(st.text(), max_size=5))
def test_encodings_are_small_integers(texts: list[str]) -> None:
    encoded = encode(texts)
    assert encoded.shape == (len(texts), SIZE)
    assert np.array_equal(encoded, np.rint(encoded))
    assert encoded.min(initial=0) >= 0
    assert encoded.max(initial=0) <= NORM
    assert np.all(encoded[:, -1] == NORM)


@given(st.text(), st.text(), st.text())
def test_a_text_is_encoded_as_if_it_were_alone(before: str, text: str, after: str) -> None:
    assert np.array_equal(encode([before, text, after])[1], encode([text])[0])
    assert np.array_equal(encode([text.lower()])[0], encode([text])[0])


@pytest.mark.parametrize(
    ("text", "nearer", "farther"),
    [
        ("exec(abc)", "exec(xyz)", "cexe(xyz)"),  # a word
        ("id=17;", "id=90210;", "id=axz;"),  # numbers are one token
        ("a[b](c);", "xyz[uvw](rst);", "x;[y)z(w]"),  # how it is written
        ("../../etc", "../../../../../../etc", "etc"),
    ],
)
def test_what_is_alike_is_near(text: str, nearer: str, farther: str) -> None:
    assert cosine(text, nearer) > cosine(text, farther) + 0.05


def test_surrogates_and_ends_are_bytes_as_others() -> None:
    encoded = encode(["\ud800", "\x02\x03", "", "é", "\x00"])
    assert len({row.tobytes() for row in encoded}) == 5
    assert np.all(encoded[:, :-1].sum(axis=1) > 0)
