"""`secagg.structure`: what goes in comes back, and what cannot is refused by its path."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from collections import OrderedDict, defaultdict, namedtuple
from typing import Any, NamedTuple

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from secagg.errors import InputRefused, IntegrityError
from secagg.structure import Leaf, flatten

FLOATS = ("f2", "f4", "f8", ">f2", ">f4", ">f8")
INTEGERS = ("i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", ">i2", ">i4", ">i8", ">u8")
EXACT = 1 << 53


class Layer(NamedTuple):
    weight: Any
    bias: Any


def elements(dtype: np.dtype[Any]) -> st.SearchStrategy[Any]:
    if dtype.kind == "f":
        width: Any = 8 * dtype.itemsize
        return st.floats(allow_nan=False, allow_infinity=False, width=width)
    info = np.iinfo(dtype)
    return st.integers(max(info.min, -EXACT), min(info.max, EXACT))


OtherName = namedtuple("Other", "weight bias")  # type: ignore[name-match]
OtherField = namedtuple("Layer", "weight scale")  # type: ignore[name-match]
Elsewhere = namedtuple("Layer", "weight bias")  # type: ignore[name-match]


@st.composite
def arrays(draw: st.DrawFn) -> np.ndarray[Any, Any]:
    dtype = np.dtype(draw(st.sampled_from(FLOATS + INTEGERS)))
    shape = draw(hnp.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=4))
    array = draw(hnp.arrays(dtype, shape, elements=elements(dtype)))
    layout = draw(st.sampled_from(("as it is", "transposed", "reversed", "strided")))
    if array.ndim and layout == "reversed":
        return array[::-1]
    if array.ndim and layout == "strided":
        return array[::2]
    return array.T if layout == "transposed" else array


def scalars() -> st.SearchStrategy[Any]:
    dtypes = st.sampled_from([np.dtype(name) for name in FLOATS[:3] + INTEGERS[:8]])
    numpy = dtypes.flatmap(lambda dtype: elements(dtype).map(dtype.type))
    floats = st.floats(allow_nan=False, allow_infinity=False)
    return numpy | floats | st.integers(-EXACT, EXACT)


def branches(children: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    keys = st.text(max_size=4) | st.integers()
    pairs = st.dictionaries(keys, children, max_size=4)
    lists = st.lists(children, max_size=4)
    return (
        pairs
        | pairs.map(OrderedDict)
        | lists
        | lists.map(tuple)
        | st.builds(Layer, children, children)
    )


TREES = st.recursive(arrays() | scalars() | st.none(), branches, max_leaves=12)


def assert_same(one: Any, other: Any) -> None:
    assert type(one) is type(other)
    if isinstance(one, np.ndarray | np.generic):
        assert (one.dtype, one.shape) == (other.dtype, other.shape)
        assert np.array_equal(one, other)
        assert np.array_equal(np.signbit(one), np.signbit(other)) or one.dtype.kind != "f"
    elif isinstance(one, dict):
        assert list(one) == list(other)
        assert [type(key) for key in one] == [type(key) for key in other]
        assert_same(list(one.values()), list(other.values()))
    elif isinstance(one, list | tuple):
        assert len(one) == len(other)
        for a, b in zip(one, other, strict=True):
            assert_same(a, b)
    else:
        assert one == other


@given(TREES)
def test_restore_gives_back_the_tree(tree: Any) -> None:
    vector, structure = flatten(tree)
    assert vector.dtype == np.float64
    assert vector.shape == (structure.size,)
    assert_same(structure.restore(vector), tree)


@given(TREES)
def test_flatten_is_deterministic_and_structures_compare_and_hash(tree: Any) -> None:
    (vector, one), (again, other) = flatten(tree), flatten(tree)
    assert vector.tobytes() == again.tobytes()
    assert one == other
    assert hash(one) == hash(other)
    assert one.digest == other.digest
    assert len(one.digest) == 32


@given(TREES)
def test_describe_covers_the_vector_once_and_in_order(tree: Any) -> None:
    _, structure = flatten(tree)
    rows = structure.describe()
    assert sum(row.size for row in rows) == structure.size
    assert [row.start for row in rows] == [0, *np.cumsum([row.size for row in rows])][:-1]
    assert len({row.path for row in rows}) == len(rows)


def test_values_do_not_enter_the_structure() -> None:
    assert flatten({"w": np.zeros(3)})[1] == flatten({"w": np.ones(3)})[1]
    assert flatten([1.5])[1].digest == flatten([2.5])[1].digest


def test_the_vector_follows_insertion_order_and_is_a_copy() -> None:
    weight = np.array([1.0, 2.0])
    vector, structure = flatten({"b": weight, "a": [3, np.float32(4)]})
    assert vector.tolist() == [1, 2, 3, 4]
    vector[0] = 9
    assert weight[0] == 1
    restored = structure.restore(vector)
    restored["b"][1] = 7
    assert vector[1] == 2


def test_describe_names_path_shape_and_dtype() -> None:
    tree = {"layer1": Layer([np.zeros((2, 3), ">f4")], None), 3: (np.int16(1), 2.0, 5)}
    assert flatten(tree)[1].describe() == (
        Leaf("['layer1'].weight[0]", (2, 3), ">f4", 0, 6),
        Leaf("[3][0]", (), "int16", 6, 1),
        Leaf("[3][1]", (), "python float", 7, 1),
        Leaf("[3][2]", (), "python int", 8, 1),
    )
    assert flatten(2.5)[1].describe() == (Leaf("(root)", (), "python float", 0, 1),)


def test_repr_is_short_and_shows_no_leaf() -> None:
    _, structure = flatten({f"layer{i}": np.zeros(5) for i in range(100)})
    assert repr(structure).startswith("<Structure size=500 leaves=100 digest=")
    assert len(repr(structure)) < 80


F4 = np.zeros(6, np.float32)
DIFFERENT = [
    None,
    [],
    (),
    {},
    [None],
    [[]],
    [[], []],
    [[[]]],
    F4,
    F4.astype(np.float16),
    F4.astype(np.int32),
    F4.astype(np.uint32),
    F4.reshape(2, 3),
    F4.reshape(3, 2),
    F4.reshape(6, 1),
    F4[:0],
    np.zeros((0, 3), np.float32),
    F4[0],
    F4[:1].reshape(()),
    0.0,
    0,
    [F4],
    (F4,),
    [F4, F4],
    [[F4], F4],
    [[F4, F4]],
    [F4, None],
    {"a": F4},
    {"b": F4},
    {1: F4},
    {"1": F4},
    {-1: F4},
    {"a": F4, "b": F4},
    {"b": F4, "a": F4},
    {"a": {"b": F4}},
    {"a['b']": F4},
    {"ab": F4},
    Layer(F4, F4),
    OtherName(F4, F4),
    OtherField(F4, F4),
    (F4, F4),
]


def test_digests_of_different_architectures_differ() -> None:
    structures = [flatten(tree)[1] for tree in DIFFERENT]
    assert len({structure.digest for structure in structures}) == len(DIFFERENT)
    assert len(set(structures)) == len(DIFFERENT)


def test_digest_leaves_out_where_a_client_runs() -> None:
    here, there = flatten({"w": np.zeros(2, "<f4")})[1], flatten({"w": np.zeros(2, ">f4")})[1]
    assert here.digest == there.digest
    assert here != there
    assert flatten(Elsewhere(F4, F4))[1].digest == flatten(Layer(F4, F4))[1].digest
    assert flatten(OrderedDict(w=F4))[1].digest == flatten({"w": F4})[1].digest


def test_digest_hashes_these_parts_and_no_others() -> None:
    # Spelled out, because stored digests and other versions of the library must keep agreeing.
    tree = {"conv": [np.zeros((3, 3), np.float32), None], 7: (np.int64(1), 2.0)}
    state = hashlib.blake2b(b"secagg/1/structure\0", digest_size=32)
    for part in (
        *(b"dict", b"2 2", b"'conv'", b"7"),
        *(b"list", b"0 2", b"array", b"float32", b"3,3", b"none", b"0 0"),
        *(b"tuple", b"0 2", b"numpy scalar", b"int64", b"", b"python scalar", b"float64", b""),
    ):
        state.update(len(part).to_bytes(8, "little") + part)
    assert flatten(tree)[1].digest == state.digest()


# --- refusals, each with its twin ---------------------------------------------------------


class Odd:
    pass


class Subclass(np.ndarray[Any, Any]):
    pass


class Arrayish:
    def __array__(self) -> None: ...


PATH = r"\['layer1'\]\.weight\[0\]"
REFUSED = [
    (True, "dtype bool"),
    (np.True_, "dtype bool"),
    (np.array([True]), "dtype bool"),
    (np.array([1j]), "dtype complex128"),
    (np.complex64(1), "dtype complex64"),
    (1j, "type complex"),
    (np.array([None]), "dtype object"),
    (np.array(["x"]), "dtype <U1"),
    (np.array([b"x"]), r"dtype \|S1"),
    (np.array(["2024-01-01"], "M8[D]"), r"dtype datetime64\[D\]"),
    (np.array([1], "m8[s]"), r"dtype timedelta64\[s\]"),
    (np.zeros(2, [("a", "f4")]), r"dtype \[\('a', '<f4'\)\]"),
    (np.zeros(2, np.longdouble), "dtype float128"),
    (np.longdouble(1), "dtype float128"),
    (np.ma.masked_array([1.0, 2.0], [False, True]), "MaskedArray is not a plain"),
    (np.zeros(2).view(Subclass), "Subclass is not a plain"),
    ("text", "type str has no place in a tree$"),
    (b"bytes", "type bytes has no place"),
    ({1, 2}, "type set has no place"),
    (range(3), "type range has no place"),
    (defaultdict(list), "type defaultdict has no place"),
    (Odd(), "type Odd has no place in a tree$"),
    (Arrayish(), "type Arrayish has no place in a tree; numpy.asarray"),
    (EXACT + 1, r"beyond \+-2\*\*53"),
    (-EXACT - 1, r"beyond \+-2\*\*53"),
    (10**400, r"beyond \+-2\*\*53"),
    (np.int64(-EXACT - 1), r"beyond \+-2\*\*53"),
    (np.int64(EXACT + 1), r"beyond \+-2\*\*53"),
    (np.uint64(1 << 63), r"beyond \+-2\*\*53"),
    (float("nan"), "not finite"),
    (np.float16("inf"), "not finite"),
    ({2.5: F4}, "a key of type float"),
    ({True: F4}, "a key of type bool"),
    ({("a",): F4}, "a key of type tuple"),
]


@pytest.mark.parametrize(("leaf", "reason"), REFUSED, ids=lambda value: str(value)[:20])
def test_what_cannot_be_averaged_is_refused_by_its_path(leaf: Any, reason: str) -> None:
    with pytest.raises(InputRefused, match=f"^{PATH}: .*{reason}|^{PATH}: {reason}"):
        flatten({"layer1": Layer([leaf], F4)})


ACCEPTED = [
    EXACT,
    -EXACT,
    np.int64(-EXACT),
    np.uint64(EXACT),
    np.float16(65504),
    np.finfo(np.float64).max,
    5e-324,
    {"2.5": F4},
    None,
    np.zeros((0, 2)),
]


@pytest.mark.parametrize("leaf", ACCEPTED, ids=str)
def test_what_can_be_averaged_is_accepted(leaf: Any) -> None:
    tree = {"layer1": Layer([leaf], F4)}
    vector, structure = flatten(tree)
    assert_same(structure.restore(vector), tree)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("dtype", FLOATS)
def test_not_finite_is_refused_with_its_index(value: float, dtype: str) -> None:
    array = np.zeros((4, 6), dtype)
    array[2, 4] = value
    with pytest.raises(InputRefused, match=r"^\['a'\]\[1\] at index \(2, 4\): not finite$"):
        flatten({"z": np.zeros((0, 7)), "a": [np.zeros(3), array]})
    with pytest.raises(InputRefused, match=r"^\['a'\] at index \(1, 2\): not finite$"):
        flatten({"a": array[::2, ::2]})


def test_large_integers_are_refused_with_their_index() -> None:
    array = np.zeros((2, 3), np.uint64)
    array[1, 2] = EXACT + 1
    with pytest.raises(InputRefused, match=r"^\[0\] at index \(1, 2\): an integer beyond"):
        flatten([array])
    array[1, 2] = EXACT
    assert flatten([array])[0][5] == EXACT


def test_a_signalling_nan_is_refused_without_a_warning() -> None:
    signalling = np.array([0x7FA00000], "<u4").view("<f4")
    with pytest.raises(InputRefused, match=r"^\(root\) at index \(0,\): not finite$"):
        flatten(signalling)


def test_cycles_and_bottomless_trees_are_refused_and_shared_leaves_are_not() -> None:
    cycle: list[Any] = []
    cycle.append({"again": cycle})
    with pytest.raises(InputRefused, match=r"^\[0\]\['again'\]: the tree contains itself$"):
        flatten(cycle)
    deep: Any = 1.0
    for _ in range(100):
        deep = [deep]
    assert flatten(deep)[0].tolist() == [1.0]
    with pytest.raises(InputRefused, match=r"nested deeper than 100 levels$"):
        flatten([deep])
    shared = [F4]
    assert flatten([shared, shared, F4])[1].size == 18


def test_no_refusal_shows_a_value() -> None:
    for tree in ({"a": np.array([987654321, 1 << 60])}, {"a": [987654321 << 40]}):
        with pytest.raises(InputRefused) as caught:
            flatten(tree)
        assert "98765" not in str(caught.value)
        assert str(1 << 60) not in str(caught.value)


# --- restore ------------------------------------------------------------------------------


def restored(leaf: Any, value: float) -> Any:
    return flatten({"w": leaf})[1].restore(np.array([value]))["w"]


@pytest.mark.parametrize(
    ("value", "rounded"),
    [(0.5, 0), (1.5, 2), (2.5, 2), (2.500001, 3), (-0.5, 0), (-1.5, -2), (126.6, 127)],
)
@pytest.mark.parametrize("leaf", [np.int8(0), np.int64(0), np.zeros((), ">i4"), 0])
def test_integers_are_restored_half_to_even(leaf: Any, value: float, rounded: int) -> None:
    assert restored(leaf, value) == rounded


LIMITS = [
    (np.int8(0), 127.4, 127.6),
    (np.int8(0), -128.4, -128.6),
    (np.uint8(0), -0.5, -0.6),
    (np.uint8(0), 255.4, 255.5),
    (np.int32(0), 2.0**31 - 1, 2.0**31),
    (np.int64(0), np.nextafter(2.0**63, 0), 2.0**63),
    (np.int64(0), -(2.0**63), np.nextafter(-(2.0**63), -np.inf)),
    (np.uint64(0), np.nextafter(2.0**64, 0), 2.0**64),
    (0, np.nextafter(2.0**63, 0), 2.0**63),
    (np.float16(0), 65519.0, 65520.0),
    (np.float16(0), -65519.0, -65520.0),
    (np.float32(0), 3.4028235e38, 3.5e38),
]


@pytest.mark.parametrize(("leaf", "fits", "overflows"), LIMITS, ids=str)
def test_restore_refuses_what_the_dtype_cannot_hold(
    leaf: Any, fits: float, overflows: float
) -> None:
    assert np.isfinite(float(restored(leaf, fits)))
    with pytest.raises(IntegrityError, match=r"^\['w'\]: [a-z0-9 ]+ cannot hold the value$"):
        restored(leaf, overflows)


def test_restore_names_the_index_that_overflows() -> None:
    _, structure = flatten({"a": F4, "b": np.zeros((2, 3), np.int8)})
    vector = np.zeros(12)
    vector[10] = 128
    with pytest.raises(IntegrityError, match=r"^\['b'\] at index \(1, 1\): int8 cannot hold"):
        structure.restore(vector)
    vector[10] = np.nan
    with pytest.raises(IntegrityError, match=r"^\['b'\] at index \(1, 1\): not finite$"):
        structure.restore(vector)


@pytest.mark.parametrize(
    "vector",
    [
        np.zeros(5),
        np.zeros(7),
        np.zeros((6, 1)),
        np.zeros(6, np.float32),
        np.zeros(6, ">f8"),
        [0.0],
    ],
    ids=repr,
)
def test_restore_refuses_another_shape_or_dtype(vector: Any) -> None:
    _, structure = flatten(F4)
    assert_same(structure.restore(np.zeros(6)), F4)
    with pytest.raises(InputRefused, match="vector"):
        structure.restore(vector)


def test_restored_scalars_survive_where_flower_loses_them() -> None:
    # A 0-d parameter, such as BatchNorm's num_batches_tracked, must come back as it is.
    tree = [np.array(1.5), np.array(7, np.int64)]
    vector, structure = flatten(tree)
    assert_same(structure.restore(vector), tree)


def test_torch_tensors_are_refused_with_the_way_out() -> None:
    torch = pytest.importorskip("torch")
    for tensor in (torch.zeros(2), torch.nn.Parameter(torch.zeros(2))):
        with pytest.raises(InputRefused, match=r"^\['w'\]: a torch tensor; .*structure_torch"):
            flatten({"w": tensor})
    assert flatten({"w": torch.zeros(2).numpy()})[1].size == 2


def test_import_needs_no_torch() -> None:
    code = "import sys, secagg.structure, secagg.structure_torch; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
