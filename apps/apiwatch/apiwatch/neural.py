"""A byte CNN: what closed-form sums are compared with. `neural_flower.py` averages it over sites.

Needs `pip install 'apiwatch[neural]'`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from apiwatch.settings import require

__all__ = [
    "Arrays",
    "ByteNetwork",
    "Learning",
    "Pairs",
    "arrays_of",
    "averages",
    "fitted",
    "network_of",
    "require_sites",
    "responses",
    "trained",
]

_LENGTH = 128
_BATCH = 64
_TEMPERATURE = 0.1
Pairs = Sequence[tuple[str, int]]
Arrays = Mapping[str, NDArray[np.float32]]
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

    @classmethod
    def fresh(cls, classes: int) -> Self:
        """Before any training: the same for everybody."""
        with torch.random.fork_rng():
            torch.manual_seed(1)
            return cls(classes)

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
        parts = [network(_rows(texts[i : i + 512])) for i in range(0, max(len(texts), 1), 512)]
        logs = functional.log_softmax(torch.cat(parts), dim=1)
    return np.asarray(logs.numpy(), np.float64)


def fitted(pairs: Pairs, classes: int, how: Learning) -> ByteNetwork:
    """On pairs of text and class in one place, as many passes as there would be rounds."""
    require_sites({0: pairs}, classes)
    network = ByteNetwork.fresh(classes)
    for number in range(how.rounds):
        _pass(network, pairs, how, (number, 0))
    return network


def trained(
    start: Arrays, pairs: Pairs, classes: int, how: Learning, turn: tuple[int, int]
) -> Arrays:
    """The network after one pass of a site. turn: round and site, of which the order is made."""
    network = network_of(start, classes)
    _pass(network, pairs, how, turn)
    return arrays_of(network)


def averages(
    sites: Mapping[int, Pairs], classes: int, how: Learning, start: Arrays | None = None
) -> Iterator[ByteNetwork]:
    """Federated averaging [McMahan17] in the clear: the network after each round.

    start: other weights to begin with than the fresh ones.
    `neural_flower.averaged` gives the last of them, but for the rounding of its sums.
    """
    require_sites(sites, classes)
    model = arrays_of(ByteNetwork.fresh(classes)) if start is None else start
    share = np.array([len(sites[site]) for site in sorted(sites)], np.float64)
    share /= share.sum()
    for number in range(1, how.rounds + 1):
        after = [
            trained(model, sites[site], classes, how, (number, index))
            for index, site in enumerate(sorted(sites))
        ]
        model = {
            name: np.einsum("s,s...->...", share, np.stack([one[name] for one in after])).astype(
                np.float32
            )
            for name in model
        }
        yield network_of(model, classes)


def require_sites(sites: Mapping[int, Pairs], classes: int) -> None:
    """Raises `ParameterError` for a site without examples, and for a class that there is not."""
    for site, pairs in sites.items():
        require(len(pairs) >= 1, f"examples of site {site} >= 1", len(pairs))
        most = max(label for _, label in pairs)
        least = min(label for _, label in pairs)
        require(least >= 0 and most < classes, f"0 <= class < {classes}", (least, most))


def arrays_of(network: ByteNetwork) -> Arrays:
    """Its weights, by name."""
    return {name: value.detach().numpy().copy() for name, value in network.state_dict().items()}


def network_of(arrays: Arrays, classes: int) -> ByteNetwork:
    """The network of these weights."""
    network = ByteNetwork(classes)
    network.load_state_dict(
        {name: torch.from_numpy(np.array(array, np.float32)) for name, array in arrays.items()}
    )
    return network


def _pass(network: ByteNetwork, pairs: Pairs, how: Learning, turn: tuple[int, int]) -> None:
    optimizer = torch.optim.Adam(network.parameters(), how.rate)
    dice = torch.Generator().manual_seed(turn[0] << 16 | turn[1])
    order = torch.randperm(len(pairs), generator=dice).tolist()
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
