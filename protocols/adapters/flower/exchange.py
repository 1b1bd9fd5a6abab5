"""One exchange over Flower's grid: push, then poll until everybody asked has answered, enough have,
or time is up. `Grid.send_and_receive` does the same with a fixed pause of seconds, which each
exchange would add to its round, and always waits for all.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from typing import Any

from flwr.app import Message
from flwr.serverapp import Grid

__all__ = ["Gathered", "exchange", "never", "wait_for"]


def never() -> bool:
    """Only all are enough."""
    return False


def exchange(
    grid: Grid,
    messages: Iterable[Message],
    take: Callable[[Message], None],
    *,
    deadline: float,
    poll: float,
    enough: Callable[[], bool] = never,
) -> None:
    """Give `take` each reply that arrives within `deadline` seconds, errors included.

    Polls every `poll` seconds. Once `enough()` holds after some replies, the others have as long
    again as those took: a client that is only slow is then not in the middle of this message when
    the next one comes, and one that is dead costs no more than that.
    """
    began = time.monotonic()
    end = began + deadline
    pending = {name for name in grid.push_messages(messages) if name}
    hurried = False
    while pending:
        found = list(grid.pull_messages(pending))
        pending.difference_update(reply.metadata.reply_to_message_id for reply in found)
        for reply in found:
            take(reply)
        now = time.monotonic()
        if pending and found and not hurried and enough():
            hurried, end = True, min(end, now + (now - began))
        if now >= end:
            return
        if pending:
            time.sleep(min(poll, end - now))


def wait_for(holds: Callable[[], bool], *, deadline: float, poll: float) -> bool:
    """Whether `holds` became true within `deadline` seconds; it is asked at least once."""
    end = time.monotonic() + deadline
    while not holds():
        if time.monotonic() >= end:
            return False
        time.sleep(poll)
    return True


class Gathered(Grid):
    """A grid as an inner strategy sees it: nodes that were waited for stay on its list.

    Flower's strategies wait without end until enough nodes are connected. A node that left since
    we waited is lost in the round like any other that does not answer; new ones still appear.
    """

    def __init__(self, grid: Grid, nodes: Iterable[int]) -> None:
        self._grid = grid
        self._nodes = tuple(nodes)

    def get_node_ids(self) -> Iterable[int]:
        new = [node for node in self._grid.get_node_ids() if node not in self._nodes]
        return [*self._nodes, *new]

    def set_run(self, run: Any) -> None:
        self._grid.set_run(run)

    @property
    def run(self) -> Any:
        return self._grid.run

    def create_message(self, *args: Any, **kwargs: Any) -> Message:
        return self._grid.create_message(*args, **kwargs)

    def push_messages(self, messages: Iterable[Message]) -> Iterable[str]:
        return self._grid.push_messages(messages)

    def pull_messages(self, message_ids: Iterable[str]) -> Iterable[Message]:
        return self._grid.pull_messages(message_ids)

    def send_and_receive(
        self, messages: Iterable[Message], *, timeout: float | None = None
    ) -> Iterable[Message]:
        return self._grid.send_and_receive(messages, timeout=timeout)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._grid, name)  # what a particular grid has more than others
