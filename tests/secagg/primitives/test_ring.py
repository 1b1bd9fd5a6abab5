"""`secagg.primitives.ring` against bit strings written out in Python."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from secagg.errors import DecodeError, InputRefused, ParameterError
from secagg.primitives import ring

WIDTHS = range(2, 65)
SUBWORD = [width for width in WIDTHS if width not in (16, 32, 64)]
LENGTHS = [0, 1, 2, 3, 7, 8, 31, 63, 64, 65, 200]


def packed_by_hand(values: list[int], width: int) -> bytes:
    """The stream as one big integer: residue i at bit i * width."""
    number = sum(value << (at * width) for at, value in enumerate(values))
    return number.to_bytes((len(values) * width + 7) // 8, "little")


def residues(length: int, width: int, seed: int = 0) -> ring.Words:
    raw = np.random.default_rng([seed, length, width]).integers(0, 1 << 64, length, np.uint64)
    return (raw >> np.uint64(64 - width)).astype(ring.word(width))


@st.composite
def vectors(draw: st.DrawFn) -> tuple[list[int], int]:
    width = draw(st.integers(2, 64))
    edges = st.sampled_from([0, 1, (1 << width) - 1, 1 << (width - 1)])
    residue = edges | st.integers(0, (1 << width) - 1)
    return draw(st.lists(residue, max_size=70)), width


# -- the ring itself ---------------------------------------------------------------------------


@pytest.mark.parametrize("width", WIDTHS)
def test_a_word_is_the_smallest_that_holds_the_width(width: int) -> None:
    assert ring.check_width(width) == width
    bits = ring.word(width).itemsize * 8
    assert width <= bits
    assert bits == 16 or width > bits // 2
    assert ring.word(width).kind == "u"


@pytest.mark.parametrize("width", [1, 0, -3, 65, 128, True, 8.0, "8", None, np.int64(8)])
def test_other_widths_are_refused(width: Any) -> None:
    with pytest.raises(ParameterError, match=r"2 <= width <= 64 must hold"):
        ring.check_width(width)


@given(vectors())
def test_reduce_is_the_remainder_and_works_in_place(case: tuple[list[int], int]) -> None:
    values, width = case
    dtype = ring.word(width)
    noisy = [value * 3 + 5 for value in values]
    array = np.array([value % (1 << dtype.itemsize * 8) for value in noisy], dtype)
    returned = ring.reduce(array, width)
    assert returned is array
    assert array.tolist() == [value % (1 << width) for value in noisy]
    assert array.dtype == dtype


def test_reduce_reaches_every_item_of_a_strided_view() -> None:
    array = np.full(10, 0xFFFF, "<u2")
    ring.reduce(array[::2], 4)
    assert array.tolist() == [15, 0xFFFF] * 5


@given(vectors())
@example(([0, 1, 2, 3], 2))
@example(([(1 << 63) - 1, 1 << 63, (1 << 64) - 1], 64))
def test_centered_is_the_representative_nearest_to_zero(case: tuple[list[int], int]) -> None:
    values, width = case
    array = np.array(values, ring.word(width))
    lifted = ring.centered(array, width)
    half = 1 << (width - 1)
    assert lifted.dtype == np.int64
    assert lifted.tolist() == [(value + half) % (1 << width) - half for value in values]
    assert array.tolist() == values, "the input stays as it was"


def test_centered_reads_strided_and_big_endian_words() -> None:
    array = np.array([1, 0, 0xFFFFF, 0, 0x80000, 0], "<u4")
    assert ring.centered(array[::2], 20).tolist() == [1, -1, -(1 << 19)]
    assert ring.centered(array.astype(">u4")[::2], 20).tolist() == [1, -1, -(1 << 19)]


# -- packing -----------------------------------------------------------------------------------


@pytest.mark.parametrize("width", WIDTHS)
def test_pack_is_the_bit_string_for_every_width(width: int) -> None:
    for length in LENGTHS:
        values = residues(length, width)
        packed = ring.pack(values, width)
        assert packed == packed_by_hand(values.tolist(), width)
        assert len(packed) == ring.packed_size(length, width)
        back = ring.unpack(packed, length, width)
        assert back.dtype == ring.word(width)
        assert back.tolist() == values.tolist()


@pytest.mark.parametrize("width", [3, 17, 20, 33, 63])
def test_packing_goes_on_across_the_blocks(width: int) -> None:
    group = 64 // np.gcd(width, 64)
    length = int(group) * (ring._BLOCK + 1) + 1
    values = residues(length, width)
    packed = ring.pack(values, width)
    assert np.array_equal(ring.unpack(packed, length, width), values)
    at = 8 * (ring._BLOCK // 8) * width  # residue index 8k starts on a byte
    first = at // width
    assert packed[at // 8 : at // 8 + width] == packed_by_hand(
        values[first : first + 8].tolist(), width
    )


@given(vectors())
@settings(deadline=None)
def test_packing_round_trips(case: tuple[list[int], int]) -> None:
    values, width = case
    packed = ring.pack(np.array(values, ring.word(width)), width)
    assert packed == packed_by_hand(values, width)
    assert ring.unpack(packed, len(values), width).tolist() == values


@given(st.integers(2, 64), st.integers(0, 40), st.data())
@settings(deadline=None)
def test_every_accepted_string_is_the_packing_of_its_vector(
    width: int, length: int, data: st.DataObject
) -> None:
    """Canonical: no two strings decode to one vector."""
    size = ring.packed_size(length, width)
    packed = data.draw(st.binary(min_size=size, max_size=size))
    try:
        values = ring.unpack(packed, length, width)
    except DecodeError:
        spare = -length * width % 8
        assert packed[-1] >> (8 - spare)
    else:
        assert ring.pack(values, width) == packed


@pytest.mark.parametrize("width", SUBWORD)
def test_every_padding_bit_is_refused(width: int) -> None:
    for length in range(1, 9):
        packed = bytearray(ring.pack(residues(length, width), width))
        ring.unpack(bytes(packed), length, width)
        for bit in range(8 - -length * width % 8, 8):
            changed = packed.copy()
            changed[-1] |= 1 << bit
            with pytest.raises(DecodeError, match="padding bits"):
                ring.unpack(bytes(changed), length, width)


@pytest.mark.parametrize("width", WIDTHS)
def test_a_packing_of_another_length_is_refused(width: int) -> None:
    packed = ring.pack(residues(5, width), width)
    ring.unpack(memoryview(packed), 5, width)
    for other in (packed[:-1], packed + b"\0", b""):
        with pytest.raises(DecodeError, match=rf"\b{len(packed)}\b"):
            ring.unpack(other, 5, width)


@pytest.mark.parametrize("width", [16, 20, 32, 64])
def test_unpacked_words_are_fresh_and_writable(width: int) -> None:
    packed = bytearray(ring.pack(residues(5, width), width))
    values = ring.unpack(memoryview(packed), 5, width)
    values += 1
    assert ring.pack(residues(5, width), width) == packed


@pytest.mark.parametrize("width", WIDTHS)
def test_pack_reads_strided_words(width: int) -> None:
    values = residues(13, width)
    spread = np.zeros(26, values.dtype)
    spread[::2] = values
    assert ring.pack(spread[::2], width) == ring.pack(values, width)
    assert ring.pack(values[::-1], width) == packed_by_hand(values.tolist()[::-1], width)


def test_pack_reads_big_endian_words() -> None:
    """A word is a number: how the machine at hand stores it must not reach the wire."""
    for width in WIDTHS:
        values = residues(13, width)
        swapped = values.astype(values.dtype.newbyteorder(">"))
        assert ring.pack(swapped, width) == ring.pack(values, width)


# -- what a caller may hand in -----------------------------------------------------------------


@pytest.mark.parametrize("width", WIDTHS)
def test_a_vector_of_residues_is_accepted_as_it_is(width: int) -> None:
    values = residues(9, width)
    values[0], values[-1] = 0, (1 << width) - 1
    assert ring.check_vector(values, 9, width) is values
    assert ring.check_vector(values[::-1], 9, width).tolist() == values.tolist()[::-1]
    values.flags.writeable = False
    ring.check_vector(values, 9, width)


@pytest.mark.parametrize("width", SUBWORD)
def test_one_residue_over_the_width_is_refused_by_position(width: int) -> None:
    values = residues(9, width)
    values[4] = 1 << width
    with pytest.raises(InputRefused, match=f"position 4 has over {width} bits"):
        ring.check_vector(values, 9, width)
    with pytest.raises(InputRefused, match="position 5 has"):
        ring.check_vector(np.roll(values, 1), 9, width)
    with pytest.raises(InputRefused, match="position 2 has"):
        ring.check_vector(values[::2], 5, width)


@pytest.mark.parametrize(
    "value",
    [
        np.array([0.5, float("nan")]),
        np.array([1, 2], "<f4"),
        np.array([1, 2], "<i4"),
        np.array([1, 2], "<u8"),
        np.array([1, 2], "<u2"),
        np.array([1, 2], ">u4"),
        np.array([True, False]),
        np.array([1, 2], object),
        np.array(["1", "2"]),
        [1, 2],
        (1, 2),
        b"\1\0\0\0\2\0\0\0",
        1,
        None,
        np.uint32(1),
    ],
    ids=repr,
)
def test_another_dtype_is_refused_never_cast(value: Any) -> None:
    assert ring.check_vector(np.array([1, 2], "<u4"), 2, 20).tolist() == [1, 2]
    with pytest.raises(InputRefused, match="a ring vector is an array of uint32"):
        ring.check_vector(value, 2, 20)


@pytest.mark.parametrize("shape", [(), (0,), (1,), (3,), (2, 1), (1, 2), (2, 0)])
def test_another_shape_is_refused(shape: tuple[int, ...]) -> None:
    assert ring.check_vector(np.zeros(2, "<u4"), 2, 20).shape == (2,)
    with pytest.raises(InputRefused, match=r"has shape \(2,\)"):
        ring.check_vector(np.zeros(shape, "<u4"), 2, 20)


def test_a_refusal_shows_no_value() -> None:
    with pytest.raises(InputRefused) as refused:
        ring.check_vector(np.array([0, 987654321], "<u4"), 2, 20)
    assert "987654321" not in str(refused.value)


def test_a_masked_array_does_not_hide_its_values_from_the_check() -> None:
    """`numpy.ma` leaves masked items out of `max`, but what is packed is the data beneath."""
    hidden = np.ma.array(np.array([1 << 25, 1], "<u4"), mask=[True, False])  # type: ignore[no-untyped-call, unused-ignore]
    with pytest.raises(InputRefused):
        ring.check_vector(hidden, 2, 20)
