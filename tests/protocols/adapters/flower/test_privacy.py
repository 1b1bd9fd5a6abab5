"""Noise in the adapter: what a plan may say, what comes out, and who stops where a budget ends."""

from __future__ import annotations

import copy
import json
import math
import re
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("flwr", reason="flwr is not installed: pip install 'secagg[flower]'")
pytest.importorskip("flint", reason="python-flint is not installed: pip install 'secagg[dp]'")

from flwr.app import Message, RecordDict
from flwr.serverapp.strategy import FedAvg

from dp.account_reduction import ReductionAccountant
from dp.errors import BudgetExceeded
from dp.events import Composed
from dp.noise_discrete_gaussian import DiscreteGaussian
from dp.noise_skellam import Skellam
from protocols import CentralNoise, DistributedNoise, PrivacyLedger
from protocols.adapters.flower import (
    ClientSettings,
    SecureAggregation,
    SecurePlan,
    load_identity,
    load_roster,
)
from protocols.adapters.flower.privacy import privacy_document, privacy_of
from protocols.adapters.flower.refusal import BUDGET, CONFIGURATION, INTERNAL, LEDGER
from protocols.adapters.flower.state import Store
from protocols.testing import Arrays, Local
from secagg.errors import Aborted, ParameterError
from secagg.quantize import NormClip, RangeClip

NODE, EVERYBODY = 1007, {1, 2, 3, 4, 5}
OTHERS = EVERYBODY - {1}
SIZE, DELTA = 1000, 1e-5
MODEL = {"w": np.zeros(SIZE)}
NOISE = DistributedNoise(multiplier=1.0)
TERMS: dict[str, Any] = {"clip": NormClip(1.0), "max_weight": 1, "dropout": 0.2}


def plan(privacy: Any = NOISE, **terms: Any) -> SecurePlan:
    return SecurePlan(**{**TERMS, "privacy": privacy, **terms})


def price(rounds: int, of: SecurePlan | None = None) -> float:
    """The epsilon of so many rounds of five clients."""
    event = (of or plan()).round_plan(5, SIZE, 0).event
    assert event is not None
    return ReductionAccountant().epsilon(Composed(((event, rounds),)), DELTA)


def budget(rounds: int) -> dict[str, Any]:
    """The node configuration that affords so many rounds and not one more."""
    return {"secagg-epsilon": price(rounds), "secagg-delta": DELTA}


def direction(party: int) -> np.ndarray:
    vector = np.random.default_rng(party).normal(size=SIZE)
    return 0.9 * vector / np.linalg.norm(vector)


def trained(party: int, model: Arrays) -> Local:
    return Local({"w": model["w"] + direction(party)}, {"loss": party / 4}, 10 * party)


def reasons(grid: Any) -> list[str]:
    return [str(reply.error.reason) for reply in grid.replies if reply.has_error()]


@pytest.fixture
def secured(enrolled: Path) -> Callable[..., SecureAggregation]:
    def make(of: SecurePlan | None = None, inner: Any = None, **options: Any) -> SecureAggregation:
        return SecureAggregation(
            inner or FedAvg(fraction_evaluate=0.0),
            plan=of or plan(),
            identity=enrolled / "server.key",
            roster=enrolled / "roster.json",
            deadline=0.05,
            poll=0.001,
            **options,
        )

    return make


Secured = Callable[..., SecureAggregation]


@pytest.fixture
def start(to_record: Any) -> Callable[..., Any]:
    """Rounds over a grid; returns Flower's result."""

    def started(strategy: SecureAggregation, grid: Any, rounds: int = 1, **options: Any) -> Any:
        model = to_record(options.pop("model", MODEL))
        return strategy.start(grid, model, num_rounds=rounds, **options)

    return started


# -- a plan ------------------------------------------------------------------------------------


class Loud(Skellam):
    """A law of a user's own."""


