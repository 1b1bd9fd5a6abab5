"""The peer: SecAgg+ of Flower, its own workflow and client modifier, in this process.

Nothing of the peer is changed or replaced. What surrounds it is the least it runs with, to its
advantage: a grid that is a function call, a strategy that passes the mean through instead of
averaging n equal copies, an update that is serialized before the clock starts, no model to
download. Messages pass through Flower's own serialization, outside the clock: it makes the byte
counts, and it keeps one client's changes to a message from another client.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.cost import Account, Cost, Meter, summarize
from benchmarks.secagg_round import Tick
from benchmarks.workload import CLIP, MAX_WEIGHT, Workload

os.environ.update(  # read when flwr is imported
    FLWR_TELEMETRY_ENABLED="0", FLWR_DISABLE_UPDATE_CHECK="1", RAY_USAGE_STATS_ENABLED="0"
)

from flwr.app import ConfigRecord, Context, Message, RecordDict
from flwr.client.mod import secaggplus_mod
from flwr.common import (
    Code,
    FitIns,
    FitRes,
    Parameters,
    Status,
    ndarrays_to_parameters,
    parameters_to_ndarrays,
)
from flwr.common.secure_aggregation.secaggplus_constants import (
    RECORD_KEY_CONFIGS,
    Key,
    Stage,
)
from flwr.common.serde import recorddict_from_proto, recorddict_to_proto
from flwr.compat.common import recorddict_compat
from flwr.server.client_manager import SimpleClientManager
from flwr.server.client_proxy import ClientProxy
from flwr.server.compat import LegacyContext
from flwr.server.compat.grid_client_proxy import GridClientProxy
from flwr.server.strategy import Strategy
from flwr.server.workflow import SecAggPlusWorkflow
from flwr.server.workflow.constant import MAIN_CONFIGS_RECORD, MAIN_PARAMS_RECORD
from flwr.server.workflow.constant import Key as WorkflowKey
from flwr.serverapp import Grid
from flwr.supercore.run import Run
from flwr.supercore.task_identity import TaskIdentity

__all__ = ["run"]

logging.getLogger("flwr").setLevel(logging.ERROR)

_RUN = 1
_NOTHING = Parameters(tensors=[], tensor_type="numpy.ndarray")


def run(workload: Workload, tick: Tick) -> Cost:
    """One round of the peer at our Shamir threshold, every client a neighbour of every other."""
    TaskIdentity.run_id, TaskIdentity.task_id, TaskIdentity.node_id = _RUN, 1, 0
    clients = {node: _Client(workload, node) for node in workload.ids}
    grid = _Grid(clients, workload.lost, tick)
    strategy = _PassThrough([GridClientProxy(node, grid, _RUN) for node in workload.ids])
    workflow = SecAggPlusWorkflow(
        num_shares=workload.clients,
        reconstruction_threshold=workload.scheme.shares_needed,
        max_weight=float(MAX_WEIGHT),
        clipping_range=CLIP,
    )
    whole = Meter()
    context = _context(strategy)
    with whole:
        workflow(grid, context)
    if strategy.released is None:
        raise RuntimeError("the peer's workflow halted: see its log")
    return summarize(
        (client.account for node, client in clients.items() if node in workload.survivors),
        server_cpu=whole.seconds - grid.meter.seconds,
        error=workload.error(strategy.released),
    )


def _context(strategy: Strategy) -> LegacyContext:
    state = RecordDict()
    state.config_records[MAIN_CONFIGS_RECORD] = ConfigRecord({WorkflowKey.CURRENT_ROUND: 1})
    state.array_records[MAIN_PARAMS_RECORD] = recorddict_compat.parameters_to_arrayrecord(
        _NOTHING, keep_input=True
    )
    context = Context(run_id=_RUN, node_id=0, node_config={}, state=state, run_config={})
    return LegacyContext(context, strategy=strategy, client_manager=SimpleClientManager())


class _Client:
    """One client: the modifier around a training function that has its result at hand."""

    def __init__(self, workload: Workload, node: int) -> None:
        self.account = Account()
        self._workload = workload
        self._node = node
        self._context = Context(
            run_id=_RUN, node_id=node, node_config={}, state=RecordDict(), run_config={}
        )

    def answer(self, message: Message) -> Message:
        """The modifier's reply."""
        train = self._trained() if _stage(message) == Stage.COLLECT_MASKED_VECTORS else _untrained
        with self.account.cpu:
            return secaggplus_mod(message, self._context, train)

    def _trained(self) -> Callable[[Message, Context], Message]:
        result = FitRes(
            status=Status(Code.OK, ""),
            parameters=ndarrays_to_parameters([self._workload.update(self._node)]),
            num_examples=self._workload.weight(self._node),
            metrics={},
        )
        content = recorddict_compat.fitres_to_recorddict(result, keep_input=False)
        return lambda message, _: Message(content, reply_to=message)


