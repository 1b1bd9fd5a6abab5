"""Statistics, noise and judges on the servers: killed in every phase, each is drawn once."""

from __future__ import annotations

import sqlite3
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from protocols.enrollment import load_roster
from protocols.round import ServerRound
from protocols.serve import exchange
from protocols.serve.answers import Answers
from protocols.serve.helper import HelperService
from protocols.serve.judge import ByCascade, cascade_of
from protocols.serve.log import Log
from protocols.serve.reports import Reports
from protocols.serve.store import Stage
from protocols.serve.task import Tasks
from protocols.serve.upload import Limit, prepared
from robust.decide import Cascade
from secagg.errors import (
    LocalProtocolError,
    ParameterError,
    RequestRefused,
    StoreFailed,
)
from secagg.event import GroupStatistics, Statistics
from secagg.frame import parse_header
from secagg.identity import SERVER, THIRD
from secagg.schemes.pine.messages import Close, Collect, Draw, Settle
from secagg.wire import ids

ALL = [1, 2, 3, 4, 5]
NORMS = {"more": '[screen]\nopens = "norm"'}
SKETCHES = {"size": 1000, "more": '[screen]\nopens = "sketch"\nrows = 64'}
GROUPS = {
    "size": 1000,
    "dropout": 0.2,
    "more": '[screen]\nopens = "groups"\nrows = 64\ngroup = 2',
}
NOISE = {
    "quantize": "max_weight = 1",
    "more": '[privacy]\nepsilon = 10.0\nnoise_multiplier = 0.5\nby = "aggregators"',
}
PLANS = {"norms": NORMS, "sketches": SKETCHES, "groups": GROUPS, "noise": NOISE}
COMMITS = 5  # of a helper that opens statistics: the round, one job, its nonce, its half, the sum
REQUESTS = 4  # of the leader: the job, the batch, its nonce, whom it accepts


def asked_of(place: Any) -> Counter[int]:
    """How many requests of each type the helper has answered, by its store."""
    place.stop()
    with sqlite3.connect(place.folder / "helper.db") as database:
        rows = database.execute("SELECT request FROM answers").fetchall()
    database.close()
    return Counter(parse_header(request).code for (request,) in rows)


def require_once(place: Any, *, opens: bool = True) -> None:
    asked = asked_of(place)
    assert asked[Close.code] == asked[Draw.code] == asked[Settle.code] == int(opens)
    assert asked[Collect.code] == int(not opens)


def npz(place: Any) -> dict[str, np.ndarray]:
    (path,) = (place.folder / "out").glob("*.opened.npz")
    with np.load(path) as found:
        return dict(found)


def vectors_of(place: Any) -> np.ndarray:
    """int64 (n, d): what clients encode, as signed integers, behind their weights."""
    plan, context = place.task.invitation.plan, place.task.context
    assert plan.scheme.width == 32
    encoded = [plan.encode(place.update(i), i, bytes, context) for i in ALL]
    return np.stack(encoded).astype(np.uint32).view(np.int32).astype(np.int64)


# -- what is opened ------------------------------------------------------------------------------


@pytest.mark.slow
def test_groups_are_opened_with_an_exact_sum(deployment: Any) -> None:
    deployment.write(1, **GROUPS)
    deployment.finish({})
    found = npz(deployment)
    assert deployment.outcome()["sum"] == deployment.expected(ALL)
    assert Counter(found["group"].tolist()).keys() == {0, 1}
    sums = np.bincount(found["group"], weights=found["clients"])
    assert found["weights"].tolist() == sums.tolist()
    assert found["rows"].shape == (2, 64)
    require_once(deployment)


# -- kills ---------------------------------------------------------------------------------------


def killed(place: Any, plan: str, crash: dict[str, list[Any]], **arguments: Any) -> None:
    """Killed there, and then once more without a kill from the same reports: the same to the byte.

    So there is one map, one set of halves and one draw of noise, whatever is killed when.
    """
    place.write(1, **PLANS[plan])
    place.finish(crash, **arguments)
    assert any(server.ended(0.0) == -9 for server in place.servers)
    released = place.released()
    assert place.outcome()["included"] == ALL
    if plan != "noise":
        assert place.outcome()["sum"] == place.expected(ALL)
    require_once(place, opens=plan != "noise")
    place.forget()
    place.finish({}, **arguments)
    assert place.released() == released


HELPER = [(at, when) for at in range(2, COMMITS + 1) for when in ("before", "after")]
ASKING = [(at, when) for at in range(1, REQUESTS + 1) for when in ("before", "after")]


