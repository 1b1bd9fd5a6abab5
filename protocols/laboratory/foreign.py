"""A model and data that a user brings: imported when asked for, and checked before they are used.

The contract. `--model MODULE:FACTORY`: FACTORY() gives a `torch.nn.Module` that takes inputs (b,
*shape) and gives logits (b, c), the same each time. Its float parameters that require a gradient,
50,000 at most, are what clients train, from the weights that it comes with. `--data MODULE:LOADER`:
LOADER() gives inputs (n, *shape), of floats, finite, and labels (n,), integers 0 … c - 1; arrays or
tensors; n >= 100, and four of each class at least.

Everything else raises `ParameterError` that names the option and what was wrong. What the user's
own code raises is its cause.
"""

from __future__ import annotations

from importlib import import_module
from types import TracebackType
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from robust.observe import Array
from secagg.errors import ParameterError

try:
    import torch
except ImportError as error:
    raise ImportError("models of yours need torch: pip install 'secagg[torch]'") from error

__all__ = ["Brought", "Foreign", "brought", "trained"]

_LEAST_RECORDS, _LEAST_OF_A_CLASS = 100, 4
_MOST_PARAMETERS = 50_000


class Brought(NamedTuple):
    """What fits together: a model in double precision, inputs (n, *shape), labels (n,) of classes
    0 … classes - 1.
    """

    model: torch.nn.Module
    inputs: Array
    labels: NDArray[np.int64]
    classes: int


def brought(model: str, data: str) -> Brought:
    """What the two options name. Raises `ParameterError` for whatever is not of the contract."""
    loaded, inputs, labels = _model(model), *_data(data)
    classes = _classes(f"--model {model}", loaded, inputs)
    option = f"--data {data}"
    counts = np.bincount(labels, minlength=classes)
    _require(int(labels.max()) < classes, option, f"0 <= label < {classes}, as the model has")
    _require(
        int(counts.min()) >= _LEAST_OF_A_CLASS,
        option,
        f"{_LEAST_OF_A_CLASS} records of each class at least, not {counts.min()} of class "
        f"{counts.argmin()},",
    )
    return Brought(loaded, inputs, labels, classes)


class Foreign:
    """Around code of the user's: whatever it raises, however it is called, becomes the cause of
    one error that names the option. So does an exit, which would end an audit that has not begun as
    one that has found nothing. Interrupts pass.
    """

    def __init__(self, option: str, what: str) -> None:
        self._said = f"{option}: {what}"

    def __enter__(self) -> None:
        return

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if isinstance(error, Exception | SystemExit):
            text = " ".join(str(error).split())[:200]
            raise ParameterError(f"{self._said} raised {type(error).__name__}: {text}") from error


def trained(model: torch.nn.Module) -> dict[str, torch.nn.Parameter]:
    """The parameters that clients train, by name."""
    return {name: each for name, each in model.named_parameters() if each.requires_grad}


def _called(option: str, name: str) -> Any:
    """What the function `module:function` gives."""
    module, colon, function = name.partition(":")
    _require(bool(module and colon and function), f"{option} {name}", "the form MODULE:FUNCTION")
    option = f"{option} {name}"
    with Foreign(option, f"the import of {module}"):
        found = import_module(module)
    made: Any = getattr(found, function, None)
    _require(callable(made), option, f"a function {function} in {found.__name__}")
    with Foreign(option, f"{function}()"):
        return made()


def _model(name: str) -> torch.nn.Module:
    option, found = f"--model {name}", _called("--model", name)
    _require(isinstance(found, torch.nn.Module), option, f"a torch.nn.Module, not {_kind(found)},")
    weights = list(trained(found).values())
    _require(
        bool(weights) and all(each.is_floating_point() for each in found.parameters()),
        option,
        "parameters that require a gradient, and all of them real floats,",
    )
    with Foreign(option, "what parameters there are"):
        finite = all(bool(torch.isfinite(each).all()) for each in found.parameters())
        size = sum(each.numel() for each in weights)
    _require(finite, option, "finite parameters")
    _require(
        size <= _MOST_PARAMETERS,
        option,
        f"parameters <= {_MOST_PARAMETERS}, not {size}: audit a smaller model of the kind;",
    )
    model: torch.nn.Module = found.to("cpu", torch.float64)
    return model


def _data(name: str) -> tuple[Array, NDArray[np.int64]]:
    option, found = f"--data {name}", _called("--data", name)
    _require(
        isinstance(found, tuple) and len(found) == 2,
        option,
        f"a tuple (inputs, labels), not {_kind(found)},",
    )
    with Foreign(option, "an array of what it gave"):
        inputs, labels = (np.asarray(each) for each in found)
    _require(inputs.dtype.kind == "f", option, f"inputs of floats, not {inputs.dtype},")
    _require(labels.dtype.kind in "iu", option, f"labels of integers, not {labels.dtype},")
    _require(
        inputs.ndim >= 2 and labels.shape == inputs.shape[:1] and inputs.size > 0,
        option,
        f"inputs (n, *shape) and labels (n,), not {inputs.shape} and {labels.shape},",
    )
    _require(
        len(inputs) >= _LEAST_RECORDS, option, f"n >= {_LEAST_RECORDS} records, not {len(inputs)},"
    )
    values = inputs.astype(np.float64)
    _require(bool(np.isfinite(values).all()), option, "finite inputs, without NaN,")
    _require(int(labels.min()) >= 0, option, f"labels >= 0, not {labels.min()},")
    return values, labels.astype(np.int64)


def _classes(option: str, model: torch.nn.Module, inputs: Array) -> int:
    """How many logits the model gives for each of two records."""
    with Foreign(option, f"the model on inputs {(2, *inputs.shape[1:])}"), torch.no_grad():
        logits, again = (model.eval()(torch.from_numpy(inputs[:2])) for _ in "ab")
    fits = isinstance(logits, torch.Tensor) and logits.ndim == 2 and len(logits) == 2
    shape = tuple(logits.shape) if isinstance(logits, torch.Tensor) else _kind(logits)
    _require(fits, option, f"logits (b, c) for inputs (b, *shape), not {shape} for b = 2,")
    _require(logits.shape[1] >= 2, option, f"classes >= 2, not {logits.shape[1]},")
    _require(bool(torch.isfinite(logits).all()), option, "finite logits")
    _require(torch.equal(logits, again), option, "the same logits each time, for the same inputs,")
    return int(logits.shape[1])


def _kind(found: object) -> str:
    return f"a {type(found).__name__}"


def _require(holds: bool, option: str, rule: str) -> None:
    if not holds:
        raise ParameterError(f"{option}: {rule} must hold")
