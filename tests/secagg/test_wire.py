"""`secagg.wire`: one encoding per value, and nothing is allocated on a stranger's word."""

from __future__ import annotations

import dataclasses
import tracemalloc
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from secagg import wire
from secagg.errors import DecodeError
from secagg.wire import (
    IDS,
    Array,
    Blob,
    Cells,
    Codec,
    Columns,
    Fixed,
    Items,
    Joined,
    Limits,
    Map,
    Message,
    One,
    Packed,
    Reader,
    Record,
    Rows,
    Table,
    Uint,
    declare,
    decode,
    encode,
    field,
    ids,
    size_bound,
)

LIMITS = Limits(parties=4, near=2, vector=3, blob=64)
CELLS = Columns(key=2, tag=1)


@declare(code=9, phase="late")
class Inner(Record):
    """A record inside others."""

    small: int = field(Uint(1))


@declare(code=1, phase="early")
class Everything(Message):
    """One field of each codec."""

    number: int = field(Uint(8))
    fixed: bytes = field(Fixed(4))
    vector: bytes = field(Packed())
    rows: Table = field(Rows(CELLS))
    who: Table = field(Rows(IDS))
    blob: bytes = field(Blob(), secret=True)
    array: Any = field(Array(), secret=True)
    items: tuple[Inner, ...] = field(Items(Inner))
    joined: bytes = field(Joined(2))
    inner: Inner = field(One(Inner))
    book: dict[int, bytes] = field(Map(Fixed(1)))


def everything(**changes: Any) -> Everything:
    fields: dict[str, Any] = {
        "number": 5,
        "fixed": b"four",
        "vector": b"\1\2\3",
        "rows": CELLS.table({3: (b"ab", b"c"), 1: (b"de", b"f")}),
        "who": ids([2, 9]),
        "blob": b"blob",
        "array": np.array([1, 2], "<u4"),
        "items": (Inner(small=1), Inner(small=0)),
        "joined": b"pqrs",
        "inner": Inner(small=7),
        "book": {8: b"x", 3: b"y"},
    }
    return Everything(**{**fields, **changes})


def read(codec: Codec[Any], data: bytes, limits: Limits = LIMITS) -> Any:
    reader = Reader(data, limits)
    value = codec.read(reader)
    reader.finish()
    return value


def written(codec: Codec[Any], value: Any) -> bytes:
    out = bytearray()
    codec.write(value, out)
    return bytes(out)


@contextmanager
def allocating_less_than(most: int) -> Iterator[None]:
    tracemalloc.start()
    try:
        yield
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < most, f"{peak} bytes were allocated"


u32 = Uint(4)


# -- records -----------------------------------------------------------------------------------


def test_fields_follow_each_other_without_padding() -> None:
    expected = (
        (5).to_bytes(8, "little")
        + b"four"
        + b"\1\2\3"
        + b"\2\0\0\0" + b"\1\0\0\0def" + b"\3\0\0\0abc"
        + b"\2\0\0\0" + b"\2\0\0\0" + b"\x09\0\0\0"
        + (4).to_bytes(8, "little") + b"blob"
        + b"\4" + (8).to_bytes(8, "little") + b"\1\0\0\0\2\0\0\0"
        + b"\2\0\0\0\1\0"
        + b"\2\0\0\0pqrs"
        + b"\7"
        + b"\2\0\0\0" + b"\3\0\0\0y" + b"\x08\0\0\0x"
    )  # fmt: skip
    assert encode(everything()) == expected


def test_decoding_gives_the_record_back_from_bytes_and_from_views() -> None:
    data = encode(everything())
    sources: list[Any] = [data, bytearray(data), memoryview(b"\0" + data)[1:]]
    for source in sources:
        again = decode(Everything, source, LIMITS)
        assert encode(again) == data
        assert np.array_equal(again.array, everything().array)
        without = dataclasses.replace(again, array=None)
        assert without == everything(array=None)


def test_what_is_decoded_does_not_change_with_the_buffer() -> None:
    data = bytearray(encode(everything()))
    again = decode(Everything, memoryview(data), LIMITS)
    before = encode(again)
    data[:] = bytes(len(data))
    assert encode(again) == before


def test_every_shortened_message_is_refused() -> None:
    data = encode(everything())
    for size in range(len(data)):
        with pytest.raises(DecodeError):
            decode(Everything, data[:size], LIMITS)