@pytest.mark.parametrize(
    ("terms", "inequality"),
    [
        ({"max_weight": 2}, "max_weight == 1 must hold in a plan with privacy, got 2"),
        ({"clip": RangeClip(1.0)}, "a private plan needs a NormClip"),
        ({"privacy": "clients"}, "privacy: DistributedNoise or CentralNoise, got str"),
        ({"privacy": DistributedNoise(multiplier=1.0, noise=Loud)}, "a call carries no other"),
        ({"privacy": DistributedNoise(multiplier=1.0, counts_clipped=True)}, "counts_clipped"),
        ({"privacy": DistributedNoise(multiplier=1.0, error=2e-6)}, "sigma <= 2\\*\\*15"),
        ({"metrics": {"loss": 10**400}}, "0 < bound < inf must hold"),
        ({"metrics": {"loss": True}}, "0 < bound < inf must hold"),
        ({"metrics": {"loss": "1"}}, "0 < bound < inf must hold"),
        ({"integers": 10**400}, "0 < bound < inf must hold"),
        ({"least_clients": True}, "least_clients >= 1"),
    ],
)
def test_a_plan_that_makes_no_sense_is_refused(terms: dict[str, Any], inequality: str) -> None:
    assert plan().privacy == NOISE
    with pytest.raises(ParameterError, match=inequality):
        plan(**terms)


def test_update_and_side_are_one_input_of_one_sensitivity() -> None:
    """The mechanism clips what it is given; that the side fits beside the update is a courtesy."""
    alone, joint = (plan().round_plan(5, SIZE, side).quantize.mechanism for side in (0, 3))
    assert alone.clip == 1.0
    assert joint.clip == pytest.approx(math.sqrt(2), rel=2**-7)
    assert joint.size == SIZE + 3
    for mechanism in (alone, joint):
        # in units of the clip, whatever the update: rounding is all that comes on top
        assert 1 <= mechanism.sensitivity.l2 / mechanism.units < 1.002


@pytest.mark.parametrize(
    "privacy",
    [
        None,
        DistributedNoise(multiplier=0.7, error=1e-2, wrap=2.0**-30),
        CentralNoise(multiplier=3),
        CentralNoise(multiplier=1.5, noise=Skellam),
    ],
)
def test_a_privacy_arrives_as_it_was(privacy: Any) -> None:
    document = json.loads(json.dumps(privacy_document(privacy)))
    assert privacy_of(document) == privacy


# -- a round -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "privacy", [DistributedNoise(multiplier=0.5), CentralNoise(multiplier=0.5)], ids=["D", "C"]
)
def test_the_mean_of_clients_that_count_as_one_comes_out_under_the_noise(
    privacy: Any, secured: Secured, start: Any, local_grid: Any
) -> None:
    seen: list[Any] = []

    class Watched(FedAvg):
        def aggregate_train(self, server_round: int, replies: Any) -> Any:
            seen.extend(reply.content["metrics"]["num-examples"] for reply in replies)
            return super().aggregate_train(server_round, replies)

    strategy = secured(plan(privacy), Watched(fraction_evaluate=0.0))
    result = start(strategy, local_grid(trained))
    assert not strategy.failures
    truth = sum(map(direction, EVERYBODY)) / 5
    deviation = np.std(result.arrays["w"].numpy() - truth)
    private = plan(privacy).round_plan(5, SIZE, 0).quantize
    least = private.noise_deviation / 5
    # five shares may be in a sum that is promised those of the honest
    copies = 5 / private.event.parts if isinstance(privacy, DistributedNoise) else 1
    assert 0.85 * least < deviation < 1.15 * math.sqrt(copies) * least
    assert seen == [5]
    assert strategy.reports[1].total_weight == 5
    assert strategy.reports[1].epsilon is None


