"""The demo's federation: who drops out when, and that the model learns from sums alone."""

from __future__ import annotations

import io
from collections import Counter
from typing import Any

import numpy as np
import pytest
from rich.console import Console

from protocols import model_digest
from protocols.demo import model, training
from protocols.demo.table import heading
from protocols.demo.training import Federation, fallen_silent
from protocols.planfile import PlanFile, Quantizer, SchemeChoice, Training
from protocols.simulate import Outcome, phases, run_round
from secagg.primitives.field64 import field64
from secagg.schemes.secagg_plus import SecAggPlus

STAGES = phases(SecAggPlus(clients=20, length=1, width=32))


def file(**changes: object) -> PlanFile:
    defaults = {"rounds": 3, "drop": 0.2, "batch": 32}
    return PlanFile(
        scheme=SchemeChoice(clients=10, dropout=0.3), training=Training(**(defaults | changes))
    )


def _without_servers(federation: Federation, file: PlanFile) -> None:
    """For what is said before a round; `test_served` starts them."""


@pytest.mark.parametrize(
    ("bits", "verified"), [(0, "norms verified"), (3, "entries of 0 to 7 verified")]
)
def test_the_heading_says_what_two_aggregators_verify(
    bits: int, verified: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Federation, "_serve", _without_servers)
    choice = SchemeChoice(name="pine", clients=5, corrupt=0.0)
    plan = PlanFile(scheme=choice, quantize=Quantizer(entry_bits=bits))
    console = Console(file=io.StringIO(), width=200)
    console.print(heading(Federation(plan)))
    assert verified in console.file.getvalue()  # type: ignore[attr-defined]


@pytest.mark.parametrize("fraction", [0.0, 0.05, 0.2, 0.3])
def test_dropouts_stay_within_the_fraction_and_visit_every_stage(fraction: float) -> None:
    rng, seen = np.random.default_rng(0), Counter[str]()
    for number in range(1, 11):
        drops = fallen_silent(number, list(range(1, 21)), STAGES, fraction, rng)
        assert len(drops) == round(20 * fraction)
        assert drops.keys() <= set(range(1, 21))
        seen.update(drops.values())
    assert len(seen) == (len(STAGES) if fraction else 0)
    assert not seen or max(seen.values()) - min(seen.values()) <= 1


def test_the_model_learns_from_the_sums() -> None:
    federation = Federation(file())
    reports = list(federation.rounds())
    assert [report.number for report in reports] == [1, 2, 3]
    assert all(report.exact for report in reports)
    assert reports[-1].accuracy > max(0.4, reports[0].accuracy)
    assert all(report.deviation < 1e-5 for report in reports)


def test_no_clipping_at_the_defaults() -> None:
    """Else `off by` in the table would measure the clip, not the rounding."""
    federation = Federation(file(drop=0.0, rounds=1))
    (report,) = federation.rounds()
    quantize = federation.plan.quantize
    total = sum(len(examples) for examples in federation.digits.clients.values())
    assert report.included == 10
    assert report.deviation <= quantize.error(10, total) + 1e-6


def test_weights_above_the_bound_are_cut_to_it() -> None:
    federation = Federation(file(drop=0.0, rounds=1))
    sizes = {i: len(examples) for i, examples in federation.digits.clients.items()}
    most = federation.plan.quantize.max_weight
    assert all(federation._weight(i) == min(size, most) for i, size in sizes.items())


def test_watchers_hear_of_both_halves_of_a_round() -> None:
    heard: list[str] = []
    list(Federation(file(rounds=1)).rounds(heard.append))
    assert heard == ["clients train", "one secure sum"]


def test_watchers_hear_that_a_first_proof_waits_for_its_kernels(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(Federation, "_serve", _without_servers)
    federation = Federation(
        PlanFile(scheme=SchemeChoice(name="pine", clients=4), training=Training(rounds=2))
    )
    first, second = federation._summing(1), federation._summing(2)
    assert first.endswith("kernels are compiled or loaded first") is field64().compiled
    assert second == "one secure sum"


def test_every_round_is_bound_to_the_model_it_starts_from(monkeypatch: pytest.MonkeyPatch) -> None:
    shown: list[bytes] = []

    def spy(*args: Any, **options: Any) -> Outcome:
        shown.append(options["model"])
        return run_round(*args, **options)

    monkeypatch.setattr(training, "run_round", spy)
    list(Federation(file(rounds=2)).rounds())
    assert shown[0] == model_digest(model.fresh(0))
    assert shown[1] != shown[0]


def test_local_updates_are_differences() -> None:
    federation = Federation(file())
    examples, weights = federation.digits.clients[1], model.fresh(0)
    delta = model.local_update(
        weights, examples, epochs=3, batch=16, learning_rate=0.3, rng=np.random.default_rng(0)
    )
    assert delta.keys() == weights.keys()
    assert any(np.abs(change).max() > 0 for change in delta.values())
    after = model.step(weights, delta)
    assert model.accuracy(after, examples) > model.accuracy(weights, examples)
    assert all(np.array_equal(weights[name], model.fresh(0)[name]) for name in weights)
