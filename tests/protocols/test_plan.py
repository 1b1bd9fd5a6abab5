"""Plans: what fits together is accepted, what does not dies with the inequality."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable
from fractions import Fraction
from functools import partial
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocols import RoundPlan, model_digest
from protocols.private import DistributedNoise, Private
from secagg.errors import InputRefused, IntegrityError, ParameterError
from secagg.primitives import ring
from secagg.quantize import HalfEven, NormClip, RangeClip, Stochastic
from secagg.schemes.plain import PlainInsecure
from secagg.schemes.secagg_plus import SecAggPlus, SecAggPlusBrief, SecAggPlusSemiHonest
from secagg.structure import flatten

TEMPLATE = {"w": np.zeros((2, 3), np.float32), "b": np.zeros(3)}
CLIP = NormClip(4.0)

CONTEXT = bytes(32)


def plan_for(**changes: Any) -> RoundPlan:
    return RoundPlan.for_update(TEMPLATE, **{"clients": 5, "clip": CLIP, "dropout": 0.2, **changes})


# -- construction -----------------------------------------------------------------------------


def test_for_update_computes_length_width_and_cohort() -> None:
    plan = plan_for(max_weight=300)
    assert plan.scheme.length == 9 + 1
    assert plan.scheme.width == plan.quantize.width == 32
    assert plan.scheme.clients == plan.quantize.cohort == 5
    assert isinstance(plan.scheme, SecAggPlus)
    assert isinstance(plan.quantize.rounding, Stochastic)


@given(
    clients=st.integers(4, 10_000),
    max_weight=st.integers(1, 10_000),
    bound=st.floats(1e-3, 1e3),
    width=st.sampled_from([None, 40, 52, 64]),
    norm=st.booleans(),
)
def test_default_precision_uses_the_whole_width(
    clients: int, max_weight: int, bound: float, width: int | None, norm: bool
) -> None:
    clip = NormClip(bound) if norm else RangeClip(bound)
    plan = RoundPlan.for_update(
        np.zeros(10),
        clients=clients,
        clip=clip,
        max_weight=max_weight,
        width=width,
        scheme=PlainInsecure,
    )
    bits, fraction = plan.scheme.width, plan.quantize.fraction_bits
    assert width in (None, bits)
    assert plan.quantize.effective_clip(10) >= 0.9 * bound or width is not None
    if plan.quantize.bound <= 1 << 51:  # else float64 is the limit, not the ring
        finer = clients * max_weight * Fraction(bound) * Fraction(2) ** (fraction + 1)
        assert finer > (1 << (bits - 1)) - 1


def test_a_wide_cohort_takes_a_wider_ring() -> None:
    assert plan_for(clients=100, max_weight=10).scheme.width == 32
    assert plan_for(clients=100, max_weight=100_000).scheme.width == 40
    assert plan_for(clients=100, max_weight=1 << 36).scheme.width == 56


def test_fraction_bits_fix_the_width() -> None:
    plan = plan_for(fraction_bits=10, max_weight=8)
    needed = (5 * 8 * 4 * 1024).bit_length() + 1
    assert plan.quantize.fraction_bits == 10
    assert plan.scheme.width == needed
    assert plan_for(fraction_bits=10, max_weight=8, width=64).scheme.width == 64


@pytest.mark.parametrize("scheme", [SecAggPlus, SecAggPlusSemiHonest, PlainInsecure])
def test_every_scheme_takes_its_own_keywords(scheme: Any) -> None:
    plan = plan_for(scheme=scheme, dropout=0.2)
    assert isinstance(plan.scheme, scheme)
    assert plan.scheme.survivors == 4
    bare = RoundPlan.for_update(TEMPLATE, clients=5, clip=CLIP, scheme=partial(scheme, dropout=0.0))
    assert bare.scheme.survivors == 5
    with pytest.raises(TypeError, match="drop_out"):
        plan_for(scheme=scheme, drop_out=0.4)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"clients": 1}, "clients >= 2"),
        ({"clients": 5.0}, "clients >= 2, an integer"),
        ({"clients": True}, "clients >= 2, an integer"),
        ({"clip": 4.0}, r"clip must be a .*NormClip.*, got float"),
        ({"max_weight": 0}, "max_weight >= 1"),
        ({"max_weight": 2.5}, "max_weight >= 1, an integer"),
        ({"width": 3, "max_weight": 3}, r"2 \* clients \* max_weight < 2\*\*\(width - 1\)"),
        ({"width": 65}, "2 <= width <= 64, an integer, must hold, got 65"),
        ({"width": 10**12}, "2 <= width <= 64"),
        ({"width": -1}, "2 <= width <= 64"),
        ({"width": 32.0}, "2 <= width <= 64, an integer"),
        ({"width": 65, "fraction_bits": 2}, "0 <= width <= 64"),
        ({"fraction_bits": 40, "width": 32}, r"cohort \* .* <= 2\*\*\(width-1\) - 1"),
        ({"fraction_bits": -3}, r"2\*\*fraction_bits \* clip"),
        ({"rounding": "up"}, "rounding: Stochastic | HalfEven"),
        ({"corrupt": 1.5}, "0 <= corrupt < 1"),
        ({"corrupt": 0.6, "dropout": 0.3}, "survivors - corrupt >= 2"),
    ],
)
def test_bad_parameters_die_with_the_inequality(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ParameterError, match=message):
        plan_for(**changes)


@pytest.mark.parametrize(
    ("scheme", "last"),
    [(SecAggPlus, False), (SecAggPlusSemiHonest, False), (SecAggPlusBrief, True)],
)
def test_a_plan_knows_when_its_scheme_binds_the_model(scheme: Any, last: bool) -> None:
    assert plan_for(scheme=scheme).binds_model_last is last


def test_an_empty_update_is_refused() -> None:
    with pytest.raises(ParameterError, match=r"structure\.size >= 1"):
        RoundPlan.for_update({}, clients=5, clip=CLIP)


def test_a_template_must_be_a_tree() -> None:
    with pytest.raises(InputRefused, match="no place in a tree"):
        RoundPlan.for_update({"w": object()}, clients=5, clip=CLIP)


@pytest.mark.parametrize(
    ("part", "value", "message"),
    [
        (
            "scheme",
            "length",
            r"quantize\.length\(size\) must hold, got 11 and 10",
        ),
        ("scheme", "width", r"scheme\.width == quantize\.width must hold, got 33 and 32"),
        ("scheme", "clients", r"quantize\.cohort == scheme\.clients must hold, got 5 and 6"),
    ],
)
def test_pieces_that_do_not_fit_are_refused(part: str, value: str, message: str) -> None:
    good = plan_for()
    assert RoundPlan(scheme=good.scheme, quantize=good.quantize, structure=good.structure) == good
    changed = dataclasses.replace(
        good.scheme, **{value: getattr(good.scheme, value) + 1}, threshold=None
    )
    with pytest.raises(ParameterError, match=message):
        dataclasses.replace(good, **{part: changed})


@pytest.mark.parametrize("name", ["scheme", "quantize", "structure"])
def test_pieces_of_the_wrong_type_are_refused(name: str) -> None:
    with pytest.raises(ParameterError, match=f"{name} must be a .*, got bytes"):
        dataclasses.replace(plan_for(), **{name: bytes(32)})


def test_a_norm_that_rounding_would_eat_is_refused() -> None:
    coarse = partial(RoundPlan.for_update, clients=5, clip=CLIP, fraction_bits=2, dropout=0.2)
    assert coarse(np.zeros(100)).quantize.effective_clip(100) >= 2
    with pytest.raises(ParameterError, match="rounding costs 10000 coordinates"):
        coarse(np.zeros(10_000))


# -- public, hashable, one digest for one plan ------------------------------------------------


def test_a_plan_is_a_value() -> None:
    assert plan_for() == plan_for()
    assert hash(plan_for()) == hash(plan_for())
    assert "SecAggPlus(clients=5" in repr(plan_for())


@pytest.mark.parametrize(
    "changes",
    [
        {"clients": 6},
        {"clip": NormClip(5.0)},
        {"clip": RangeClip(4.0)},
        {"max_weight": 2},
        {"width": 33},
        {"rounding": HalfEven()},
        {"scheme": SecAggPlusSemiHonest},
        {"corrupt": 0.3},
        {"dropout": 0.0},
    ],
)
def test_every_choice_changes_the_digest(changes: dict[str, Any]) -> None:
    assert plan_for().digest == plan_for().digest
    assert plan_for(**changes).digest != plan_for().digest


def test_the_structure_changes_the_digest() -> None:
    other = RoundPlan.for_update(
        {"w": np.zeros((3, 2), np.float32), "b": np.zeros(3)}, clients=5, clip=CLIP, dropout=0.2
    )
    assert other.scheme == plan_for().scheme
    assert other.digest != plan_for().digest


def test_model_digest_names_every_bit() -> None:
    model = {"w": np.arange(4, dtype=np.float32)}
    assert model_digest(model) == model_digest({"w": np.arange(4, dtype=np.float32)})
    other = {"w": np.nextafter(model["w"], np.float32(9))}
    digests = {
        model_digest(m)
        for m in (model, other, {"v": model["w"]}, {"w": model["w"].astype(np.float64)}, {})
    }
    assert len(digests) == 5


def test_model_digest_does_not_see_memory_layout() -> None:
    square = np.arange(6.0).reshape(2, 3)
    assert model_digest(square) == model_digest(np.asfortranarray(square))
    assert model_digest(square) == model_digest(square.astype(">f8"))
    assert model_digest(square) != model_digest(np.ascontiguousarray(square.T).reshape(2, 3))


def test_bind_depends_on_plan_and_model() -> None:
    model, other = bytes(32), bytes([1]) + bytes(31)
    bound = {plan_for().bind(model), plan_for().bind(other), plan_for(max_weight=2).bind(model)}
    assert len(bound) == 3
    assert plan_for().bind(model) == plan_for().bind(model)
    assert len(plan_for().bind(model)) == 32


# -- encode and decode ------------------------------------------------------------------------


def update(value: float) -> dict[str, Any]:
    return {"w": np.full((2, 3), value, np.float32), "b": np.full(3, -value)}


def test_encode_and_decode_are_inverse_up_to_rounding() -> None:
    plan = plan_for(max_weight=100)
    total = np.zeros(plan.scheme.length, ring.word(plan.scheme.width))
    for value, weight in ((0.5, 10), (1.0, 30)):
        total += plan.encode(update(value), weight, os.urandom, CONTEXT)
    decoded = plan.decode(ring.reduce(total, plan.scheme.width), 2, os.urandom, CONTEXT)
    mean, weight = decoded.mean, decoded.total_weight
    assert weight == 40
    assert mean["w"].dtype == np.float32
    np.testing.assert_allclose(mean["w"], 0.875, atol=plan.quantize.error(2, 40) + 1e-7)
    np.testing.assert_allclose(mean["b"], -0.875, atol=plan.quantize.error(2, 40))


def test_decode_withholds_what_cannot_be_a_sum() -> None:
    plan = plan_for(max_weight=100)
    total = plan.encode(update(0.5), 10, os.urandom, CONTEXT)
    assert plan.decode(total, 1, os.urandom, CONTEXT).total_weight == 10
    total[0] = 101  # more weight than one client can have
    with pytest.raises(IntegrityError, match="total weight"):
        plan.decode(total, 1, os.urandom, CONTEXT)


@pytest.mark.parametrize("weight", [0, -1, 101, 10.0, "10", None, True, np.int64(10)])
def test_weights_out_of_range_are_refused(weight: Any) -> None:
    plan = plan_for(max_weight=100)
    assert plan.encode(update(0.5), 1, os.urandom, CONTEXT)[0] == 1
    assert plan.encode(update(0.5), 100, os.urandom, CONTEXT)[0] == 100
    with pytest.raises(InputRefused, match=r"the weight is not an int in \[1, 100\]"):
        plan.encode(update(0.5), weight, os.urandom, CONTEXT)


def broken(change: Callable[[dict[str, Any]], Any]) -> Any:
    tree = update(0.5)
    replaced = change(tree)
    return tree if replaced is None else replaced


def _put_nan(tree: dict[str, Any]) -> None:
    tree["w"][1, 2] = np.nan


def _put_inf(tree: dict[str, Any]) -> None:
    tree["b"][0] = -np.inf


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (_put_nan, r"\['w'\] at index \(1, 2\): not finite"),
        (_put_inf, r"\['b'\] at index \(0,\): not finite"),
        (lambda t: {"w": t["w"]}, r"\['b'\] is missing"),
        (lambda t: t | {"c": 1.0}, r"\['c'\] is not in the plan"),
        (
            lambda t: {"b": t["b"], "w": t["w"]},
            r"\['b'\] float64 \(3,\) where the plan has \['w'\]",
        ),
        (lambda t: t | {"b": t["b"].astype(np.float32)}, r"\['b'\] float32 \(3,\) where"),
        (lambda t: t | {"w": t["w"].T}, r"\['w'\] float32 \(3, 2\) where .* float32 \(2, 3\)"),
        (lambda t: t | {"w": t["w"].reshape(6)}, r"\['w'\] float32 \(6,\) where"),
        (lambda t: [t["w"], t["b"]], r"\['w'\] is missing"),
        (lambda t: t | {"w": "text"}, r"\['w'\]: type str has no place"),
    ],
)
def test_what_is_no_update_of_the_plan_is_refused_by_name(
    change: Callable[[dict[str, Any]], Any], message: str
) -> None:
    plan = plan_for()
    plan.encode(broken(lambda tree: None), 1, os.urandom, CONTEXT)
    with pytest.raises(InputRefused, match=message) as caught:
        plan.encode(broken(change), 1, os.urandom, CONTEXT)
    assert "0.5" not in str(caught.value)


def test_other_branches_around_the_same_leaves_are_refused() -> None:
    plan = RoundPlan.for_update([np.zeros(3), np.zeros(2)], clients=5, clip=CLIP, dropout=0.2)
    plan.encode([np.zeros(3), np.zeros(2)], 1, os.urandom, CONTEXT)
    with pytest.raises(InputRefused, match="lists, tuples or dicts around them do not"):
        plan.encode((np.zeros(3), np.zeros(2)), 1, os.urandom, CONTEXT)


def test_metrics_are_leaves_under_the_same_clip() -> None:
    template = {"delta": np.zeros(4), "metrics": {"loss": 0.0, "accuracy": 0.0}}
    plan = RoundPlan.for_update(
        template, clients=5, clip=RangeClip(4.0), max_weight=100, dropout=0.2
    )
    total = np.zeros(plan.scheme.length, ring.word(plan.scheme.width))
    for loss, weight in ((2.0, 10), (1.0, 30)):
        tree = {"delta": np.full(4, loss), "metrics": {"loss": loss, "accuracy": 0.5}}
        total += plan.encode(tree, weight, os.urandom, CONTEXT)
    mean = plan.decode(ring.reduce(total, plan.scheme.width), 2, os.urandom, CONTEXT).mean
    assert mean["metrics"]["loss"] == pytest.approx(1.25, abs=1e-5)
    assert mean["metrics"]["accuracy"] == pytest.approx(0.5, abs=1e-5)


def test_the_structure_of_the_plan_is_that_of_the_template() -> None:
    assert plan_for().structure == flatten(TEMPLATE)[1]


def test_another_clip_bound_keeps_the_noise_the_units_and_the_price_of_a_private_plan() -> None:
    plan = RoundPlan.for_update(
        {"w": np.zeros(64)},
        clients=10,
        clip=NormClip(1.0),
        privacy=DistributedNoise(multiplier=1.0),
    )
    wider = plan.clipped(2.0)
    assert isinstance(wider.quantize, Private)
    assert wider.quantize.mechanism.clip == 2.0
    assert wider.event == plan.event
    assert wider.scheme == plan.scheme
    assert wider.digest != plan.digest


def test_a_plan_without_noise_has_no_clip_bound_to_change() -> None:
    plan = RoundPlan.for_update({"w": np.zeros(4)}, clients=10, clip=NormClip(1.0))
    with pytest.raises(ParameterError, match="adds no noise"):
        plan.clipped(2.0)