def test_a_client_needs_no_weight_where_all_count_as_one(
    secured: Secured, start: Any, local_grid: Any
) -> None:
    def weightless(party: int, model: Arrays) -> Local:
        weight: Any = {1: -3, 2: 2.5, 3: 1 << 62, 4: 0}.get(party, 7)
        return Local(**{**vars(trained(party, model)), "weight": weight})

    strategy = secured()
    start(strategy, local_grid(weightless))
    assert set(strategy.reports[1].included) == EVERYBODY
    strategy = secured(SecurePlan(**TERMS))
    start(strategy, local_grid(weightless))
    assert isinstance(strategy.failures[1], Aborted), "without noise it does need one"


def test_metrics_and_integers_come_out_under_the_noise(
    secured: Secured, start: Any, local_grid: Any
) -> None:
    def counting(party: int, model: Arrays) -> Local:
        local = trained(party, {"w": model["w"]})
        return Local({**local.arrays, "n": model["n"] + 100}, local.metrics, local.weight)

    chosen = plan(DistributedNoise(multiplier=0.01), metrics={"loss": 2.0}, integers=200)
    strategy = secured(chosen)
    model = {**MODEL, "n": np.zeros((), np.int64)}
    result = start(strategy, local_grid(counting), model=model)
    # a side value: multiplier * sqrt(2 k) * bound / clients, and more where nobody is lost
    scale = 0.01 * math.sqrt(2 * 2) / 5 * math.sqrt(5 / 2)
    loss = result.train_metrics_clientapp[1]["loss"]
    assert loss == pytest.approx(0.75, abs=7 * scale * 2.0)
    assert result.arrays["n"].numpy() == pytest.approx(100, abs=7 * scale * 200)
    assert result.train_metrics_clientapp[1].keys() == {"loss"}


# -- what a client makes of a call -------------------------------------------------------------


def changed(stage: str, **values: Any) -> Callable[[str, Any], Any]:
    """Change the privacy of the calls of one stage to the client under test."""

    def intercept(found: str, message: Any) -> Any:
        if found == stage and message.metadata.dst_node_id == NODE:
            record = message.content["secagg"]
            call = json.loads(record["call"])
            ((kind, privacy),) = call["plan"]["privacy"].items()
            new = {**privacy, **values}
            call["plan"]["privacy"] = {new.pop("kind", kind): new}
            record["call"] = json.dumps(call)
        return message

    return intercept


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        ({"multiplier": math.nan}, "ParameterError: .*noise_multiplier"),
        ({"multiplier": math.inf}, "ParameterError: .*noise_multiplier"),
        ({"multiplier": 0}, "ParameterError: .*noise_multiplier"),
        ({"multiplier": -1.0}, "ParameterError: .*noise_multiplier"),
        ({"multiplier": True}, "ParameterError: .*noise_multiplier"),
        ({"multiplier": 10**400}, "ParameterError: .*noise_multiplier"),
        ({"multiplier": 1e9}, "ParameterError: sigma <="),
        ({"multiplier": "1"}, "DecodeError: not a call of this adapter"),
        ({"multiplier": None}, "DecodeError: not a call of this adapter"),
        ({"multiplier": [1.0]}, "DecodeError: not a call of this adapter"),
        ({"error": 0.0}, "ParameterError: 0 < error < 1"),
        ({"error": math.nan}, "ParameterError: 0 < error < 1"),
        ({"error": 1e-13}, "ParameterError: error >="),
        ({"wrap": 0.0}, "ParameterError: .* <= wrap <= 0.5"),
        ({"wrap": 1.0}, "ParameterError: .* <= wrap <= 0.5"),
        ({"counts_clipped": True}, "ParameterError: counts_clipped"),
        ({"noise": "none"}, "DecodeError: not a call of this adapter"),
        ({"noise": "discrete-gaussian"}, "DecodeError: not a call of this adapter"),
        ({"noise": ["skellam"]}, "DecodeError: not a call of this adapter"),
        ({"kind": "nobody"}, "DecodeError: not a call of this adapter"),
        ({"seed": 4}, "DecodeError: not a call of this adapter"),
    ],
)
def test_a_hostile_privacy_is_refused_and_the_others_go_on(
    values: dict[str, Any], reason: str, secured: Secured, start: Any, local_grid: Any
) -> None:
    grid = local_grid(trained)
    grid.intercept = changed("deal", **values)
    strategy = secured()
    start(strategy, grid)
    assert set(strategy.reports[1].included) == OTHERS
    (said,) = reasons(grid)
    assert re.match(reason, said), said
    assert len(said) < 1000


