"""Models of which suspected triggers can be unlearned: numpy's, and modules of the user's."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

pytest.importorskip("torch", reason="torch is not installed: pip install 'secagg[torch]'")

import torch
from torch import nn

from protocols.federation.model import Network
from protocols.federation.model_torch import TorchModel
from protocols.federation.testing import MendableConformance
from robust.errors import ObservationError
from robust.observe import Array
from secagg.errors import InputRefused, ParameterError
from secagg.structure import flatten
from secagg.structure_torch import from_state_dict

NETWORK = Network(inputs=6, hidden=9, classes=3)


def mlp(*between: nn.Module, seed: int = 0, dtype: Any = torch.float64) -> nn.Sequential:
    torch.manual_seed(seed)
    layers = [nn.Linear(6, 9), *(between or (nn.ReLU(),)), nn.Linear(9, 3)]
    return nn.Sequential(*layers).to(dtype)


def wrapped(module: nn.Module, *shape: int) -> TorchModel:
    return TorchModel(module, shape=shape or (6,))


class TestNetwork(MendableConformance):
    def model(self) -> Network:
        return NETWORK

    def weights(self, rng: np.random.Generator) -> Array:
        return NETWORK.fresh(rng)


class TestTorchModel(MendableConformance):
    module: Callable[[], nn.Module] = staticmethod(mlp)
    shape: tuple[int, ...] = (6,)

    def model(self) -> TorchModel:
        return TorchModel(self.module(), shape=self.shape)

    def weights(self, rng: np.random.Generator) -> Array:
        return self.model().flat(self.module().state_dict())


class TestInPlace(TestTorchModel):
    module = staticmethod(lambda: mlp(nn.ReLU(inplace=True), nn.Dropout(0.5)))


class TestSinglePrecision(TestTorchModel):
    module = staticmethod(lambda: mlp(nn.Tanh(), dtype=torch.float32))
    tolerance = 1e-5


class TestLogisticRegression(TestTorchModel):
    module = staticmethod(lambda: nn.Linear(6, 3).double())

    def model(self) -> TorchModel:
        torch.manual_seed(1)
        return super().model()

    def weights(self, rng: np.random.Generator) -> Array:
        return 0.3 * rng.standard_normal(21)


class TestNormalized(TestTorchModel):
    """With buffers, an image-shaped input, a frozen layer, and a container with weights."""

    shape = (1, 2, 3)

    @staticmethod
    def module() -> nn.Module:
        torch.manual_seed(2)
        norm = nn.BatchNorm1d(9)
        net = nn.Sequential(
            nn.Flatten(), nn.Linear(6, 9), norm, nn.GELU(), nn.Linear(9, 9), nn.Linear(9, 3)
        )
        with torch.no_grad():
            net(torch.randn(64, 1, 2, 3))
        net[4].requires_grad_(False)
        return net.double()


# -- the same as in numpy -------------------------------------------------------------------------


def hooks(module: nn.Module) -> int:
    return sum(len(each._forward_hooks) + len(each._forward_pre_hooks) for each in module.modules())


def in_numpy(model: TorchModel, row: Array) -> Array:
    """Weights of the module in the order of `Network`, whose matrices stand the other way."""
    state = model.loaded(row)
    names = ("0.weight", "0.bias", "2.weight", "2.bias")
    return np.concatenate([state[name].numpy().T.ravel() for name in names])


def test_it_is_the_network_of_numpy() -> None:
    rng = np.random.default_rng(0)
    model = wrapped(mlp())
    weights, rows = 0.4 * rng.standard_normal((2, model.size))
    inputs, targets = rng.standard_normal((40, 6)), rng.dirichlet(np.ones(3), 40)
    theirs = in_numpy(model, weights)
    assert (model.inputs, model.classes, model.size) == (6, 3, NETWORK.size)
    np.testing.assert_allclose(
        model.probabilities(weights, inputs), NETWORK.probabilities(theirs, inputs), atol=1e-12
    )
    np.testing.assert_allclose(
        in_numpy(model, model.step(weights, inputs, targets, 0.7)),
        NETWORK.step(theirs, inputs, targets, 0.7),
        atol=1e-12,
    )
    found = model.pulls(weights, inputs, np.stack([rows, weights]))
    due = NETWORK.pulls(theirs, inputs, np.stack([in_numpy(model, rows), theirs]))
    assert np.abs(due).max() > 0.1
    np.testing.assert_allclose(found, due, atol=1e-9)


def test_weights_are_in_the_order_in_which_a_state_dict_is_summed() -> None:
    module = TestNormalized.module()
    model = wrapped(module, 1, 2, 3)
    tree, _ = from_state_dict(module.state_dict())
    floats = {name: array for name, array in tree.items() if array.dtype.kind == "f"}
    assert len(floats) == len(tree) - 1, "all but the count of batches"
    assert list(model.layers) == list(floats)
    np.testing.assert_array_equal(model.flat(module.state_dict()), flatten(floats)[0])
    loaded = model.loaded(flatten(floats)[0])
    for name, array in floats.items():
        np.testing.assert_array_equal(loaded[name].numpy(), array)


def test_many_inputs_are_taken_in_parts() -> None:
    model = wrapped(mlp())
    weights = model.flat(mlp().state_dict())
    inputs = np.random.default_rng(0).standard_normal((5000, 6))
    found = model.probabilities(weights, inputs)
    np.testing.assert_allclose(found[4990:], model.probabilities(weights, inputs[4990:]))
    assert model.probabilities(weights, inputs[:0]).shape == (0, 3)


# -- the module stays as it is --------------------------------------------------------------------


def test_buffers_count_and_neither_they_nor_frozen_layers_are_trained() -> None:
    module = TestNormalized.module()
    model = wrapped(module, 1, 2, 3)
    weights = model.flat(module.state_dict())
    rng = np.random.default_rng(0)
    inputs, targets = rng.standard_normal((20, 6)), rng.dirichlet(np.ones(3), 20)
    after = model.step(weights, inputs, targets, 0.5)
    moved = {name for name, part in model.layers.items() if (after[part] != weights[part]).any()}
    frozen = {"2.running_mean", "2.running_var", "4.weight", "4.bias"}
    assert moved == set(model.layers) - frozen
    other = weights.copy()
    other[model.layers["2.running_mean"]] += 1.0
    before = model.probabilities(weights, inputs)
    assert np.abs(model.probabilities(other, inputs) - before).max() > 0.01


def test_the_module_is_left_as_it_was_found() -> None:
    module = TestNormalized.module()
    module.train()
    module[2].eval()
    for parameter in module.parameters():
        parameter.grad = torch.full_like(parameter, 3.0)
    kept = {name: each.clone() for name, each in module.state_dict().items()}
    modes = [each.training for each in module.modules()]
    trains = [each.requires_grad for each in module.parameters()]
    model = wrapped(module, 1, 2, 3)
    inputs = np.random.default_rng(0).standard_normal((20, 6))
    weights = model.flat(module.state_dict())
    model.probabilities(weights, inputs)
    model.step(weights, inputs, np.eye(3)[np.arange(20) % 3], 0.5)
    model.pulls(weights, inputs, weights[None])
    for name, each in module.state_dict().items():
        assert torch.equal(each, kept[name]), name
    assert [each.training for each in module.modules()] == modes
    assert [each.requires_grad for each in module.parameters()] == trains
    assert all(bool((each.grad == 3.0).all()) for each in module.parameters())
    assert hooks(module) == 0


def test_what_the_user_trains_later_changes_nothing() -> None:
    module = mlp()
    model = wrapped(module)
    weights = model.flat(module.state_dict())
    inputs = np.random.default_rng(0).standard_normal((4, 6))
    before = model.probabilities(weights, inputs)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.fill_(7.0)
        np.testing.assert_array_equal(model.probabilities(weights, inputs), before)
        assert model.pulls(weights, inputs, weights[None]).any(), "where gradients are off, too"
        assert (model.step(weights, inputs, np.eye(3)[[0, 1, 2, 0]], 0.5) != weights).any()


class Weighted(nn.Module):
    """A buffer in double precision before layers in single precision."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("sizes", torch.ones(3, dtype=torch.float64))
        self.first = nn.Linear(6, 3)

    def forward(self, x: Any) -> Any:
        return self.first(x) * self.sizes


