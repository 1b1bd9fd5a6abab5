"""Five clients train with record-level privacy; the sum of their updates has user-level noise."""

import argparse
import os
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from dp import Composed
from dp.local_opacus import LocalSGD, PrivacyReport
from protocols import DistributedNoise, RoundPlan, model_digest
from protocols.demo.data import Examples, split_digits
from protocols.simulate import run_round
from secagg.quantize import NormClip
from secagg.structure_torch import from_state_dict, to_state_dict

CLIENTS, DELTA = 5, 1e-5
Weights = Mapping[str, Any]


def main() -> None:
    options = parsed()
    digits = split_digits(CLIENTS, 10.0, np.random.default_rng(0))
    weights: Weights = {"weight": np.zeros((10, 64), np.float32), "bias": np.zeros(10, np.float32)}
    plan = RoundPlan.for_update(
        weights,
        clients=CLIENTS,
        clip=NormClip(2.0),
        privacy=DistributedNoise(multiplier=options.user_noise),
        corrupt=0.2,
        dropout=0.2,
    )
    session = os.urandom(16)
    record, user = dict.fromkeys(digits.clients, Composed(())), Composed(())
    for number in range(1, options.rounds + 1):
        trained = {i: train(weights, own, options) for i, own in digits.clients.items()}
        outcome = run_round(
            plan,
            {i: (update, 1) for i, (update, _) in trained.items()},
            session=session,
            number=number,
            model=model_digest(weights),
        )
        assert outcome.result is not None, outcome.failure
        weights = {name: weights[name] + outcome.result.mean[name] for name in weights}
        record = {i: Composed.of(record[i], event) for i, (_, event) in trained.items()}
        user = Composed.of(user, plan.event)
        right = accuracy(weights, digits.test)
        report = worst(record, user)
        print(f"round {number}: {right:.1%} right, exact: {outcome.exact}; {report}")


def train(
    weights: Weights, examples: Examples, options: argparse.Namespace
) -> tuple[Weights, Composed]:
    """One client, one epoch: its update, and what that tells about one of its digits."""
    model = network(weights)
    data = TensorDataset(torch.from_numpy(examples.images), torch.from_numpy(examples.labels))
    sgd = LocalSGD(
        model,
        torch.optim.SGD(model.parameters(), lr=2.0),
        DataLoader(data, batch_size=32),
        noise_multiplier=options.record_noise,
        max_grad_norm=1.0,
        rand=os.urandom,
    )
    for images, labels in sgd.loader:
        sgd.step(nn.functional.cross_entropy(sgd.model(images), labels))
    after = from_state_dict(model.state_dict())[0]
    return {name: after[name] - weights[name] for name in after}, sgd.event()


def network(weights: Weights) -> nn.Linear:
    model = nn.Linear(64, 10)
    spec = from_state_dict(model.state_dict())[1]
    model.load_state_dict(to_state_dict(weights, spec))
    return model


def accuracy(weights: Weights, examples: Examples) -> float:
    guessed = network(weights)(torch.from_numpy(examples.images)).argmax(1).numpy()
    return float((guessed == examples.labels).mean())


def worst(record: Mapping[int, Composed], user: Composed) -> PrivacyReport:
    """Of the client whose digits are protected least."""
    reports = [PrivacyReport.of(record=own, user=user, delta=DELTA) for own in record.values()]
    return max(reports, key=lambda report: report.record)


def parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=8)
    parser.add_argument("--record-noise", type=float, default=1.0, help="over the gradient norm")
    parser.add_argument("--user-noise", type=float, default=0.2, help="over the update norm")
    return parser.parse_args()


if __name__ == "__main__":
    main()