@pytest.mark.parametrize(
    "privacy",
    [
        "",
        [],
        {},
        0,
        {"clients": None},
        {"clients": {}},
        {"clients": {}, "server": {}},
        {"clients": {"multiplier": 1.0, "noise": "skellam"}},  # what is not said has no default
    ],
)
def test_a_privacy_of_another_shape_is_no_call(
    privacy: Any, secured: Secured, start: Any, local_grid: Any
) -> None:
    def intercept(stage: str, message: Any) -> Any:
        if message.metadata.dst_node_id == NODE:
            record = message.content["secagg"]
            call = json.loads(record["call"])
            call["plan"]["privacy"] = privacy
            record["call"] = json.dumps(call)
        return message

    grid = local_grid(trained)
    grid.intercept = intercept
    strategy = secured()
    start(strategy, grid)
    assert set(strategy.reports[1].included) == OTHERS
    assert set(reasons(grid)) == {"DecodeError: not a call of this adapter"}


@pytest.mark.parametrize("stage", ["deal", "train"])
def test_a_client_that_was_told_of_other_noise_is_not_in_the_sum(
    stage: str, secured: Secured, start: Any, local_grid: Any
) -> None:
    """It builds another plan, whose digest is in all that it signs."""
    grid = local_grid(trained)
    grid.intercept = changed(stage, multiplier=0.9)
    strategy = secured()
    start(strategy, grid)
    assert set(strategy.reports[1].included) == OTHERS
    grid = local_grid(trained)
    grid.intercept = changed(stage, multiplier=1.0)
    strategy = secured()
    start(strategy, grid)
    assert set(strategy.reports[1].included) == EVERYBODY


# -- the budget of a client --------------------------------------------------------------------


def test_a_client_stops_where_its_budget_ends_and_the_others_go_on(
    secured: Secured, start: Any, local_grid: Any, caplog: pytest.LogCaptureFixture
) -> None:
    grid = local_grid(trained, **budget(9))
    grid.contexts[NODE].node_config.update(budget(2))
    strategy = secured()
    start(strategy, grid, rounds=4)
    assert not strategy.failures
    included = [set(report.included) for report in strategy.reports.values()]
    assert included == [EVERYBODY, EVERYBODY, OTHERS, OTHERS]
    assert reasons(grid) == [BUDGET] * 2
    (first, _) = (line for line in caplog.messages if "no update leaves" in line)
    assert f"{price(2):.4g} is spent" in first, "its owner reads how much"


def test_what_is_spent_is_what_was_masked(secured: Secured, start: Any, local_grid: Any) -> None:
    grid = local_grid(trained, **budget(9))
    start(secured(), grid, rounds=2)
    for context in grid.contexts.values():
        path = context.node_config["secagg-ledger"]
        ledger = PrivacyLedger.open(path, epsilon=100.0, delta=DELTA)
        assert (ledger.releases, ledger.spent()) == (2, price(2))


def test_a_client_whose_budget_is_spent_does_not_train(
    secured: Secured, start: Any, local_grid: Any
) -> None:
    """Training may take hours, and nothing of it could leave."""
    parties: list[int] = []

    def train(party: int, model: Arrays) -> Local:
        parties.append(party)
        return trained(party, model)

    grid = local_grid(train, **budget(9))
    grid.contexts[NODE].node_config.update(budget(1))
    strategy = secured()
    start(strategy, grid, rounds=3)
    assert [parties.count(party) for party in sorted(EVERYBODY)] == [1, 3, 3, 3, 3]
    assert reasons(grid) == [BUDGET] * 2


