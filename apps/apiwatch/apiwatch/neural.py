"""A byte CNN, and federated averaging of it: what closed-form sums are compared with.

Needs `pip install 'apiwatch[neural]'`. Averages go through the library's own rounds, drop-outs and
all, so that both sides of the comparison pay for secrecy.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from protocols.presets import malicious_safe
from protocols.simulate import Population, run_round
from secagg.quantize import NormClip
from torch import Tensor, nn
from torch.nn import functional

from apiwatch.errors import RoundFailed
from apiwatch.settings import require

__all__ = ["ByteNetwork", "Learning", "averaged", "fitted", "responses"]

_LENGTH = 128
_BATCH = 64
_TEMPERATURE = 0.1
_CLIP = 4.0  # of an update of one site: larger ones are scaled down
_Pairs = Sequence[tuple[str, int]]
_Floats = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class Learning:
    """rounds: of averaging, each with one pass over a site's examples. rate: of Adam. contrast:
    weight of the supervised contrastive loss [Khosla20], 0 for none.
    """

    rounds: int = 10
    rate: float = 2e-3
    contrast: float = 0.0

    def __post_init__(self) -> None:
        require(self.rounds >= 1, "rounds >= 1", self.rounds)
        require(0 < self.rate < 1, "0 < rate < 1", self.rate)
        require(0 <= self.contrast <= 1, "0 <= contrast <= 1", self.contrast)


class ByteNetwork(nn.Module):
    """The first 128 bytes -> an embedding -> a response for each class."""

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.bytes = nn.Embedding(257, 16, padding_idx=256)
        self.near = nn.Conv1d(16, 32, 5, padding=2)
        self.far = nn.Conv1d(32, 64, 5, padding=2)
        self.head = nn.Linear(64, classes)

    def embed(self, rows: Tensor) -> Tensor:
        """(n, 128) bytes -> (n, 64)."""
        near = functional.relu(self.near(self.bytes(rows).transpose(1, 2)))
        return functional.relu(self.far(near)).amax(dim=2)

    def forward(self, rows: Tensor) -> Tensor:
        """(n, 128) bytes -> (n, classes)."""
        scores: Tensor = self.head(self.embed(rows))
        return scores


def responses(network: ByteNetwork, texts: Sequence[str]) -> _Floats:
    """(n, classes) log-probabilities."""
    with torch.no_grad():
        parts = [network(_rows(texts[i : i + 512])) for i in range(0, len(texts), 512)]
        logs = functional.log_softmax(torch.cat(parts), dim=1)
    return np.asarray(logs.numpy(), np.float64)


def fitted(pairs: _Pairs, classes: int, how: Learning) -> ByteNetwork:
    """On pairs of text and class in one place, as many passes as there would be rounds."""
    torch.manual_seed(1)
    network = ByteNetwork(classes)
    for _ in range(how.rounds):
        _pass(network, pairs, how)
    return network


def averaged(sites: Mapping[int, _Pairs], classes: int, how: Learning) -> tuple[ByteNetwork, int]:
    """Federated averaging [McMahan17] by secure sums: the network, and bytes that one site sent."""
    torch.manual_seed(1)
    network = ByteNetwork(classes)
    population = Population.generate(sites)
    weight = max(len(pairs) for pairs in sites.values())
    sent = 0
    for number in range(how.rounds):
        start = _arrays(network)
        updates = {site: (_trained(start, p, classes, how), len(p)) for site, p in sites.items()}
        plan = malicious_safe(start, clients=len(sites), clip=NormClip(_CLIP), max_weight=weight)
        outcome = run_round(plan, updates, population=population, number=number)
        if outcome.result is None:
            raise RoundFailed(f"round {number} ended without a mean") from outcome.failure
        sent += max(cost.bytes_up for cost in outcome.clients.values())
        _load(network, {k: start[k] + v for k, v in outcome.result.mean.items()})
    return network, sent


def _trained(
    start: Mapping[str, NDArray[np.float32]], pairs: _Pairs, classes: int, how: Learning
) -> dict[str, NDArray[np.float32]]:
    """The update of one site."""
    network = ByteNetwork(classes)
    _load(network, start)
    _pass(network, pairs, how)
    return {name: array - start[name] for name, array in _arrays(network).items()}


def _pass(network: ByteNetwork, pairs: _Pairs, how: Learning) -> None:
    optimizer = torch.optim.Adam(network.parameters(), how.rate)
    order = torch.randperm(len(pairs)).tolist()
    for low in range(0, len(order), _BATCH):
        batch = [pairs[i] for i in order[low : low + _BATCH]]
        truth = torch.tensor([label for _, label in batch])
        embedded = network.embed(_rows([text for text, _ in batch]))
        loss = functional.cross_entropy(network.head(embedded), truth)
        if how.contrast:
            loss = loss + how.contrast * _contrastive(embedded, truth)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()


def _contrastive(embedded: Tensor, truth: Tensor) -> Tensor:
    """Examples of a class near each other, those of others apart [Khosla20, eq. 2]."""
    unit = functional.normalize(embedded, dim=1)
    alone = torch.eye(len(truth), dtype=torch.bool)
    logits = (unit @ unit.T / _TEMPERATURE).masked_fill(alone, -1e9)
    same = (truth[:, None] == truth[None]) & ~alone
    each = (functional.log_softmax(logits, dim=1) * same).sum(1) / same.sum(1).clamp(min=1)
    return -each.mean()


def _rows(texts: Sequence[str]) -> Tensor:
    rows = np.full((len(texts), _LENGTH), 256, np.int64)
    for row, text in zip(rows, texts, strict=True):
        data = text.encode("utf-8", "surrogatepass")[:_LENGTH]
        row[: len(data)] = np.frombuffer(data, np.uint8)
    return torch.from_numpy(rows)


def _arrays(network: ByteNetwork) -> dict[str, NDArray[np.float32]]:
    return {name: value.detach().numpy().copy() for name, value in network.state_dict().items()}


def _load(network: ByteNetwork, arrays: Mapping[str, NDArray[np.float32]]) -> None:
    network.load_state_dict(
        {name: torch.from_numpy(np.asarray(array, np.float32)) for name, array in arrays.items()}
    )
