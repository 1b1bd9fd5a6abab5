"""The wrapper around Flower's strategies: what they see, which are refused, who is asked."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("flwr", reason="flwr is not installed: pip install 'secagg[flower]'")

from flwr.app import ArrayRecord, Error, Message, RecordDict
from flwr.serverapp import strategy as strategies

from protocols.adapters.flower import SecureAggregation, SecurePlan, load_roster
from protocols.screening import SketchScreen
from protocols.testing import Arrays, Local
from secagg.errors import Aborted, InputRefused, IntegrityError, ParameterError
from secagg.identity import Identity
from secagg.quantize import NormClip, RangeClip

PLAN = SecurePlan(clip=NormClip(100.0), max_weight=100, dropout=0.2)
MODEL = {"w": np.linspace(-1, 1, 6, dtype=np.float32), "b": np.zeros((), np.float64)}


def trained(party: int, model: Arrays) -> Local:
    arrays = {name: np.asarray(a + np.asarray(0.1 * party, a.dtype)) for name, a in model.items()}
    return Local(arrays, {"loss": party / 4}, 10 * party)


@pytest.fixture
def secured(enrolled: Path) -> Callable[..., SecureAggregation]:
    def make(inner: Any = None, **options: Any) -> SecureAggregation:
        options = {
            "plan": PLAN,
            "identity": enrolled / "server.key",
            "roster": enrolled / "roster.json",
            "deadline": 0.05,
            "poll": 0.001,
            **options,
        }
        return SecureAggregation(inner or strategies.FedAvg(fraction_evaluate=0.0), **options)

    return make


Secured = Callable[..., SecureAggregation]


# -- inner strategies -------------------------------------------------------------------------


@pytest.mark.parametrize(
    "make",
    [
        lambda: strategies.FedAvg(fraction_evaluate=0.0),
        lambda: strategies.FedAvgM(fraction_evaluate=0.0, server_momentum=0.9),
        lambda: strategies.FedProx(fraction_evaluate=0.0, proximal_mu=0.1),
        lambda: strategies.FedAdam(fraction_evaluate=0.0),
        lambda: strategies.FedYogi(fraction_evaluate=0.0),
        lambda: strategies.FedAdagrad(fraction_evaluate=0.0),
    ],
    ids=["FedAvg", "FedAvgM", "FedProx", "FedAdam", "FedYogi", "FedAdagrad"],
)
def test_the_same_model_as_without_protection(
    make: Callable[[], Any], secured: Secured, local_grid: Any, to_record: Any
) -> None:
    plain = make().start(local_grid(trained, mods=()), to_record(MODEL), num_rounds=2)
    plan = SecurePlan(clip=NormClip(100.0), max_weight=100, dropout=0.2, metrics={"loss": 4.0})
    wrapper = secured(make(), plan=plan)
    secure = wrapper.start(local_grid(trained), to_record(MODEL), num_rounds=2)
    assert not wrapper.failures
    for name, array in plain.arrays.items():
        # Adaptive optimizers divide by small numbers, which magnifies rounding.
        np.testing.assert_allclose(secure.arrays[name].numpy(), array.numpy(), atol=1e-3)
        assert secure.arrays[name].numpy().dtype == MODEL[name].dtype
    for number in (1, 2):
        want, got = (r.train_metrics_clientapp[number] for r in (plain, secure))
        assert got.keys() == want.keys()
        assert got["loss"] == pytest.approx(want["loss"], abs=1e-4)


REFUSED = {
    "Bulyan": (),
    "FedMedian": (),
    "FedTrimmedAvg": (),
    "FedXgbBagging": (),
    "FedXgbCyclic": (),
    "Krum": (),
    "MultiKrum": (),
    "QFedAvg": (0.1,),
    "DifferentialPrivacyClientSideAdaptiveClipping": (1.0, 100),
    "DifferentialPrivacyClientSideFixedClipping": (1.0, 1.0, 5),
    "DifferentialPrivacyServerSideAdaptiveClipping": (1.0, 100),
    "DifferentialPrivacyServerSideFixedClipping": (1.0, 1.0, 5),
}


@pytest.mark.parametrize("name", REFUSED)
def test_a_strategy_that_needs_single_updates_is_refused_with_the_reason(
    name: str, secured: Secured
) -> None:
    kind, arguments = getattr(strategies, name), REFUSED[name]
    wrapped = [strategies.FedAvg()] if name.startswith("Diff") else []
    inner = kind(*wrapped, *arguments)
    with pytest.raises(ParameterError, match=rf"{name} cannot be secured: it \w+"):
        secured(inner)


def test_every_strategy_of_flower_is_either_refused_or_tested() -> None:
    tested = {"FedAvg", "FedAvgM", "FedProx", "FedAdam", "FedYogi", "FedAdagrad"}
    other = {"Strategy", "Result"}
    assert set(strategies.__all__) == REFUSED.keys() | tested | other


def test_a_subclass_of_a_refused_strategy_is_refused(secured: Secured) -> None:
    class Mine(strategies.FedMedian):
        pass

    with pytest.raises(ParameterError, match="Mine cannot be secured"):
        secured(Mine())


def test_start_is_flowers_own() -> None:
    assert SecureAggregation.start is strategies.Strategy.start


def test_another_server_key_is_refused(secured: Secured) -> None:
    with pytest.raises(ParameterError, match="another server key"):
        secured(identity=Identity.from_bytes(bytes(31) + b"\1"))


def test_a_roster_without_share_keys_is_refused(secured: Secured, enrolled: Path) -> None:
    full = load_roster(enrolled / "roster.json")
    with pytest.raises(ParameterError, match="no share keys"):
        secured(roster=type(full)(full.server, full.clients))


# -- cohorts ----------------------------------------------------------------------------------


def test_a_sampled_cohort_asks_who_is_who_and_deals_anew_when_it_changes(
    secured: Secured, local_grid: Any, to_record: Any
) -> None:
    grid = local_grid(trained)
    nodes = list(grid.contexts)
    draws = [nodes[:4], nodes[:4], nodes[1:]]
    inner = Chosen(draws)
    strategy = secured(inner)
    strategy.start(grid, to_record(MODEL), num_rounds=3)
    assert not strategy.failures
    included = [set(report.included) for report in strategy.reports.values()]
    assert included == [{1, 2, 3, 4}, {1, 2, 3, 4}, {2, 3, 4, 5}]
    rounds = [stages[0] for stages in grid.exchanges if stages]
    first, second = ["hello", "deal", "train", "unmask"], ["train", "unmask"]
    assert rounds == first + second + ["hello", "deal", "train", "unmask"]
    assert [report.exchanges for report in strategy.reports.values()] == [4, 2, 4]


def test_a_restarted_node_has_a_new_id_and_takes_part_again(
    secured: Secured, local_grid: Any, to_record: Any
) -> None:
    grid = local_grid(trained)
    strategy = secured()

    def restart(number: int, arrays: ArrayRecord) -> None:
        if number == 1:
            (node, *_) = grid.contexts
            grid.restart(node, 4242)

    strategy.start(grid, to_record(MODEL), num_rounds=3, evaluate_fn=restart)
    assert not strategy.failures
    assert [set(r.included) for r in strategy.reports.values()] == [{1, 2, 3, 4, 5}] * 3
    # Its deal went with it: everybody deals anew, once.
    assert [report.exchanges for report in strategy.reports.values()] == [3, 4, 2]


@pytest.mark.parametrize("screen", [None, SketchScreen(rows=64)])
def test_a_node_that_comes_back_with_another_key_takes_part_again(
    screen: Any, secured: Secured, local_grid: Any, to_record: Any
) -> None:
    """Its claim was for ever: the old client was invited and lost in each round, the new never."""
    grid = local_grid(trained, **{"secagg-floor-opened": 65})
    (node, *_, last) = grid.contexts
    gone = grid.contexts.pop(last)
    terms = {"clip": NormClip(100.0), "max_weight": 100, "dropout": 0.25}
    strategy = secured(Chosen([[*grid.contexts]] * 4), plan=SecurePlan(screen=screen, **terms))

    def rekey(number: int, arrays: ArrayRecord) -> None:
        if number == 1:
            grid.contexts[node].node_config.update(gone.node_config)
            grid.contexts[node].state = RecordDict()

    model = {"w": np.zeros(512, np.float32)}
    strategy.start(grid, to_record(model), num_rounds=4, evaluate_fn=rekey)
    assert not strategy.failures
    included = [set(report.included) for report in strategy.reports.values()]
    assert included == [{1, 2, 3, 4}, {2, 3, 4}, {2, 3, 4, 5}, {2, 3, 4, 5}]


def test_a_node_that_claims_to_be_another_takes_nothing_from_it(
    secured: Secured, local_grid: Any, to_record: Any
) -> None:
    grid = local_grid(trained)
    nodes = list(grid.contexts)

    def lie(stage: str, reply: Any) -> Any:
        if stage == "hello" and reply.metadata.src_node_id == nodes[0]:
            reply.content["secagg"]["party"] = 2
        return reply

    grid.on_reply = lie
    strategy = secured(Chosen([nodes[:4]]))
    strategy.start(grid, to_record(MODEL), num_rounds=1)
    # Node 0 dealt as party 1, whom nobody invited; party 2 is in the sum once, by its own frame.
    assert set(strategy.reports[1].included) == {2, 3, 4}


def test_a_stranger_among_the_nodes_is_left_out(
    secured: Secured, local_grid: Any, to_record: Any
) -> None:
    grid = local_grid(trained)
    (node, *_) = grid.contexts
    grid.contexts[node].node_config.pop("secagg-identity")
    strategy = secured()
    strategy.start(grid, to_record(MODEL), num_rounds=1)
    assert set(strategy.reports[1].included) == {2, 3, 4, 5}


def test_an_error_in_the_name_of_the_superlink_is_a_loss_of_the_node_that_was_asked(
    secured: Secured, local_grid: Any, to_record: Any
) -> None:
    grid = local_grid(trained)
    victim = list(grid.contexts)[2]
    grid.unavailable = {("train", victim)}
    strategy = secured()
    strategy.start(grid, to_record(MODEL), num_rounds=1)
    assert set(strategy.reports[1].included) == {1, 2, 4, 5}


def test_a_client_cannot_write_lines_of_its_own_into_the_servers_log(
    secured: Secured, local_grid: Any, to_record: Any, caplog: pytest.LogCaptureFixture
) -> None:
    grid = local_grid(trained)
    victim = list(grid.contexts)[4]

    def forge(stage: str, reply: Any) -> Any:
        if reply.metadata.src_node_id != victim or stage != "train":
            return reply
        error = Message(Error(6, "lost\nround 9 is done " + "x" * 5000), reply_to=reply)
        error.metadata.__dict__.update(reply.metadata.__dict__)
        return error

    grid.on_reply = forge
    strategy = secured()
    strategy.start(grid, to_record(MODEL), num_rounds=1)
    assert set(strategy.reports[1].included) == {1, 2, 3, 4}
    (line,) = (line for line in caplog.messages if "is lost" in line)
    assert line.startswith(r"secagg: a client is lost: 'lost\nround 9 is done xxx")
    assert len(line) < 300


@pytest.mark.parametrize("data", [b"", b"PK\x03\x04", b"SA\x01\x04\x0a" + bytes(200), bytes(500)])
def test_a_client_cannot_disturb_the_server_by_what_it_sends(
    data: bytes, secured: Secured, local_grid: Any, to_record: Any
) -> None:
    grid = local_grid(trained)
    victim = list(grid.contexts)[4]

    def rubbish(stage: str, reply: Any) -> Any:
        if reply.metadata.src_node_id == victim:
            for array in reply.content.array_records.get("secagg.frames", {}).values():
                array.data, array.shape, array.stype = data, (1 << 60,), "numpy.ndarray"
        return reply

    grid.on_reply = rubbish
    strategy = secured()
    strategy.start(grid, to_record(MODEL), num_rounds=2)
    assert [set(r.included) for r in strategy.reports.values()] == [{1, 2, 3, 4}] * 2


# -- floors and failures ----------------------------------------------------------------------


def test_too_few_nodes_end_the_round_without_waiting_for_ever(
    secured: Secured, local_grid: Any, to_record: Any
) -> None:
    grid = local_grid(trained)
    for node in list(grid.contexts)[2:]:
        del grid.contexts[node]
    strategy = secured(strategies.FedAvg(min_available_nodes=4))
    strategy.start(grid, to_record(MODEL), num_rounds=1)
    assert isinstance(strategy.failures[1], Aborted)
    assert "2 nodes are connected, at least 4 needed" in str(strategy.failures[1])
    assert not strategy.reports


def test_fewer_clients_than_the_plan_asks_for(
    secured: Secured, local_grid: Any, to_record: Any
) -> None:
    plan = SecurePlan(clip=NormClip(1.0), max_weight=100, least_clients=5)
    grid = local_grid(trained)
    strategy = secured(Chosen([list(grid.contexts)[:4]]), plan=plan)
    strategy.start(grid, to_record(MODEL), num_rounds=1)
    assert "4 clients, at least 5 needed" in str(strategy.failures[1])


def test_messages_are_void_after_their_deadline(
    secured: Secured, local_grid: Any, to_record: Any
) -> None:
    grid = local_grid(trained)
    seen: dict[str, set[float]] = {}

    def look(stage: str, message: Any) -> Any:
        seen.setdefault(stage, set()).add(message.metadata.ttl)
        return message

    grid.intercept = look
    secured(deadline=9.0, train_deadline=70.0).start(grid, to_record(MODEL), num_rounds=1)
    assert seen == {"deal": {9.0}, "train": {70.0}, "unmask": {9.0}}


def test_a_model_that_is_not_finite_is_reported_and_changes_nothing(
    secured: Secured, local_grid: Any, to_record: Any, caplog: pytest.LogCaptureFixture
) -> None:
    class Diverging(strategies.FedAvg):
        def aggregate_train(self, server_round: int, replies: Any) -> Any:
            arrays, metrics = super().aggregate_train(server_round, replies)
            assert arrays is not None
            return to_record({name: a.numpy() * np.inf for name, a in arrays.items()}), metrics

    strategy = secured(Diverging(fraction_evaluate=0.0))
    result = strategy.start(local_grid(trained), to_record(MODEL), num_rounds=1)
    assert isinstance(strategy.failures[1], InputRefused)
    assert "not finite" in str(strategy.failures[1])
    assert set(strategy.reports[1].included) == {1, 2, 3, 4, 5}  # the sum was released
    assert not result.arrays  # Flower's word for a model that no round has changed
    assert not result.train_metrics_clientapp
    assert "round 1 leaves the model as it was" in caplog.text


def test_a_mean_that_the_models_dtype_cannot_hold_is_reported_too(
    secured: Secured, local_grid: Any, to_record: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def withheld(*_: Any) -> Any:
        raise IntegrityError("['w'] at index (0,): float16 cannot hold the value")

    monkeypatch.setattr("protocols.adapters.flower.strategy.Layout.decode", withheld)
    strategy = secured()
    strategy.start(local_grid(trained), to_record(MODEL), num_rounds=1)
    assert "float16 cannot hold" in str(strategy.failures[1])
    assert set(strategy.reports[1].included) == {1, 2, 3, 4, 5}


def test_other_arrays_from_the_inner_strategy_are_a_failed_round_with_its_report(
    secured: Secured, local_grid: Any, to_record: Any
) -> None:
    class Renaming(strategies.FedAvg):
        def aggregate_train(self, server_round: int, replies: Any) -> Any:
            arrays, metrics = super().aggregate_train(server_round, replies)
            if server_round == 1:
                return to_record({"other": np.zeros(7)}), metrics
            return arrays, metrics

    strategy = secured(Renaming(fraction_evaluate=0.0))
    result = strategy.start(local_grid(trained), to_record(MODEL), num_rounds=2)
    assert list(strategy.failures) == [1]
    assert "other arrays than it was given" in str(strategy.failures[1])
    assert [report.exchanges for report in strategy.reports.values()] == [3, 2]
    expected = (10 * 0.1 + 140 * 0.2 + 300 * (11 / 30)) / 150
    assert list(result.arrays) == list(MODEL)
    assert 0 < float(result.arrays["b"].numpy()) < expected  # of round 2 alone


@pytest.mark.parametrize("error", [ZeroDivisionError, InputRefused, IntegrityError])
def test_a_bug_in_the_inner_strategy_surfaces_and_the_report_is_kept(
    error: type[Exception], secured: Secured, local_grid: Any, to_record: Any
) -> None:
    class Buggy(strategies.FedAvg):
        def aggregate_train(self, server_round: int, replies: Any) -> Any:
            raise error("mine")

    strategy = secured(Buggy(fraction_evaluate=0.0))
    with pytest.raises(error, match="mine"):
        strategy.start(local_grid(trained), to_record(MODEL), num_rounds=2)
    assert set(strategy.reports[1].included) == {1, 2, 3, 4, 5}


@pytest.mark.parametrize("phase", ["train", "evaluate"])
def test_nodes_that_leave_after_they_were_counted_do_not_hang_the_inner_strategy(
    phase: str, secured: Secured, local_grid: Any, to_record: Any
) -> None:
    """`sample_nodes` would wait for them without end."""
    grid = local_grid(trained)
    (last,) = list(grid.contexts)[4:]
    evaluated: list[int] = []
    leaves = "configure_train" if phase == "train" else "configure_evaluate"

    class Leaving(strategies.FedAvg):
        def aggregate_evaluate(self, server_round: int, replies: Any) -> Any:
            evaluated.append(len(list(replies)))
            return None

    def configure(self: Any, server_round: int, *args: Any) -> Any:
        grid.contexts.pop(last, None)
        return getattr(strategies.FedAvg, leaves)(self, server_round, *args)

    setattr(Leaving, leaves, configure)
    needs = {"min_train_nodes": 5, "min_evaluate_nodes": 5, "min_available_nodes": 5}
    strategy = secured(Leaving(**needs))
    strategy.start(grid, to_record(MODEL), num_rounds=1)
    summed, scored = ({1, 2, 3, 4}, [0]) if phase == "train" else ({1, 2, 3, 4, 5}, [4])
    assert set(strategy.reports[1].included) == summed
    assert evaluated == scored  # with four nodes before evaluation begins, there is none
    assert not strategy.failures
    assert len(grid.contexts) == 4


def test_two_models_from_one_strategy_are_refused(
    secured: Secured, local_grid: Any, to_record: Any
) -> None:
    class Split(strategies.FedAvg):
        def configure_train(self, *args: Any) -> list[Any]:
            messages = list(super().configure_train(*args))
            content = type(messages[0].content)({"arrays": to_record({"w": MODEL["w"] + 1})})
            messages[0].content = content
            return messages

    strategy = secured(Split(fraction_evaluate=0.0))
    with pytest.raises(InputRefused, match="different models to different nodes"):
        strategy.start(local_grid(trained), to_record(MODEL), num_rounds=1)


@pytest.mark.parametrize(
    ("array", "reason"),
    [
        (np.array([True]), "dtype bool cannot be aggregated"),
        (np.array([np.nan]), "not finite"),
        (np.array([1j]), "dtype complex128 cannot be aggregated"),
    ],
)
def test_a_model_that_cannot_be_averaged_ends_the_run_with_the_name_of_the_array(
    array: Any, reason: str, secured: Secured, local_grid: Any, to_record: Any
) -> None:
    with pytest.raises(InputRefused, match=rf"\['mask'\].*{reason}"):
        secured().start(local_grid(trained), to_record({**MODEL, "mask": array}), num_rounds=1)


def test_evaluation_goes_through_the_inner_strategy(
    secured: Secured, local_grid: Any, to_record: Any
) -> None:
    class Scored(strategies.FedAvg):
        def aggregate_evaluate(self, server_round: int, replies: Any) -> Any:
            scores = [reply.content["metrics"]["score"] for reply in replies]
            return type(replies[0].content["metrics"])({"score": sum(scores) / len(scores)})

    result = secured(Scored()).start(local_grid(trained), to_record(MODEL), num_rounds=1)
    assert result.evaluate_metrics_clientapp[1]["score"] == 0.75


def test_a_range_clip(secured: Secured, local_grid: Any, to_record: Any) -> None:
    plan = SecurePlan(clip=RangeClip(0.2), max_weight=100, dropout=0.2, metrics={"loss": 4.0})
    result = secured(plan=plan).start(local_grid(trained), to_record(MODEL), num_rounds=1)
    expected = (10 * 0.1 + 140 * 0.2) / 150
    np.testing.assert_allclose(result.arrays["b"].numpy(), expected, atol=1e-5)
    assert result.train_metrics_clientapp[1]["loss"] == pytest.approx(11 / 12, abs=1e-4)


class Chosen(strategies.FedAvg):
    """FedAvg whose draws are given."""

    def __init__(self, draws: list[list[int]]) -> None:
        super().__init__(fraction_evaluate=0.0)
        self._draws = iter(draws)

    def configure_train(self, *args: Any) -> list[Any]:
        drawn = next(self._draws)
        return [m for m in super().configure_train(*args) if m.metadata.dst_node_id in drawn]