def _untrained(message: Message, context: Context) -> Message:
    raise AssertionError("only the masked stage trains")


class _Grid(Grid):
    """Hands messages to clients by function calls. Its meter runs while the server waits."""

    def __init__(self, clients: dict[int, _Client], lost: Iterable[int], tick: Tick) -> None:
        self.meter = Meter()
        self._clients = clients
        self._lost = frozenset(lost)
        self._tick = tick

    def send_and_receive(
        self, messages: Iterable[Message], *, timeout: float | None = None
    ) -> list[Message]:
        with self.meter:
            answers = (self._exchange(message) for message in messages)
            return [answer for answer in answers if answer is not None]

    def _exchange(self, message: Message) -> Message | None:
        node = message.metadata.dst_node_id
        self._tick()
        if node in self._lost and _stage(message) == Stage.COLLECT_MASKED_VECTORS:
            return None
        client = self._clients[node]
        message.content, size = _carry(message.content)
        client.account.received += size
        answer = client.answer(message)
        answer.content, size = _carry(answer.content)
        client.account.sent += size
        return answer

    def get_node_ids(self) -> list[int]:
        return list(self._clients)

    def set_run(self, run: Run) -> None:
        raise NotImplementedError("the workflow does not ask for it")

    @property
    def run(self) -> Run:
        raise NotImplementedError("the workflow does not ask for it")

    def create_message(self, *args: Any, **kwargs: Any) -> Message:
        raise NotImplementedError("the workflow does not ask for it")

    def push_messages(self, messages: Iterable[Message]) -> Iterable[str]:
        raise NotImplementedError("the workflow does not ask for it")

    def pull_messages(self, message_ids: Iterable[str]) -> Iterable[Message]:
        raise NotImplementedError("the workflow does not ask for it")


def _carry(content: RecordDict) -> tuple[RecordDict, int]:
    """The same content as the other end gets it, and its bytes."""
    sent = recorddict_to_proto(content)
    return recorddict_from_proto(sent), sent.ByteSize()


def _stage(message: Message) -> str:
    return str(message.content.config_records[RECORD_KEY_CONFIGS][Key.STAGE])


class _PassThrough(Strategy):
    """Invites everybody, and keeps the mean that the workflow hands to every result."""

    def __init__(self, proxies: list[GridClientProxy]) -> None:
        self._proxies = proxies
        self.released: NDArray[np.float64] | None = None

    def configure_fit(self, *_: Any, **__: Any) -> list[tuple[ClientProxy, FitIns]]:
        return [(proxy, FitIns(_NOTHING, {})) for proxy in self._proxies]

    def aggregate_fit(
        self, server_round: int, results: list[tuple[Any, FitRes]], failures: list[Any]
    ) -> tuple[Parameters, dict[str, Any]]:
        mean = results[0][1].parameters
        (self.released,) = parameters_to_ndarrays(mean)
        return mean, {}

    def initialize_parameters(self, client_manager: Any) -> None:
        return None

    def configure_evaluate(self, *_: Any, **__: Any) -> list[Any]:
        return []

    def aggregate_evaluate(self, *_: Any, **__: Any) -> tuple[None, dict[str, Any]]:
        return None, {}

    def evaluate(self, server_round: int, parameters: Parameters) -> None:
        return None