@pytest.mark.parametrize("extra", [b"\0", b"\0" * 8, b"x"])
def test_trailing_bytes_are_refused(extra: bytes) -> None:
    with pytest.raises(DecodeError, match=f"{len(extra)} trailing bytes"):
        decode(Everything, encode(everything()) + extra, LIMITS)


@given(st.binary(max_size=120))
@settings(max_examples=150)
def test_bytes_decode_to_a_record_that_encodes_to_them_or_not_at_all(data: bytes) -> None:
    for record in (Everything, Mapped, Keyed):
        try:
            found = decode(record, data, LIMITS)
        except DecodeError:
            continue
        assert encode(found) == data


@declare(code=2, phase="early")
class Keyed(Message):
    """Rows alone, so that invented bytes sometimes fit."""

    rows: Table = field(Rows(CELLS))


@declare(code=3, phase="early")
class Mapped(Message):
    """A map alone, likewise."""

    book: dict[int, bytes] = field(Map(Fixed(1)))


def test_a_record_is_frozen_keyword_only_and_knows_its_code_and_phase() -> None:
    assert (Everything.code, Everything.phase) == (1, "early")
    with pytest.raises(dataclasses.FrozenInstanceError):
        everything().number = 6  # type: ignore[misc]
    with pytest.raises(TypeError, match="positional"):
        Inner(1)  # type: ignore[call-arg, unused-ignore]


def test_secret_fields_stay_out_of_the_repr() -> None:
    text = repr(everything(blob=b"topsecret", array=np.array([987654], "<u4")))
    assert "topsecret" not in text
    assert "987654" not in text
    assert "number=5" in text


def test_the_size_bound_is_the_sum_of_what_the_fields_may_take() -> None:
    assert size_bound(Keyed, LIMITS) == 4 + 4 * 7
    assert size_bound(Inner, LIMITS) == 1
    largest = CELLS.table(dict.fromkeys(range(4), (b"ab", b"c")))
    assert len(encode(Keyed(rows=largest))) == size_bound(Keyed, LIMITS)


@given(st.data())
@settings(max_examples=50, deadline=None)
def test_no_encoding_exceeds_the_size_bound(data: st.DataObject) -> None:
    parties = st.lists(st.integers(0, 2**32 - 1), max_size=4, unique=True)
    record = Keyed(rows=CELLS.table(dict.fromkeys(data.draw(parties), (b"ab", b"c"))))
    assert len(encode(record)) <= size_bound(Keyed, LIMITS)
    assert decode(Keyed, encode(record), LIMITS) == record


# -- codecs, one by one ------------------------------------------------------------------------

CASES: list[tuple[Codec[Any], Any, bytes]] = [
    (Uint(1), 255, b"\xff"),
    (Uint(2), 258, b"\2\1"),
    (Uint(4), 2**32 - 1, b"\xff\xff\xff\xff"),
    (Uint(8), 2**64 - 1, b"\xff" * 8),
    (Fixed(0), b"", b""),
    (Fixed(3), b"abc", b"abc"),
    (Packed(), b"abc", b"abc"),
    (Blob(), b"", bytes(8)),
    (Blob(), b"x" * 64, b"\x40" + bytes(7) + b"x" * 64),
    (Array(), None, b"\0"),
    (Rows(IDS), ids([]), bytes(4)),
    (Rows(IDS), ids([0, 2**32 - 1]), b"\2\0\0\0" + bytes(4) + b"\xff" * 4),
    (Items(Inner), (), bytes(4)),
    (Joined(3), b"", bytes(4)),
    (Joined(3), b"abcdef", b"\2\0\0\0abcdef"),
    (Map(Fixed(1)), {}, bytes(4)),
    (Map(Map(Fixed(1))), {1: {2: b"x"}}, b"\1\0\0\0\1\0\0\0\1\0\0\0\2\0\0\0x"),
]


@pytest.mark.parametrize(("codec", "value", "data"), CASES, ids=repr)
def test_edges_of_every_codec(codec: Codec[Any], value: Any, data: bytes) -> None:
    assert written(codec, value) == data
    assert read(codec, data) == value
    assert len(data) <= codec.most(LIMITS)
    assert codec.spec
    for size in range(len(data)):
        with pytest.raises(DecodeError):
            read(codec, data[:size])


@pytest.mark.parametrize("value", [-1, 256])
def test_an_integer_that_does_not_fit_is_never_written(value: int) -> None:
    with pytest.raises(OverflowError):
        written(Uint(1), value)


