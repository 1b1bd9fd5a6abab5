"""The same app under observation: what `simulate.py` and `deploy.py` run, and nobody else.

It writes to the folder that DIGITS_REHEARSAL names what secure aggregation exists to hide, every
client's weights, so that a run can be compared with the plaintext mean. It also keeps a client
waiting where there is a file that tells it to, so that it can be killed at a chosen moment.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import client_app
import numpy as np
import server_app
from flwr.app import ArrayRecord, Context, Message, MetricRecord
from flwr.clientapp import ClientApp
from flwr.clientapp.typing import ClientAppCallable
from flwr.serverapp import Grid, ServerApp
from task import from_record

from protocols.adapters.flower import mod_from, secure_aggregation_mod, simulated_settings

_SEEN = Path(os.environ["DIGITS_REHEARSAL"])
_LONGEST_WAIT = 600.0


def _watch(message: Message, context: Context, call_next: ClientAppCallable) -> Message:
    """Outermost on the client: sees what the network sees."""
    stage = message.content.config_records["secagg"]["stage"]
    partition = int(context.node_config["partition-id"])
    if stage == "unmask":
        _wait_while(_SEEN / f"hold-unmask-{_rounds_trained(partition)}-{partition}")
    return call_next(message, context)


def _rounds_trained(partition: int) -> int:
    return len(list(_SEEN.glob(f"update-*-{partition}.npz")))


# Simulated nodes have no configuration of their own but a number.
_keys = os.environ.get("DIGITS_KEYS")
_secure = secure_aggregation_mod if _keys is None else mod_from(simulated_settings(_keys))
client = ClientApp(mods=[_watch, _secure])


@client.train()
def _train(message: Message, context: Context) -> Message:
    partition = int(context.node_config["partition-id"])
    number = int(message.content["config"]["server-round"])
    reply = client_app.train(message, context)
    weights = from_record(reply.content["arrays"])
    examples = int(reply.content["metrics"]["num-examples"])
    _save(f"update-{number}-{partition}", weights, examples=np.asarray(examples))
    _wait_while(_SEEN / f"hold-train-{number}-{partition}")
    return reply


server = ServerApp()


@server.main()
def _main(grid: Grid, context: Context) -> None:
    exchanges = _counted(grid)
    score = server_app.scoreboard(context)
    began = time.monotonic()

    def recorded(number: int, arrays: ArrayRecord) -> MetricRecord:
        nonlocal began
        found = score(number, arrays)
        seconds, began = time.monotonic() - began, time.monotonic()
        _save(f"model-{number}", from_record(arrays))
        row = {**found, "round": number, "seconds": seconds, "exchanges": len(exchanges)}
        with (_SEEN / "rounds.jsonl").open("a") as lines:
            lines.write(json.dumps(row) + "\n")
        exchanges.clear()
        return found

    server_app.federate(grid, context, recorded)
    (_SEEN / "finished").touch()


def _counted(grid: Grid) -> list[int]:
    """A list that grows by the number of messages whenever the server sends some."""
    sizes: list[int] = []
    push: Callable[[Iterable[Message]], Any] = grid.push_messages

    def pushed(messages: Iterable[Message]) -> Any:
        batch = list(messages)
        if batch:
            sizes.append(len(batch))
        return push(batch)

    grid.push_messages = pushed  # type: ignore[method-assign]
    return sizes


def _save(name: str, weights: dict[str, Any], **more: Any) -> None:
    """Whole or not at all: whoever sees the file can read it."""
    unfinished = _SEEN / f".{name}.{os.getpid()}"
    with unfinished.open("wb") as file:
        np.savez(file, **weights, **more)
    unfinished.rename(_SEEN / f"{name}.npz")


def _wait_while(hold: Path) -> None:
    """Wait here while there is such a file, and say so in one beside it."""
    if not hold.exists():
        return
    hold.with_name(hold.name.replace("hold", "held")).touch()
    deadline = time.monotonic() + _LONGEST_WAIT
    while hold.exists() and time.monotonic() < deadline:
        time.sleep(0.1)
