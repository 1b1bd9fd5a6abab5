"""What the server runs: Flower's FedAvg, wrapped."""

from __future__ import annotations

import time
from collections.abc import Callable

from flwr.app import ArrayRecord, Context, MetricRecord
from flwr.serverapp import Grid, ServerApp
from flwr.serverapp.strategy import FedAvg
from task import accuracy, digits, fresh, from_record, to_record

from protocols.adapters.flower import SecureAggregation, SecurePlan
from secagg.quantize import NormClip

LEAST = 4  # a round of fewer clients is not started

app = ServerApp()

Score = Callable[[int, ArrayRecord], MetricRecord]


@app.main()
def main(grid: Grid, context: Context) -> None:
    """Federated averaging over secure sums."""
    federate(grid, context, scoreboard(context))


def federate(grid: Grid, context: Context, score: Score) -> None:
    """All rounds; `score` sees the global model before the first and after each."""
    config = context.run_config
    strategy = SecureAggregation(
        FedAvg(fraction_evaluate=0.0, min_train_nodes=LEAST, min_available_nodes=LEAST),
        plan=SecurePlan(clip=NormClip(8.0), max_weight=1000, least_clients=LEAST),
        identity=str(config["server-identity"]),
        roster=str(config["roster"]),
    )
    _gather(grid, int(config["num-clients"]), seconds=float(config["gathering"]))
    strategy.start(
        grid,
        to_record(fresh(int(config["seed"]))),
        num_rounds=int(config["num-server-rounds"]),
        timeout=float(config["stage-timeout"]),
        evaluate_fn=score,
    )


def _gather(grid: Grid, clients: int, seconds: float) -> None:
    """Wait until that many nodes are there, or that long."""
    deadline = time.monotonic() + seconds
    while len(list(grid.get_node_ids())) < clients and time.monotonic() < deadline:
        time.sleep(0.5)


def scoreboard(context: Context) -> Score:
    """Scores the global model on digits that nobody trained on."""
    test = digits(context.run_config).test

    def score(_: int, arrays: ArrayRecord) -> MetricRecord:
        return MetricRecord({"accuracy": accuracy(from_record(arrays), test)})

    return score