def test_joined_rows_of_another_length_are_never_written() -> None:
    assert written(Joined(4), b"abcd") == b"\1\0\0\0abcd"
    with pytest.raises(ValueError, match="rows of 4 bytes given 5"):
        written(Joined(4), b"abcde")


@pytest.mark.parametrize("value", [b"", b"abc", b"abcde"])
def test_a_fixed_field_of_another_length_is_never_written(value: bytes) -> None:
    with pytest.raises(ValueError, match="field of 4 bytes given"):
        written(Fixed(4), value)


@pytest.mark.parametrize("dtype", ["<u1", "<u2", "<u4", "<u8"])
@pytest.mark.parametrize("values", [[], [0], [1, 2, 3]])
def test_arrays_keep_their_dtype_and_can_be_written_to(dtype: str, values: list[int]) -> None:
    data = written(Array(), np.array(values, dtype))
    again = read(Array(), data)
    assert again.dtype == np.dtype(dtype)
    assert again.tolist() == values
    again += 1
    assert read(Array(), data).tolist() == values


def test_a_strided_array_is_written_item_by_item() -> None:
    assert read(Array(), written(Array(), np.arange(6, dtype="<u2")[::2])).tolist() == [0, 2, 4]


def test_a_big_endian_array_keeps_its_numbers() -> None:
    """Little-endian throughout: the encoding is of the numbers, not of this machine's memory."""
    assert read(Array(), written(Array(), np.array([1, 2], ">u4"))).tolist() == [1, 2]


@pytest.mark.parametrize(
    "data",
    [
        b"\3" + (3).to_bytes(8, "little") + b"abc",
        b"\x10" + (16).to_bytes(8, "little") + bytes(16),
        b"\4" + (6).to_bytes(8, "little") + bytes(6),
        b"\1" + (65).to_bytes(8, "little") + bytes(65),
        b"\1" + b"\xff" * 8,
        b"\0\0",
    ],
    ids=["3-byte items", "16-byte items", "half an item", "over the limit", "2^64", "trailing"],
)
def test_malformed_arrays_are_refused(data: bytes) -> None:
    read(Array(), b"\1" + (64).to_bytes(8, "little") + bytes(64))
    with pytest.raises(DecodeError):
        read(Array(), data)


@pytest.mark.parametrize(
    "parties", [[1, 1], [2, 1], [0, 0], [1, 3, 2], [2**32 - 1, 0], [1, 2, 2, 3]]
)
def test_rows_out_of_order_or_repeated_are_refused(parties: list[int]) -> None:
    for columns in (IDS, CELLS):
        body = [
            party.to_bytes(4, "little") + bytes(columns.dtype.itemsize - 4) for party in parties
        ]
        data = written(u32, len(parties)) + b"".join(body)
        with pytest.raises(DecodeError, match="strictly ascending"):
            read(Rows(columns), data)
        body = sorted(set(body), key=lambda row: int.from_bytes(row[:4], "little"))
        read(Rows(columns), written(u32, len(body)) + b"".join(body))


@pytest.mark.parametrize("parties", [[1, 1], [2, 1], [2**32 - 1, 0]])
def test_a_map_out_of_order_or_repeated_is_refused(parties: list[int]) -> None:
    """Canonical like everything else: a repeated party would silently win over the first."""
    body = b"".join(party.to_bytes(4, "little") + b"x" for party in parties)
    with pytest.raises(DecodeError, match="ascending"):
        read(Map(Fixed(1)), written(u32, len(parties)) + body)


# -- counts and lengths that lie ---------------------------------------------------------------