def test_a_restarted_node_has_spent_what_it_had(
    secured: Secured, start: Any, local_grid: Any, tmp_path: Path
) -> None:
    """State and journal are gone, and the server is another one: the ledger is there."""
    grid = local_grid(trained, **budget(9))
    grid.contexts[NODE].node_config.update(budget(1))
    start(secured(), grid)
    grid.restart(NODE, 4242)
    grid.contexts[4242].node_config["secagg-journal"] = str(tmp_path / "new.journal")
    strategy = secured()
    start(strategy, grid)
    assert set(strategy.reports[1].included) == OTHERS
    assert reasons(grid) == [BUDGET]


def test_a_round_whose_every_other_trace_was_undone_is_not_masked_again(
    secured: Secured, start: Any, local_grid: Any, tmp_path: Path
) -> None:
    """From a backup of state, journal and claims; the ledger alone remembers."""
    again: list[Any] = []
    grid = local_grid(trained, **budget(9))
    home = tmp_path / "home"
    home.mkdir()
    config = grid.contexts[NODE].node_config
    config["secagg-journal"] = str(home / "journal")

    def repeat(stage: str, message: Any) -> Any:
        if stage == "train" and message.metadata.dst_node_id == NODE:
            context, backup = grid.contexts[NODE], tmp_path / "backup"
            before = copy.deepcopy(context.state)
            shutil.copytree(home, backup)
            assert grid.run_client(copy.deepcopy(message)).has_content()
            context.state = before
            shutil.rmtree(home)
            backup.rename(home)
            again.append(grid.run_client(copy.deepcopy(message)))
        return message

    grid.intercept = repeat
    start(secured(), grid)
    (second,) = again
    assert second.error.reason == (
        "LocalProtocolError: this release was charged before: it is not made again"
    )


