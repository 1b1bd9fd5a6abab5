"""The mod: what a client insists on, what it keeps, what it says in errors."""

from __future__ import annotations

import copy
import json
import os
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("flwr", reason="flwr is not installed: pip install 'secagg[flower]'")

from flwr.app import Context, Message, MetricRecord, RecordDict
from flwr.serverapp.strategy import FedAvg

from protocols.adapters.flower import (
    ClientSettings,
    SecureAggregation,
    SecurePlan,
    load_identity,
    load_roster,
    mod_from,
    save_roster,
    secure_aggregation_mod,
)
from protocols.adapters.flower.state import STATE
from protocols.testing import Arrays, Local
from secagg.errors import Aborted, ParameterError
from secagg.identity import Identity
from secagg.quantize import NormClip
from secagg.scheme import Floors

MODEL = {"w": np.linspace(-1, 1, 6, dtype=np.float32)}
SECRET = 0.123456


def trained(party: int, model: Arrays) -> Local:
    return Local({"w": model["w"] + np.float32(SECRET)}, {"loss": SECRET}, 10)


Run = Callable[..., SecureAggregation]


def reasons(grid: Any) -> list[str]:
    return [str(reply.error.reason) for reply in grid.replies if reply.has_error()]


# -- what a client insists on -----------------------------------------------------------------


def test_a_roster_with_a_key_authority_is_for_no_plan_of_flower(
    run: Run, local_grid: Any, enrolled: Path, tmp_path: Path
) -> None:
    """No plan here has one, and whoever insists on it joins none."""
    roster = load_roster(enrolled / "roster.json")
    save_roster(
        tmp_path / "own.json", replace(roster, authority=Identity.generate(os.urandom).public)
    )
    grid = local_grid(trained)
    grid.contexts[1007].node_config["secagg-roster"] = str(tmp_path / "own.json")
    assert set(run(grid).reports[1].included) == {2, 3, 4, 5}
    wanted = "ParameterError: the roster has another key authority than the plan"
    assert reasons(grid)[0] == wanted


@pytest.mark.parametrize(
    ("floor", "terms", "inequality"),
    [
        ({"secagg-floor-clients": 6}, {}, "clients >= 6"),
        ({"secagg-floor-survivors": 5}, {}, "survivors >= 5"),
        ({"secagg-floor-honest-inputs": 3}, {}, "honest_inputs >= 3"),
        ({"secagg-floor-corrupt": 0.25}, {}, "corrupt >= 0.25"),
        ({}, {"corrupt": 0.1}, r"corrupt >= 0\.2"),
        ({"secagg-most-clip": 99.0}, {}, r"clip <= 99\.0"),
        ({"secagg-most-parameters": 5}, {}, "parameters <= 5"),
    ],
)
def test_a_plan_below_the_floor_is_refused_before_anything_is_sent(
    floor: dict[str, Any], terms: dict[str, Any], inequality: str, run: Run, local_grid: Any
) -> None:
    grid = local_grid(trained, **floor)
    strategy = run(grid, **terms)
    assert isinstance(strategy.failures[1], Aborted)
    assert [stages[0] for stages in grid.exchanges if stages] == ["deal"]
    assert len(reasons(grid)) == 5
    assert all(re.match(f"ParameterError: {inequality} must hold", r) for r in reasons(grid))


def test_floors_that_the_plan_meets(run: Run, local_grid: Any) -> None:
    floors = {
        "secagg-floor-clients": 5,
        "secagg-floor-survivors": 4,
        "secagg-floor-honest-inputs": 2,
        "secagg-floor-corrupt": 0.2,
        "secagg-most-clip": 100,
        "secagg-most-parameters": 6,
    }
    assert not run(local_grid(trained, **floors)).failures


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"secagg-floor-client": 6}, "unknown keys .* secagg-floor-client"),
        ({"secagg-floor-clients": "6"}, "secagg-floor-clients must be a number"),
        ({"secagg-floor-clients": True}, "secagg-floor-clients must be a number"),
        ({"secagg-roster": 5}, "lacks a path secagg-roster"),
        ({"secagg-required": 1}, "secagg-required must be true or false"),
    ],
)
def test_a_node_configuration_with_a_mistake_is_refused(
    config: dict[str, Any], message: str, enrolled: Path
) -> None:
    good = {
        "partition-id": 0,
        "secagg-identity": str(enrolled / "client-1.key"),
        "secagg-roster": str(enrolled / "roster.json"),
    }
    assert ClientSettings.from_node_config(good).me == 1
    with pytest.raises(ParameterError, match=message):
        ClientSettings.from_node_config({**good, **config})


