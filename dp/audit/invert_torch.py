"""Records from a sum of updates, by looking for records whose updates sum to it. Needs torch.

The attacker replays what the clients did, local steps included, on records of its own making, and
moves these until their sum is the one that it saw [Zhu19]. One step of SGD shows the gradient.
Where there is noise, it asks for the likeliest records, of pixels normal around their class's.

Weak models make this attack fail where a stronger attacker would not: it is worth something only
beside a figure for a sum of one client, where it must succeed.

[Zhu19]  Zhu, Liu, Han: Deep Leakage from Gradients, NeurIPS 2019.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from dp.audit.attack import Access, Array, Attack, Goal, View
from dp.audit.records_mean import ClassMean
from dp.errors import require

try:
    import torch
    from torch import Tensor
except ImportError as error:
    raise ImportError("inversion needs torch: pip install 'secagg[torch]'") from error

__all__ = ["Inversion", "Logits", "local_updates"]

Logits = Callable[[Tensor, Tensor], Tensor]
"""Weights of n models (n, d) and inputs (n, b, f) -> logits (n, b, c), twice differentiable."""

_SPREAD = 0.05  # of first guesses around the class mean, so that records of one class differ
_PIXEL = 0.2  # the deviation of a pixel around its class's mean; digits have 0.22


@dataclass(frozen=True, kw_only=True)
class Inversion(Attack):
    """Gradient matching by L-BFGS from the class means.

    The labels (m,) are those of client 0 first, as many for each of the `n` clients, a size that
    the view must name. An attacker who does not know labels does worse.

    model: what clients train. steps, rate: of their SGD, on all of their records in each step.
    iterations: of the search. sketched: whether a sketch is seen, and its map, in place of the sum.

    Raises `ParameterError` unless steps >= 1, rate > 0 and iterations >= 1.
    """

    goal = Goal.RECORDS
    model: Logits
    steps: int = 1
    rate: float = 0.1
    iterations: int = 200
    sketched: bool = False

    @property
    def name(self) -> str:
        return "inversion of a sketch" if self.sketched else "inversion"

    @property
    def needs(self) -> frozenset[Access]:
        """The model, labels and class means, and the sum or what takes its place."""
        prior = {Access.WEIGHTS, Access.LABELS, Access.TYPICAL, Access.NOISE}
        seen = {Access.STATISTIC, Access.PROJECTION} if self.sketched else {Access.SUM}
        return frozenset(prior | seen)

    def __post_init__(self) -> None:
        require(self.steps >= 1, f"steps >= 1, not {self.steps!r},")
        require(0 < self.rate < np.inf, f"0 < rate < infinity, not {self.rate!r},")
        require(self.iterations >= 1, f"iterations >= 1, not {self.iterations!r},")

    @property
    def control(self) -> Attack:
        return ClassMean()

    def conclude(self, view: View, rng: np.random.Generator, /) -> Array:
        clients, records = view.size("n"), view.size("m")
        require(clients >= 1 and records % clients == 0, "n >= 1 that divides m")
        typical = ClassMean().conclude(view, rng)
        first = typical + _SPREAD * rng.standard_normal(typical.shape)
        shape = (clients, records // clients, -1)
        inputs = torch.tensor(first.reshape(shape), requires_grad=True)
        self._search(inputs, self._distance(inputs, torch.tensor(typical.reshape(shape)), view))
        found: Array = inputs.detach().numpy().reshape(records, -1)
        return np.clip(np.nan_to_num(found), 0, 1)

    def _distance(self, inputs: Tensor, typical: Tensor, view: View) -> Callable[[], Tensor]:
        """How unlikely `inputs` are: squares of the residual, and of what is unlike the class."""
        labels = torch.tensor(view[Access.LABELS].astype(np.int64)).reshape(typical.shape[:2])
        weights = torch.tensor(view[Access.WEIGHTS])
        project = torch.tensor(view[Access.PROJECTION]) if self.sketched else None
        total = torch.tensor(view[Access.STATISTIC if self.sketched else Access.SUM])
        unit = float(total.square().sum()) or 1.0
        strangeness = (float(view[Access.NOISE]) / _PIXEL) ** 2 / unit

        def distance() -> Tensor:
            rows = local_updates(self.model, weights, inputs, labels, self.steps, self.rate)
            ours = rows.sum(dim=0)
            ours = ours if project is None else project @ ours
            residual = (ours - total).square().sum() / unit
            return residual + strangeness * (inputs - typical).square().sum()

        return distance

    def _search(self, inputs: Tensor, distance: Callable[[], Tensor]) -> None:
        """Move `inputs` in place to where the distance is least."""
        search: Any = torch.optim.LBFGS(
            [inputs],
            max_iter=self.iterations,
            tolerance_grad=1e-14,
            tolerance_change=1e-16,
            history_size=50,
            line_search_fn="strong_wolfe",
        )

        def evaluated() -> Tensor:
            (inputs.grad,) = torch.autograd.grad(loss := distance(), inputs)
            return loss

        search.step(evaluated)


def local_updates(
    model: Logits, weights: Tensor, inputs: Tensor, labels: Tensor, steps: int, rate: float
) -> Tensor:
    """What each client's SGD changes, (n, d): all its records (n, b, f) in each step."""
    start = weights.expand(len(inputs), -1)
    trained = start.clone().requires_grad_(True)
    for _ in range(steps):
        logits = model(trained, inputs)
        loss = torch.nn.functional.cross_entropy(
            logits.flatten(0, 1), labels.flatten(), reduction="sum"
        )
        (slope,) = torch.autograd.grad(loss / labels.shape[1], trained, create_graph=True)
        trained = trained - rate * slope
    return trained - start
