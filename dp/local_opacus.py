"""Record-level privacy on one client: Opacus trains, the cost is counted here. Extra: `torch`.

    sgd = LocalSGD(model, optimizer, loader, rand=os.urandom,
                   noise_multiplier=1.0, max_grad_norm=1.0)
    for images, labels in sgd.loader:
        sgd.step(cross_entropy(sgd.model(images), labels))
    sgd.epsilon(1e-5)

It bounds what the trained model tells about *one example* of this client to whoever sees the model,
its update or any sum that the update goes into. The noise of a `dp.Mechanism` bounds what a sum
tells about *one client*. They are two promises, and `PrivacyReport` keeps them apart.

Opacus draws Gaussian noise as float32 from torch's generator. That is not the exact sampling of
`dp.noise`: it has the right deviation, but an adversary that solves for the state of a Mersenne
twister, or reads low-order bits of floats [Mironov12], is not in the model of the figure. Opacus's
`secure_mode` is no way out: it needs torchcsprng, of which no version runs on a torch that this
package supports. The generator's key, at least, is a secret here (see `_generator`).
"""

from __future__ import annotations

import math
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from dp.account import Accountant
from dp.account_reduction import ReductionAccountant
from dp.errors import InputRefused, ParameterError, RandomnessError, require
from dp.events import Composed, Event, Gaussian, Sampled
from dp.sample import Rand, draw

if TYPE_CHECKING:
    from torch import Generator, Tensor, nn
    from torch.optim import Optimizer
    from torch.utils.data import DataLoader

__all__ = ["LocalSGD", "PrivacyReport"]

_STATE, _HEAD, _WORDS = 5056, 24, 624  # bytes, bytes, words of 8: torch's saved MT19937
_RESOLUTION = 2.0**-23  # the sampler's coin has 24 bits, and the rate that it meets is a float32
_HOOKS = "Full backward hook is firing"  # for an input that needs no gradient: meant to be so


class LocalSGD:
    """A model, an optimizer and a loader made private by Opacus, with a count of the noisy steps.

    model, loader: to train with, in the place of those that were given. Batches are Poisson
    samples: each example joins by itself with probability `rate`, so sizes vary and a batch may be
    empty. Empty batches are steps too: whoever skips them tells that they were empty.
    optimizer: Opacus's, which clips the gradient of each example to L2 norm `max_grad_norm` and
    adds noise of `noise_multiplier * max_grad_norm` to their sum.

    rand: reads 2496 bytes, the key of noise and sampling; whoever knows it can take the noise off.
    engine: an Opacus `PrivacyEngine` to use; its accountant is kept informed and never asked.

    The figures hold if gradients are per example, which a loss that compares examples with one
    another breaks unnoticed; Opacus refuses modules that do, such as BatchNorm, by its own
    `UnsupportedModuleError`.

    Raises `ParameterError` for noise or norm out of range, a loader without a batch, a model that
    is not on the CPU and an engine that accounts by "gdp"; `InputRefused` for parameters that are
    not finite; `ImportError` without Opacus.
    """

    def __init__(
        self,
        model: nn.Module,
        optimizer: Optimizer,
        loader: DataLoader[Any],
        *,
        noise_multiplier: float,
        max_grad_norm: float,
        rand: Rand,
        engine: Any = None,
    ) -> None:
        Gaussian(noise_multiplier)  # refuses what no accountant could price
        require(0 < max_grad_norm < math.inf, f"0 < max_grad_norm < inf, not {max_grad_norm!r},")
        _check_loader(loader)
        _check_parameters(model)
        engine = _checked(engine) if engine is not None else _engine()
        generator = _generator(rand)
        self.model, self.optimizer, self.loader = engine.make_private(
            module=model,
            optimizer=optimizer,
            data_loader=loader,
            noise_multiplier=noise_multiplier,
            max_grad_norm=max_grad_norm,
            noise_generator=generator,
            poisson_sampling=True,
        )
        # Opacus truncates n * (1 / batches), which float64 can put below 1, and divides by it
        expected = self.optimizer.expected_batch_size
        require(expected >= 1, f"expected_batch_size >= 1, not {expected},")
        self.loader.batch_sampler.generator = generator  # else torch's global one, often seeded
        self._multipliers: Counter[float] = Counter()
        self._inform: Callable[[Any], None] = self.optimizer.step_hook
        self.optimizer.attach_step_hook(self._noised)

    @property
    def rate(self) -> float:
        """The probability with which an example joins a batch, rounded up."""
        return min(1.0, float(self.loader.sample_rate) + _RESOLUTION)

    @property
    def steps(self) -> int:
        """Noisy steps so far, this object's own count."""
        return self._multipliers.total()

    def step(self, loss: Tensor) -> None:
        """One noisy step down the mean `loss` of a batch.

        Raises `InputRefused` where the gradient is not finite; parameters are as before then.
        """
        import torch  # noqa: PLC0415

        with _silent(_HOOKS):
            self.optimizer.zero_grad()
            torch.autograd.backward(loss)
            self.optimizer.step()

    def event(self) -> Composed:
        """All steps so far, for an accountant: one record's gradients in or out of the sums."""
        return Composed(
            tuple((Sampled(self.rate, Gaussian(z)), n) for z, n in self._multipliers.items())
        )

    def epsilon(self, delta: float, accountant: Accountant | None = None) -> float:
        """What the steps so far cost one record, by `ReductionAccountant` unless told otherwise.

        The sampling counts against the server too: it knows which clients took part, but not which
        of their examples did. 0 without a step.
        """
        return (accountant or ReductionAccountant()).epsilon(self.event(), delta)

    def detach(self) -> None:
        """Take Opacus's hooks off the model, which keeps what it learned. No step after this."""
        self.model.remove_hooks()

    def _noised(self, optimizer: Any) -> None:
        """Called by Opacus with noise in the gradients, before parameters change."""
        self._multipliers[float(optimizer.noise_multiplier)] += 1
        self._inform(optimizer)
        if not all(bool(p.grad.isfinite().all()) for p in optimizer.params):
            raise InputRefused("a gradient is not finite: an example, or the learning rate")

    def __repr__(self) -> str:
        return f"<LocalSGD after {self.steps} steps at rate {self.rate:.4g}>"


