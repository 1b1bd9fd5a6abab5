"""The pages on Flower: their code runs, and their tables name what exists."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("flwr", reason="flwr is not installed: pip install 'secagg[flower]'")

from dp.errors import BudgetExceeded
from protocols.adapters.flower import ClientSettings, SecurePlan, enroll
from protocols.adapters.flower.refusal import (
    BUDGET,
    CONFIGURATION,
    INTERNAL,
    LEAKAGE,
    LEDGER,
    OPENED,
    SPENT,
    TRAINING,
)
from secagg.errors import Aborted

ROOT = Path(__file__).parents[4]
PAGE = (ROOT / "docs" / "how-to" / "flower.md").read_text("utf-8")
OLD = (ROOT / "docs" / "how-to" / "migrate-from-flower-secagg.md").read_text("utf-8")


@pytest.fixture
def page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """What the blocks of the page define, one after the other."""
    pytest.importorskip("torch", reason="torch is not installed: pip install 'secagg[torch]'")
    monkeypatch.chdir(tmp_path)
    enroll("keys", 5)
    names: dict[str, Any] = {}
    for block in re.findall(r"^```py\n(.*?)^```$", PAGE, re.DOTALL | re.MULTILINE):
        exec(compile(block, "flower.md", "exec"), names)
    return names


@pytest.mark.parametrize("app", ["app", "simulation"])
def test_the_code_of_the_page_runs(
    app: str, page: dict[str, Any], grid_of: Any, to_record: Any, tmp_path: Path
) -> None:
    if app == "simulation":
        page["simulation"].train()(plain_train(page))
    grid = grid_of(page[app], tmp_path / "keys", first=0 if app == "simulation" else 1)
    result = page["strategy"].start(
        grid, to_record({"weights": np.zeros(4, np.float32)}), num_rounds=2
    )
    assert not page["strategy"].failures
    np.testing.assert_allclose(result.arrays["weights"].numpy(), 1.0, atol=1e-4)
    assert result.train_metrics_clientapp[2]["loss"] == pytest.approx(0.25, abs=1e-4)


def test_the_private_strategy_of_the_page_ends_with_its_budget(
    page: dict[str, Any], grid_of: Any, to_record: Any, tmp_path: Path
) -> None:
    pytest.importorskip("flint", reason="python-flint is not installed: pip install 'secagg[dp]'")
    grid = grid_of(page["app"], tmp_path / "keys", first=1)
    for party, context in enumerate(grid.contexts.values(), 1):
        ledger = str(tmp_path / f"client-{party}.ledger")
        budget = {"secagg-epsilon": 8.0, "secagg-delta": 1e-5, "secagg-ledger": ledger}
        context.node_config.update(budget)
    strategy = page["private_strategy"]
    strategy.start(grid, to_record({"weights": np.zeros(4, np.float32)}), num_rounds=11)
    assert list(strategy.reports) == [*range(1, 11)]
    assert {len(report.included) for report in strategy.reports.values()} == {5}
    assert 7.9 < strategy.reports[10].epsilon <= 8.0
    assert isinstance(strategy.failures.pop(11), BudgetExceeded)
    assert not strategy.failures


def test_the_screened_strategy_of_the_page_judges_every_round(
    page: dict[str, Any], grid_of: Any, to_record: Any, tmp_path: Path
) -> None:
    app = page["ClientApp"](mods=[page["secure_aggregation_mod"]])
    app.train()(own_train(page))  # one update from all would be copies, and the cascade sees them
    grid = grid_of(app, tmp_path / "keys", first=1)
    (opened,) = set(re.findall(r"secagg-floor-opened=(\d+)", PAGE))
    for party, context in enumerate(grid.contexts.values(), 1):
        context.node_config["secagg-floor-opened"] = int(opened)
        context.node_config["secagg-leakage"] = str(tmp_path / f"client-{party}.leakage")
        context.node_config["secagg-most-opened"] = 2 * int(opened)
    strategy = page["screened_strategy"]
    result = strategy.start(grid, to_record({"weights": np.zeros(2048, np.float32)}), num_rounds=3)
    assert list(strategy.reports) == list(strategy.verdicts) == [1, 2]
    assert [report.exchanges for report in strategy.reports.values()] == [6, 6]
    assert isinstance(strategy.failures[3], Aborted), "what clients open is at its end"
    assert not any(report.refused for report in strategy.reports.values())
    np.testing.assert_allclose(result.arrays["weights"].numpy().mean(), 0.1, atol=0.01)


def test_the_mending_strategy_of_the_page_looks_at_the_round(
    page: dict[str, Any], grid_of: Any, to_record: Any, tmp_path: Path
) -> None:
    model = {name: each.numpy() for name, each in page["network"].state_dict().items()}
    app = page["ClientApp"](mods=[page["secure_aggregation_mod"]])

    @app.train()
    def train(message: Any, context: Any) -> Any:
        party = int(context.node_config["partition-id"])
        drawn = np.random.default_rng(party)
        after = {
            name: each.numpy() + np.float32(drawn.normal(0, 0.01, each.shape))
            for name, each in message.content["arrays"].items()
        }
        reply = {"arrays": to_record(after), "metrics": page["MetricRecord"]({"num-examples": 9})}
        return page["Message"](page["RecordDict"](reply), reply_to=message)

    grid = grid_of(app, tmp_path / "keys", first=1)
    for context in grid.contexts.values():
        context.node_config["secagg-floor-opened"] = 257
    strategy = page["mending_strategy"]
    result = strategy.start(grid, to_record(model), num_rounds=1)
    assert not strategy.failures
    assert result.train_metrics_clientapp[1]["secagg.unlearned"] == len(
        strategy.reports[1].unlearned
    )


def test_the_page_quotes_what_a_server_is_told() -> None:
    for text in (BUDGET, CONFIGURATION, INTERNAL, LEAKAGE, LEDGER, OPENED, SPENT, TRAINING):
        assert f"`{text}`" in PAGE


def own_train(page: dict[str, Any]) -> Any:
    """As on the page, but with other changes in each round and from each client."""
    train = plain_train(page)

    def own(message: Any, context: Any) -> Any:
        before = message.content["arrays"]["weights"].numpy()
        party, later = int(context.node_config["partition-id"]), int(before.any())
        common = np.random.default_rng([0, later]).normal(0.05, 0.05, before.size)
        drawn = common + np.random.default_rng([party, later]).normal(0, 0.04, before.size)
        reply = train(message, context)
        arrays = {"weights": page["Array"](np.float32(before + drawn))}
        reply.content["arrays"] = page["ArrayRecord"](arrays)
        return reply

    return own


def plain_train(page: dict[str, Any]) -> Any:
    def train(message: Any, context: Any) -> Any:
        weights = message.content["arrays"]["weights"].numpy()
        content = page["RecordDict"](
            {
                "arrays": page["ArrayRecord"]({"weights": page["Array"](weights + 0.5)}),
                "metrics": page["MetricRecord"]({"num-examples": 120, "loss": 0.25}),
            }
        )
        return page["Message"](content, reply_to=message)

    return train


def test_the_page_has_every_key_of_the_node_configuration() -> None:
    documented = set(re.findall(r"`(secagg-[a-z-]+)`", PAGE))
    text = " ".join(str(ClientSettings.from_node_config.__doc__).split())
    assert documented == set(re.findall(r"`(secagg-[a-z-]+)`", text))


@pytest.mark.parametrize("text", [PAGE, OLD], ids=["flower", "migrate"])
def test_the_fields_of_a_plan_exist(text: str) -> None:
    fields = {field.name for field in dataclasses.fields(SecurePlan)}
    for name in re.findall(r"SecurePlan\((\w+)=", text):
        assert name in fields


def test_the_page_has_every_field_of_a_plan() -> None:
    table = PAGE[PAGE.index("| `SecurePlan` | is |") : PAGE.index("## What comes back")]
    first = " ".join(row.split("|")[1] for row in table.splitlines() if row.count("|") > 2)
    fields = {field.name for field in dataclasses.fields(SecurePlan)}
    assert set(re.findall(r"`(\w+)`", first)) == fields | {"SecurePlan"}
