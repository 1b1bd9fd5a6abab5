"""The two sides of the comparison, each as its user runs it, around the same `Task`.

Theirs: `SecAggPlusWorkflow` in a `LegacyContext`, `secaggplus_mod` around a `NumPyClient`. Ours:
`SecureAggregation` around Flower's `FedAvg`, `secure_aggregation_mod` around `@app.train()`, keys
and journals in files. Nothing of either is changed or replaced. Every fit has its result at hand.
"""

from __future__ import annotations

import logging
import math
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from flwr.app import Array, ArrayRecord, ConfigRecord, Context, Message, MetricRecord, RecordDict
from flwr.client import Client, NumPyClient
from flwr.client.mod import secaggplus_mod
from flwr.clientapp import ClientApp
from flwr.common import ndarrays_to_parameters, parameters_to_ndarrays
from flwr.compat.common import recorddict_compat
from flwr.server.client_manager import SimpleClientManager
from flwr.server.compat import LegacyContext
from flwr.server.compat.grid_client_proxy import GridClientProxy
from flwr.server.strategy import FedAvg as LegacyFedAvg
from flwr.server.workflow import SecAggPlusWorkflow
from flwr.server.workflow.constant import MAIN_CONFIGS_RECORD, MAIN_PARAMS_RECORD
from flwr.server.workflow.constant import Key as WorkflowKey
from flwr.serverapp.strategy import FedAvg

from benchmarks.flower_grid import RUN, MeteredGrid, OutOfTime, context_of
from benchmarks.flower_task import RIGHT, Arrays, Outcome, Task
from benchmarks.secagg_round import Tick
from protocols.adapters.flower import (
    SecureAggregation,
    SecurePlan,
    enroll,
    secure_aggregation_mod,
)
from secagg.errors import SecAggError
from secagg.quantize import RangeClip
from secagg.schemes.secagg_plus import SecAggPlusBrief

__all__ = ["run_ours", "run_theirs"]

_log = logging.getLogger("flwr")

_DEADLINE = 0.05  # the grid has answered before it returns: whoever has not by then is lost


@dataclass(frozen=True)
class _Release:
    """What a run left behind: arrays and who is in them, or the reason why there are none."""

    arrays: Arrays | None
    contributors: frozenset[int]
    reasons: tuple[str, ...] = ()


def run_theirs(
    task: Task,
    lost: frozenset[tuple[str, int]],
    tick: Tick,
    limit: float,
    shares: int | None = None,
) -> Outcome:
    """One round; `shares` per key, by default one for every client. At most `limit` CPU seconds."""
    app = ClientApp(_client_fn(task), mods=[secaggplus_mod])
    grid = MeteredGrid(app, {node: context_of(node) for node in task.ids}, tick, limit)
    grid.lost = lost
    return _measured(task, grid, lambda: _their_release(task, grid, shares))


def run_ours(
    task: Task, lost: frozenset[tuple[str, int]], tick: Tick, limit: float, *, first: bool = False
) -> Outcome:
    """A steady round, thus the second; with `first`, the first, for a roster that lists one client
    more than connects, so that the others are asked who they are. At most `limit` CPU seconds.
    """
    with tempfile.TemporaryDirectory(prefix="secagg-") as name:
        folder = Path(name)
        enroll(folder, task.clients + first)
        contexts = {node: _context(folder, node) for node in task.ids}
        grid = MeteredGrid(_app(task), contexts, tick, limit)
        return _measured(
            task, grid, lambda: _our_release(task, grid, folder, lost, 1 if first else 2)
        )


# -- theirs ------------------------------------------------------------------------------------


def _client_fn(task: Task) -> Callable[[Context], Client]:
    class Trained(NumPyClient):
        def __init__(self, node: int) -> None:
            self._node = node

        def fit(self, parameters: Any, config: Any) -> tuple[list[Any], int, dict[str, Any]]:
            return list(task.trained[self._node].values()), task.weight(self._node), {}

    return lambda context: Trained(context.node_id).to_client()


def _their_release(task: Task, grid: MeteredGrid, shares: int | None) -> _Release:
    context = _legacy_context(task, grid)
    before = context.state.array_records[MAIN_PARAMS_RECORD]
    workflow = SecAggPlusWorkflow(
        num_shares=shares or task.clients,
        reconstruction_threshold=2 if shares else _threshold(task),
        max_weight=float(task.max_weight),
        clipping_range=task.clip,
    )
    grid.restart()
    with _last_error() as logged, np.errstate(all="ignore"):
        workflow(grid, context)
        grid.stop()
    after = context.state.array_records[MAIN_PARAMS_RECORD]
    if after is before:
        return _Release(None, frozenset(), (*logged[-1:], *grid.errors[:1]))
    arrays = parameters_to_ndarrays(recorddict_compat.arrayrecord_to_parameters(after, True))
    contributors = grid.answered["collect_masked_vectors"]
    return _Release(dict(zip(task.model, arrays, strict=True)), frozenset(contributors))