def test_both_killed_while_statistics_are_opened(deployment: Any) -> None:
    killed(deployment, "norms", {"helper": [4, "after"], "asking": [3, "after"]})
    outcome, found = deployment.outcome(), npz(deployment)
    assert (outcome["opened"], outcome["judged"], outcome["refused"]) == (True, None, {})
    vectors = vectors_of(deployment)
    assert found["clients"].tolist() == found["weights"].tolist() == ALL
    assert found["norms"].tolist() == (vectors[:, 1:] ** 2).sum(axis=1).tolist()
    assert found["eligible"].all()


def test_both_killed_when_there_is_a_noisy_sum(deployment: Any) -> None:
    killed(deployment, "noise", {"asking": [2, "after"], "helper": [3, "after"]})
    outcome = deployment.outcome()
    assert (outcome["failure"], outcome["total_weight"]) == (None, 5)
    (path,) = (deployment.folder / "out").glob("*.sum.npy")
    (mean,) = set((deployment.folder / "out").glob("*.npy")) - {path}
    plan = deployment.task.invitation.plan
    rest = 5 * np.load(mean) - sum(deployment.update(client) for client in ALL)
    promised = 2 * plan.quantize.noise_deviation**2
    assert 1e-3 < (rest**2).mean() / promised < 16
    assert np.load(path).shape == (plan.scheme.length,)


@pytest.mark.slow
@pytest.mark.parametrize(("at", "when"), HELPER)
def test_a_helper_killed_in_every_phase(deployment: Any, at: int, when: str) -> None:
    killed(deployment, "norms", {"helper": [at, when]})


@pytest.mark.slow
@pytest.mark.parametrize(("at", "when"), ASKING)
def test_a_leader_killed_in_every_phase(deployment: Any, at: int, when: str) -> None:
    killed(deployment, "norms", {"asking": [at, when]})


@pytest.mark.slow
@pytest.mark.parametrize("crash", [{"helper": [4, "after"]}, {"asking": [4, "after"]}])
def test_a_kill_while_groups_are_opened(deployment: Any, crash: dict[str, list[Any]]) -> None:
    killed(deployment, "groups", crash)


@pytest.mark.slow
@pytest.mark.parametrize("when", ["before", "after"])
def test_a_helper_killed_when_it_adds_noise(deployment: Any, when: str) -> None:
    killed(deployment, "noise", {"helper": [3, when]})


@pytest.mark.slow
@pytest.mark.parametrize(("at", "when"), [(8, "before"), (8, "after"), (9, "before")])
def test_a_leader_killed_when_it_decides_decides_the_same(
    deployment: Any, at: int, when: str
) -> None:
    """Its eighth commit is the decision, its ninth ends the round."""
    killed(deployment, "sketches", {"leader": [at, when]}, cascade=20)


# -- a helper that is asked twice ----------------------------------------------------------------


class Opening:
    """A leader whose frames the test carries, and a helper that is restarted at will."""

    def __init__(self, place: Any) -> None:
        place.write(1, **NORMS)
        self.place, self.task = place, place.task
        self.leader = ServerRound(self.task.invitation, place.keys["leader"])
        self._endpoint = self.task.endpoint(place.keys["leader"], SERVER)
        for client in ALL:
            frame, _ = prepared(
                self.task, place.keys[f"client-{client}"], place.update(client), client,
                place.folder / f"spool-{client}", Limit(opened=2),
            )  # fmt: skip
            self.leader.receive(client, frame)
        self.answers: Answers | None = None
        self.restart()
        for relay in self.sent():
            self.leader.receive(THIRD, self.ask(relay))

    def restart(self) -> None:
        if self.answers is not None:
            self.answers.close()
        self.answers = Answers(self.place.folder / "helper.db")
        tasks = Tasks(self.place.plan, load_roster(self.place.roster), pytest.fail)
        key = self.place.keys["helper"]
        self.service = HelperService(tasks, key, self.answers, Log("helper"))

    def sent(self) -> list[bytes]:
        return [frame for _, frame in self.leader.to_send()]

    def ask(self, frame: bytes) -> bytes:
        return self.service.answer(self.task, [frame])[0]

    def forged(self, message: Any) -> bytes:
        """What a leader that lies asks for."""
        return self._endpoint.seal(THIRD, message)

    def advance(self, steps: int) -> bytes:
        """The last of so many requests after the reports, which were answered."""
        for _ in range(steps):
            (frame,) = self.sent()
            self.leader.receive(THIRD, self.ask(frame))
            if self.leader.phase == "decide":
                self.leader.deadline()
        return frame


@pytest.fixture
def opening(deployment: Any) -> Iterator[Opening]:
    made = Opening(deployment)
    yield made
    made.answers.close()


def close_of(clients: list[int]) -> Close:
    return Close(batch=ids(clients), commitment=bytes(32))


