"""No step of a round is taken twice: by replays, by processes side by side, after a crash."""

from __future__ import annotations

import copy
import json
import multiprocessing
import os
import time
import warnings
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("flwr", reason="flwr is not installed: pip install 'secagg[flower]'")

from flwr.app import Message, RecordDict

from protocols import ClientJournal
from protocols.adapters.flower import SecureAggregation
from protocols.adapters.flower.state import Store
from protocols.testing import Arrays, Local
from secagg.errors import LocalProtocolError

NODE, PARTY = 1007, 1
SESSION = bytes(range(16))
Run = Callable[..., SecureAggregation]

forks = pytest.mark.skipif(not hasattr(os, "fork"), reason="processes that share a state fork")


def trained(party: int, model: Arrays) -> Local:
    return Local({"w": model["w"] + np.float32(0.125)}, {}, 10)


def in_processes(count: int, work: Callable[[int], Any]) -> list[int | None]:
    """Run `work(number)` in processes that start together as copies of this one; exit codes."""
    context = multiprocessing.get_context("fork")
    barrier = context.Barrier(count)

    def started(number: int) -> None:
        barrier.wait(30)
        work(number)

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of forking beside xdist's thread
        processes = [context.Process(target=started, args=(each,)) for each in range(count)]
        for process in processes:
            process.start()
    for process in processes:
        process.join(60)
    return [process.exitcode for process in processes]


def said(reply: Message) -> str:
    return str(reply.error.reason) if reply.has_error() else "content"


@pytest.fixture
def journal(tmp_path: Path) -> Path:
    """Where the client under test keeps its journal."""
    return tmp_path / "journal"


@pytest.fixture
def grid(local_grid: Any, journal: Path) -> Any:
    """Five clients; the one under test has its journal at `journal`."""
    made = local_grid(trained)
    made.contexts[NODE].node_config["secagg-journal"] = str(journal)
    return made


def at(stage: str, act: Callable[[Message], Message | None]) -> Callable[[str, Message], Any]:
    """Let `act` meet the first message of a stage to the client under test."""
    met: list[Message] = []

    def intercept(found: str, message: Message) -> Any:
        if (found, message.metadata.dst_node_id) != (stage, NODE) or met:
            return message
        met.append(message)
        return act(message)

    return intercept


# -- processes side by side -------------------------------------------------------------------


@forks
@pytest.mark.parametrize(
    ("stage", "step"), [("deal", "deal"), ("train", "mask"), ("unmask", "unmask")]
)
def test_of_many_processes_with_one_message_one_answers(
    stage: str, step: str, run: Run, grid: Any, tmp_path: Path
) -> None:
    """Each finds the state as it was before any of them; only the files tell them apart."""
    count = 6

    def contend(message: Message) -> None:
        def answer(number: int) -> None:
            reply = grid.run_client(copy.deepcopy(message))
            (tmp_path / f"said-{number}").write_text(said(reply))

        assert in_processes(count, answer) == [0] * count

    grid.intercept = at(stage, contend)
    run(grid)
    replies = [path.read_text() for path in tmp_path.glob("said-*")]
    taken = f"LocalProtocolError: step {step!r} of round 1 was taken before"
    over = "LocalProtocolError: round 1 of this session is not running"  # says a journal read late
    assert len(replies) == count
    assert replies.count("content") == 1
    assert sum(text == taken or text.startswith(over) for text in replies) == count - 1


@forks
def test_processes_side_by_side_lose_no_line_of_the_journal(journal: Path) -> None:
    count, each = 8, 5

    def join(number: int) -> None:
        for step in range(each):
            state = RecordDict()
            store = Store(state, journal)
            store.journal.join(bytes([number] * 16), step + 1)
            if step:
                store.journal.finish(bytes([number] * 16), step)
            time.sleep(0.002)  # so that others write between reading and writing
            store.save(state)

    assert in_processes(count, join) == [0] * count
    joined = json.loads(journal.read_bytes())["joined"]
    assert joined == {
        bytes([number] * 16).hex(): {"last": each, "running": [each]} for number in range(count)
    }