def _legacy_context(task: Task, grid: MeteredGrid) -> LegacyContext:
    clients = SimpleClientManager()
    for node in task.ids:
        clients.register(GridClientProxy(node, grid, RUN))
    state = RecordDict()
    state.config_records[MAIN_CONFIGS_RECORD] = ConfigRecord({WorkflowKey.CURRENT_ROUND: 1})
    model = ndarrays_to_parameters(list(task.model.values()))
    state.array_records[MAIN_PARAMS_RECORD] = recorddict_compat.parameters_to_arrayrecord(
        model, keep_input=True
    )
    context = Context(run_id=RUN, node_id=0, node_config={}, state=state, run_config={})
    strategy = LegacyFedAvg(min_fit_clients=task.clients, min_available_clients=task.clients)
    return LegacyContext(context, strategy=strategy, client_manager=clients)


def _threshold(task: Task) -> int:
    """Ours for as many clients, so that both withstand the same drop-outs."""
    scheme = _plan(task).round_plan(task.clients, task.dimension, 0).scheme
    assert isinstance(scheme, SecAggPlusBrief)
    return scheme.shares_needed


# -- ours --------------------------------------------------------------------------------------


def _app(task: Task) -> ClientApp:
    app = ClientApp(mods=[secure_aggregation_mod])

    @app.train()
    def train(message: Message, context: Context) -> Message:
        node = context.node_id
        arrays = ArrayRecord({name: Array(a) for name, a in task.trained[node].items()})
        metrics = MetricRecord({"num-examples": task.weight(node)})
        return Message(RecordDict({"arrays": arrays, "metrics": metrics}), reply_to=message)

    return app


def _context(folder: Path, node: int) -> Context:
    key, roster = str(folder / f"client-{node}.key"), str(folder / "roster.json")
    return context_of(node, **{"secagg-identity": key, "secagg-roster": roster})


def _plan(task: Task) -> SecurePlan:
    return SecurePlan(clip=RangeClip(task.clip), max_weight=task.max_weight)


def _our_release(
    task: Task, grid: MeteredGrid, folder: Path, lost: frozenset[tuple[str, int]], measured: int
) -> _Release:
    model = ArrayRecord({name: Array(array) for name, array in task.model.items()})
    released: list[ArrayRecord] = []

    def border(number: int, arrays: ArrayRecord) -> None:
        """Between rounds: what comes before the measured one is not measured."""
        released.append(arrays)
        if number == measured - 1:
            grid.restart()
            grid.lost = lost
        elif number == measured:
            grid.stop()

    with _last_error():
        strategy = SecureAggregation(
            FedAvg(fraction_evaluate=0.0, min_train_nodes=2, min_available_nodes=2),
            plan=_plan(task),
            identity=folder / "server.key",
            roster=folder / "roster.json",
            deadline=_DEADLINE,
            poll=_DEADLINE,
        )
        strategy.start(grid, model, num_rounds=measured, evaluate_fn=border)
    if (failure := strategy.failures.get(measured)) is not None:
        because = f"{type(failure).__name__}: {failure}"
        return _Release(None, frozenset(), (*grid.errors[:1], because))
    arrays = {name: array.numpy() for name, array in released[measured].items()}
    return _Release(arrays, frozenset(grid.answered["train"]))


# -- both --------------------------------------------------------------------------------------


def _measured(task: Task, grid: MeteredGrid, run: Callable[[], _Release]) -> Outcome:
    assert task.trained  # made before the clock runs
    grid.start()
    try:
        release = run()
    except OutOfTime as error:
        return _outcome(grid, 0, "time", remarks=(str(error),))
    except (SecAggError, ValueError) as error:
        return _outcome(grid, 0, "nothing", remarks=(f"{type(error).__name__}: {error}",))
    if release.arrays is None:
        return _outcome(grid, 0, "nothing", remarks=release.reasons)
    deviation = task.deviation(release.arrays, release.contributors)
    kept = all(release.arrays[name].dtype == array.dtype for name, array in task.model.items())
    return _outcome(
        grid,
        len(release.contributors),
        "right" if deviation <= RIGHT else "off",
        deviation=deviation if math.isfinite(deviation) else None,
        remarks=() if kept else (f"comes back as {release.arrays['weights'].dtype}",),
    )


def _outcome(
    grid: MeteredGrid,
    contributors: int,
    verdict: str,
    *,
    remarks: tuple[str, ...],
    deviation: float | None = None,
) -> Outcome:
    return Outcome(
        exchanges=tuple(grid.exchanges),
        server_cpu=grid.server_cpu,
        client_cpu=grid.mean(lambda account: account.cpu.seconds),
        upload=grid.mean(lambda account: account.sent),
        download=grid.mean(lambda account: account.received),
        contributors=contributors,
        verdict=verdict,
        deviation=deviation,
        remarks=remarks,
    )


@contextmanager
def _last_error() -> Iterator[list[str]]:
    """What Flower logs as errors, kept instead of printed."""
    found: list[str] = []
    handler = logging.Handler(logging.ERROR)
    handler.emit = lambda record: found.append(record.getMessage())  # type: ignore[method-assign]
    handlers, level = list(_log.handlers), _log.level
    _log.handlers[:] = [handler]
    _log.setLevel(logging.ERROR)
    try:
        yield found
    finally:
        _log.handlers[:] = handlers
        _log.setLevel(level)
