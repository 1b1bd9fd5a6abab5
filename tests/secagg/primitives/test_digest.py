"""`secagg.primitives.digest`: one purpose, one label, one list of parts, one digest."""

from __future__ import annotations

import hashlib
from itertools import permutations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from secagg.primitives.digest import DIGEST_SIZE, TAG_SIZE, Label, digest, tag

PARTS = st.lists(st.binary(max_size=12), max_size=4)


def test_labels_are_unique_and_name_the_library_and_its_version() -> None:
    assert len(Label) == len(Label.__members__), "an alias would give two purposes one label"
    for label in Label:
        assert label.value.startswith(b"secagg/1/")
        assert label.value.isascii()


def test_no_label_starts_with_another() -> None:
    for one, other in permutations(Label, 2):
        assert not one.value.startswith(other.value)


def test_the_end_of_a_label_is_marked() -> None:
    """So that a label and what follows never read as a longer label."""
    for label in Label:
        assert label.value.index(b"\0") == len(label.value) - 1


@given(st.sampled_from(list(Label)), PARTS, st.integers(1, 64))
def test_digest_is_blake2b_of_length_prefixed_parts(
    label: Label, parts: list[bytes], size: int
) -> None:
    text = label.value + b"".join(len(part).to_bytes(8, "little") + part for part in parts)
    assert digest(label, *parts) == hashlib.blake2b(text, digest_size=DIGEST_SIZE).digest()
    assert digest(label, *parts, size=size) == hashlib.blake2b(text, digest_size=size).digest()


@given(PARTS, PARTS)
@example([b"ab", b"c"], [b"a", b"bc"])
@example([b"abc"], [b"abc", b""])
@example([], [b""])
@example([b"\1" + bytes(7)], [b"\1", b""])
def test_digest_is_injective_in_the_list_of_parts(one: list[bytes], other: list[bytes]) -> None:
    same = digest(Label.FRAME, *one) == digest(Label.FRAME, *other)
    assert same == (one == other)


@given(PARTS)
def test_views_and_bytes_digest_alike(parts: list[bytes]) -> None:
    views = [memoryview(b"\0" + part + b"\0")[1:-1] for part in parts]
    assert digest(Label.FRAME, *views) == digest(Label.FRAME, *parts)


@pytest.mark.parametrize("function", [digest, tag])
def test_one_text_under_two_labels_has_two_digests(function: object) -> None:
    assert callable(function)
    assert len({function(label, b"same") for label in Label}) == len(Label)


def test_a_tag_is_a_digest_of_16_bytes_and_no_prefix_of_the_long_one() -> None:
    assert tag(Label.SHARE, b"x") == digest(Label.SHARE, b"x", size=TAG_SIZE)
    assert len(tag(Label.SHARE, b"x")) == TAG_SIZE == 16
    assert not digest(Label.SHARE, b"x").startswith(tag(Label.SHARE, b"x"))
