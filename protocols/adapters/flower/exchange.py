"""One exchange over Flower's grid: push, then poll until everybody asked has answered, or time is
up. `Grid.send_and_receive` does the same with a fixed pause of seconds, which each exchange would
add to its round.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable

from flwr.app import Message
from flwr.serverapp import Grid

__all__ = ["exchange", "wait_for"]


def exchange(
    grid: Grid, messages: Iterable[Message], *, deadline: float, poll: float
) -> list[Message]:
    """The replies that arrive within `deadline` seconds, errors included; polls every `poll`."""
    pending = {name for name in grid.push_messages(messages) if name}
    replies: list[Message] = []

    def all_in() -> bool:
        found = list(grid.pull_messages(pending)) if pending else []
        replies.extend(found)
        pending.difference_update(reply.metadata.reply_to_message_id for reply in found)
        return not pending

    wait_for(all_in, deadline=deadline, poll=poll)
    return replies


def wait_for(holds: Callable[[], bool], *, deadline: float, poll: float) -> bool:
    """Whether `holds` became true within `deadline` seconds; it is asked at least once."""
    end = time.monotonic() + deadline
    while not holds():
        if time.monotonic() >= end:
            return False
        time.sleep(poll)
    return True
