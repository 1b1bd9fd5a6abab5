"""A `torch.nn.Module` of which suspected triggers can be unlearned. Extra: `secagg[torch]`.

    model = TorchModel(network, shape=(1, 8, 8))       # the first layer: nn.Linear(64, ...)

Weights are the floating-point entries of the module's state dict, end to end, as
`secagg.structure.flatten` and the Flower adapter lay them. Buffers are among them, such as the
running means of a normalization layer: they count in what the model says, and no step trains them.
Counts of batches are not: a model that is evaluated does not use them.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from copy import deepcopy
from itertools import pairwise
from typing import Any

import numpy as np

from robust.errors import ObservationError
from robust.features import unit_rows
from robust.observe import Array
from secagg.errors import ParameterError
from secagg.structure_torch import from_state_dict

try:
    import torch
    from torch import Tensor, nn
except ImportError as error:
    raise ImportError("models of yours need torch: pip install 'secagg[torch]'") from error

__all__ = ["TorchModel"]

_COUNT = "num_batches_tracked"
_ROWS = 4096  # inputs that the module is given at once
_PROBES = 4
_ADVICE = "the first layer with weights must be nn.Linear with a bias, on the flat inputs"


class TorchModel:
    """See `protocols.federation.mendable.Mendable`.

    It works on a copy in evaluation mode, so the module given is never touched, and on the devices
    and in the dtypes of its parameters. Parameters that require no gradient are not trained.

    module: inputs (b, *shape) -> logits (b, c), for each input by itself; c >= 2. shape: of one
    input, whose f numbers are the features.

    Raises `ParameterError`, which says what to change, unless the first layer with weights is
    `nn.Linear` with a bias, is trained, takes the f numbers as they are and is used once; all else
    goes by what it gives; and entries of the state dict are each their own, of float32 or float64,
    or counts of batches. `InputRefused` for an entry that cannot be averaged at all. What the
    module itself raises passes.
    """

    def __init__(self, module: nn.Module, *, shape: Sequence[int]) -> None:
        if not shape or any(type(side) is not int or side < 1 for side in shape):
            raise ParameterError(f"shape: integers >= 1 must hold, got {shape!r:.60}")
        self._shape = tuple(shape)
        self._module = deepcopy(module).eval()
        self._entries = _entries(self._module)
        tied = _tied(module.state_dict())  # a copy of a parameter is tied to nothing
        _require(not tied, f"entries that are not tied to each other, unlike {tied[:3]},")
        self.layers: Mapping[str, slice] = _laid(self._entries)
        self._first, name = _first_layer(self._module, self._probes())
        self._weight, self._bias = (
            self.layers[f"{name}.{part}".lstrip(".")] for part in ("weight", "bias")
        )
        self._trained = [
            name for name, each in self._module.named_parameters() if each.requires_grad
        ]
        self.classes = self._checked_classes()

    @property
    def inputs(self) -> int:
        """f, of `shape`."""
        return math.prod(self._shape)

    @property
    def size(self) -> int:
        """d, of all entries."""
        return sum(entry.numel() for entry in self._entries.values())

    def flat(self, state: Mapping[str, Tensor]) -> Array:
        """The weights (d,) of a state dict of this module. Raises `ParameterError` for another."""
        shapes = {name: each.shape for name, each in self._entries.items()}
        if {name: each.shape for name, each in state.items() if name in shapes} != shapes:
            raise ParameterError("state: the arrays of the module must be there")
        parts = [state[name].detach().cpu().double().numpy().ravel() for name in self.layers]
        return np.concatenate(parts)

    def loaded(self, weights: Array) -> dict[str, Tensor]:
        """The floating-point entries of the state dict with these weights (d,), for
        `load_state_dict(..., strict=False)`; in their dtypes and on their devices.
        """
        return {
            name: torch.tensor(weights[part], dtype=entry.dtype, device=entry.device).reshape(
                entry.shape
            )
            for (name, part), entry in zip(self.layers.items(), self._entries.values(), strict=True)
        }

    def probabilities(self, weights: Array, inputs: Array) -> Array:
        parts = self.loaded(weights)
        with torch.no_grad():
            found = [
                self._logarithms(parts, inputs[at : at + _ROWS]).exp().numpy()
                for at in range(0, len(inputs), _ROWS)
            ]
        return np.concatenate(found) if found else np.empty((0, self.classes))

    def step(self, weights: Array, inputs: Array, targets: Array, rate: float) -> Array:
        with _gradients():
            parts = self.loaded(weights)
            trained = [parts[name].requires_grad_() for name in self._trained]
            logarithms = self._logarithms(parts, inputs)
            due = torch.tensor(targets, device=logarithms.device)
            loss = -(due * logarithms).sum(dim=1).mean()
        slopes = torch.autograd.grad(loss, trained, materialize_grads=True)
        after = weights.copy()
        for name, slope in zip(self._trained, slopes, strict=True):
            after[self.layers[name]] -= rate * slope.cpu().double().numpy().ravel()
        return after

    def pulls(self, weights: Array, inputs: Array, rows: Array) -> Array:
        """Raises `ObservationError` where the gradients are not finite."""
        directions = unit_rows(self._slopes(weights, inputs))
        units = directions.shape[1]
        of_features = rows[:, self._weight].reshape(len(rows), units, self.inputs)
        of_bias = rows[:, self._bias, None]
        found = np.concatenate([of_features, of_bias], axis=2).transpose(0, 2, 1) @ directions.T
        return np.asarray(found)

    def _slopes(self, weights: Array, inputs: Array) -> Array:
        """(c, units), the mean gradient of log P[t] in what the first layer gives."""
        given: list[Tensor] = []

        def cut(_: nn.Module, __: Any, output: Tensor) -> Tensor:
            given.append(output.detach().requires_grad_())
            # what comes next may work in place, and a leaf must not be worked on
            return given[0].clone()

        with _gradients(), _hooked(self._first.register_forward_hook(cut)):
            chances = self._logarithms(self.loaded(weights), inputs).mean(dim=0).unbind()
        slopes = [
            torch.autograd.grad(one, given, retain_graph=True, materialize_grads=True)[0].sum(dim=0)
            for one in chances
        ]
        found: Array = torch.stack(slopes).cpu().double().numpy()
        if not bool(np.isfinite(found).all()):
            raise ObservationError("gradients of the model on the root set must be finite")
        return found

    def _logarithms(self, parts: Mapping[str, Tensor], inputs: Array) -> Tensor:
        """(n, c), of the probabilities, in double precision."""
        logits = torch.func.functional_call(self._module, dict(parts), (self._tensor(inputs),))
        return torch.log_softmax(logits.cpu().double(), dim=1)

    def _tensor(self, inputs: Array) -> Tensor:
        like = self._first.weight
        flat = torch.tensor(inputs, dtype=like.dtype, device=like.device)
        return flat.reshape(len(inputs), *self._shape)

    def _probes(self) -> Tensor:
        """Inputs that differ, to try the module with."""
        layers = (one.weight for one in self._module.modules() if isinstance(one, nn.Linear))
        like = next(layers, next(iter(self._entries.values())))
        drawn = np.random.default_rng(0).standard_normal((_PROBES, *self._shape))
        return torch.tensor(drawn, dtype=like.dtype, device=like.device)

    def _checked_classes(self) -> int:
        """How many, of logits that go by the first layer alone."""
        with torch.no_grad():
            logits = self._module(self._probes())
        fits = isinstance(logits, Tensor) and logits.ndim == 2 and len(logits) == _PROBES
        _require(fits and logits.shape[1] >= 2, "logits (b, c), c >= 2, for inputs (b, *shape)")
        _require(bool(torch.isfinite(logits).all()), "finite logits")
        sums = bool(torch.allclose(logits.sum(dim=1), torch.ones_like(logits[:, 0])))
        _require(not (sums and bool((logits >= 0).all())), "logits, so no softmax at the end,")
        self._check_ways(self._entries)
        # of the module's own weights some may be 0 or 1 until it is trained
        self._check_ways({name: 1.5 * each + 0.25 for name, each in self._entries.items()})
        return int(logits.shape[1])

    def _check_ways(self, weights: Mapping[str, Tensor]) -> None:
        """With these weights, inputs reach the first layer as they are, and nothing else."""
        parts = dict(weights)
        probes, taken, given = self._probes(), [], []

        def seen(_: nn.Module, arguments: tuple[Tensor, ...], found: Tensor) -> None:
            taken.append(arguments[0].clone())
            given.append(found.clone())

        with torch.no_grad():
            with _hooked(self._first.register_forward_hook(seen)):
                logits = torch.func.functional_call(self._module, parts, (probes,))
            with _hooked(self._first.register_forward_hook(lambda *_: given[0].clone())):
                again = torch.func.functional_call(self._module, parts, (probes.flip(0),))
        _require(
            bool(torch.equal(taken[0], probes.reshape(len(probes), -1))),
            f"{_ADVICE}, as they are given whatever the weights",
        )
        _require(
            torch.allclose(logits, again, equal_nan=True),
            "logits that go by what the first layer gives alone, with no other way from the inputs "
            "past it and nothing random,",
        )


def _entries(module: nn.Module) -> dict[str, Tensor]:
    """The floating-point entries of the state dict, by name, in order."""
    parameters = dict(module.named_parameters(remove_duplicate=False))
    lazy = [name for name, each in parameters.items() if nn.parameter.is_lazy(each)]
    _require(not lazy, f"parameters with a size, so that it is run once before: {lazy[:3]}")
    state = module.state_dict()
    from_state_dict(state)  # refuses what has no average
    whole = [name for name, each in state.items() if not each.is_floating_point()]
    odd = [name for name in whole if name.rpartition(".")[2] != _COUNT]
    _require(not odd, f"no integers in the state dict but counts of batches, not {odd[:3]},")
    found = {name: each for name, each in state.items() if name not in whole}
    exact = all(each.dtype in (torch.float32, torch.float64) for each in found.values())
    _require(exact, "entries of float32 or float64, as .float() makes them,")
    _require(bool(found), f"{_ADVICE}: it has no weights")
    return found


def _tied(entries: Mapping[str, Tensor]) -> list[tuple[str, str]]:
    """Names of entries that lie in the memory of one before them, each with that one's."""
    spans = []
    for name, each in entries.items():
        if each.numel():
            last = sum((n - 1) * by for n, by in zip(each.shape, each.stride(), strict=True))
            begin = each.data_ptr()
            spans.append((str(each.device), begin, begin + (last + 1) * each.itemsize, name))
    return [
        (one[-1], other[-1])
        for one, other in pairwise(sorted(spans))
        if one[0] == other[0] and other[1] < one[2]
    ]


