"""Opacus trains, our accountant counts: steps, prices, keys, and everything that is refused."""

from __future__ import annotations

import builtins
import math
import os
import warnings
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from dp.account_reduction import ReductionAccountant
from dp.dominance import gaussian_epsilon
from dp.errors import InputRefused, ParameterError, RandomnessError
from dp.events import Composed, Gaussian, Sampled
from dp.local_opacus import LocalSGD, PrivacyReport, _generator
from dp.testing import SeededRand

torch = pytest.importorskip("torch")
opacus = pytest.importorskip("opacus")

from dp_accounting.pld import privacy_loss_distribution as pld  # noqa: E402
from opacus.validators.errors import UnsupportedModuleError  # noqa: E402
from torch import nn  # noqa: E402
from torch.utils.data import DataLoader, IterableDataset, TensorDataset  # noqa: E402

DELTA = 1e-5


def engine(accountant: str) -> Any:
    with warnings.catch_warnings():
        for start in ("Secure RNG turned off", "GDP accounting is experimental"):
            warnings.filterwarnings("ignore", message=start, category=UserWarning)
        return opacus.PrivacyEngine(accountant=accountant)


def loader(records: int = 40, batch: int = 10, **options: Any) -> DataLoader[Any]:
    draw = np.random.default_rng(0)
    images = torch.from_numpy(draw.normal(size=(records, 6)).astype(np.float32))
    labels = torch.from_numpy(draw.integers(0, 3, records))
    return DataLoader(TensorDataset(images, labels), batch_size=batch, **options)


def local(
    model: nn.Module | None = None,
    data: DataLoader[Any] | None = None,
    rate: float = 0.1,
    **options: Any,
) -> LocalSGD:
    model = nn.Linear(6, 3) if model is None else model
    options = {"noise_multiplier": 1.0, "max_grad_norm": 1.0, "rand": SeededRand(0)} | options
    optimizer = torch.optim.SGD(model.parameters(), lr=rate)
    return LocalSGD(model, optimizer, loader() if data is None else data, **options)


def train(sgd: LocalSGD, epochs: int = 1) -> LocalSGD:
    for _ in range(epochs):
        for images, labels in sgd.loader:
            sgd.step(nn.functional.cross_entropy(sgd.model(images), labels))
    return sgd


# -- what is counted ---------------------------------------------------------------------------


def test_every_noisy_step_is_counted_at_the_rate_of_its_sample() -> None:
    sgd = train(local(), epochs=3)
    assert sgd.steps == 12
    ((event, count),) = sgd.event().events
    assert count == 12
    assert isinstance(event, Sampled)
    assert event.event == Gaussian(1.0)
    # float32 coins below 1/4 come up with 1/4, and what is charged is no less
    assert 0.25 <= event.probability <= 0.25 + 2.0**-22


def test_the_price_is_our_accountants_and_close_to_an_independent_one() -> None:
    ours = engine("prv")
    sgd = train(local(engine=ours, noise_multiplier=1.2), epochs=5)
    priced = Composed(((Sampled(sgd.rate, Gaussian(1.2)), 20),))
    assert sgd.epsilon(DELTA) == ReductionAccountant().epsilon(priced, DELTA)
    assert len(ours.accountant) == 1  # Opacus was told, for checkpoints
    assert ours.accountant.history == [(1.2, 0.25, 20)]
    assert ours.accountant.get_epsilon(DELTA) == pytest.approx(sgd.epsilon(DELTA), rel=0.02)


def test_without_sampling_the_price_is_the_closed_form() -> None:
    sgd = train(local(data=loader(batch=40)), epochs=2)
    assert sgd.rate == 1.0
    assert sgd.steps == 2
    assert sgd.epsilon(DELTA) == gaussian_epsilon(2, DELTA)


def test_no_step_costs_nothing_and_more_steps_cost_more() -> None:
    sgd = local()
    assert sgd.steps == 0
    assert sgd.event() == Composed(())
    assert sgd.epsilon(DELTA) == 0.0
    spent = train(sgd).epsilon(DELTA)
    assert 0 < spent < train(sgd).epsilon(DELTA)


def test_a_noise_schedule_is_priced_step_by_step() -> None:
    sgd = train(local())
    sgd.optimizer.noise_multiplier = 2.0
    train(sgd)
    assert [(event.event, count) for event, count in sgd.event().events] == [
        (Gaussian(1.0), 4),
        (Gaussian(2.0), 4),
    ]


def test_a_step_past_this_object_is_counted_too() -> None:
    sgd = local()
    images, labels = next(iter(loader()))
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Full backward hook", category=UserWarning)
        nn.functional.cross_entropy(sgd.model(images), labels).backward()
    sgd.optimizer.step()
    assert sgd.steps == 1


def test_an_empty_batch_is_a_step_with_noise_alone() -> None:
    model = nn.Linear(6, 3)
    sgd = local(model, loader(records=2, batch=1), rand=SeededRand(5))
    sizes = []
    for _ in range(8):
        for images, labels in sgd.loader:
            sizes.append(len(images))
            before = model.weight.detach().clone()
            sgd.step(nn.functional.cross_entropy(sgd.model(images), labels))
            assert not torch.equal(before, model.weight)
    assert 0 in sizes
    assert sgd.steps == len(sizes) == 16
    assert model.weight.isfinite().all()