def test_inputs_are_of_the_precision_of_the_first_layer() -> None:
    """Whatever comes first in the state dict."""
    torch.manual_seed(0)
    module = Weighted()
    model = wrapped(module)
    weights = model.flat(module.state_dict())
    inputs = np.random.default_rng(0).standard_normal((4, 6))
    assert list(model.layers) == ["sizes", "first.weight", "first.bias"]
    due = module.first(torch.tensor(inputs).float()).softmax(dim=1).detach().numpy()
    np.testing.assert_allclose(model.probabilities(weights, inputs), due, atol=1e-6)
    assert model.pulls(weights, inputs, weights[None]).any()


@pytest.mark.parametrize(
    "usual", [lambda: torch.device("meta"), torch.inference_mode], ids=["device", "mode"]
)
def test_what_the_user_has_set_for_tensors_changes_nothing(usual: Callable[[], Any]) -> None:
    """As a default device, of which the model is not."""
    module = mlp()
    model = wrapped(module)
    weights = model.flat(module.state_dict())
    inputs = np.random.default_rng(0).standard_normal((4, 6))
    given = weights, inputs, np.eye(3)[[0, 1, 2, 0]], 0.5
    due = model.step(*given), model.pulls(weights, inputs, weights[None])
    with usual():
        found = model.step(*given), model.pulls(weights, inputs, weights[None])
        same = wrapped(module).step(*given)
    np.testing.assert_array_equal(found[0], due[0])
    np.testing.assert_array_equal(found[1], due[1])
    np.testing.assert_array_equal(same, due[0])