def test_a_key_that_the_roster_does_not_list(enrolled: Path) -> None:
    settings = ClientSettings(
        identity=load_identity(enrolled / "server.key"),
        roster=load_roster(enrolled / "roster.json"),
    )
    with pytest.raises(ParameterError, match="does not list this client's key"):
        settings.me  # noqa: B018


def test_floors_come_neither_from_the_run_nor_from_messages(run: Run, local_grid: Any) -> None:
    grid = local_grid(trained, **{"secagg-floor-clients": 6})
    for context in grid.contexts.values():
        context.run_config = {"secagg-floor-clients": 2}
    assert run(grid).failures


def test_a_weight_of_another_name_is_refused_whatever_it_is(run: Run, local_grid: Any) -> None:
    """Who has no such metric, or none in range, would drop out, and the server know it."""

    def train(party: int, model: Arrays) -> Local:
        return Local(model, {"positives": party - 1}, 10)

    inner = FedAvg(fraction_evaluate=0.0, weighted_by_key="positives")
    for terms in ({}, {"max_weight": 1}):
        grid = local_grid(train)
        assert isinstance(run(grid, inner=inner, **terms).failures[1], Aborted)
        wanted = "ParameterError: the round's weight is another metric than this client's own"
        assert reasons(grid) == [wanted] * 5
    own = local_grid(lambda party, model: Local(model, {"positives": party}, 10))
    for context in own.contexts.values():
        context.node_config["secagg-weight"] = "positives"
    assert run(own, inner=inner).reports[1].total_weight == 15


def test_settings_from_code(run: Run, local_grid: Any, enrolled: Path) -> None:
    def settings(context: Context) -> ClientSettings:
        return ClientSettings(
            identity=load_identity(enrolled / f"client-{context.node_config['partition-id']}.key"),
            roster=load_roster(enrolled / "roster.json"),
            floors=Floors(clients=5),
        )

    grid = local_grid(trained, mods=(mod_from(settings),))
    for context in grid.contexts.values():
        context.node_config = {"partition-id": context.node_config["partition-id"]}
    assert not run(grid).failures


def test_a_node_may_refuse_to_train_without_the_protocol(
    run: Run, local_grid: Any, to_record: Any
) -> None:
    grid = local_grid(trained, **{"secagg-required": True})
    assert not run(grid).failures
    node = next(iter(grid.contexts))
    content = RecordDict({"arrays": to_record(MODEL)})
    (train,) = grid.send_and_receive([Message(content, node, "train")])
    assert "under secure aggregation only" in train.error.reason
    (evaluate,) = grid.send_and_receive([Message(content, node, "evaluate")])
    assert evaluate.content["metrics"]["score"] == 0.75


def test_settings_from_code_may_require_the_protocol_too(
    run: Run, local_grid: Any, to_record: Any, enrolled: Path
) -> None:
    def settings(context: Context) -> ClientSettings:
        return ClientSettings(
            identity=load_identity(enrolled / f"client-{context.node_config['partition-id']}.key"),
            roster=load_roster(enrolled / "roster.json"),
            required=True,
        )

    grid = local_grid(trained, mods=(mod_from(settings),))
    assert not run(grid).failures
    content = RecordDict({"arrays": to_record(MODEL)})
    (train,) = grid.send_and_receive([Message(content, next(iter(grid.contexts)), "train")])
    assert "under secure aggregation only" in train.error.reason


def test_a_call_in_another_kind_of_message_is_not_answered(
    local_grid: Any, config_record: Any
) -> None:
    grid = local_grid(trained)
    content = RecordDict({"secagg": config_record({"stage": "deal", "call": "{}"})})
    (reply,) = grid.send_and_receive([Message(content, next(iter(grid.contexts)), "evaluate")])
    assert reply.content["metrics"]["score"] == 0.75