LIARS: list[tuple[str, Callable[[], object]]] = [
    ("rows", lambda: read(Rows(CELLS), b"\xff" * 4 + bytes(4))),
    ("ids", lambda: read(Rows(IDS), b"\xff" * 4 + bytes(4))),
    (
        "rows within the limit, without their bytes",
        lambda: read(Rows(CELLS), b"\xff" * 4 + bytes(4), Limits(parties=2**32)),
    ),
    ("blob", lambda: read(Blob(), b"\xff" * 8)),
    (
        "blob within the limit, without its bytes",
        lambda: read(Blob(), (2**40).to_bytes(8, "little"), Limits(blob=2**41)),
    ),
    (
        "array within the limit, without its bytes",
        lambda: read(Array(), b"\x08" + (2**40).to_bytes(8, "little"), Limits(blob=2**41)),
    ),
    ("vector", lambda: read(Packed(), b"abc", Limits(vector=2**40))),
    ("items", lambda: read(Items(Inner), b"\xff" * 4 + bytes(4))),
    ("joined rows", lambda: read(Joined(3), b"\xff" * 4 + bytes(4))),
    ("map", lambda: read(Map(Fixed(1)), b"\xff" * 4 + bytes(5))),
    ("map of maps", lambda: read(Map(Map(Fixed(1))), b"\xff" * 12)),
    ("cells", lambda: read(Cells(), b"\xff" * 40, Limits(parties=9, cell=3))),
    ("cells of a snapshot", lambda: read(Cells(), b"\xff" * 40, Limits(parties=9, blob=40))),
    ("rows of cells", lambda: read(Cells(), b"\3\0\0\0" + b"\xff" * 9, Limits(parties=9, cell=3))),
    ("nested rows", lambda: read(Map(Rows(CELLS)), b"\1\0\0\0" + bytes(4) + b"\xff" * 4)),
]


@pytest.mark.parametrize(("name", "decoding"), LIARS, ids=[name for name, _ in LIARS])
def test_a_count_is_refused_before_anything_is_allocated(
    name: str, decoding: Callable[[], object]
) -> None:
    with allocating_less_than(50_000), pytest.raises(DecodeError):
        decoding()


@pytest.mark.parametrize("claimed", [5, 6, 2**31, 2**32 - 1])
def test_more_rows_than_parties_are_refused_even_if_their_bytes_are_there(claimed: int) -> None:
    rows = b"".join(party.to_bytes(4, "little") for party in range(6))
    read(Rows(IDS), written(u32, 4) + rows[:16])
    with pytest.raises(DecodeError, match=f"{claimed} rows, at most 4"):
        read(Rows(IDS), written(u32, claimed) + rows[: 4 * min(claimed, 6)])


def test_rows_of_neighbours_have_their_own_bound() -> None:
    near, rows = Rows(IDS, near=True), b"".join(party.to_bytes(4, "little") for party in range(3))
    assert near.most(LIMITS) == 4 + 2 * 4
    read(near, written(u32, 2) + rows[:8])
    with pytest.raises(DecodeError, match="3 rows, at most 2"):
        read(near, written(u32, 3) + rows)
    read(Rows(IDS), written(u32, 3) + rows)


def cells(size: int, *parties: int) -> Table:
    rows = {party: (bytes([party]) * size,) for party in parties}
    return Columns(value=size).table(rows)


def test_cells_have_the_size_that_the_parameters_fix() -> None:
    """No other, whatever the bytes say; in snapshots, which have no such parameter, any."""
    due, book = Limits(parties=4, cell=3), Limits(parties=4, blob=100)
    data = written(Cells(), cells(3, 1, 7))
    assert data == b"\3\0\0\0" + b"\2\0\0\0" + b"\1\0\0\0\1\1\1" + b"\7\0\0\0\7\7\7"
    for limits in (due, book):
        assert read(Cells(), data, limits) == cells(3, 1, 7)
    for size in (1, 2, 4, 8):
        other = written(Cells(), cells(size, 1, 7))
        assert read(Cells(), other, book) == cells(size, 1, 7)
        with pytest.raises(DecodeError, match="where 3 are due"):
            read(Cells(), other, due)
    with pytest.raises(DecodeError, match="cells of 101 bytes"):
        read(Cells(), written(Cells(), cells(101, 1)), book)
    with pytest.raises(DecodeError, match="cells of 3 bytes"):
        read(Cells(), data, Limits(parties=4))


def test_cells_are_bounded_and_in_order_like_rows() -> None:
    limits = Limits(parties=2, cell=3)
    full = written(Cells(), cells(3, 1, 2))
    assert read(Cells(), full, limits) == cells(3, 1, 2)
    assert len(full) == Cells().most(limits)
    assert read(Cells(), written(Cells(), cells(3)), limits) == cells(3)
    with pytest.raises(DecodeError, match="3 rows, at most 2"):
        read(Cells(), written(Cells(), cells(3, 1, 2, 3)), limits)
    for peers in ([2, 1], [1, 1]):
        body = b"".join(written(u32, peer) + b"abc" for peer in peers)
        with pytest.raises(DecodeError, match="not strictly ascending"):
            read(Cells(), written(u32, 3) + written(u32, 2) + body, limits)
    for cut in range(len(full)):
        with pytest.raises(DecodeError):
            read(Cells(), full[:cut], limits)