def test_what_was_written_between_reading_and_writing_is_kept(journal: Path) -> None:
    late, early = RecordDict(), RecordDict()
    slow, quick = Store(late, journal), Store(early, journal)
    quick.journal.join(SESSION, 1)
    quick.save(early)
    slow.journal.join(bytes(16), 4)
    slow.save(late)
    assert ClientJournal.from_bytes(journal.read_bytes()).joined == {SESSION: 1, bytes(16): 4}
    assert [path.name for path in journal.parent.glob("*.new")] == []


def test_claims_of_rounds_long_over_are_cleared_and_still_taken(journal: Path) -> None:
    store = Store(RecordDict(), journal)
    steps = ("deal", "mask", "unmask")
    for number in range(1, 40):
        for step in steps:
            store.claim(step, SESSION, number)
    store.claim("deal", bytes(16), 1)  # another session is another matter
    kept = [path.name for path in journal.with_name("journal.steps").iterdir()]
    assert len(kept) == 5 * len(steps) + 1
    for number in (1, 34, 35, 39):
        with pytest.raises(LocalProtocolError, match=f"of round {number} was taken before"):
            store.claim("mask", SESSION, number)
    assert len(list(journal.with_name("journal.steps").iterdir())) == len(kept)
    store.claim("mask", SESSION, 40)


@forks
def test_processes_that_clear_side_by_side_give_no_step_twice(journal: Path) -> None:
    def contend(who: int) -> None:
        for number in range(1, 60):
            with suppress(LocalProtocolError):
                Store(RecordDict(), journal).claim("mask", SESSION, number)
                (journal.parent / f"won-{number}-{who}").touch()

    assert in_processes(6, contend) == [0] * 6
    won = [path.name.split("-")[1] for path in journal.parent.glob("won-*")]
    assert len(won) == len(set(won))
    assert "59" in won


def test_without_a_lock_the_claims_remain(
    journal: Path, monkeypatch: pytest.MonkeyPatch, run: Run, grid: Any
) -> None:
    monkeypatch.setattr("protocols.files._lock", lambda handle: None)
    replies: list[str] = []

    def twice(message: Message) -> Message:
        before = copy.deepcopy(grid.contexts[NODE].state)
        replies.append(said(grid.run_client(copy.deepcopy(message))))
        grid.contexts[NODE].state = before
        replies.append(said(grid.run_client(copy.deepcopy(message))))
        return message

    grid.intercept = at("train", twice)
    run(grid)
    assert replies[0] == "content"
    assert "was taken before" in replies[1]
    assert ClientJournal.from_bytes(journal.read_bytes()).joined


# -- crashes ----------------------------------------------------------------------------------


def crash(monkeypatch: pytest.MonkeyPatch, step: str, number: int) -> None:
    """Let this process end right after it claims that step, as a power cut would."""
    claim = Store.claim

    def claimed(self: Store, found: str, session: bytes, of: int) -> None:
        claim(self, found, session, of)
        if (found, of) == (step, number):
            os._exit(9)

    monkeypatch.setattr(Store, "claim", claimed)


@forks
@pytest.mark.parametrize(
    ("stage", "step", "number", "summed"),
    [
        ("deal", "deal", 1, [{2, 3, 4, 5}, {1, 2, 3, 4, 5}, {1, 2, 3, 4, 5}]),
        ("train", "mask", 1, [{2, 3, 4, 5}, {1, 2, 3, 4, 5}, {1, 2, 3, 4, 5}]),
        # the deal of round 2 rode on the reply that never left
        ("train", "deal", 2, [{2, 3, 4, 5}, {2, 3, 4, 5}, {1, 2, 3, 4, 5}]),
        ("unmask", "unmask", 1, [{1, 2, 3, 4, 5}, {1, 2, 3, 4, 5}, {1, 2, 3, 4, 5}]),
    ],
)
def test_a_step_that_was_claimed_and_never_sent_is_a_loss_and_no_more(
    stage: str,
    step: str,
    number: int,
    summed: list[set[int]],
    run: Run,
    grid: Any,
    journal: Path,
) -> None:
    again: list[str] = []

    def struck(message: Message) -> None:
        def die(_: int) -> None:
            with pytest.MonkeyPatch.context() as patch:
                crash(patch, step, number)
                grid.run_client(copy.deepcopy(message))

        assert in_processes(1, die) == [9]
        assert (journal.with_name("journal.steps") / claim_of(message, step, number)).exists()
        # The state is as it was: the same message may come again, and gives nothing.
        again.append(said(grid.run_client(copy.deepcopy(message))))

    grid.intercept = at(stage, struck)
    strategy = run(grid, rounds=3)
    assert [set(report.included) for report in strategy.reports.values()] == summed
    assert not strategy.failures
    first = step if (step, number) != ("deal", 2) else "mask"
    assert again == [f"LocalProtocolError: step {first!r} of round 1 was taken before"]