# -- what a client keeps ----------------------------------------------------------------------


def test_secrets_are_gone_after_unmasking_but_for_the_next_deal(run: Run, local_grid: Any) -> None:
    grid = local_grid(trained)
    run(grid, rounds=2)
    for context in grid.contexts.values():
        record = context.state.config_records["secagg"]
        assert set(record) == {"journal", "dealt", "dealt.round"}
        (session,) = json.loads(record["journal"])["joined"].values()
        assert session == {"last": 3, "running": [3]}


def test_a_snapshot_of_each_open_round_while_it_is_open(run: Run, local_grid: Any) -> None:
    grid = local_grid(trained)
    kept: dict[str, set[str]] = {}

    def look(stage: str, message: Any) -> Any:
        state = grid.contexts[message.metadata.dst_node_id].state.config_records
        kept[stage] = {key for key in state.get("secagg", {}) if "." not in key}
        return message

    grid.intercept = look
    run(grid)
    assert kept == {
        "deal": set(),
        "train": {"journal", "dealt"},
        "unmask": {"journal", "dealt", "masked"},
    }


def test_a_journal_outlives_the_state(run: Run, local_grid: Any, tmp_path: Path) -> None:
    """Whoever starts again without state does not join a round that it joined before."""
    grid = local_grid(trained)
    calls: list[Any] = []

    def look(stage: str, message: Any) -> Any:
        if stage == "deal" and message.metadata.dst_node_id == 1007:
            calls.append(message)
        return message

    grid.intercept = look
    for node, context in grid.contexts.items():
        context.node_config["secagg-journal"] = str(tmp_path / f"{node}.journal")
    run(grid)
    (call,) = calls
    content = RecordDict(dict(call.content))
    grid.restart(1007, 1007)
    (again,) = grid.send_and_receive([Message(content, 1007, "train")])
    assert again.error.reason == "LocalProtocolError: step 'deal' of round 1 was taken before"
    assert not list(tmp_path.glob("*.new"))


@pytest.mark.parametrize("ahead", [True, False])
def test_a_state_that_was_rewound_masks_no_second_update(
    ahead: bool, run: Run, local_grid: Any, tmp_path: Path
) -> None:
    """Two messages side by side, or a late writer, can bring an old state back."""
    grid = local_grid(trained)
    again: list[Any] = []

    def repeat(stage: str, message: Any) -> Any:
        if stage == "train" and message.metadata.dst_node_id == 1007:
            context = grid.contexts[1007]
            before = copy.deepcopy(context.state)
            first = grid.run_client(copy.deepcopy(message))
            assert first.has_content()
            context.state = before
            second = copy.deepcopy(message)
            call = json.loads(str(second.content["secagg"]["call"]))
            second.content["secagg"]["call"] = json.dumps({**call, "ahead": ahead})
            again.append(grid.run_client(second))
        return message

    grid.intercept = repeat
    run(grid)
    (second,) = again
    assert second.error.reason == "LocalProtocolError: step 'mask' of round 1 was taken before"


def test_a_second_survivor_set_opens_nothing(run: Run, local_grid: Any, tmp_path: Path) -> None:
    """Two unmask messages side by side both find state and journal as they were; one answers."""
    grid = local_grid(trained)
    journal = tmp_path / "journal"
    grid.contexts[1007].node_config["secagg-journal"] = str(journal)
    again: list[Any] = []

    def repeat(stage: str, message: Any) -> Any:
        if stage == "unmask" and message.metadata.dst_node_id == 1007:
            context = grid.contexts[1007]
            before, kept = copy.deepcopy(context.state), journal.read_bytes()
            first = grid.run_client(copy.deepcopy(message))
            assert first.has_content()
            context.state = before
            journal.write_bytes(kept)
            again.append(grid.run_client(copy.deepcopy(message)))
        return message

    grid.intercept = repeat
    run(grid)
    (second,) = again
    assert second.error.reason == "LocalProtocolError: step 'unmask' of round 1 was taken before"