def test_more_entries_of_a_map_than_parties_are_refused() -> None:
    """Even if their bytes are there; and the bound of a message counts on it."""
    limits = Limits(parties=2)
    two, three = (dict.fromkeys(range(count), b"x") for count in (2, 3))
    codec = Map(Fixed(1))
    assert read(codec, written(codec, two), limits) == two
    assert len(written(codec, two)) == codec.most(limits)
    with pytest.raises(DecodeError, match="3 entries, at most 2"):
        read(codec, written(codec, three), limits)


def test_a_blob_over_the_limit_is_refused_even_if_its_bytes_are_there() -> None:
    read(Blob(), (64).to_bytes(8, "little") + bytes(64))
    with pytest.raises(DecodeError, match="65 bytes exceeds 64"):
        read(Blob(), (65).to_bytes(8, "little") + bytes(65))


def test_without_limits_nothing_but_nothing_is_accepted() -> None:
    assert read(Rows(IDS), bytes(4), Limits()) == ids([])
    assert read(Packed(), b"", Limits()) == b""
    for codec, data in ((Rows(IDS), b"\1\0\0\0" + bytes(4)), (Blob(), b"\1" + bytes(8))):
        with pytest.raises(DecodeError):
            read(codec, data, Limits())


# -- readers and tables ------------------------------------------------------------------------


def test_a_reader_never_passes_the_end() -> None:
    reader = Reader(b"abcd", LIMITS)
    assert bytes(reader.take(0)) == b""
    assert bytes(reader.take(3)) == b"abc"
    with pytest.raises(DecodeError, match="shorter than its fields"):
        reader.take(2)
    assert bytes(reader.take(1)) == b"d", "a refused step does not move the cursor"
    reader.finish()


def test_a_table_sorts_and_finds_by_party() -> None:
    table = CELLS.table({9: (b"ab", b"c"), 0: (b"de", b"f"), 2**32 - 1: (b"gh", b"i")})
    assert table.peers == [0, 9, 2**32 - 1]
    assert table.column("key") == [b"de", b"ab", b"gh"]
    assert table.by_peer("tag") == {0: b"f", 9: b"c", 2**32 - 1: b"i"}
    assert len(table) == 3


def test_an_empty_table_is_a_table() -> None:
    table = CELLS.table({})
    assert (len(table), table.peers, table.column("key"), table.by_peer("key")) == (0, [], [], {})
    assert table != ids([])


def test_cells_keep_zero_bytes_at_both_ends() -> None:
    cells = {1: (b"\0a", b"\0"), 2: (b"a\0", b"\0"), 3: (b"\0\0", b"\0")}
    assert CELLS.table(cells).by_peer("key") == {p: key for p, (key, _) in cells.items()}


def test_tables_compare_by_content_and_columns() -> None:
    one, other = CELLS.table({1: (b"ab", b"c")}), CELLS.table({1: (b"ab", b"d")})
    assert one == CELLS.table({1: (b"ab", b"c")})
    assert hash(one) == hash(CELLS.table({1: (b"ab", b"c")}))
    assert one != other
    assert one != Columns(key=1, tag=2).table({1: (b"a", b"bc")})
    assert one != "table"


def test_a_table_is_read_only_and_its_repr_shows_no_cell() -> None:
    table = CELLS.table({1: (b"ZZ", b"c")})
    assert repr(table) == "Table(1 rows)"
    decoded = read(Rows(CELLS), written(Rows(CELLS), table))
    for rows in (table.rows, decoded.rows):
        with pytest.raises(ValueError, match="read-only"):
            rows["peer"][0] = 5


@pytest.mark.parametrize("party", [-1, 1 << 32])
def test_a_table_has_no_party_beyond_32_bits(party: int) -> None:
    with pytest.raises(OverflowError):
        ids([party])


def test_cells_of_another_size_never_make_a_table() -> None:
    """Two wrong lengths can add up to the right one, and would shift every row behind them."""
    with pytest.raises(ValueError, match=r".+"):
        CELLS.table({1: (b"abc", b"")})
    with pytest.raises(ValueError, match=r".+"):
        CELLS.table({1: (b"abc", b"d"), 2: (b"e", b"f")})


def test_everything_public_is_there() -> None:
    assert all(hasattr(wire, name) for name in wire.__all__)
