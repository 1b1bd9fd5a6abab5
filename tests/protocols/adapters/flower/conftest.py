"""Flower without a network: a grid that calls each client's app, and loses what it is told to."""

from __future__ import annotations

import copy
import functools
import itertools
import os
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import pytest

pytest.importorskip("flwr", reason="flwr is not installed: pip install 'secagg[flower]'")

from flwr.app import (
    Array,
    ArrayRecord,
    ConfigRecord,
    Context,
    Error,
    Message,
    MetricRecord,
    RecordDict,
)
from flwr.clientapp import ClientApp
from flwr.serverapp import Grid
from flwr.serverapp.strategy import FedAvg
from flwr.supercore.task_identity import TaskIdentity

from protocols.adapters.flower import (
    SecureAggregation,
    SecurePlan,
    enroll,
    secure_aggregation_mod,
)
from protocols.screening import SketchScreen
from protocols.testing import Arrays, Fault, Reply, RoundOutcome, Train
from secagg.quantize import NormClip

SUPERLINK = 1


@pytest.fixture(scope="module", autouse=True)
def power_that_does_not_fail() -> Iterator[None]:
    """Nodes here die and come back, machines do not, so what is written needs no `fsync`: the
    tests of journals, ledgers and keys wait for it.
    """
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda handle: None)
        yield


@dataclass
class LocalGrid(Grid):
    """Nodes are contexts; every message is copied, as a network would.

    unavailable: stages and nodes in whose place the SuperLink answers, with an error of its own.
    intercept: sees every message before its client and may return another one, or None to lose
    it. on_reply: the same for replies; `None` loses the reply, after the client has worked.
    """

    app: ClientApp
    contexts: dict[int, Context]
    intercept: Callable[[str, Message], Message | None] = lambda stage, message: message
    on_reply: Callable[[str, Message], Message | None] = lambda stage, reply: reply
    unavailable: set[tuple[str, int]] = field(default_factory=set)
    exchanges: list[list[str]] = field(default_factory=list)
    replies: list[Message] = field(default_factory=list)

    def __post_init__(self) -> None:
        TaskIdentity.run_id, TaskIdentity.node_id, TaskIdentity.task_id = 7, SUPERLINK, 1
        self._ids = itertools.count(1)
        self._waiting: dict[str, Message] = {}

    def get_node_ids(self) -> Iterable[int]:
        return list(self.contexts)

    def push_messages(self, messages: Iterable[Message]) -> Iterable[str]:
        sent = list(messages)
        self.exchanges.append([stage_of(message) for message in sent])
        return [self._deliver(copy.deepcopy(message)) for message in sent]

    def pull_messages(self, message_ids: Iterable[str]) -> Iterable[Message]:
        return [self._waiting.pop(name) for name in list(message_ids) if name in self._waiting]

    def send_and_receive(
        self, messages: Iterable[Message], *, timeout: float | None = None
    ) -> Iterable[Message]:
        return self.pull_messages(self.push_messages(messages))

    def _deliver(self, message: Message) -> str:
        name = message.metadata.__dict__["_message_id"] = f"m{next(self._ids)}"
        stage = message.metadata.__dict__["_group_id"] = stage_of(message)
        if (stage, message.metadata.dst_node_id) in self.unavailable:
            reply = Message(Error(5, "Node unavailable."), reply_to=message)
            reply.metadata.__dict__["_src_node_id"] = SUPERLINK
            self._waiting[name] = reply
            return name
        arrived = self.intercept(stage, message)
        if arrived is None or arrived.metadata.dst_node_id not in self.contexts:
            return name
        reply = self.on_reply(stage, self.run_client(arrived))
        if reply is not None:
            self.replies.append(copy.deepcopy(reply))
            self._waiting[name] = reply
        return name

    def restart(self, node: int, new: int) -> None:
        """A SuperNode starts again: another id, and no state."""
        old = self.contexts.pop(node)
        self.contexts[new] = Context(7, new, old.node_config, RecordDict(), {})

    def run_client(self, message: Message) -> Message:
        context = self.contexts[message.metadata.dst_node_id]
        before = copy.deepcopy(context.state)
        try:
            reply = self.app(message, context)
        except Exception as error:
            context.state = before  # as the simulation does
            return Message(Error(2, repr(error)), reply_to=message)
        return copy.deepcopy(reply)

    def set_run(self, run: Any) -> None:
        raise NotImplementedError

    @property
    def run(self) -> Any:
        raise NotImplementedError

    def create_message(self, *args: Any, **kwargs: Any) -> Message:
        raise NotImplementedError