def test_what_was_charged_and_never_sent_stays_charged(
    secured: Secured, start: Any, local_grid: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The client fails between the charge and the first trace of its frame, and is asked again."""
    claim = Store.claim
    failures = iter([True])
    said: list[str] = []

    def failing(self: Store, step: str, session: bytes, number: int) -> None:
        if step == "mask" and next(failures, False):
            raise OSError("no space left")
        claim(self, step, session, number)

    def twice(stage: str, message: Any) -> Any:
        if stage == "train" and message.metadata.dst_node_id == NODE:
            for _ in range(2):
                reply = grid.run_client(copy.deepcopy(message))
                said.append(str(reply.error.reason))
            return None
        return message

    monkeypatch.setattr(Store, "claim", failing)
    grid = local_grid(trained, **budget(9))
    grid.intercept = twice
    strategy = secured()
    start(strategy, grid)
    assert set(strategy.reports[1].included) == OTHERS
    assert said[0] == INTERNAL
    assert said[1].startswith("LocalProtocolError: this release was charged before")
    path = grid.contexts[NODE].node_config["secagg-ledger"]
    assert PrivacyLedger.open(path, epsilon=100.0, delta=DELTA).releases == 1


def test_no_budget_affords_an_exact_sum(secured: Secured, start: Any, local_grid: Any) -> None:
    grid = local_grid(trained, **budget(9))
    strategy = secured(SecurePlan(**TERMS))
    start(strategy, grid)
    assert isinstance(strategy.failures[1], Aborted)
    assert [stages[0] for stages in grid.exchanges if stages] == ["deal"]
    assert all("this plan adds no noise" in text for text in reasons(grid))
    assert len(reasons(grid)) == 5


@pytest.mark.parametrize("trusted", [True, False])
def test_a_budget_does_not_trust_the_server_with_the_noise_unless_told(
    trusted: bool, secured: Secured, start: Any, local_grid: Any
) -> None:
    chosen = plan(CentralNoise(multiplier=1.0))
    config = {"secagg-epsilon": price(1, chosen), "secagg-delta": DELTA}
    grid = local_grid(trained, **config, **{"secagg-central-noise": trusted})
    strategy = secured(chosen)
    start(strategy, grid)
    if trusted:
        assert set(strategy.reports[1].included) == EVERYBODY
        return
    assert isinstance(strategy.failures[1], Aborted)
    assert all("this plan trusts the server" in text for text in reasons(grid))


def test_a_client_without_a_budget_takes_either_noise(
    secured: Secured, start: Any, local_grid: Any
) -> None:
    for privacy in (CentralNoise(multiplier=1.0), NOISE):
        strategy = secured(plan(privacy))
        start(strategy, local_grid(trained))
        assert set(strategy.reports[1].included) == EVERYBODY


def test_a_ledger_that_is_damaged_meanwhile_is_a_loss_that_names_no_path(
    secured: Secured, start: Any, local_grid: Any, caplog: pytest.LogCaptureFixture
) -> None:
    def damage(party: int, model: Arrays) -> Local:
        if party == 1:
            path.write_bytes(b"{}\n")
        return trained(party, model)

    grid = local_grid(damage, **budget(9))
    path = Path(grid.contexts[NODE].node_config["secagg-ledger"])
    strategy = secured()
    start(strategy, grid)
    assert set(strategy.reports[1].included) == OTHERS
    assert reasons(grid) == [LEDGER]
    assert str(path) in caplog.text
    assert path.read_bytes() == b"{}\n"
    start(strategy, grid)  # and from then on its configuration is unusable
    assert CONFIGURATION in reasons(grid)
    assert not any(str(path.parent) in text for text in reasons(grid))


# -- the settings of a client ------------------------------------------------------------------


@pytest.fixture
def config(enrolled: Path, tmp_path: Path) -> dict[str, Any]:
    return {
        "secagg-identity": str(enrolled / "client-1.key"),
        "secagg-roster": str(enrolled / "roster.json"),
        "secagg-ledger": str(tmp_path / "ledger"),
        "secagg-epsilon": 8.0,
        "secagg-delta": DELTA,
    }


def test_a_budget_comes_from_the_node_configuration(config: dict[str, Any]) -> None:
    made = ClientSettings.from_node_config(config)
    assert repr(made.ledger) == "<PrivacyLedger of 0 releases, budget (8, 1e-05)>"
    assert made.required
    assert made.ledger is not None
    assert not made.ledger.trusting
    config["secagg-central-noise"] = True
    trusting = ClientSettings.from_node_config(config).ledger
    assert trusting is not None
    assert trusting.trusting


def test_a_ledger_lies_beside_the_key(config: dict[str, Any], tmp_path: Path) -> None:
    key = tmp_path / "mine.key"
    shutil.copy(config["secagg-identity"], key)
    config["secagg-identity"] = str(key)
    del config["secagg-ledger"]
    made = ClientSettings.from_node_config(config)
    assert made.ledger is not None
    made.ledger.charge(b"1", plan().round_plan(5, SIZE, 0).event)
    assert (tmp_path / "mine.key.ledger").exists()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"secagg-delta": None}, "a budget together: secagg-delta is absent"),
        ({"secagg-epsilon": None}, "a budget together: secagg-epsilon is absent"),
        ({"secagg-epsilon": None, "secagg-delta": None}, "secagg-epsilon is absent"),
        (
            {
                "secagg-epsilon": None,
                "secagg-delta": None,
                "secagg-ledger": None,
                "secagg-central-noise": True,
            },
            "secagg-epsilon is absent",
        ),
        ({"secagg-epsilon": 0}, "0 < epsilon < inf must hold"),
        ({"secagg-epsilon": math.nan}, "0 < epsilon < inf must hold"),
        ({"secagg-epsilon": "8"}, "secagg-epsilon must be a number"),
        ({"secagg-delta": 1.0}, "0 < delta < 1 must hold"),
        ({"secagg-ledger": 5}, "lacks a path secagg-ledger"),
        ({"secagg-ledger": "/dev/null/ledger"}, "/dev/null/ledger cannot be used"),
        ({"secagg-required": False}, "a privacy budget needs required: true"),
        ({"secagg-central-noise": 1}, "secagg-central-noise must be true or false"),
    ],
)
def test_a_budget_with_a_mistake_is_refused(
    change: dict[str, Any], message: str, config: dict[str, Any]
) -> None:
    assert ClientSettings.from_node_config(config).ledger is not None
    given = {key: value for key, value in {**config, **change}.items() if value is not None}
    with pytest.raises(ParameterError, match=message):
        ClientSettings.from_node_config(given)


def test_a_budget_that_is_not_guarded_trains_nothing(
    local_grid: Any, to_record: Any, secured: Secured, start: Any
) -> None:
    """Also where the protocol is not in the message, so that no other setting is read."""
    grid = local_grid(trained, **budget(1), **{"secagg-required": False})
    content = RecordDict({"arrays": to_record(MODEL)})
    (reply,) = grid.send_and_receive([Message(content, NODE, "train")])
    assert reply.error.reason == CONFIGURATION
    grid.contexts[NODE].node_config["secagg-required"] = True
    (reply,) = grid.send_and_receive([Message(content, NODE, "train")])
    assert "under secure aggregation only" in reply.error.reason


def test_settings_from_code_take_a_ledger(enrolled: Path) -> None:
    given: dict[str, Any] = {
        "identity": load_identity(enrolled / "client-1.key"),
        "roster": load_roster(enrolled / "roster.json"),
        "ledger": PrivacyLedger(epsilon=8.0, delta=DELTA),
    }
    assert ClientSettings(**given, required=True).ledger is given["ledger"]
    with pytest.raises(ParameterError, match="a privacy budget needs required: true"):
        ClientSettings(**given)


def test_what_accounting_needs_is_missed_before_the_training(
    config: dict[str, Any],
    monkeypatch: pytest.MonkeyPatch,
    secured: Secured,
    start: Any,
    local_grid: Any,
    caplog: pytest.LogCaptureFixture,
) -> None:
    affordable = budget(1)
    monkeypatch.setitem(sys.modules, "flint", None)
    with pytest.raises(ImportError, match=r"pip install 'secagg\[dp\]'"):
        ClientSettings.from_node_config(config)
    unbudgeted = {key: config[key] for key in ("secagg-identity", "secagg-roster")}
    assert ClientSettings.from_node_config(unbudgeted).ledger is None
    grid = local_grid(trained)
    grid.contexts[NODE].node_config.update({**affordable, "secagg-ledger": config["secagg-ledger"]})
    strategy = secured()
    start(strategy, grid)
    assert set(strategy.reports[1].included) == OTHERS
    assert reasons(grid)[0] == CONFIGURATION
    assert "pip install 'secagg[dp]'" in caplog.text


# -- the budget of a session -------------------------------------------------------------------


class Evaluated(FedAvg):
    """FedAvg that asks for evaluation and makes nothing of it."""

    def aggregate_evaluate(self, server_round: int, replies: Any) -> None:
        list(replies)


def test_training_ends_where_the_budget_of_the_server_does(
    secured: Secured, start: Any, local_grid: Any, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", logger="flwr")
    ledger = PrivacyLedger(epsilon=price(2), delta=DELTA)
    grid = local_grid(trained)
    strategy = secured(inner=Evaluated(), ledger=ledger)
    models: list[np.ndarray] = []
    result = start(
        strategy,
        grid,
        rounds=4,
        evaluate_fn=lambda _, arrays: models.append(arrays["w"].numpy()),
    )
    assert list(strategy.reports) == [1, 2]
    assert [report.epsilon for report in strategy.reports.values()] == [price(1), price(2)]
    assert ledger.spent() == price(2)
    assert list(strategy.failures) == [3, 4]
    assert all(isinstance(error, BudgetExceeded) for error in strategy.failures.values())
    np.testing.assert_array_equal(result.arrays["w"].numpy(), models[2])
    np.testing.assert_array_equal(models[4], models[2])
    stages = [stages[0] for stages in grid.exchanges if stages]
    assert stages == ["deal", *["train", "unmask", "evaluate"] * 2], "nobody is asked any more"
    (line,) = (line for line in caplog.messages if "training ends" in line)
    assert line.startswith("secagg: training ends before round 3 with the model so far: epsilon <=")
    assert sum("secagg: epsilon" in line for line in caplog.messages) == 2


def test_a_round_is_charged_before_its_model_leaves_and_stays_so(
    secured: Secured, start: Any, local_grid: Any
) -> None:
    """Nobody answers: a sum may have been opened by someone all the same."""
    ledger = PrivacyLedger(epsilon=price(1), delta=DELTA)
    grid = local_grid(trained)
    charged: list[int] = []

    def lost(stage: str, message: Any) -> Any:
        if stage != "train":
            return message
        charged.append(ledger.releases)
        return None

    grid.intercept = lost
    strategy = secured(ledger=ledger)
    start(strategy, grid, rounds=2)
    assert charged == [1] * 5
    assert isinstance(strategy.failures[1], Aborted)
    assert isinstance(strategy.failures[2], BudgetExceeded)
    assert not strategy.reports


def test_a_round_that_does_not_begin_is_not_charged(
    secured: Secured, start: Any, local_grid: Any
) -> None:
    ledger = PrivacyLedger(epsilon=price(1), delta=DELTA)
    grid = local_grid(trained)
    grid.intercept = lambda stage, message: None
    strategy = secured(ledger=ledger)
    start(strategy, grid)
    assert isinstance(strategy.failures[1], Aborted)
    assert ledger.releases == 0
    grid.intercept = lambda stage, message: message
    start(strategy, grid)
    assert ledger.releases == 1


def test_a_server_that_starts_again_has_spent_what_it_had(
    secured: Secured, start: Any, local_grid: Any, tmp_path: Path
) -> None:
    outcomes = []
    for _ in range(2):
        ledger = PrivacyLedger.open(tmp_path / "server", epsilon=price(1), delta=DELTA)
        strategy = secured(ledger=ledger)
        start(strategy, local_grid(trained))
        outcomes.append((list(strategy.reports), list(strategy.failures)))
    assert outcomes == [([1], []), ([], [1])]


def test_a_ledger_needs_a_plan_with_noise(secured: Secured) -> None:
    ledger = PrivacyLedger(epsilon=1.0, delta=DELTA)
    assert secured(ledger=ledger).plan.privacy == NOISE
    with pytest.raises(ParameterError, match="a ledger needs a plan with privacy"):
        secured(SecurePlan(**TERMS), ledger=ledger)


@pytest.mark.parametrize("law", [Skellam, DiscreteGaussian])
def test_the_summary_says_what_protects(
    law: Any, secured: Secured, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", logger="flwr")
    ledger = PrivacyLedger(epsilon=8.0, delta=DELTA)
    secured(plan(CentralNoise(multiplier=2.0, noise=law)), ledger=ledger).summary()
    shown = f"Privacy: CentralNoise, {law.__name__}, multiplier 2 | epsilon <= 8 at 1e-05"
    assert shown in caplog.text
    caplog.clear()
    secured().summary()
    assert "Privacy: DistributedNoise, Skellam, multiplier 1 | no budget" in caplog.text
    caplog.clear()
    secured(SecurePlan(**TERMS)).summary()
    assert "Privacy: no noise" in caplog.text