def test_the_noise_has_the_deviation_that_is_charged() -> None:
    model = nn.Linear(200, 100, bias=False)
    data = DataLoader(TensorDataset(torch.zeros(40, 200), torch.zeros(40, 100)), batch_size=10)
    sgd = local(model, data, rate=1.0, noise_multiplier=3.0, max_grad_norm=0.5)
    images, targets = next(iter(sgd.loader))
    before = model.weight.detach().clone()
    sgd.step(nn.functional.mse_loss(sgd.model(images), targets))  # zeros in, so no gradient
    noise = (model.weight - before).detach() * 10  # of the sum over the expected batch
    assert float(noise.std()) == pytest.approx(3.0 * 0.5, rel=5 / math.sqrt(2 * 20_000))


def test_one_example_moves_the_sum_by_the_norm_at_most() -> None:
    model = nn.Linear(6, 3)
    nn.init.zeros_(model.weight)
    data = DataLoader(TensorDataset(torch.full((1, 6), 1e4), torch.tensor([1])))
    sgd = local(model, data, rate=1.0, noise_multiplier=1e-6, max_grad_norm=0.5)
    before = nn.utils.parameters_to_vector(model.parameters()).detach().clone()
    train(sgd)
    moved = nn.utils.parameters_to_vector(model.parameters()).detach() - before
    assert float(moved.norm()) == pytest.approx(0.5, rel=1e-4)


# -- the key -----------------------------------------------------------------------------------


def weights_after(key: int, public_seed: int) -> Any:
    model = nn.Linear(6, 3)
    nn.init.zeros_(model.weight)
    nn.init.zeros_(model.bias)
    torch.manual_seed(public_seed)
    train(local(model, rand=SeededRand(key)))
    return model.weight.detach().clone()


def test_noise_and_batches_follow_from_the_key_alone() -> None:
    """A training script seeds torch's global generator, and everybody knows with what."""
    assert torch.equal(weights_after(1, 0), weights_after(1, 9))
    assert not torch.equal(weights_after(1, 0), weights_after(2, 0))


def test_the_whole_state_of_the_generator_is_secret() -> None:
    """32 bits of seed are a search of hours, and are all that `manual_seed` keeps."""
    folded = [torch.Generator().manual_seed(5 + (high << 32)) for high in (0, 1)]
    assert torch.equal(*(torch.rand(8, generator=generator) for generator in folded))
    key = os.urandom(4 * 624)
    words = _generator(lambda size: key[:size]).get_state().numpy()[24 : 24 + 8 * 624]
    assert np.array_equal(words.view(np.uint64), np.frombuffer(key, "<u4"))
    for byte in (4, 1584, 2495):  # each decides on what is drawn
        changed = bytearray(key)
        changed[byte] ^= 1
        generators = [_generator(lambda size, k=k: bytes(k)) for k in (key, changed)]
        drawn = [torch.randint(1 << 30, (1300,), generator=each) for each in generators]
        assert not torch.equal(*drawn)


def test_an_unknown_layout_of_the_state_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    class Other:
        def manual_seed(self, seed: int) -> Other:
            return self

        def get_state(self) -> Any:
            return torch.zeros(5056, dtype=torch.uint8)

    monkeypatch.setattr(torch, "Generator", Other)
    with pytest.raises(RandomnessError, match="unknown layout"):
        _generator(os.urandom)


def test_a_short_key_is_refused() -> None:
    with pytest.raises(RandomnessError, match=r"rand\(2496\)"):
        local(rand=lambda size: bytes(16))


# -- what is refused ---------------------------------------------------------------------------


@pytest.mark.parametrize("mechanism", ["rdp", "prv"])
def test_engines_with_a_bound_are_used(mechanism: str) -> None:
    given = engine(mechanism)
    assert train(local(engine=given)).steps == 4
    assert sum(count for *_, count in given.accountant.history) == 4


def test_an_engine_that_understates_is_refused() -> None:
    with pytest.raises(ParameterError, match="understates epsilon"):
        local(engine=engine("gdp"))


def test_an_engine_is_known_by_what_its_accountant_says_it_is() -> None:
    unsound = SimpleNamespace(accountant=SimpleNamespace(mechanism=lambda: "gdp"))
    with pytest.raises(ParameterError, match="understates epsilon"):
        local(engine=unsound)


def test_that_engine_does_understate() -> None:
    """Below even the optimistic distribution, which no mechanism can beat."""
    central_limit = engine("gdp").accountant
    central_limit.history = [(1.5, 0.04, 2250)]
    least = pld.from_gaussian_mechanism(
        1.5,
        sampling_prob=0.04,
        pessimistic_estimate=False,
        value_discretization_interval=1e-4,
        use_connect_dots=False,
    )
    true = least.self_compose(2250).get_epsilon_for_delta(DELTA)
    bound = ReductionAccountant().epsilon(Composed(((Sampled(0.04, Gaussian(1.5)), 2250),)), DELTA)
    assert central_limit.get_epsilon(DELTA) < true <= bound


