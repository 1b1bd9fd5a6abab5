"""A Flower grid that is a function call, for both sides: it loses what it is told to, and counts.

Messages pass through Flower's own serialization in both directions, on nobody's clock: it makes the
byte counts, and it keeps one party's changes to a message from the others.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from itertools import count
from statistics import fmean
from typing import Any

from flwr.app import Context, Error, Message, RecordDict
from flwr.common.secure_aggregation.secaggplus_constants import RECORD_KEY_CONFIGS, Key
from flwr.common.serde import recorddict_from_proto, recorddict_to_proto
from flwr.serverapp import Grid
from flwr.supercore.run import Run
from flwr.supercore.task_identity import TaskIdentity

from benchmarks.cost import Account, Meter
from benchmarks.secagg_round import Tick

__all__ = ["RUN", "MeteredGrid", "OutOfTime", "context_of"]

RUN = 1

App = Callable[[Message, Context], Message]

# What an app raises reaches the server as an error reply; these are what either side's do raise.
_OF_AN_APP = (ArithmeticError, LookupError, TypeError, ValueError)
_LEGACY, _OURS = RECORD_KEY_CONFIGS, "secagg"


class OutOfTime(RuntimeError):
    """The run took more processor time than it was given."""


class MeteredGrid(Grid):
    """Clients by node id, each with its context and account.

    limit: CPU seconds from `start` on, looked at before each message; then `OutOfTime`.

    lost: stages and nodes; such a message is never answered, and its client never sees it.
    answered: by stage, the nodes whose replies were no errors. errors: the reasons of the others.
    """

    def __init__(self, app: App, contexts: Mapping[int, Context], tick: Tick, limit: float) -> None:
        TaskIdentity.run_id, TaskIdentity.task_id, TaskIdentity.node_id = RUN, 1, 0
        self.lost: frozenset[tuple[str, int]] = frozenset()
        self._app = app
        self._contexts = contexts
        self._tick = tick
        self._limit = limit
        self._names = count(1)
        self._waiting: dict[str, Message] = {}
        self.start()

    def start(self) -> None:
        """The whole run begins."""
        self._end = time.process_time() + self._limit
        self.restart()

    def restart(self) -> None:
        """Forget what was counted: the round to measure begins."""
        self.accounts = {node: Account() for node in self._contexts}
        self.exchanges: list[str] = []
        self.answered: dict[str, set[int]] = {}
        self.errors: list[str] = []
        self.server_cpu = 0.0
        self._here = Meter()
        self._since = time.process_time()

    def stop(self) -> None:
        """The measured round is over: `server_cpu` is what was spent since the restart outside
        this grid, in seconds.
        """
        self.server_cpu = time.process_time() - self._since - self._here.seconds

    def mean(self, figure: Callable[[Account], float]) -> float:
        """A figure's mean over the clients that answered in the last exchange."""
        last = self.answered.get(self.exchanges[-1]) if self.exchanges else None
        return fmean(figure(self.accounts[node]) for node in last or self.accounts)

    # -- Flower's interface -------------------------------------------------------------------

    def get_node_ids(self) -> list[int]:
        return list(self._contexts)

    def push_messages(self, messages: Iterable[Message]) -> list[str]:
        with self._here:
            sent = list(messages)
            if sent:
                self.exchanges.append(_stage(sent[0]))
            return [self._deliver(message) for message in sent]

    def pull_messages(self, message_ids: Iterable[str]) -> list[Message]:
        return [self._waiting.pop(name) for name in list(message_ids) if name in self._waiting]

    def send_and_receive(
        self, messages: Iterable[Message], *, timeout: float | None = None
    ) -> list[Message]:
        return self.pull_messages(self.push_messages(messages))

    def set_run(self, run: Run) -> None:
        raise NotImplementedError("neither side asks for it")

    @property
    def run(self) -> Run:
        raise NotImplementedError("neither side asks for it")

    def create_message(self, *args: Any, **kwargs: Any) -> Message:
        raise NotImplementedError("neither side asks for it")

    # -- a message ----------------------------------------------------------------------------

    def _deliver(self, message: Message) -> str:
        name = message.metadata.__dict__["_message_id"] = f"m{next(self._names)}"
        node, stage = message.metadata.dst_node_id, _stage(message)
        self._tick()
        if time.process_time() > self._end:
            raise OutOfTime(f"not finished in {self._limit:.0f} CPU s")
        if (stage, node) not in self.lost:
            self._waiting[name] = self._exchange(message, stage, node)
        return name

    def _exchange(self, message: Message, stage: str, node: int) -> Message:
        account = self.accounts[node]
        message.content, size = _carry(message.content)
        account.received += size
        with account.cpu:
            reply = self._answer(message, node)
        if reply.has_error():
            self.errors.append(str(reply.error.reason))
            return reply
        reply.content, size = _carry(reply.content)
        account.sent += size
        self.answered.setdefault(stage, set()).add(node)
        return reply

    def _answer(self, message: Message, node: int) -> Message:
        try:
            return self._app(message, self._contexts[node])
        except _OF_AN_APP as error:
            reason = f"{type(error).__name__}: {error}"
            return Message(Error(code=2, reason=reason), reply_to=message)


def context_of(node: int, **config: str) -> Context:
    """A node that has done nothing yet."""
    return Context(
        run_id=RUN, node_id=node, node_config=dict(config), state=RecordDict(), run_config={}
    )


def _carry(content: RecordDict) -> tuple[RecordDict, int]:
    """The same content as the other end gets it, and its bytes."""
    sent = recorddict_to_proto(content)
    return recorddict_from_proto(sent), sent.ByteSize()


def _stage(message: Message) -> str:
    records = message.content.config_records
    if _OURS in records:
        return str(records[_OURS]["stage"])
    return str(records[_LEGACY][Key.STAGE])
