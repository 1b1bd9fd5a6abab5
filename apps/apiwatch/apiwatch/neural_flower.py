"""Federated averaging of the byte CNN in Flower, over secure sums.

Needs `pip install 'apiwatch[neural]'`: torch, and Flower with its simulation engine, in which each
site trains in a process of its own. Flower's FedAvg is wrapped in `SecureAggregation`, so that it
sees means and no site's update: both sides of the comparison pay for secrecy.
"""
# ruff: noqa: E402 -- Flower and Ray read the environment when they are imported

from __future__ import annotations

import os
from collections.abc import Mapping
from tempfile import TemporaryDirectory

# nothing is reported to anybody about a run
for _name in ("FLWR_TELEMETRY_ENABLED", "RAY_USAGE_STATS_ENABLED"):
    os.environ.setdefault(_name, "0")

from flwr.app import Array, ArrayRecord, Context, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp
from flwr.serverapp import Grid, ServerApp
from flwr.serverapp.strategy import FedAvg
from flwr.simulation import run_simulation
from protocols.adapters.flower import (
    SecureAggregation,
    SecurePlan,
    enroll,
    mod_from,
    simulated_settings,
)
from secagg.quantize import NormClip

from apiwatch.errors import RoundFailed
from apiwatch.neural import (
    Arrays,
    ByteNetwork,
    Learning,
    Pairs,
    arrays_of,
    network_of,
    require_sites,
    trained,
)
from apiwatch.settings import require

__all__ = ["averaged"]

_CLIP = 8.0  # of an update of one site; in the benchmark none is as large, so none is scaled down
_ENGINE: dict[str, dict[str, int | float | str | bytes | bool | list[int]]] = {
    "client_resources": {"num_cpus": 1},
    "init_args": {"log_to_driver": False},
}

_PATIENCE = 600.0
"""Seconds: the engine starts its workers in the first exchange, on a busy machine for minutes."""


def averaged(
    sites: Mapping[int, Pairs],
    classes: int,
    how: Learning,
    start: Arrays | None = None,
    done: int = 0,
) -> tuple[ByteNetwork, int]:
    """Federated averaging [McMahan17] by secure sums: the network, and bytes that one site sent.

    sites: pairs of text and class, of four sites or more. start: what `done` rounds have led to,
    and which is gone on with, or None for the beginning. Raises `RoundFailed` where a round
    released nothing.
    """
    require(len(sites) >= 4, "sites >= 4", len(sites))
    require_sites(sites, classes)
    with TemporaryDirectory() as folder:
        enroll(folder, len(sites))
        strategy = _strategy(folder, sites)
        models: list[Arrays] = []
        first = arrays_of(ByteNetwork.fresh(classes)) if start is None else start
        server = _server(strategy, models, first, how)
        client = _client(folder, [sites[site] for site in sorted(sites)], classes, how, done)
        run_simulation(server, client, len(sites), backend_config=_ENGINE)
    for number, failure in strategy.failures.items():
        raise RoundFailed(f"round {number} ended without a mean") from failure
    sent = sum(r.received // len(r.included) for r in strategy.reports.values())
    return network_of(models[-1], classes), sent


def _strategy(folder: str, sites: Mapping[int, Pairs]) -> SecureAggregation:
    count = len(sites)
    weight = max(len(pairs) for pairs in sites.values())
    return SecureAggregation(
        FedAvg(fraction_evaluate=0.0, min_train_nodes=count, min_available_nodes=count),
        plan=SecurePlan(clip=NormClip(_CLIP), max_weight=weight, least_clients=count),
        identity=f"{folder}/server.key",
        roster=f"{folder}/roster.json",
        deadline=_PATIENCE,
    )


def _server(
    strategy: SecureAggregation, models: list[Arrays], first: Arrays, how: Learning
) -> ServerApp:
    """models: the last of them is what the rounds led to."""
    app = ServerApp()

    def main(grid: Grid, _: Context) -> None:
        ended = strategy.start(grid, _record(first), num_rounds=how.rounds)
        models.append(_arrays(ended.arrays))

    app.main()(main)
    return app


def _client(folder: str, sites: list[Pairs], classes: int, how: Learning, done: int) -> ClientApp:
    app = ClientApp(mods=[mod_from(simulated_settings(folder))])

    def train(message: Message, context: Context) -> Message:
        site = int(context.node_config["partition-id"])
        number = done + int(message.content["config"]["server-round"])
        after = trained(
            _arrays(message.content["arrays"]), sites[site], classes, how, (number, site)
        )
        metrics = MetricRecord({"num-examples": len(sites[site])})
        return Message(RecordDict({"arrays": _record(after), "metrics": metrics}), reply_to=message)

    app.train()(train)
    return app


def _record(arrays: Arrays) -> ArrayRecord:
    return ArrayRecord({name: Array(array) for name, array in arrays.items()})


def _arrays(record: ArrayRecord) -> Arrays:
    return {name: array.numpy() for name, array in record.items()}