@dataclass(frozen=True)
class PrivacyReport:
    """Two promises, each (epsilon, delta).

    record: for one example of one client, against whoever sees that client's update or a sum of it.
    user: for all that one client adds, against whoever sees the sums.
    """

    record: tuple[float, float]
    user: tuple[float, float]

    @classmethod
    def of(cls, *, record: Event, user: Event, delta: float) -> Self:
        """Of these events, both at `delta`, by `ReductionAccountant`."""
        priced = ReductionAccountant()
        return cls((priced.epsilon(record, delta), delta), (priced.epsilon(user, delta), delta))

    def __str__(self) -> str:
        pairs = ("one record", self.record), ("one client", self.user)
        return "; ".join(f"{whom}: ({eps:.4g}, {delta:.4g})-DP" for whom, (eps, delta) in pairs)


def _engine() -> Any:
    try:
        from opacus import PrivacyEngine  # noqa: PLC0415  # `import dp` must not need it
    except ImportError as error:
        message = "record-level privacy needs Opacus: pip install 'secagg[torch,dp]'"
        raise ImportError(message) from error
    with _silent("Secure RNG turned off"):
        return PrivacyEngine(accountant="rdp")


def _checked(engine: Any) -> Any:
    """The engine, unless its own figures are too low to have lying around."""
    if engine.accountant.mechanism() == "gdp":
        raise ParameterError(
            'an engine with accountant="gdp" understates epsilon: it takes the central limit of '
            'many steps for their law; take "rdp" or "prv"'
        )
    return engine


def _check_loader(loader: Any) -> None:
    if not hasattr(loader.dataset, "__len__"):
        raise ParameterError("the loader's dataset has no length: a stream cannot be sampled from")
    require(len(loader.dataset) > 0, "len(loader.dataset) > 0")
    require(len(loader) > 0, "len(loader) > 0")


def _check_parameters(model: nn.Module) -> None:
    for name, parameter in model.named_parameters():
        if parameter.device.type != "cpu":
            raise ParameterError(f"parameter {name!r} is not on the CPU, where the noise is drawn")
        if not bool(parameter.isfinite().all()):
            raise InputRefused(f"parameter {name!r} is not finite")


def _generator(rand: Rand) -> Generator:
    """A torch generator with its whole state from `rand`.

    `manual_seed` keeps 32 bits of what it is given, and torch's global generator is seeded through
    it: a server that tries all seeds against an update finds the noise.
    """
    import torch  # noqa: PLC0415

    generator = torch.Generator().manual_seed(1)
    state = generator.get_state()
    words = state.numpy()[_HEAD : _HEAD + 8 * _WORDS].view(np.uint64)
    if state.numel() != _STATE or words[0] != 1:  # the twister's first word is its seed
        raise RandomnessError("this torch keeps the state of its generator in an unknown layout")
    words[:] = np.frombuffer(draw(4 * _WORDS, rand), "<u4")
    return generator.set_state(state)


@contextmanager
def _silent(start: str) -> Iterator[None]:
    """Without the one warning that begins like this."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=start, category=UserWarning)
        yield