def _laid(entries: Mapping[str, Tensor]) -> dict[str, slice]:
    ends = np.cumsum([0, *(entry.numel() for entry in entries.values())]).tolist()
    return {name: slice(*ends[at : at + 2]) for at, name in enumerate(entries)}


def _first_layer(module: nn.Module, probes: Tensor) -> tuple[nn.Linear, str]:
    """The layer that is to be looked at, and its name."""
    used: list[nn.Module] = []

    def reached(layer: nn.Module, given: tuple[Any, ...]) -> None:
        if not used:
            _check_first(layer, given, probes)
        used.append(layer)

    names = {
        layer: name
        for name, layer in module.named_modules()
        if not any(layer.children()) and any(True for _ in layer.parameters(recurse=False))
    }
    handles = [layer.register_forward_pre_hook(reached) for layer in names]
    with torch.no_grad(), _hooked(*handles):
        module(probes)
    _require(bool(used), f"{_ADVICE}: it uses none")
    first = used[0]
    assert isinstance(first, nn.Linear), "as checked when it was reached"
    _require(used.count(first) == 1, f"a first layer that is used once: {names[first]}")
    return first, names[first]


def _check_first(layer: nn.Module, given: tuple[Any, ...], probes: Tensor) -> None:
    kind = type(layer).__name__
    _require(
        isinstance(layer, nn.Linear) and layer.bias is not None and layer.weight.requires_grad,
        f"{_ADVICE}, and be trained: it is {kind}. For others, see robust.triggers.pulls_of, which "
        "takes directions of yours",
    )
    flat = probes.reshape(len(probes), -1)
    assert isinstance(layer, nn.Linear), "as was just checked"
    fits = bool(given) and given[0].shape == flat.shape == (len(flat), layer.in_features)
    _require(
        fits and bool(torch.equal(given[0], flat)),
        f"{_ADVICE}, as they are given: scale the data, not in the module",
    )


@contextmanager
def _gradients() -> Iterator[None]:
    """Gradients are kept, whatever the caller has turned off."""
    with torch.inference_mode(False), torch.enable_grad():
        yield


@contextmanager
def _hooked(*handles: torch.utils.hooks.RemovableHandle) -> Iterator[None]:
    """Hooks that are gone afterwards."""
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _require(holds: bool, rule: str) -> None:
    if not holds:
        raise ParameterError(f"module: {rule if 'must' in rule else rule + ' must hold'}")
