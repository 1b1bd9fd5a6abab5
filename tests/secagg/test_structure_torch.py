"""`secagg.structure_torch`: state dicts come back with their keys, dtypes, shapes and devices."""

from __future__ import annotations

import sys
import warnings
from collections import OrderedDict
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from secagg.errors import InputRefused, IntegrityError
from secagg.structure import flatten
from secagg.structure_torch import StateSpec, TensorSpec, from_state_dict, to_state_dict

torch = pytest.importorskip("torch")

FLOATS = ("float16", "bfloat16", "float32", "float64")
INTEGERS = ("uint8", "int8", "int16", "uint16", "int32", "uint32", "int64", "uint64")


def through(state_dict: Any) -> Any:
    """The whole way to a vector and back."""
    tree, spec = from_state_dict(state_dict)
    vector, structure = flatten(tree)
    return to_state_dict(structure.restore(vector), spec)


def assert_same(one: Any, other: Any) -> None:
    assert type(one) is type(other)
    assert list(one) == list(other)
    for a, b in zip(one.values(), other.values(), strict=True):
        assert (a.dtype, a.shape, a.device) == (b.dtype, b.shape, b.device)
        assert torch.equal(a, b)


@st.composite
def tensors(draw: st.DrawFn) -> Any:
    dtype = getattr(torch, draw(st.sampled_from(FLOATS + INTEGERS)))
    shape = draw(st.lists(st.integers(0, 4), max_size=3))
    low = -100 if dtype.is_floating_point or dtype.is_signed else 0
    count = int(np.prod(shape))
    values = draw(st.lists(st.integers(low, 100), min_size=count, max_size=count))
    tensor = torch.tensor(values, dtype=torch.float64).reshape(shape)
    tensor = (tensor / 8 if dtype.is_floating_point else tensor).to(dtype)
    layout = draw(st.sampled_from(("as it is", "transposed", "strided", "gradient", "negated")))
    if layout == "transposed" and tensor.ndim > 1:
        return tensor.transpose(0, 1)
    if layout == "strided" and tensor.ndim:
        return tensor[::2]
    if layout == "gradient" and dtype.is_floating_point:
        return tensor.requires_grad_()
    return torch._neg_view(tensor) if layout == "negated" and dtype.is_floating_point else tensor


@given(st.dictionaries(st.text(max_size=5), tensors(), max_size=4), st.booleans())
def test_state_dicts_come_back(state_dict: dict[str, Any], ordered: bool) -> None:
    given_dict = OrderedDict(state_dict) if ordered else state_dict
    assert_same(through(given_dict), given_dict)


@given(st.dictionaries(st.text(max_size=5), tensors(), max_size=4))
def test_results_share_no_memory_and_need_no_gradient(state_dict: dict[str, Any]) -> None:
    tree, spec = from_state_dict(state_dict)
    back = to_state_dict(tree, spec)
    for name, tensor in back.items():
        assert not tensor.requires_grad
        assert tensor.numel() == 0 or tensor.data_ptr() != tree[name].ctypes.data


def network() -> Any:
    layers = [torch.nn.Conv1d(2, 4, 3), torch.nn.BatchNorm1d(4), torch.nn.Linear(5, 3)]
    return torch.nn.Sequential(*layers)


def test_a_module_with_batch_norm_comes_back() -> None:
    module = network()
    module(torch.randn(4, 2, 7))
    state_dict = module.state_dict()
    assert state_dict["1.num_batches_tracked"].item() == 1
    back = through(state_dict)
    assert_same(back, state_dict)
    assert back._metadata == state_dict._metadata
    fresh = network()
    assert fresh.load_state_dict(back).missing_keys == []
    assert_same(fresh.state_dict(), state_dict)


def test_tied_weights_stay_two_entries() -> None:
    tied = torch.arange(4.0)
    tree, spec = from_state_dict({"encoder": tied, "decoder": tied})
    vector, structure = flatten(tree)
    assert vector.tolist() == [0, 1, 2, 3] * 2
    vector[:4] += 1
    back = to_state_dict(structure.restore(vector), spec)
    assert back["encoder"].tolist() == [1, 2, 3, 4]
    assert back["decoder"].tolist() == [0, 1, 2, 3]


def test_bfloat16_travels_as_float32_and_is_rounded_to_nearest_even_on_return() -> None:
    state_dict = {"w": torch.tensor([1.0, -3.0e38, 1e-40], dtype=torch.bfloat16)}
    tree, spec = from_state_dict(state_dict)
    assert tree["w"].dtype == np.float32
    assert_same(to_state_dict(tree, spec), state_dict)
    half_way = {"w": np.array([1 + 2**-8, 1 + 3 * 2**-8, 0], np.float32)}
    assert to_state_dict(half_way, spec)["w"].tolist() == [1.0, 1 + 2**-6, 0]