@pytest.mark.parametrize(
    ("steps", "second"),
    [
        (1, close_of([1, 2, 3])),
        (2, Draw(nonce=bytes(32), commitment=bytes(32))),
        (3, Settle(accepted=ids([1, 2]), blind=bytes(32), values=b"")),
    ],
)
@pytest.mark.parametrize("restarts", [False, True])
def test_a_second_batch_draw_or_set_is_refused(
    opening: Opening, steps: int, second: Any, restarts: bool
) -> None:
    frame = opening.advance(steps)
    first = opening.ask(frame)
    if restarts:
        opening.restart()
    with pytest.raises(RequestRefused) as caught:
        opening.ask(opening.forged(second))
    assert caught.value.problem == "roundEnded"
    opening.restart()
    assert opening.ask(frame) == first
    if steps < 3:  # who asks for two draws has seen the last of this round
        with pytest.raises(RequestRefused, match="this round failed"):
            opening.ask(opening.sent()[0])
    else:
        assert opening.answers.stage(opening.task) is Stage.DONE


@pytest.mark.slow
def test_a_helper_restarted_between_all_requests_answers_the_same(opening: Opening) -> None:
    requests = [opening.advance(1) for _ in range(3)]
    through = [opening.ask(frame) for frame in requests]
    opening.answers.close()
    for path in opening.place.folder.glob("helper.db*"):
        path.unlink()
    opening.answers = None
    opening.restart()
    again = ServerRound(opening.task.invitation, opening.place.keys["leader"])
    for client in ALL:
        spool = opening.place.folder / f"spool-{client}"
        again.receive(client, (spool / f"{opening.task.id}.report").read_bytes())
    for _, relay in again.to_send():
        again.receive(THIRD, opening.ask(relay))
        opening.restart()
    for frame, answer in zip(requests, through, strict=True):
        opening.restart()
        assert opening.ask(frame) == answer


# -- clients, and bounds -------------------------------------------------------------------------


def test_a_client_says_how_much_may_be_opened(deployment: Any) -> None:
    deployment.write(1, **NORMS)
    made = {"identity": deployment.keys["client-1"], "update": deployment.update(1), "weight": 1}
    spool = deployment.folder / "spool"
    with pytest.raises(ParameterError, match="opened <= 1 must hold for this client"):
        prepared(deployment.task, **made, spool=spool, limit=Limit(opened=1))
    assert prepared(deployment.task, **made, spool=spool, limit=Limit(opened=2))[1] is False


def test_a_client_with_a_budget_stops_where_it_ends(deployment: Any) -> None:
    from dp.errors import BudgetExceeded  # noqa: PLC0415

    spool, limit = deployment.folder / "spool", Limit(epsilon=12.0)
    made = {"identity": deployment.keys["client-1"], "update": np.zeros(8), "weight": 1}
    with pytest.raises(ParameterError, match="no budget affords an exact sum"):
        prepared(deployment.task, **made, spool=spool, limit=limit)
    deployment.write(1, **NOISE)
    frame = prepared(deployment.task, **made, spool=spool, limit=limit)
    assert prepared(deployment.task, **made, spool=spool, limit=limit) == (frame[0], True)
    deployment.write(2, **NOISE)
    with pytest.raises(BudgetExceeded):
        prepared(deployment.task, **made, spool=spool, limit=limit)


@pytest.mark.parametrize("wrong", [{"opened": -1}, {"epsilon": -1.0}, {"epsilon": float("nan")}])
def test_an_impossible_limit_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ParameterError, match=">= 0 must hold"):
        Limit(**wrong)


def test_bodies_are_bounded_by_what_the_plan_opens(deployment: Any) -> None:
    without = deployment.task
    assert exchange.SCREENS.most_request(without) == 0
    assert exchange.SHARES.most_request(without) > 0
    deployment.write(1, **NORMS)
    norms = deployment.task
    assert exchange.SCREENS.most_request(norms) == exchange.most_frame(norms, Draw)
    assert exchange.SHARES.most_request(norms) == exchange.most_frame(norms, Settle)
    deployment.write(1, **SKETCHES)
    half = exchange.SCREENS.most_answer(deployment.task)
    assert half > 5 * 65 * 8
    assert exchange.SCREENS.most_answer(norms) < half


# -- judges --------------------------------------------------------------------------------------


def statistics_of(opening: Opening) -> Statistics:
    opening.advance(2)
    event = opening.leader.next_event()
    assert isinstance(event, Statistics)
    return event


@pytest.fixture
def reports(tmp_path: Path) -> Iterator[Reports]:
    made = Reports(tmp_path / "leader.db")
    yield made
    made.close()


def judge_of(reports: Reports) -> ByCascade:
    return ByCascade(Cascade(), reports, lambda _: [], Log("leader"))