# -- what is refused ------------------------------------------------------------------------------


class Skipping(nn.Module):
    """A way from the inputs past the first layer."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.last = nn.Linear(6, 9), nn.Linear(15, 3)

    def forward(self, x: Any) -> Any:
        return self.last(torch.cat([self.first(x).relu(), x], dim=1))


class SkippingLater(nn.Module):
    """A way past the first layer that training opens."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.last, self.past = nn.Linear(6, 9), nn.Linear(9, 3), nn.Linear(6, 3)
        nn.init.zeros_(self.past.weight)

    def forward(self, x: Any) -> Any:
        return self.last(self.first(x).relu()) + self.past(x)


class ScaledLater(nn.Module):
    """Inputs are as they are given until training scales them."""

    def __init__(self) -> None:
        super().__init__()
        self.sizes = nn.Parameter(torch.ones(6))
        self.first = nn.Linear(6, 3)

    def forward(self, x: Any) -> Any:
        return self.first(x * self.sizes)


class Raw(nn.Module):
    """Weights without a layer."""

    def __init__(self) -> None:
        super().__init__()
        self.matrix = nn.Parameter(torch.ones(6, 3))

    def forward(self, x: Any) -> Any:
        return x @ self.matrix


class Twice(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.last = nn.Linear(6, 6), nn.Linear(6, 3)

    def forward(self, x: Any) -> Any:
        return self.last(self.first(self.first(x).relu()))


class Noisy(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(6, 3)

    def forward(self, x: Any) -> Any:
        return nn.functional.dropout(self.first(x), 0.5, training=True)


class Scaled(nn.Sequential):
    def forward(self, x: Any) -> Any:
        return super().forward(x / 255)


class Counting(nn.Sequential):
    def __init__(self, *layers: nn.Module) -> None:
        super().__init__(*layers)
        self.register_buffer("places", torch.arange(3))


def tied() -> nn.Module:
    net = nn.Sequential(nn.Linear(6, 6), nn.ReLU(), nn.Linear(6, 6))
    net[2].weight = net[0].weight
    return net


def partly_tied() -> nn.Module:
    """Two parameters, of which one is a part of the other."""
    net = nn.Sequential(nn.Linear(6, 6), nn.ReLU(), nn.Linear(6, 6), nn.ReLU(), nn.Linear(6, 3))
    net[4].weight = nn.Parameter(net[2].weight.detach()[3:])
    return net


def tied_buffers() -> nn.Module:
    """One layer that is used twice, and has no parameters."""
    norm = nn.BatchNorm1d(6, affine=False)
    return nn.Sequential(nn.Linear(6, 6), norm, nn.ReLU(), norm, nn.Linear(6, 3))


def frozen() -> nn.Module:
    net = mlp()
    net[0].requires_grad_(False)
    return net


def broken() -> nn.Module:
    net = mlp()
    with torch.no_grad():
        net[2].bias[0] = torch.nan
    return net


def convolution() -> nn.Module:
    return nn.Sequential(nn.Conv2d(1, 2, 2), nn.Flatten(), nn.Linear(4, 3))


@pytest.mark.parametrize(
    ("module", "shape", "message"),
    [
        (convolution, (1, 2, 3), "must be nn.Linear with a bias, .* it is Conv2d.*pulls_of"),
        (lambda: nn.Sequential(nn.BatchNorm1d(6), *mlp()).double(), (6,), "it is BatchNorm1d"),
        (lambda: nn.Sequential(nn.Linear(6, 9, bias=False), nn.Linear(9, 3)), (6,), "with a bias"),
        (frozen, (6,), "and be trained"),
        (Raw, (6,), "it is Raw"),
        (nn.Flatten, (6,), "it has no weights"),
        (lambda: Scaled(*mlp(dtype=torch.float32)), (6,), "scale the data, not in the module"),
        (mlp, (7,), "on the flat inputs, as they are given"),
        (mlp, (2, 6), "on the flat inputs, as they are given"),
        (Skipping, (6,), "no other way from the inputs past it"),
        (SkippingLater, (6,), "no other way from the inputs past it"),
        (ScaledLater, (6,), "as they are given whatever the weights"),
        (Noisy, (6,), "nothing random"),
        (Twice, (6,), "used once: first"),
        (lambda: nn.Sequential(*mlp(), nn.Softmax(dim=1)), (6,), "no softmax at the end"),
        (lambda: nn.Sequential(*mlp(), nn.Linear(3, 1).double()), (6,), "c >= 2"),
        (lambda: nn.Sequential(*mlp(), nn.Unflatten(1, (3, 1))), (6,), r"logits \(b, c\)"),
        (broken, (6,), "finite logits"),
        (tied, (6,), "not tied"),
        (partly_tied, (6,), "not tied to each other, .*'2.weight'"),
        (tied_buffers, (6,), "not tied to each other, .*'1.running_mean'"),
        (lambda: nn.LazyLinear(3), (6,), "a size"),
        (lambda: mlp(dtype=torch.float16), (6,), "float32 or float64"),
        (lambda: Counting(nn.Linear(6, 3)), (6,), "counts of batches, not .'places'"),
        (mlp, (), "shape: integers >= 1"),
        (mlp, (6.0,), "shape: integers >= 1"),
    ],
)
def test_other_modules_are_refused_by_name(
    module: Callable[[], nn.Module], shape: Any, message: str
) -> None:
    made = module()
    before = hooks(made)
    with pytest.raises(ParameterError, match=message):
        TorchModel(made, shape=shape)
    assert hooks(made) == before


def test_what_cannot_be_averaged_is_refused() -> None:
    net = mlp()
    net.register_buffer("mask", torch.ones(3, dtype=torch.bool))
    with pytest.raises(InputRefused, match="mask"):
        wrapped(net)


def test_the_state_of_another_module_is_refused() -> None:
    model = wrapped(mlp())
    for other in (nn.Linear(6, 3), nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 3))):
        with pytest.raises(ParameterError, match="the arrays of the module"):
            model.flat(other.state_dict())
    assert model.flat(mlp().state_dict()).shape == (model.size,)


def test_gradients_that_are_not_finite_are_refused() -> None:
    """As zeros they would say that nobody pulls anything."""
    model = wrapped(mlp(dtype=torch.float32))
    weights = model.flat(mlp().state_dict())
    inputs = np.random.default_rng(0).standard_normal((4, 6))
    assert model.pulls(weights, inputs, weights[None]).any()
    with pytest.raises(ObservationError, match="gradients of the model"):
        model.pulls(1e30 * weights, inputs, weights[None])
