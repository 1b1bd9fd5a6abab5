"""The task: scikit-learn's digits, a 64-64-10 network, and Flower's records of its weights."""

from __future__ import annotations

import numpy as np
import torch
from flwr.app import Array, ArrayRecord, UserConfig

from protocols.demo.data import Digits, Examples, split_digits
from protocols.demo.model import Tree, accuracy, fresh, local_update, step

torch.set_num_threads(1)  # the model is so small that threads only get in each other's way

__all__ = ["Tree", "accuracy", "digits", "fresh", "from_record", "to_record", "trained"]


def digits(config: UserConfig) -> Digits:
    """Everybody's digits: each party draws the same split from the seed."""
    rng = np.random.default_rng(int(config["seed"]))
    return split_digits(int(config["num-clients"]), float(config["alpha"]), rng)


def trained(weights: Tree, examples: Examples, config: UserConfig) -> Tree:
    """The weights after some epochs of SGD on one client's examples."""
    change = local_update(
        weights,
        examples,
        epochs=int(config["local-epochs"]),
        batch=int(config["batch-size"]),
        learning_rate=float(config["learning-rate"]),
        rng=np.random.default_rng(),
    )
    return step(weights, change)


def to_record(weights: Tree) -> ArrayRecord:
    """The weights as Flower sends them."""
    return ArrayRecord({name: Array(value) for name, value in weights.items()})


def from_record(record: ArrayRecord) -> Tree:
    """The weights that Flower sent."""
    return {name: np.asarray(array.numpy(), np.float32) for name, array in record.items()}
