"""PyTorch state dicts <-> trees that `secagg.structure.flatten` accepts. Extra: `secagg[torch]`.

A spec keeps what numpy cannot: bfloat16, devices, the kind of dict and PyTorch's own version
notes. It is local to a client. What clients must agree on is the `Structure` of the tree.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from secagg.errors import InputRefused, IntegrityError

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["StateSpec", "TensorSpec", "from_state_dict", "to_state_dict"]

_INTEGERS = ("uint8", "uint16", "uint32", "uint64", "int8", "int16", "int32", "int64")
_NUMPY = {name: name for name in ("float16", "float32", "float64", *_INTEGERS)}
# numpy has no bfloat16; every bfloat16 is a float32, so nothing is lost on the way there.
_NUMPY["bfloat16"] = "float32"


@dataclass(frozen=True)
class TensorSpec:
    """One entry of a state dict: its key, PyTorch dtype such as `bfloat16`, shape and device."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    device: str


@dataclass(frozen=True)
class StateSpec:
    """A state dict without its values.

    Attributes
    ----------
    tensors: the entries, in order.
    ordered: whether the dict is an OrderedDict.
    metadata: the `_metadata` that PyTorch attaches for `load_state_dict`, if any.
    """

    tensors: tuple[TensorSpec, ...]
    ordered: bool
    metadata: Mapping[str, Any] | None = field(default=None, compare=False, repr=False)


def from_state_dict(
    state_dict: Mapping[str, Tensor],
) -> tuple[dict[str, NDArray[Any]], StateSpec]:
    """The tensors as numpy arrays under their own keys, and the spec that takes them back.

    Tensors may live on any device, be strided, or require gradients. Arrays of CPU tensors are
    views: flatten them before training goes on. Tied weights stay one entry for each key, with
    coordinates of their own; after rounding the entries may differ by one unit, and a tied module
    keeps the last that it loads. Aggregate a state dict without the copies to avoid that.

    Raises `InputRefused` naming the key of anything but a dense tensor of a float dtype up to 64
    bits or an integer dtype: bool buffers (an average is no bool), complex, quantized, sparse and
    meta tensors, entries that are no tensor. Raises `ImportError` without PyTorch.
    """
    torch = _torch()
    tree = {_key(name): _array(torch, name, value) for name, value in state_dict.items()}
    tensors = tuple(
        TensorSpec(name, _dtype(value), tuple(value.shape), str(value.device))
        for name, value in state_dict.items()
    )
    ordered = isinstance(state_dict, OrderedDict)
    return tree, StateSpec(tensors, ordered, getattr(state_dict, "_metadata", None))


def to_state_dict(tree: Mapping[str, NDArray[Any]], spec: StateSpec) -> dict[str, Tensor]:
    """New tensors with the keys, dtypes, shapes and devices of `spec`; none requires gradients.

    Raises `InputRefused` naming the key where `tree` has another structure than `spec`, and
    `IntegrityError` where a bfloat16 cannot hold its value.
    """
    torch = _torch()
    if tuple(tree) != tuple(entry.name for entry in spec.tensors):
        raise InputRefused("the tree's keys, in order, are not those of the state dict")
    tensors = ((entry.name, _tensor(torch, tree[entry.name], entry)) for entry in spec.tensors)
    if not spec.ordered:
        return dict(tensors)
    state_dict = OrderedDict(tensors)
    if spec.metadata is not None:
        # load_state_dict reads it to upgrade the buffers of modules that have changed since.
        state_dict._metadata = spec.metadata  # type: ignore[attr-defined]
    return state_dict


def _torch() -> Any:
    try:
        import torch  # noqa: PLC0415  # `import secagg` must not need it
    except ImportError as error:
        message = "secagg.structure_torch needs PyTorch: pip install 'secagg[torch]'"
        raise ImportError(message) from error
    return torch


def _key(name: Any) -> str:
    if type(name) is not str:
        raise InputRefused(f"a key of type {type(name).__name__}, not str")
    return name


def _array(torch: Any, name: str, value: Any) -> NDArray[Any]:
    if (reason := _refusal(torch, value)) is not None:
        raise InputRefused(f"[{name!r}]: {reason}")
    # A lazily negated tensor has no memory that numpy could view.
    tensor = value.detach().resolve_neg().cpu()
    array: NDArray[Any] = (tensor.float() if value.dtype == torch.bfloat16 else tensor).numpy()
    return array


def _refusal(torch: Any, value: Any) -> str | None:
    if not isinstance(value, torch.Tensor):
        return f"type {type(value).__name__} is not a tensor"
    if value.is_quantized:
        return "a quantized tensor has no average of its own; dequantize it"
    if value.layout != torch.strided or value.is_nested:
        return "a sparse or nested tensor has coordinates that clients do not share; make it dense"
    if value.is_meta:
        return "a meta tensor has no values"
    if _dtype(value) not in _NUMPY:
        return f"dtype {_dtype(value)} cannot be aggregated; leave it out or convert it"
    return None


def _dtype(value: Tensor) -> str:
    return str(value.dtype).removeprefix("torch.")


def _tensor(torch: Any, array: Any, entry: TensorSpec) -> Tensor:
    expected = np.dtype(_NUMPY[entry.dtype])
    if not isinstance(array, np.ndarray) or (array.dtype, array.shape) != (expected, entry.shape):
        shape = entry.shape
        raise InputRefused(f"[{entry.name!r}]: not an array of dtype {expected} and shape {shape}")
    # torch.tensor copies: the result never shares memory with the tree.
    tensor: Tensor = torch.tensor(array).to(getattr(torch, entry.dtype))
    if entry.dtype == "bfloat16" and not bool(torch.isfinite(tensor).all()):
        raise IntegrityError(f"[{entry.name!r}]: bfloat16 cannot hold the value")
    return tensor.to(entry.device)
