"""An exchange: who is waited for, and how long."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

pytest.importorskip("flwr", reason="flwr is not installed: pip install 'secagg[flower]'")

from protocols.adapters.flower import SecureAggregation
from protocols.adapters.flower.exchange import Gathered, exchange, never
from protocols.testing import Arrays, Local

Run = Callable[..., SecureAggregation]


@dataclass
class Timed:
    """A grid whose messages are the seconds after which their replies are there."""

    began: float = field(default_factory=time.monotonic)
    polls: int = 0

    def push_messages(self, messages: Iterable[float]) -> list[str]:
        return [f"{number} {seconds}" for number, seconds in enumerate(messages)]

    def pull_messages(self, message_ids: Iterable[str]) -> list[Any]:
        self.polls += 1
        gone = time.monotonic() - self.began
        due = [name for name in message_ids if float(name.split()[1]) <= gone]
        return [SimpleNamespace(metadata=SimpleNamespace(reply_to_message_id=n)) for n in due]


def asked(seconds: list[float], enough: Any = never, deadline: float = 5.0) -> tuple[int, float]:
    """(replies that were taken, seconds it took)."""
    grid, taken = Timed(), []
    exchange(
        grid,  # type: ignore[arg-type]
        seconds,  # type: ignore[arg-type]
        taken.append,
        deadline=deadline,
        poll=0.002,
        enough=lambda: enough(taken) if enough is not never else never(),
    )
    return len(taken), time.monotonic() - grid.began


def test_it_ends_when_all_have_answered() -> None:
    count, seconds = asked([0.0, 0.01, 0.05])
    assert count == 3
    assert 0.05 <= seconds < 1


def test_it_ends_at_the_deadline() -> None:
    count, seconds = asked([0.0, 9.0], deadline=0.1)
    assert count == 1
    assert 0.1 <= seconds < 1


def test_when_enough_have_answered_the_others_have_as_long_again() -> None:
    count, seconds = asked([0.1, 0.11, 9.0], lambda taken: len(taken) >= 2)
    assert count == 2
    assert 0.2 <= seconds < 1.5


def test_one_that_is_only_slow_is_waited_for() -> None:
    count, _ = asked([0.2, 0.25, 9.0], lambda taken: len(taken) >= 1)
    assert count == 2


def test_the_deadline_holds_where_enough_come_late() -> None:
    count, seconds = asked([0.2, 9.0], lambda taken: True, deadline=0.25)
    assert count == 1
    assert seconds < 0.35


def test_enough_is_not_asked_where_nobody_is_missing() -> None:
    def asked_in_vain(taken: list[Any]) -> bool:
        raise AssertionError("it costs a look at every share")

    assert asked([0.0, 0.0], asked_in_vain)[0] == 2
    with pytest.raises(AssertionError, match="every share"):
        asked([0.0, 0.1], asked_in_vain)


def test_a_message_that_could_not_be_sent_is_not_waited_for() -> None:
    class Refusing(Timed):
        def push_messages(self, messages: Iterable[float]) -> list[Any]:
            return [None, *super().push_messages(messages)]

    grid, taken = Refusing(), []
    exchange(grid, [0.0], taken.append, deadline=5.0, poll=0.002)  # type: ignore[arg-type, list-item]
    assert len(taken) == 1


# -- the shares of a round ---------------------------------------------------------------------


def trained(party: int, model: Arrays) -> Local:
    return Local({"w": model["w"] + np.float32(0.125)}, {}, 10)


def losing(stage: str, *nodes: int) -> Callable[[str, Any], Any]:
    def intercept(at: str, message: Any) -> Any:
        return None if at == stage and message.metadata.dst_node_id in nodes else message

    return intercept


def test_a_node_that_is_dead_at_unmasking_does_not_cost_the_deadline(
    run: Run, local_grid: Any
) -> None:
    grid = local_grid(trained)
    grid.intercept = losing("unmask", 1007)
    began = time.monotonic()
    strategy = run(grid, deadline=40.0)
    assert time.monotonic() - began < 20
    assert set(strategy.reports[1].included) == {1, 2, 3, 4, 5}
    assert strategy.reports[1].dropped["unmask"] == {1}


def test_with_too_few_shares_the_deadline_is_kept(run: Run, local_grid: Any) -> None:
    grid = local_grid(trained)
    grid.intercept = losing("unmask", 1007, 1014)
    began = time.monotonic()
    strategy = run(grid, deadline=0.5)
    assert time.monotonic() - began >= 0.5
    assert "valid shares" in str(strategy.failures[1])


def test_a_forged_share_does_not_count_as_enough(run: Run, local_grid: Any) -> None:
    """Four of five answer, as many as are needed; one of them with bytes of its own."""
    grid = local_grid(trained)
    grid.intercept = losing("unmask", 1007)

    def forged(stage: str, reply: Any) -> Any:
        if stage == "unmask" and reply.metadata.src_node_id == 1014:
            (array,) = reply.content["secagg.frames"].values()
            array.data = array.data[:-1] + bytes([array.data[-1] ^ 1])
        return reply

    grid.on_reply = forged
    began = time.monotonic()
    strategy = run(grid, deadline=0.5)
    assert time.monotonic() - began >= 0.5
    assert list(strategy.failures) == [1]


# -- the grid that an inner strategy sees ------------------------------------------------------


def test_nodes_that_were_there_stay_on_the_list_and_new_ones_appear(local_grid: Any) -> None:
    grid = local_grid(trained)
    first, *others = list(grid.contexts)
    gathered = Gathered(grid, [first, *others])
    grid.restart(first, 4242)
    assert list(gathered.get_node_ids()) == [first, *others, 4242]
    assert [node.node_id for node in gathered.get_nodes()] == [first, *others, 4242]


def test_everything_else_is_the_grids_own(local_grid: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    grid = local_grid(trained)
    gathered = Gathered(grid, [])
    assert gathered.contexts is grid.contexts
    with pytest.raises(AttributeError, match="no_such_thing"):
        gathered.no_such_thing  # noqa: B018
    for name in ("set_run", "create_message", "push_messages", "pull_messages", "send_and_receive"):
        monkeypatch.setattr(grid, name, lambda *args, _name=name, **kwargs: (_name, args, kwargs))
    assert gathered.set_run(3) is None
    assert gathered.create_message(1, a=2) == ("create_message", (1,), {"a": 2})
    assert gathered.push_messages([1]) == ("push_messages", ([1],), {})
    assert gathered.pull_messages(["m"]) == ("pull_messages", (["m"],), {})
    sent = gathered.send_and_receive([1], timeout=2.0)
    assert sent == ("send_and_receive", ([1],), {"timeout": 2.0})
    with pytest.raises(NotImplementedError):
        gathered.run  # noqa: B018