def test_the_users_code_does_not_meet_our_state(run: Run, local_grid: Any) -> None:
    grid = local_grid(trained)
    run(grid)
    context = grid.contexts[1007]
    assert STATE in context.state
    seen: list[Any] = []

    def evaluated(message: Any, context: Any) -> Any:
        seen.append(dict(context.state))
        return message

    message = Message(RecordDict(), 1007, "evaluate")
    secure_aggregation_mod(message, context, evaluated)
    assert seen == [{}]
    assert STATE in context.state


def test_a_damaged_journal_is_not_overwritten(run: Run, local_grid: Any, tmp_path: Path) -> None:
    grid = local_grid(trained)
    path = tmp_path / "damaged"
    path.write_bytes(b"{")
    grid.contexts[1007].node_config["secagg-journal"] = str(path)
    assert set(run(grid).reports[1].included) == {2, 3, 4, 5}
    assert reasons(grid)[0] == "DecodeError: not a client journal"
    assert path.read_bytes() == b"{"


def test_state_of_another_session_is_stale(run: Run, local_grid: Any) -> None:
    """A second run over the same contexts starts from its own deals."""
    grid = local_grid(trained)
    assert not run(grid).failures
    assert not run(grid).failures
    stages = [stages[0] for stages in grid.exchanges if stages]
    assert stages == ["deal", "train", "unmask"] * 2


def test_the_users_own_state_is_left_alone(run: Run, local_grid: Any) -> None:
    grid = local_grid(trained)
    for context in grid.contexts.values():
        context.state["mine"] = MetricRecord({"steps": 3})
    run(grid)
    assert all(context.state["mine"]["steps"] == 3 for context in grid.contexts.values())


# -- what a client says -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "terms", "reason"),
    [
        ({"weight": 101}, {}, "the weight is not an int in"),
        ({"weight": 3.5}, {}, "no whole number 'num-examples'"),
        ({"arrays": {"v": MODEL["w"]}}, {}, "only in the model or only in the reply"),
        ({"arrays": {"w": np.full((2, 3), SECRET, np.float32)}}, {}, "has shape"),
        ({"arrays": {"w": np.full(6, np.inf, np.float32)}}, {}, "not finite"),
        ({"metrics": {"loss": float("nan")}}, {"metrics": {"loss": 1.0}}, "'loss', which the plan"),
        ({"metrics": {}}, {"metrics": {"loss": 1.0}}, "'loss', which the plan"),
        (
            {"metrics": {"loss": [0.5, SECRET]}},
            {"metrics": {"loss": 1.0}},
            "'loss', which the plan",
        ),
    ],
)
def test_the_log_names_what_is_wrong_with_an_update_and_the_server_learns_the_type(
    change: dict[str, Any],
    terms: dict[str, Any],
    reason: str,
    run: Run,
    local_grid: Any,
    caplog: pytest.LogCaptureFixture,
) -> None:
    def train(party: int, model: Arrays) -> Local:
        local = trained(party, model)
        return Local(**{**vars(local), **change}) if party == 3 else local

    grid = local_grid(train)
    strategy = run(grid, **terms)
    assert set(strategy.reports[1].included) == {1, 2, 4, 5}
    assert reasons(grid) == ["InputRefused: see the client's log"]
    (logged,) = (line for line in caplog.messages if line.startswith("secagg: refused"))
    assert reason in logged
    assert str(SECRET)[:5] not in logged


def test_two_array_records_are_refused_by_name(
    run: Run, local_grid: Any, to_record: Any, caplog: pytest.LogCaptureFixture
) -> None:
    def twice(message: Message, context: Context, call_next: Any) -> Message:
        reply = call_next(message, context)
        if "arrays" in reply.content and context.node_config["partition-id"] == 4:
            reply.content["more"] = to_record(MODEL)
        return reply

    grid = local_grid(trained, mods=(secure_aggregation_mod, twice))
    assert set(run(grid).reports[1].included) == {1, 2, 3, 5}
    assert reasons(grid)[0] == "InputRefused: see the client's log"
    assert "exactly one ArrayRecord is averaged, got 2" in caplog.text