def claim_of(message: Message, step: str, number: int) -> str:
    session = json.loads(str(message.content["secagg"]["call"]))["session"]
    return f"{session}.{number}.{step}"


# -- restarts and replays ---------------------------------------------------------------------


@pytest.mark.parametrize("stage", ["train", "unmask"])
def test_a_restarted_node_joins_the_next_round_and_takes_no_step_of_this_one(
    stage: str, run: Run, grid: Any, journal: Path
) -> None:
    """Its journal is there and its state is not: it deals anew, and repeats nothing."""
    seen: list[Message] = []
    refused: list[str] = []

    def restarted(message: Message) -> Message:
        grid.restart(NODE, NODE)
        refused.extend(said(grid.run_client(copy.deepcopy(each))) for each in seen)
        return message

    replace = at(stage, restarted)

    def record(found: str, message: Message) -> Any:
        if message.metadata.dst_node_id == NODE and not refused:
            seen.append(copy.deepcopy(message))
        return replace(found, message)

    grid.intercept = record
    strategy = run(grid, rounds=3)
    assert not strategy.failures
    included = [set(report.included) for report in strategy.reports.values()]
    everybody = {1, 2, 3, 4, 5}
    others = everybody - {PARTY}
    if stage == "train":  # it had not dealt for round 2 yet, and does so when it is asked
        assert included == [others, everybody, everybody]
    else:  # its deal of round 2 went with the state, and it deals once
        assert included == [everybody, others, everybody]
    assert len(refused) == (2 if stage == "train" else 3)
    assert refused[0] == "LocalProtocolError: step 'deal' of round 1 was taken before"
    assert all("is not dealt here" in text or "is not masked here" in text for text in refused[1:])
    (session,) = json.loads(journal.read_bytes())["joined"].values()
    assert session["last"] == 4


def test_every_message_of_a_run_again_gives_no_frame(run: Run, grid: Any) -> None:
    """In any order, with the state as it is at the end and with none."""
    seen: list[Message] = []

    def record(stage: str, message: Message) -> Message:
        if message.metadata.dst_node_id == NODE:
            seen.append(copy.deepcopy(message))
        return message

    grid.intercept = record
    run(grid, rounds=2)
    assert len(seen) == 5
    sent = [each for each in grid.replies if each.metadata.src_node_id == NODE]
    assert all(each.has_content() for each in sent)
    for forget in (False, True):
        for message in (*seen, *reversed(seen)):
            if forget:
                grid.contexts[NODE].state = RecordDict()
            reply = grid.run_client(copy.deepcopy(message))
            assert reply.has_error(), said(reply)
            assert reply.error.reason.startswith("LocalProtocolError: ")


def test_another_plan_or_cohort_under_a_number_that_was_used_is_refused(
    run: Run, grid: Any
) -> None:
    """A claim is for session and number, whatever else the call says."""
    answers: list[str] = []

    def changed(message: Message) -> Message:
        assert said(grid.run_client(copy.deepcopy(message))) == "content"
        for state in (grid.contexts[NODE].state, RecordDict()):
            for change in ({"cohort": [1, 2, 3, 4]}, {"weighted_by": "x"}, {"sizes": [5, 0]}):
                again = copy.deepcopy(message)
                call = {**json.loads(str(again.content["secagg"]["call"])), **change}
                again.content["secagg"]["call"] = json.dumps(call)
                grid.contexts[NODE].state = copy.deepcopy(state)
                answers.append(said(grid.run_client(again)))
        return message

    grid.intercept = at("deal", changed)
    run(grid)
    same, rest = answers[1], [text for at_, text in enumerate(answers) if at_ != 1]
    # `weighted_by` is bound with the model: the deal is the very one that was sent
    assert same == "content"
    assert all("DecodeError" in text or "was taken before" in text for text in rest)