def test_bfloat16_overflow_is_withheld() -> None:
    _, spec = from_state_dict({"w": torch.zeros(1, dtype=torch.bfloat16)})
    assert to_state_dict({"w": np.array([3.38e38], np.float32)}, spec)["w"].isfinite().all()
    with pytest.raises(IntegrityError, match=r"^\['w'\]: bfloat16 cannot hold the value$"):
        to_state_dict({"w": np.array([3.4e38], np.float32)}, spec)


def test_not_finite_is_refused_by_its_path() -> None:
    tree, _ = from_state_dict({"a.weight": torch.tensor([[0.0, float("nan")]])})
    with pytest.raises(InputRefused, match=r"^\['a.weight'\] at index \(0, 1\): not finite$"):
        flatten(tree)


def quantized() -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return torch.quantize_per_tensor(torch.ones(2), 0.1, 0, torch.qint8)


def nested() -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return torch.nested.nested_tensor([torch.ones(1), torch.ones(2)])


REFUSED = [
    (lambda: torch.tensor([True]), "dtype bool cannot be aggregated"),
    (lambda: torch.tensor([1j]), "dtype complex64 cannot be aggregated"),
    (lambda: torch.ones(1).to(torch.float8_e5m2), "dtype float8_e5m2 cannot be aggregated"),
    (lambda: torch.eye(2).to_sparse(), "sparse or nested"),
    (nested, "sparse or nested"),
    (quantized, "quantized"),
    (lambda: torch.ones(2, device="meta"), "meta tensor"),
    (lambda: 1.0, "type float is not a tensor"),
    (lambda: np.ones(2), "type ndarray is not a tensor"),
    (lambda: {"inner": torch.ones(2)}, "type dict is not a tensor"),
]


@pytest.mark.parametrize(("make", "reason"), REFUSED, ids=[reason for _, reason in REFUSED])
def test_what_has_no_coordinates_is_refused_by_its_key(make: Any, reason: str) -> None:
    with pytest.raises(InputRefused, match=rf"^\['layer.flag'\]: .*{reason}"):
        from_state_dict({"layer.weight": torch.ones(2), "layer.flag": make()})
    assert len(from_state_dict({"layer.weight": torch.ones(2)})[0]) == 1


def test_keys_must_be_strings() -> None:
    with pytest.raises(InputRefused, match="a key of type int, not str"):
        from_state_dict({1: torch.ones(2)})  # type: ignore[dict-item]


TREE: dict[str, Any] = {"a": np.zeros((2, 3), np.float32), "b": np.zeros((), np.int64)}
OTHER_TREES = [
    {},
    {"a": TREE["a"]},
    {"b": TREE["b"], "a": TREE["a"]},
    {**TREE, "c": TREE["b"]},
    {**TREE, "a": TREE["a"].T},
    {**TREE, "a": TREE["a"].astype(np.float64)},
    {**TREE, "a": TREE["a"].astype(">f4")},
    {**TREE, "a": [0.0]},
    {**TREE, "b": 0},
]


@pytest.mark.parametrize("tree", OTHER_TREES, ids=str)
def test_a_tree_of_another_structure_is_refused(tree: Any) -> None:
    _, spec = from_state_dict({"a": torch.ones(2, 3), "b": torch.tensor(1)})
    assert list(to_state_dict(TREE, spec)) == ["a", "b"]
    with pytest.raises(InputRefused, match=r"keys, in order|not an array of dtype"):
        to_state_dict(tree, spec)


def test_specs_are_plain_public_data() -> None:
    _, spec = from_state_dict(OrderedDict(w=torch.ones(2, 3, dtype=torch.bfloat16)))
    assert spec == StateSpec((TensorSpec("w", "bfloat16", (2, 3), "cpu"),), ordered=True)
    assert hash(spec) == hash(StateSpec(spec.tensors, ordered=True))


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_devices_come_back() -> None:
    state_dict = {"w": torch.ones(3, device="cuda"), "b": torch.ones(3)}
    assert_same(through(state_dict), state_dict)


def test_without_torch_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    tree, spec = from_state_dict({"w": torch.ones(2)})
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(ImportError, match=r"secagg\[torch\]"):
        from_state_dict({})
    with pytest.raises(ImportError, match=r"secagg\[torch\]"):
        to_state_dict(tree, spec)