@pytest.mark.parametrize(
    "record",
    [
        {"stage": "deal"},
        {"stage": "deal", "call": "{"},
        {"stage": "deal", "call": "[]"},
        {"stage": "dream", "call": "{}"},
        {"stage": "deal", "call": 5},
    ],
)
def test_a_malformed_call_is_refused(
    record: dict[str, Any], local_grid: Any, config_record: Any
) -> None:
    grid = local_grid(trained)
    content = RecordDict({"secagg": config_record(record)})
    (reply,) = grid.send_and_receive([Message(content, next(iter(grid.contexts)), "train")])
    assert reply.error.reason == "DecodeError: not a call of this adapter"


def changed_call(**changes: Any) -> Callable[[str, Any], Any]:
    def intercept(stage: str, message: Any) -> Any:
        if message.metadata.dst_node_id == 1007:
            record = message.content["secagg"]
            record["call"] = json.dumps({**json.loads(record["call"]), **changes})
        return message

    return intercept


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"cohort": [1, 2, 3, 4, 9]}, "not on the roster"),
        ({"cohort": [5, 4, 3, 2, 1]}, "ascending"),
        ({"cohort": [1, 2]}, "clients >= 3 must hold"),
        ({"number": -1}, "not a call"),
        ({"sizes": [6]}, "not a call"),
        ({"sizes": [(1 << 31) - 1, 0]}, "parameters <= 268435456 must hold"),
        ({"plan": {"clip": {"norm": 1.0}}}, "not a call"),
        ({"session": "00"}, "16 <= len"),
    ],
)
def test_a_call_that_does_not_hold_together_is_refused(
    changes: dict[str, Any], reason: str, run: Run, local_grid: Any
) -> None:
    grid = local_grid(trained)
    grid.intercept = changed_call(**changes)
    assert set(run(grid).reports[1].included) == {2, 3, 4, 5}
    assert any(reason in text for text in reasons(grid))


def test_a_client_that_is_not_in_the_cohort_says_who_it_is_and_no_more(
    run: Run, local_grid: Any
) -> None:
    grid = local_grid(trained)
    grid.intercept = changed_call(cohort=[2, 3, 4, 5])
    assert set(run(grid).reports[1].included) == {2, 3, 4, 5}
    (reply,) = (each for each in grid.replies if each.metadata.src_node_id == 1007)
    assert list(reply.content) == ["secagg"]
    assert dict(reply.content["secagg"]) == {"stage": "hello", "party": 1}


def test_a_call_whose_sizes_are_not_the_models_costs_no_plan_of_that_size(
    run: Run, local_grid: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    grid = local_grid(trained)
    planned: set[int] = set()
    plan_of = SecurePlan.round_plan

    def counted(self: SecurePlan, clients: int, update: int, side: int) -> Any:
        planned.add(update)
        return plan_of(self, clients, update, side)

    def changed(stage: str, message: Any) -> Any:
        return changed_call(sizes=[1 << 27, 0])(stage, message) if stage == "train" else message

    monkeypatch.setattr(SecurePlan, "round_plan", counted)
    grid.intercept = changed
    assert set(run(grid).reports[1].included) == {2, 3, 4, 5}
    assert reasons(grid) == [
        "ParameterError: the call says sizes (134217728, 0), the model has (6, 0)"
    ]
    assert planned == {1, 6}  # 1: what a SecurePlan checks itself with


def test_another_meaning_of_the_metrics_is_another_statement(run: Run, local_grid: Any) -> None:
    """A client that was told other bounds is not summed with those that were not."""
    grid = local_grid(trained)
    plain = SecurePlan(clip=NormClip(100.0), max_weight=100, dropout=0.2, metrics={"loss": 1.0})
    document = {
        "clip": {"norm": 100.0},
        "max_weight": plain.max_weight,
        "corrupt": plain.corrupt,
        "dropout": plain.dropout,
        "metrics": {"loss": 2.0},
        "integers": plain.integers,
        "least_clients": plain.least_clients,
        "privacy": None,
    }
    grid.intercept = changed_call(plan=document)
    strategy = run(grid, metrics={"loss": 1.0})
    assert set(strategy.reports[1].included) == {2, 3, 4, 5}