@pytest.mark.parametrize("multiplier", [0.0, -1.0, math.nan, math.inf])
def test_noise_without_a_price_is_refused(multiplier: float) -> None:
    with pytest.raises(ParameterError, match="noise_multiplier"):
        local(noise_multiplier=multiplier)


@pytest.mark.parametrize("norm", [0.0, -1.0, math.nan, math.inf])
def test_norms_that_bound_nothing_are_refused(norm: float) -> None:
    with pytest.raises(ParameterError, match="max_grad_norm"):
        local(max_grad_norm=norm)


def test_a_loader_without_a_batch_is_refused() -> None:
    nothing = TensorDataset(torch.zeros(0, 6), torch.zeros(0, dtype=torch.int64))
    for empty in (DataLoader(nothing), loader(records=3, batch=10, drop_last=True)):
        with pytest.raises(ParameterError, match=r"len\(loader.*\) > 0 must hold"):
            local(data=empty)
    assert train(local(data=loader(records=3, batch=3, drop_last=True))).steps == 1


def test_a_loader_without_a_length_is_refused() -> None:
    class Stream(IterableDataset[Any]):
        def __iter__(self) -> Any:
            yield from loader()

    with pytest.raises(ParameterError, match="has no length"):
        local(data=DataLoader(Stream()))


def test_batches_that_opacus_takes_for_empty_on_average_are_refused() -> None:
    """49 * (1 / 49) is below 1 in float64, and Opacus would divide noise by its integer part."""
    assert int(49 * (1 / 49)) == 0
    with pytest.raises(ParameterError, match="expected_batch_size >= 1, not 0"):
        local(data=loader(records=49, batch=1))
    assert train(local(data=loader(records=48, batch=1))).steps == 48


def test_modules_that_mix_examples_are_refused_by_opacus() -> None:
    with pytest.raises(UnsupportedModuleError, match="BatchNorm"):
        local(nn.Sequential(nn.Linear(6, 4), nn.BatchNorm1d(4), nn.Linear(4, 3)))
    assert train(local(nn.Sequential(nn.Linear(6, 4), nn.GroupNorm(2, 4), nn.Linear(4, 3)))).steps


def test_parameters_that_are_not_finite_are_refused() -> None:
    model = nn.Linear(6, 3)
    with torch.no_grad():
        model.weight[1, 2] = math.nan
    with pytest.raises(InputRefused, match="parameter 'weight' is not finite"):
        local(model)


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_an_example_without_a_gradient_changes_no_parameter(value: float) -> None:
    """No norm bounds it: it would go into the model as it is."""
    data = loader(batch=40)
    data.dataset.tensors[0][3, 3] = value
    model = nn.Linear(6, 3)
    before = model.weight.detach().clone()
    sgd = local(model, data)
    with pytest.raises(InputRefused, match="a gradient is not finite") as refused:
        train(sgd)
    assert "nan" not in str(refused.value)
    assert torch.equal(model.weight, before)
    assert sgd.steps == 1  # charged all the same


def test_models_elsewhere_are_refused() -> None:
    with pytest.raises(ParameterError, match="'weight' is not on the CPU"):
        local(nn.Linear(6, 3, device="meta"))


def test_without_opacus_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    imported = builtins.__import__

    def without(name: str, *rest: Any, **options: Any) -> Any:
        if name.partition(".")[0] == "opacus":
            raise ModuleNotFoundError(name)
        return imported(name, *rest, **options)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(ImportError, match=r"pip install 'secagg\[torch,dp\]'"):
        local()


# -- afterwards --------------------------------------------------------------------------------


def test_a_model_can_be_trained_again_when_it_is_let_go() -> None:
    model = nn.Linear(6, 3)
    first = train(local(model))
    with pytest.raises(ValueError, match="twice"):
        local(model)
    first.detach()
    second = train(local(model, rand=SeededRand(1)))
    both = Composed.of(first.event(), second.event())
    assert both.events == ((Sampled(first.rate, Gaussian(1.0)), 8),)


def test_what_is_printed_has_no_data() -> None:
    assert repr(train(local())) == "<LocalSGD after 4 steps at rate 0.25>"


def test_a_report_keeps_the_two_promises_apart() -> None:
    record = Composed(((Sampled(0.1, Gaussian(1.0)), 10),))
    report = PrivacyReport.of(record=record, user=Gaussian(0.5), delta=DELTA)
    priced = ReductionAccountant()
    assert report.record == (priced.epsilon(record, DELTA), DELTA)
    assert report.user == (priced.epsilon(Gaussian(0.5), DELTA), DELTA)
    assert str(PrivacyReport(record=(1.2345, 1e-5), user=(8.0, 1e-6))) == (
        "one record: (1.234, 1e-05)-DP; one client: (8, 1e-06)-DP"
    )
