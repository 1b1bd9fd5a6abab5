"""The model, 64-64-10 with one hidden layer, and what a client does with it between two rounds."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from protocols.demo.data import LABELS, PIXELS, Examples
from secagg.structure_torch import from_state_dict, to_state_dict

__all__ = ["Tree", "accuracy", "fresh", "local_update", "step"]

Tree = dict[str, NDArray[np.float32]]
_HIDDEN = 64


def fresh(seed: int) -> Tree:
    """The weights that everybody starts from."""
    torch.manual_seed(seed)
    return _weights(_network())


def local_update(
    weights: Tree,
    examples: Examples,
    *,
    epochs: int,
    batch: int,
    learning_rate: float,
    rng: np.random.Generator,
) -> Tree:
    """What SGD on one client's examples changes: its weights minus those it started from."""
    network = _loaded(weights)
    optimizer = torch.optim.SGD(network.parameters(), lr=learning_rate)
    images, labels = torch.from_numpy(examples.images), torch.from_numpy(examples.labels)
    for _ in range(epochs):
        order = torch.from_numpy(rng.permutation(len(examples)))
        for start in range(0, len(examples), batch):
            rows = order[start : start + batch]
            optimizer.zero_grad()
            loss = nn.functional.cross_entropy(network(images[rows]), labels[rows])
            torch.autograd.backward(loss)
            optimizer.step()
    after = _weights(network)
    return {name: after[name] - weights[name] for name in weights}


def step(weights: Tree, mean: Tree) -> Tree:
    """The next global model."""
    return {name: weights[name] + mean[name] for name in weights}


def accuracy(weights: Tree, examples: Examples) -> float:
    """The fraction of `examples` that the model labels rightly."""
    with torch.no_grad():
        found = _loaded(weights)(torch.from_numpy(examples.images)).argmax(1).numpy()
    return float((found == examples.labels).mean())


def _network() -> nn.Sequential:
    return nn.Sequential(nn.Linear(PIXELS, _HIDDEN), nn.ReLU(), nn.Linear(_HIDDEN, LABELS))


def _loaded(weights: Tree) -> nn.Sequential:
    network = _network()
    spec = from_state_dict(network.state_dict())[1]
    network.load_state_dict(to_state_dict(weights, spec))
    return network


def _weights(network: nn.Sequential) -> Tree:
    # Views of the network's memory, which is why no network outlives the function that made it.
    return from_state_dict(network.state_dict())[0]