def test_a_decision_is_made_once_for_a_context(opening: Opening, reports: Reports) -> None:
    """Whoever judges again, by whatever rules, finds what was decided."""
    found = statistics_of(opening)
    first = judge_of(reports).judged(opening.task, found)
    assert first.accepted == frozenset(ALL)
    assert first.document is not None
    assert first.document["number"] == 1
    fewer = Statistics(
        clients=(1, 2, 3), eligible=frozenset({1, 2}), weights=found.weights[:3],
        products=found.products[:3], rows=found.rows[:3], seed=found.seed, norms=found.norms[:3],
    )  # fmt: skip
    assert judge_of(reports).judged(opening.task, fewer) == first
    with pytest.raises(StoreFailed):
        reports.decide(opening.task, "{}")


def test_a_state_of_other_rules_is_refused(opening: Opening, reports: Reports) -> None:
    found, first = statistics_of(opening), opening.task
    reports.decide(first, '{"state": {"version": 0}}')
    opening.place.write(2, **NORMS)
    with pytest.raises(StoreFailed, match="has a state of other rules"):
        judge_of(reports).judged(opening.place.task, found)
    assert reports.decision(opening.place.task) is None


def test_a_judge_goes_on_from_the_round_before(opening: Opening, reports: Reports) -> None:
    found, judge = statistics_of(opening), judge_of(reports)
    for number in (1, 2, 4, 3):
        opening.place.write(number, **NORMS)
        assert judge.judged(opening.place.task, found).document["number"] == number
    opening.place.write(4, **NORMS)
    state = reports.decision(opening.place.task)
    assert state is not None
    opening.place.write(5, **NORMS)
    assert reports.decision_before(opening.place.task) == state


def test_clones_are_left_out_by_the_cascade_and_named(
    deployment: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    rng = np.random.default_rng(0)
    drawn = {client: rng.normal(size=1000) / 20 for client in ALL}
    drawn[2] = drawn[1]
    monkeypatch.setattr(deployment, "update", drawn.__getitem__)
    deployment.write(1, **SKETCHES)
    deployment.finish({}, cascade=1)
    outcome = deployment.outcome()
    assert outcome["included"] == [3, 4, 5]
    assert outcome["refused"] == {"1": "not accepted", "2": "not accepted"}
    assert outcome["sum"] == deployment.expected([3, 4, 5])
    assert outcome["judged"]["excluded"] == [1, 2]
    require_once(deployment)


def test_a_cascade_needs_a_plan_that_opens_numbers_of_clients(deployment: Any) -> None:
    for plan in ({}, NOISE, GROUPS):
        deployment.write(1, **plan)
        with pytest.raises(ParameterError, match=r"must stand for a cascade"):
            ByCascade.check(deployment.task)
    for plan in (NORMS, SKETCHES):
        deployment.write(1, **plan)
        ByCascade.check(deployment.task)
    with pytest.raises(ParameterError, match="rounds"):
        cascade_of(-1)
    deployment.write(1)
    leader = deployment._server("leader", {"helper": "http://127.0.0.1:1", "cascade": 20})
    assert leader.ended() == 2
    assert "must stand for a cascade" in leader.text()


@pytest.mark.slow
def test_too_few_accepted_end_the_round_without_a_sum(
    deployment: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    same = np.random.default_rng(0).normal(size=1000) / 20
    monkeypatch.setattr(deployment, "update", lambda _: same)
    deployment.write(1, **SKETCHES)
    deployment.helper()
    leader = deployment.leader(cascade=1)
    for client in ALL:
        deployment.upload(client)
    assert leader.ended() == 1
    outcome = deployment.outcome()
    assert "0 clients accepted, at least 2 are needed" in outcome["failure"]
    assert (outcome["sum"], outcome["opened"]) == (None, True)
    assert asked_of(deployment)[Settle.code] == 0


def test_a_round_is_opened_once_by_two_threads(
    deployment: Any, reports: Reports, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second looked before the first was done: that is no other context."""
    task, looks = deployment.task, [None]
    stage = Reports.stage

    def late(self: Reports, of: Any) -> Any:
        return looks.pop() if looks else stage(self, of)

    reports.begin(task)
    monkeypatch.setattr(Reports, "stage", late)
    reports.begin(task)
    assert not looks
    deployment.write(1, size=9)
    with pytest.raises(LocalProtocolError, match="is not after round 1"):
        reports.begin(deployment.task)


def test_group_statistics_are_written_by_client(deployment: Any) -> None:
    from protocols.serve.outcome import opened_arrays  # noqa: PLC0415

    nothing = np.zeros((2, 0), np.int64)
    found = GroupStatistics(
        groups=((1, 4), (2, 3)), within=np.ones(2, np.bool_), weights=None,
        products=nothing, rows=nothing, seed=bytes(32),
    )  # fmt: skip
    arrays = opened_arrays(found)
    assert arrays["clients"].tolist() == [1, 2, 3, 4]
    assert arrays["group"].tolist() == [0, 1, 1, 0]
    assert "weights" not in arrays