def stage_of(message: Message) -> str:
    record = message.content.config_records.get("secagg") if message.has_content() else None
    return message.metadata.message_type if record is None else str(record["stage"])


def contexts_for(folder: Path, clients: int, **config: Any) -> dict[int, Context]:
    """One context per enrolled client, under a node id that is not its party id."""
    run = uuid.uuid4().hex
    budgeted = "secagg-epsilon" in config
    return {
        1000 + 7 * party: Context(
            run_id=7,
            node_id=1000 + 7 * party,
            node_config={
                "partition-id": party,
                "secagg-identity": str(folder / f"client-{party}.key"),
                "secagg-roster": str(folder / "roster.json"),
                "secagg-journal": str(folder / f"{run}-{party}.journal"),
                **({"secagg-ledger": str(folder / f"{run}-{party}.ledger")} if budgeted else {}),
                **config,
            },
            state=RecordDict(),
            run_config={},
        )
        for party in range(1, clients + 1)
    }


# -- the federation of the conformance suite ------------------------------------------------------


class FlowerFederation:
    """`protocols.testing.Federation` over a `LocalGrid` and Flower's own `Strategy.start`."""

    def __init__(
        self,
        *,
        train: Train,
        faults: Sequence[Fault],
        clients: int,
        folder: Path,
        mods: Sequence[Any] = (secure_aggregation_mod,),
        config: Mapping[str, Any] = MappingProxyType({}),
        **terms: Any,
    ) -> None:
        if not (folder / "roster.json").exists():
            enroll(folder, clients)
        self._faults = {(fault.round, fault.stage, fault.party): fault for fault in faults}
        self._round = 1
        self._states: dict[int, list[RecordDict]] = {}
        self.grid = LocalGrid(
            app_of(train, mods),
            contexts_for(folder, clients, **config),
            intercept=self._on_message,
            on_reply=self._on_reply,
        )
        self.strategy = SecureAggregation(
            FedAvg(fraction_evaluate=0.0),
            plan=SecurePlan(clip=NormClip(terms.pop("clip")), **terms),
            identity=folder / "server.key",
            roster=folder / "roster.json",
            deadline=0.05,
            poll=0.001,
        )

    @property
    def exchanges(self) -> list[str]:
        return [stages[0] for stages in self.grid.exchanges if stages]

    @property
    def replies(self) -> list[Reply]:
        return [as_reply(reply) for reply in self.grid.replies]

    def run(self, model: Arrays, rounds: int) -> list[RoundOutcome]:
        models: list[Arrays] = []

        def keep(number: int, arrays: ArrayRecord) -> None:
            models.append(to_numpy(arrays))
            self._round = number + 1

        result = self.strategy.start(
            self.grid, to_record(model), num_rounds=rounds, evaluate_fn=keep
        )
        return [
            RoundOutcome(
                models[number],
                of_the_app(result.train_metrics_clientapp.get(number)),
                self.strategy.failures.get(number),
            )
            for number in range(1, rounds + 1)
        ]

    def ordinary(self, kind: str, model: Arrays) -> dict[str, Any]:
        content = RecordDict({"arrays": to_record(model), "config": ConfigRecord()})
        node = next(iter(self.grid.contexts))
        self.grid.contexts[node].node_config["secagg-required"] = False
        message = Message(content, node, kind)
        (reply,) = self.grid.send_and_receive([message])
        return dict(next(iter(reply.content.metric_records.values())))

    def _on_message(self, stage: str, message: Message) -> Message | None:
        node = message.metadata.dst_node_id
        context = self.grid.contexts[node]
        states = self._states.setdefault(node, [])
        fault = self._fault(stage, node)
        if fault == "forgotten":
            context.state = RecordDict()
        elif fault == "stale":
            context.state = copy.deepcopy(states[-1])
        states.append(copy.deepcopy(context.state))
        match fault:
            case "lost":
                return None
            case "garbled":
                flip_a_bit(message)
            case "model":
                changed = to_numpy(message.content["arrays"])
                changed["bias"] = changed["bias"] + 1
                message.content["arrays"] = to_record(changed)
            case "twice":
                first = self.grid.run_client(copy.deepcopy(message))
                self.grid.replies.append(first)
        return message

    def _on_reply(self, stage: str, reply: Message) -> Message | None:
        fault = self._fault(stage, reply.metadata.src_node_id)
        if fault == "forged":
            flip_a_bit(reply)
        return None if fault == "late" else reply

    def _fault(self, stage: str, node: int) -> str | None:
        fault = self._faults.get((self._round, stage, (node - 1000) // 7))
        return None if fault is None else fault.kind


def app_of(train: Train, mods: Sequence[Any] = (secure_aggregation_mod,)) -> ClientApp:
    """A user's app: nothing in it knows of the protocol."""
    app = ClientApp(mods=list(mods))

    @app.train()
    def train_(message: Message, context: Context) -> Message:
        assert "secagg" not in message.content
        assert "secagg" not in context.state
        local = train(int(context.node_config["partition-id"]), to_numpy(message.content["arrays"]))
        metrics = MetricRecord({"num-examples": local.weight, **local.metrics})
        content = RecordDict({"arrays": to_record(local.arrays), "metrics": metrics})
        return Message(content, reply_to=message)

    @app.evaluate()
    def evaluate(message: Message, context: Context) -> Message:
        return Message(RecordDict({"metrics": MetricRecord({"score": 0.75})}), reply_to=message)

    return app


def of_the_app(metrics: Mapping[str, Any] | None) -> dict[str, Any] | None:
    """Without those in which the strategy counts whom it screened."""
    if metrics is None:
        return None
    return {name: value for name, value in metrics.items() if not name.startswith("secagg.")}


def to_record(arrays: Arrays) -> ArrayRecord:
    return ArrayRecord({name: Array(np.asarray(array)) for name, array in arrays.items()})


def to_numpy(record: ArrayRecord) -> dict[str, np.ndarray]:
    return {name: array.numpy() for name, array in record.items()}


def flip_a_bit(message: Message) -> None:
    array = next(iter(message.content["secagg.frames"].values()))
    frame = bytearray(array.data)
    frame[len(frame) // 2] ^= 4
    array.data = bytes(frame)


def as_reply(reply: Message) -> Reply:
    node = reply.metadata.src_node_id
    party = (node - 1000) // 7
    if reply.has_error():
        return Reply(reply.metadata.group_id, party, str(reply.error.reason), {})
    records: dict[str, Any] = {}
    for name, record in reply.content.items():
        if isinstance(record, ArrayRecord):
            values = {key: array.data for key, array in record.items()}
        else:
            values = dict(record)
        duplicate = records.keys() & values.keys()
        assert not duplicate, name
        records |= values
    return Reply(stage_of(reply), party, None, records)


@pytest.fixture(scope="session")
def enrolled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Keys of a server and five clients."""
    folder = tmp_path_factory.mktemp("enrolled")
    enroll(folder, 5)
    return folder


@pytest.fixture
def flower(enrolled: Path) -> Callable[..., FlowerFederation]:
    """Make a federation of the enrolled clients."""
    return functools.partial(FlowerFederation, folder=enrolled)


@pytest.fixture
def local_grid(enrolled: Path) -> Callable[..., LocalGrid]:
    """Make a grid of the enrolled clients from a training function."""

    def make(train: Train, mods: Sequence[Any] = (secure_aggregation_mod,), **config: Any) -> Any:
        return LocalGrid(app_of(train, mods), contexts_for(enrolled, 5, **config))

    return make


@pytest.fixture(name="to_record")
def to_record_() -> Callable[[Arrays], ArrayRecord]:
    """Arrays as Flower carries them."""
    return to_record


@pytest.fixture
def config_record() -> type[ConfigRecord]:
    """Flower's record of settings."""
    return ConfigRecord


@pytest.fixture
def grid_of() -> Callable[..., LocalGrid]:
    """Make a grid of five clients from an app and a folder of keys.

    first: the number of the first partition.
    """

    def make(app: ClientApp, folder: Path, first: int) -> LocalGrid:
        contexts = contexts_for(folder, 5)
        for number, context in enumerate(contexts.values(), first):
            context.node_config["partition-id"] = number
        return LocalGrid(app, contexts)

    return make


@pytest.fixture
def run(enrolled: Path) -> Callable[..., SecureAggregation]:
    """Rounds over a grid, of a model with the one array w; returns the strategy.

    grid, rounds, inner: as they are named. deadline: in seconds. Everything else is the plan's.
    """
    model = {"w": np.linspace(-1, 1, 6, dtype=np.float32)}

    def start(
        grid: Any, rounds: int = 1, deadline: float = 0.05, inner: Any = None, **terms: Any
    ) -> SecureAggregation:
        terms = {"clip": NormClip(100.0), "max_weight": 100, "dropout": 0.2, **terms}
        strategy = SecureAggregation(
            inner or FedAvg(fraction_evaluate=0.0),
            plan=SecurePlan(**terms),
            identity=enrolled / "server.key",
            roster=enrolled / "roster.json",
            deadline=deadline,
            poll=0.001,
        )
        strategy.start(grid, to_record(model), num_rounds=rounds)
        return strategy

    return start


# -- plans with a screen --------------------------------------------------------------------------


@pytest.fixture(scope="session")
def eight(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Keys of a server and eight clients."""
    folder = tmp_path_factory.mktemp("eight")
    enroll(folder, 8)
    return folder


@pytest.fixture
def screened_grid(eight: Path) -> Callable[..., LocalGrid]:
    """A grid of eight clients that open what any plan here asks for, unless `config` says less."""

    def make(train: Train, **config: Any) -> LocalGrid:
        config = {"secagg-floor-opened": 300, **config}
        return LocalGrid(app_of(train), contexts_for(eight, 8, **config))

    return make


@dataclass
class Screened:
    """A run: the strategy, the model after each round, and the metrics of its training."""

    strategy: SecureAggregation
    models: list[dict[str, np.ndarray]]
    metrics: Mapping[int, Any]


@pytest.fixture
def screened(eight: Path) -> Callable[..., Screened]:
    """Rounds of a plan with a screen over a grid of eight.

    options: of the strategy. terms: of the plan.
    """

    def start(
        grid: LocalGrid,
        model: Arrays,
        *,
        rounds: int = 1,
        options: Mapping[str, Any] = MappingProxyType({}),
        inner: Any = None,
        **terms: Any,
    ) -> Screened:
        terms = {"clip": NormClip(4.0), "max_weight": 100, **terms}
        terms.setdefault("screen", SketchScreen(rows=64))
        strategy = SecureAggregation(
            inner or FedAvg(fraction_evaluate=0.0),
            plan=SecurePlan(**terms),
            identity=eight / "server.key",
            roster=eight / "roster.json",
            deadline=0.05,
            poll=0.001,
            **options,
        )
        models: list[dict[str, np.ndarray]] = []
        result = strategy.start(
            grid,
            to_record(model),
            num_rounds=rounds,
            evaluate_fn=lambda _, arrays: models.append(to_numpy(arrays)),
        )
        return Screened(strategy, models, result.train_metrics_clientapp)

    return start
